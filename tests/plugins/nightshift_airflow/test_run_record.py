"""A run and its outputs are recorded at its ref, and come back from there."""

import pytest
import yaml
from nightshift_airflow import run_record, workspaces

from pipelines.lib.core.yaml_text import parse_yaml
from tests.stub_repository import commit_all, git

DAG = "nightly_batch_scoring"


def pin(workspace, partition="2013-04-01"):
    """Do as pin_run does, as far as workspaces can see it."""
    (workspace.path / "run.yaml").write_text(yaml.safe_dump({"partition": partition, "run_id": workspace.run_id}))
    (workspace.path / "dvc.lock").write_text("schema: '2.0'\n")


@pytest.mark.costly
def test_a_run_is_recorded_on_top_of_its_commit(repository):
    workspace = workspaces.open_workspace(DAG, "run")
    pin(workspace)
    (workspace.path / "data" / "champion").mkdir(parents=True)
    (workspace.path / "data" / "champion" / ".gitignore").write_text("/model.onnx\n")
    (workspace.path / "data" / "champion" / "model.onnx.dvc").write_text("outs: []\n")
    (workspace.path / "stray").write_text("not part of the record")
    commit = run_record.record_run(workspace, "success")
    assert git(repository, "rev-parse", f"refs/runs/{DAG}/run") == commit
    assert git(repository, "rev-parse", f"{commit}^") == workspace.commit
    assert sorted(git(repository, "diff", "--name-only", f"{commit}^", commit).splitlines()) == [
        "data/champion/model.onnx.dvc",
        "dvc.lock",
        "dvc.yaml",
        "run.yaml",
    ]
    assert parse_yaml(git(repository, "show", f"{commit}:dvc.yaml"))["stages"] == {}, "it has reached no stage"
    assert git(repository, "status", "--porcelain") == ""
    assert "State: success" in git(repository, "show", "--no-patch", "--format=%B", commit)


def test_recording_twice_changes_nothing_and_new_work_is_recorded(repository):
    workspace = workspaces.open_workspace(DAG, "run")
    pin(workspace)
    first = run_record.record_run(workspace, "success")
    assert run_record.record_run(workspace, "success") == first
    (workspace.path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  made: {cmd: x}\ndatasets: []\n")
    assert run_record.record_run(workspace, "success") != first


def test_a_run_that_was_never_pinned_leaves_no_record(repository):
    assert run_record.record_run(workspaces.open_workspace(DAG, "run"), "failed") is None
    assert git(repository, "for-each-ref", "refs/runs") == ""


@pytest.mark.costly
@pytest.mark.parametrize("dirty", [False, True])
def test_a_finished_run_is_restored_from_its_ref(repository, dirty):
    if dirty:
        (repository / "untracked").write_text("untracked")
    workspace = workspaces.open_workspace(DAG, "run")
    pin(workspace, "2013-04-07")
    run_record.record_run(workspace, "success")
    workspaces.remove_workspace(workspace.path)
    (repository / "new").write_text("new")
    commit_all(repository, "moved on")
    again = workspaces.open_workspace(DAG, "run")
    assert again == workspace
    assert parse_yaml((again.path / "run.yaml").read_text())["partition"] == "2013-04-07"
    assert (again.path / "dvc.lock").exists()
    assert not (again.path / "new").exists()
