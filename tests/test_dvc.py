"""``dvc.yaml`` says what each stage depends on: all of what can change its result, and nothing more."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipelines.lib.core.params import flattened
from pipelines.lib.core.yaml_text import parse_yaml
from scaffold.imports import ROOT, closure, packages

STAGES: dict[str, dict[str, Any]] = parse_yaml((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
# DVC writes YAML 1.2: PyYAML takes its 1e-05 for text.
LOCKED: dict[str, dict[str, Any]] = YAML(typ="safe").load(ROOT / "dvc.lock")["stages"]
PARAMS: dict[str, Any] = parse_yaml((ROOT / "params.yaml").read_text(encoding="utf-8"))


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


def md5(path: Path) -> str:
    """Return the digest of a file or folder as ``dvc.lock`` has it; what ``.dvcignore`` names is left out."""
    if path.is_file():
        return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
    files = [one for one in path.rglob("*") if one.is_file() and "__pycache__" not in one.parts and not re.search(r"\.tmp$", one.name)]
    messages = [
        {"md5": md5(one), "relpath": one.relative_to(path).as_posix()}
        for one in sorted(files, key=lambda one: one.relative_to(path).as_posix())
    ]
    return hashlib.md5(json.dumps(messages, sort_keys=True).encode(), usedforsecurity=False).hexdigest() + ".dir"


def stale(stage: str, locked: dict[str, Any]) -> list[str]:
    """Return the code among the deps of `stage` that is not what `locked`, its part of ``dvc.lock``, was made with."""
    code = {dep for dep in STAGES[stage]["deps"] if dep.startswith("pipelines/") or dep == "requirements.txt"}
    known = {dep["path"]: dep["md5"] for dep in locked["deps"] if dep["path"].startswith("pipelines/") or dep["path"] == "requirements.txt"}
    return sorted(path for path in code | set(known) if path not in code or known.get(path) != md5(ROOT / path))


def retuned(locked: dict[str, Any], params: dict[str, Any]) -> list[str]:
    """Return the keys of params.yaml that do not have the value with which `locked`, a part of ``dvc.lock``, was made. A key that is gone counts."""
    before, now = flattened(locked.get("params", {}).get("params.yaml", {})), flattened(params)
    read = [f"{key}." for key in locked.get("params", {}).get("params.yaml", {})]
    added = {key for key in now if any(f"{key}.".startswith(one) for one in read)} - set(before)
    return sorted(key for key in set(before) | added if key not in before or before[key] != now.get(key, ...))


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_lock_is_of_these_parameters(stage: str) -> None:
    changed = sorted({key for name, locked in LOCKED.items() if name.partition("@")[0] == stage for key in retuned(locked, PARAMS)})
    assert not changed, (
        f"dvc.lock is out of date for {stage}: {', '.join(changed)} of params.yaml changed; run `dvc repro {stage}` and commit dvc.lock"
    )


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"gate": {"limit": 0.9, "dates": []}}, []),
        ({"gate": {"limit": 0.7, "dates": []}}, ["gate.limit"]),
        ({"gate": {"limit": 0.9}}, ["gate.dates"]),
        ({"gate": {"limit": 0.9, "dates": [], "mean": 0.5}}, ["gate.mean"]),
        ({"gate": {"limit": 0.9, "dates": []}, "other": {"limit": 1}}, []),
    ],
)
def test_a_changed_parameter_is_named(now: dict[str, Any], changed: list[str]) -> None:
    locked = {
        "params": {"params.yaml": {"gate": {"limit": 0.9, "dates": []}, "table.name": "flights"}, "run.yaml": {"partition": "2013-04-01"}}
    }
    assert retuned(locked, {"table": {"name": "flights", "key": ["id"]}, **now}) == changed


@pytest.mark.parametrize("stage", STAGES)
def test_dvc_lock_is_of_this_code(stage: str) -> None:
    entries = {name: locked for name, locked in LOCKED.items() if name.partition("@")[0] == stage}
    assert entries, f"dvc.lock has no stage {stage}; run `dvc repro` and commit dvc.lock"
    changed = sorted({path for locked in entries.values() for path in stale(stage, locked)})
    assert not changed, f"dvc.lock is out of date for {stage}: {', '.join(changed)} changed; run `dvc repro` and commit dvc.lock"


def test_the_digest_of_a_folder_is_the_one_of_dvc(tmp_path: Path) -> None:
    from dvc_data.hashfile.build import build
    from dvc_data.hashfile.db import HashFileDB
    from dvc_objects.fs import LocalFileSystem

    folder = tmp_path / "folder"
    for name in ("b.py", "a/z.py", "a/b/c.py", "a.py", "a-b/x.py"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    *_, built = build(HashFileDB(LocalFileSystem(), str(tmp_path / "cache")), str(folder), LocalFileSystem(), "md5")
    assert md5(folder) == built.hash_info.value


def test_a_changed_file_is_named() -> None:
    locked = {"deps": [{"path": dep, "md5": md5(ROOT / dep)} for dep in STAGES["score"]["deps"] if not dep.startswith(("data/", "$"))]}
    assert stale("score", locked) == []
    locked["deps"][0]["md5"] = "0" * 32
    assert stale("score", locked) == ["pipelines/scoring/score.py"]
