"""``dvc.yaml`` says what each stage depends on: all of what can change its result, and nothing more."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.imports import ROOT, closure, packages

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def module_of(stage: str) -> Path:
    return Path(*STAGES[stage]["cmd"].split()[2].split(".")).with_suffix(".py")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_packages_that_it_imports(stage: str) -> None:
    needed = packages(module_of(stage))
    declared = sorted(dep for dep in STAGES[stage]["deps"] if dep.startswith("pipelines/lib"))
    assert declared == needed, f"dvc.yaml, stages.{stage}.deps: write {', '.join(needed)} (pipelines.lib has no other part that it imports)"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_versions_of_its_libraries(stage: str) -> None:
    assert "requirements.txt" in STAGES[stage]["deps"], f"dvc.yaml, stages.{stage}.deps: add requirements.txt"


@pytest.mark.parametrize("stage", STAGES)
def test_what_follows_a_gate_depends_on_its_verdict_alone(stage: str) -> None:
    """A report says more than the verdict, for people: how a page looks must not train a model."""
    reports = [dep for dep in STAGES[stage]["deps"] if dep.startswith("data/reports/validate_")]
    assert [dep for dep in reports if not dep.endswith("/verdict.json")] == []


def test_the_imports_of_a_stage_are_found_within_functions_too() -> None:
    needed = {str(path) for path in closure(Path("pipelines/scoring/score.py"))}
    assert "pipelines/lib/core/reports.py" in needed  # imported within main
    assert "pipelines/lib/models/inference.py" in needed
    assert "pipelines/lib/tables/engine.py" in needed  # by what it imports
    assert "pipelines/lib/loop/governor.py" not in needed
