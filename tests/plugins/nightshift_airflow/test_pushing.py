"""A run whose data did not reach the remote is not a success, and a repository without a remote has no task more."""

import datetime as dt
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, Param
from nightshift_airflow import workspaces
from nightshift_airflow.pushing import PushRunOperator
from nightshift_airflow.retries import StageError
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import DvcStageOperator

ROOT = Path(__file__).resolve().parents[3]
DAG_ID = "nightly_batch_scoring"
BEFORE = {
    "nightly_batch_scoring": "publish_evidence",
    "vector_index_rebuild": "publish_index",
    "encoder_training": "promote",
    "drift_triggered_retraining": "decide",
    "drift_monitoring": "govern",
}


def set_remote(repository: Path, url: Path) -> None:
    command = [sys.executable, "-m", "dvc", "remote", "add", "--local", "--force", "--default", "store", str(url)]
    subprocess.run(command, cwd=repository, check=True, capture_output=True)


@pytest.fixture
def night(repository):
    with DAG(DAG_ID, params={"reason": Param("", type="string")}):
        operators = {
            "open_run": OpenRunOperator(task_id="open_run"),
            "ingest_batch": DvcStageOperator(task_id="ingest_batch"),
            "push_run": PushRunOperator(task_id="push_run"),
            "close_run": CloseRunOperator(task_id="close_run", retention_days=7),
        }

    def run(task_id, states=None):
        pushed = {}
        instance = SimpleNamespace(
            xcom_push=lambda key, value: pushed.update({key: value}), get_task_states=lambda dag_id, run_ids: {run_ids[0]: states or {}}
        )
        start = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
        dag_run = SimpleNamespace(dag_id=DAG_ID, run_id="run", partition_key="2013-04-01", conf=None, start_date=start, run_after=start)
        operators[task_id].execute({"dag_run": dag_run, "ti": instance})
        return pushed

    return run


def stored(store: Path) -> set[str]:
    return {f"{file.parent.name}{file.name}" for file in store.rglob("*") if file.is_file()}


@pytest.mark.costly
def test_what_a_run_made_is_in_the_remote_before_it_closes(night, repository, tmp_path):
    set_remote(repository, tmp_path / "store")
    for task in ("open_run", "ingest_batch", "push_run"):
        night(task)
    made = {f"{file.parent.name}{file.name}" for file in (repository / ".dvc" / "cache" / "files").rglob("*") if file.is_file()}
    assert made
    assert made <= stored(tmp_path / "store")
    night("close_run")
    assert workspaces.find_workspace(DAG_ID, "run") is None


@pytest.mark.costly
def test_a_remote_that_fails_is_tried_again_and_the_run_is_not_a_success(night, repository, tmp_path):
    blocked = tmp_path / "store"
    blocked.write_text("a file where the remote should be")
    set_remote(repository, blocked)
    for task in ("open_run", "ingest_batch"):
        night(task)
    with pytest.raises(StageError, match="NOT PUSHED: the outputs of the run did not reach the DVC remote"):
        night("push_run")
    note = night("close_run", states={"ingest_batch": "success", "push_run": "failed"})["note"]
    assert "push_run" in note and "NOT PUSHED" in note
    assert workspaces.find_workspace(DAG_ID, "run"), "kept, so that the task can be cleared"
    blocked.unlink()
    night("push_run")
    assert stored(blocked)


@pytest.mark.costly
def test_closing_a_run_pushes_nothing(night, repository, tmp_path):
    set_remote(repository, tmp_path / "store")
    for task in ("open_run", "ingest_batch", "close_run"):
        night(task)
    assert not (tmp_path / "store").exists()


@pytest.mark.costly
def test_a_remote_that_was_removed_during_the_run_is_not_a_fault(night, repository):
    night("open_run")
    night("push_run")


@pytest.mark.costly
@pytest.mark.parametrize("dag_id", BEFORE)
@pytest.mark.parametrize("remote", [False, True])
def test_every_dag_that_records_runs_pushes_where_there_is_a_remote(dag_id, remote, repository, monkeypatch):
    from airflow.dag_processing.dagbag import DagBag

    (repository / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (repository / "pipelines").mkdir(exist_ok=True)
    (repository / "pipelines" / "defaults.yaml").write_text((ROOT / "pipelines" / "defaults.yaml").read_text())
    if remote:
        (repository / ".dvc" / "config.local").write_text("[core]\n    remote = store\n")
    bag = DagBag(ROOT / "dags" / f"{dag_id}.py")
    assert not bag.import_errors
    dag = bag.dags[dag_id]
    assert ("push_run" in dag.task_ids) == remote
    if remote:
        push = dag.get_task("push_run")
        assert (push.upstream_task_ids, push.downstream_task_ids) == ({BEFORE[dag_id]}, {"close_run"})
        assert push.retries and push.retry_policy and push.execution_timeout
        assert not push.is_teardown, "its failure must be the run's"
        stages = {task.task_id for task in dag.tasks if isinstance(task, DvcStageOperator) or "Dvc" in task.task_type}
        assert not stages & {task.task_id for task in push.get_flat_relatives(upstream=False)}, "what is made later would not be pushed"


def test_every_dag_with_a_workspace_is_among_them():
    opening = {file.stem for file in (ROOT / "dags").glob("*.py") if "OpenRunOperator(" in file.read_text()}
    assert opening == set(BEFORE)
    assert all("push_tasks()" in (ROOT / "dags" / f"{dag_id}.py").read_text() for dag_id in opening)
