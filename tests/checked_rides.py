"""The use case of the rides, sound and then broken on purpose: what the tests of the check and of its modules start from."""

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib.core.use_cases import find
from pipelines.lib.declarations import derivation
from pipelines.use_case.check import check
from tests import rides

FILE = "use_cases/rides/params.yaml"


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose use case of rides has no fault, made once."""
    root = tmp_path_factory.mktemp("sound")
    rides.repository(root)
    rides.write(root / "rides.parquet", rides.rides())
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.chdir(root)
    use_case = find("rides", Path())
    derivation.write(use_case, derivation.derive(use_case, rides.TODAY))
    monkeypatch.undo()
    return root


@pytest.fixture
def checked_rides(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a copy of its own to break."""
    shutil.copytree(sound, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")


def broken(change: Callable[[dict[str, Any]], object], *, config_only: bool = True) -> list[str]:
    """Change the declaration of the rides, let its derived file follow, and return the faults."""
    declared = copy.deepcopy(rides.DECLARED)
    change(declared)
    rides.declare(Path(), declared)
    path = Path("use_cases/rides/derived.yaml")
    derived = yaml.safe_load(path.read_text(encoding="utf-8"))
    derived["derived_from"]["sha256"] = derivation.digest(declared)
    path.write_text(yaml.safe_dump(derived), encoding="utf-8")
    return [str(fault) for fault in check(Path(), ["rides"], config_only=config_only)]


def setting(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Return a change that sets the dotted `key`."""

    def change(declared: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for part in path:
            declared = declared.setdefault(part, {})
        declared[last] = value

    return change


def assert_the_only_fault(faults: list[str], expected: str | None) -> None:
    """Assert that `faults` is one fault, of the declaration or the defaults, that matches `expected`; or none if that is None."""
    if expected is None:
        assert faults == []
        return
    assert len(faults) == 1, faults
    assert faults[0].startswith(f"{FILE}: ") or "code_bytes" in faults[0]
    assert re.search(expected, faults[0]), faults[0]
