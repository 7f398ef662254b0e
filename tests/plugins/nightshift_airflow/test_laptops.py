"""`make repro` of several use cases: each in a directory of its own, brought to the present tree, and none repeats another's work."""

import fcntl
import shutil
from pathlib import Path

import pytest
import yaml
from nightshift_airflow import laptops, places
from nightshift_airflow.refusals import RunRefusedError

from deploy.embedded import repro
from pipelines.lib.core.use_cases import UseCase, find
from tests.stub_repository import commit_all, git

ROOT = Path(__file__).resolve().parents[3]


def declare(repository: Path, name: str, partition: str) -> UseCase:
    file = repository / "use_cases" / name / "params.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump({"dataset": {"event_time": "at"}, "features": {}, "first_run": {"partition": partition}}))
    return find(name, repository)


@pytest.fixture
def shop(repository: Path, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """A use case next to the default one, all committed."""
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(repository / "var"))
    monkeypatch.setenv("PYTHONPATH", str(repository))
    monkeypatch.setattr(repro, "prepare", lambda use_case, progress: None)  # its stages compute nothing, so it needs no data
    shutil.copyfile(ROOT / "pipelines" / "defaults.yaml", repository / "pipelines" / "defaults.yaml")
    use_case = declare(repository, "shop", "2024-03-01")
    commit_all(repository, "declare the shop")
    return use_case


def reproduced(use_case: UseCase, capfd: pytest.CaptureFixture[str]) -> list[str]:
    """Reproduce a stage and what it needs; return the stages that ran."""
    assert repro.reproduce(use_case, ["validate_batch"]) == 0
    return [line.split("'")[1] for line in capfd.readouterr().out.splitlines() if line.startswith("Running stage")]


@pytest.mark.slow
def test_use_cases_that_are_reproduced_in_turn_run_nothing_again(
    shop: UseCase, repository: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    market, default = declare(repository, "market", "2024-05-01"), find("", repository)
    commit_all(repository, "declare the market")
    for use_case in (default, shop, market):
        assert reproduced(use_case, capfd) == ["ingest_batch", "validate_batch"], use_case.name
    for use_case in (default, shop, market, shop, default):
        assert reproduced(use_case, capfd) == [], use_case.name
    reports = {"shop": "2024-03-01", "market": "2024-05-01"}
    for name, partition in reports.items():
        assert partition in (repository / "var" / "laptop" / name / "data/reports/ingest_batch/report.json").read_text()
    assert "2013-01-01" in (repository / "data/reports/ingest_batch/report.json").read_text()
    assert git(repository, "status", "--porcelain", "--", "params.yaml", "run.yaml") == ""


def test_it_is_brought_to_the_present_tree_and_keeps_what_it_has_made(shop: UseCase, repository: Path) -> None:
    with laptops.open_laptop(shop) as workspace:
        assert not (workspace.path / "dvc.lock").exists()
        (workspace.path / "dvc.lock").write_text("schema: '2.0'\n")
        (workspace.path / "data" / "kept").mkdir(parents=True)
    (repository / "pipelines" / "new.py").write_text("")  # not committed
    with laptops.open_laptop(shop) as workspace:
        assert workspace.snapshot
        assert (workspace.path / "pipelines" / "new.py").exists()
        assert (workspace.path / "data" / "kept").exists()
        assert (workspace.path / "dvc.lock").read_text() == "schema: '2.0'\n"
        assert yaml.safe_load((workspace.path / "params.yaml").read_text())["use_case"] == {"name": "shop", "default": False}


@pytest.mark.costly
def test_one_that_was_moved_is_made_again_with_its_lock(shop: UseCase, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with laptops.open_laptop(shop) as workspace:
        (workspace.path / "dvc.lock").write_text("schema: '2.0'\n")
    moved = repository.with_name("moved")
    repository.rename(moved)
    monkeypatch.setattr(places, "REPOSITORY", moved)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(moved / "var"))
    with laptops.open_laptop(find("shop", moved)) as workspace:
        assert git(workspace.path, "rev-parse", "HEAD") == workspace.commit
        assert (workspace.path / "dvc.lock").read_text() == "schema: '2.0'\n"


def test_a_second_one_at_the_same_time_is_refused(shop: UseCase, repository: Path) -> None:
    lock = repository / "var" / "laptop" / "shop.lock"
    lock.parent.mkdir(parents=True)
    with lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunRefusedError, match="another make repro of shop"), laptops.open_laptop(shop):
            pass
    assert [path.name for path in lock.parent.iterdir()] == ["shop.lock"]
