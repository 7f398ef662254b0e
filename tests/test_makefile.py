"""The targets of the Makefile share the tests among them: none is lost, none is run twice by CI."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
from _pytest.mark.expression import Expression

ROOT = Path(__file__).resolve().parents[1]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
MARKERS = [
    line.partition(":")[0] for line in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["markers"]
]
COMBINATIONS = [set(chosen) for size in range(len(MARKERS) + 1) for chosen in itertools.combinations(MARKERS, size)]


def selects(target: str, markers: set[str]) -> bool:
    """Return whether ``make <target>`` runs a test that carries `markers`."""
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert recipe, f"the Makefile has no target {target}"
    asked = re.search(r"-m \"?([a-z() ]+?)\"? \$\(args\)", recipe[1])
    assert asked, f"make {target} selects no tests by marker"
    return Expression.compile(asked[1]).evaluate(lambda name, **_: name in markers)


def lint_commands(makefile: str) -> list[str]:
    """Return the commands that ``make lint`` runs side by side."""
    return re.findall(r"^lint-[a-z-]+: ; (.+)$", makefile, re.MULTILINE)


@pytest.mark.parametrize("markers", COMBINATIONS, ids=lambda markers: "+".join(sorted(markers)) or "none")
def test_every_test_belongs_to_exactly_one_target(markers: set[str]) -> None:
    chosen = [target for target in ("test", "test-slow", "faults") if selects(target, markers)]
    assert len(chosen) == 1, f"a test with the markers {sorted(markers)} is run by {chosen or 'no target'}; correct the -m of the Makefile"


@pytest.mark.parametrize("markers", COMBINATIONS, ids=lambda markers: "+".join(sorted(markers)) or "none")
def test_quick_is_a_part_of_test_that_needs_no_server(markers: set[str]) -> None:
    expected = selects("test", markers) and not markers & {"integration", "costly"}
    assert selects("quick", markers) == expected


@pytest.mark.parametrize("target", ["quick", "test", "test-slow", "faults"])
def test_a_target_keeps_the_durations_of_its_tests(target: str) -> None:
    recipe = re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    pytest_command = re.search(r"^PYTEST = (.*)$", MAKEFILE, re.MULTILINE)
    assert recipe and pytest_command, "PYTEST is expanded where it is used, so that $@ is the target"
    assert recipe[1].replace("$(PYTEST)", pytest_command[1]).count(" --junitxml=var/tests/$@.xml ") == 1


def test_ci_runs_all_of_them() -> None:
    run = re.findall(r"^make ([a-z-]+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert run == ["lint", "test", "test-slow", "demo"]


def test_check_leaves_out_only_files_that_lint_runs_before_it() -> None:
    assert re.search(r"^check: lint quick ", MAKEFILE, re.MULTILINE)
    quick = re.search(r"^quick:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)
    assert quick
    left_out = re.findall(r"--ignore=(\S+)", quick[1])
    assert left_out and "--deselect" not in quick[1]
    assert f"$(BIN)/python -m pytest -q {' '.join(left_out)}" in lint_commands(MAKEFILE)


def test_lint_runs_every_part_of_it() -> None:
    named = re.search(r"^LINTS := (.*)$", MAKEFILE, re.MULTILINE)
    recipe = re.search(r"^lint:.*\n\t@\$\(MAKE\) (.*)\n", MAKEFILE, re.MULTILINE)
    assert named and recipe
    assert named[1].split() == re.findall(r"^lint-([a-z-]+): ;", MAKEFILE, re.MULTILINE)
    assert recipe[1].split() == ["--no-print-directory", "--keep-going", "--jobs=2", "$(LINTS:%=lint-%)"]
    assert not any(command.startswith("-") or "|" in command for command in lint_commands(MAKEFILE))
