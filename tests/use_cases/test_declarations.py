"""The shipped examples: each is a short file, and what was derived belongs to it."""

import shutil
from pathlib import Path

import pytest

from pipelines.lib.core.use_cases import UseCase, find, use_cases
from pipelines.lib.declarations import derivation
from pipelines.use_case.check import check
from pipelines.use_case.init import MOST_LINES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = [use_case for use_case in use_cases(ROOT) if not use_case.default]


def named(use_case: UseCase) -> str:
    return use_case.name


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the files that declare use cases."""
    shutil.copytree(ROOT / "use_cases", tmp_path / "use_cases", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "pipelines").mkdir()
    shutil.copytree(ROOT / "pipelines/suites", tmp_path / "pipelines/suites")
    for file in ("params.yaml", "run.yaml", "pipelines/defaults.yaml"):
        shutil.copyfile(ROOT / file, tmp_path / file)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_examples() -> None:
    assert {use_case.name for use_case in EXAMPLES} >= {"fraud", "orders"}


@pytest.mark.parametrize("use_case", EXAMPLES, ids=named)
def test_a_declaration_has_at_most_25_lines_besides_comments(use_case: UseCase) -> None:
    lines = use_case.declaration.read_text(encoding="utf-8").splitlines()
    assert 0 < sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in lines) <= MOST_LINES == 25


@pytest.mark.parametrize("use_case", EXAMPLES, ids=named)
def test_the_files_have_no_fault(use_case: UseCase, copy: Path) -> None:
    assert [str(fault) for fault in check(Path(), [use_case.name], config_only=True)] == []


@pytest.mark.parametrize("use_case", EXAMPLES, ids=named)
def test_a_changed_declaration_makes_the_derived_file_stale(use_case: UseCase, copy: Path) -> None:
    path = copy / "use_cases" / use_case.name / "params.yaml"
    text = path.read_text(encoding="utf-8")
    assert "window_days: 28" in text
    path.write_text(text.replace("window_days: 28", "window_days: 27"), encoding="utf-8")
    [fault] = check(Path(), [use_case.name], config_only=True)
    assert str(fault).startswith(f"use_cases/{use_case.name}/derived.yaml: derived_from.sha256: is ")
    assert f"python -m pipelines.use_case derive {use_case.name} --again" in str(fault)
    assert derivation.staleness(find(use_case.name, Path())) is not None
