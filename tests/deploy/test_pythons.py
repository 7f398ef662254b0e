"""The newer Pythons: the quick tests of what runs in production pass on each of them, from the same lock as on 3.11."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.repository_copy import copy_repository, run_in

REQUIRED = "NIGHTSHIFT_REQUIRE_PYTHONS"

_STAGES = sorted(f"tests/pipelines/{path.name}" for path in (Path(__file__).parents[1] / "pipelines").glob("[!l_]*/"))
TESTS = {"3.12": ["tests/plugins", "tests/dags", *_STAGES], "3.13": ["tests/plugins", "tests/dags", "tests/pipelines"]}
"""By version: lint reads the same on every Python, and no test of documents, benchmarks or the repository depends on it. 3.12 lies between two that run
the library's tests.
"""


def candidates(version: str) -> Iterator[str]:
    """List the usual places of a Python of this version: on the PATH, below pyenv, and the one that uv finds."""
    for directory in os.get_exec_path():
        yield str(Path(directory) / f"python{version}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from map(str, sorted(pyenv.glob(f"versions/{version}.*/bin/python{version}"), reverse=True))
    if uv := shutil.which("uv"):
        yield subprocess.run([uv, "python", "find", "--no-project", version], capture_output=True, text=True, check=False).stdout.strip()


def interpreter(version: str) -> str | None:
    """Find the first that starts and prints this version: a shim of pyenv may start nothing."""
    asked = "import sys, venv; print('%d.%d' % sys.version_info[:2])"
    for path in candidates(version):
        if (
            shutil.which(path)
            and subprocess.run([path, "-c", asked], capture_output=True, text=True, check=False).stdout.strip() == version
        ):
            return path
    return None


@pytest.mark.slow
@pytest.mark.parametrize("version", TESTS)
def test_the_product_passes_its_quick_tests(version: str, tmp_path: Path) -> None:
    found = interpreter(version)
    if found is None:
        missing = f"Python {version} is neither on the PATH nor below pyenv nor known to uv; install one: pyenv install {version}"
        pytest.fail(f"{REQUIRED} is set, but {missing}") if os.environ.get(REQUIRED) else pytest.skip(missing)
    copy = copy_repository(tmp_path / "copy")
    try:
        done = run_in(copy, "make", "quick", f"PYTHON={found}", f"args={' '.join(TESTS[version])}", VIRTUAL_ENV="")
        assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-4000:]
        used = (copy / ".venv" / "pyvenv.cfg").read_text(encoding="utf-8")
        assert f"version = {version}." in used
    finally:
        shutil.rmtree(copy / ".venv", ignore_errors=True)  # a gigabyte, and pytest keeps what the last runs have left


def test_a_name_that_starts_nothing_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shims, real = tmp_path / "shims", tmp_path / "real"
    for directory, answer in ((shims, "exit 127"), (real, "echo 3.12")):
        directory.mkdir()
        (directory / "python3.12").write_text(f"#!/bin/sh\n{answer}\n")
        (directory / "python3.12").chmod(0o755)
    monkeypatch.setenv("PATH", f"{shims}:{real}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert interpreter("3.12") == str(real / "python3.12")
    assert interpreter("3.99") is None
