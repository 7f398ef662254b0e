"""The operators on real git and real DVC, with stages that compute nothing."""

import datetime as dt
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from airflow.sdk import DAG, Param
from airflow.sdk.exceptions import AirflowFailException
from nightshift_airflow import process, workspaces
from nightshift_airflow.operators import (
    CloseRunOperator,
    DvcStageOperator,
    OpenRunOperator,
    StageOperator,
    stage_environment,
)
from nightshift_airflow.retries import StageError

from tests.stub_repository import git

DAG_ID = "nightly_batch_scoring"


class TaskInstance:
    """What the operators use of Airflow's: pushing a value, and asking for the states of the run's tasks."""

    def __init__(self, states=None):
        self.states, self.pushed = states or {}, {}

    def xcom_push(self, key, value):
        self.pushed[key] = value

    def get_task_states(self, dag_id, run_ids):
        return {run_ids[0]: self.states}


@pytest.fixture
def night(repository):
    """Run one operator of one night; returns the task instance that it saw."""
    with DAG(DAG_ID, params={"reason": Param("", type="string")}) as dag:
        operators = {
            "open_run": OpenRunOperator(task_id="open_run"),
            "publish_scores": StageOperator(task_id="publish_scores", room="scoring"),
            "close_run": CloseRunOperator(task_id="close_run", retention_days=7),
            **{stage: DvcStageOperator(task_id=stage) for stage in ("ingest_batch", "validate_batch")},
        }

    def run(task_id, partition="2013-04-01", conf=None, states=None, run_id="run"):
        instance = TaskInstance(states)
        start = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
        dag_run = SimpleNamespace(dag_id=DAG_ID, run_id=run_id, partition_key=partition, conf=conf, start_date=start, run_after=start)
        run.result = operators[task_id].execute({"dag_run": dag_run, "ti": instance})
        return instance

    run.dag = dag
    run.repository = repository
    return run


def behave(repository: Path, stage: str, what: str, partition: str = "2013-04-01") -> Path:
    file = repository / "var" / "behave" / f"{stage}-{partition}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(what)
    return file


def test_a_night_from_open_to_close(night):
    night("open_run")
    assert night.result["partition"] == "2013-04-01"
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    pinned = yaml.safe_load((workspace.path / "run.yaml").read_text())
    assert pinned["opened_at"] == "2026-01-01T02:00:00+00:00"
    assert pinned["run_ref"] == f"refs/runs/{DAG_ID}/run"
    for task in ("ingest_batch", "validate_batch", "publish_scores"):
        night(task)
    reports = night.repository / "var" / "reports" / DAG_ID / "run"
    assert json.loads((reports / "validate_batch" / "report.json").read_text())["partition"] == "2013-04-01"
    assert (night.repository / "var" / "published" / "2013-04-01").read_text() == "run"
    instance = night("close_run", states={"open_run": "success", "publish_scores": "success", "close_run": "running"})
    assert instance.pushed["note"].startswith("PUBLISHED 2013-04-01: 945 rows, Core version 1. Report: ")
    assert instance.pushed["note"].endswith(f"/nightshift/reports/{DAG_ID}/run/validate_batch")
    assert not workspace.path.exists()
    lock = yaml.safe_load(git(night.repository, "show", f"refs/runs/{DAG_ID}/run:dvc.lock"))
    assert sorted(lock["stages"]) == ["ingest_batch", "validate_batch"]
    assert (reports / "validate_batch" / "report.html").exists(), "the pages outlive the workspace"
    night("close_run")  # again: nothing left to do


def test_a_finished_night_runs_again_from_its_record_and_the_cache(night, caplog):
    caplog.set_level("INFO")
    for task in ("open_run", "ingest_batch", "validate_batch"):
        night(task)
    night("close_run")
    commit = git(night.repository, "rev-parse", f"refs/runs/{DAG_ID}/run")
    caplog.clear()
    night("open_run")
    made = workspaces.workspace_path(DAG_ID, "run") / "data" / "reports" / "validate_batch" / "report.json"
    assert made.exists(), "a later task can run again on its own"
    for task in ("ingest_batch", "validate_batch"):
        night(task)
    assert "at work" not in caplog.text, "DVC restores what it has seen"
    assert made.exists()
    night("close_run")
    assert git(night.repository, "rev-parse", f"refs/runs/{DAG_ID}/run") == commit


def test_a_stage_that_measures_runs_again_where_nothing_has_changed(night, caplog):
    caplog.set_level("INFO")
    for task in ("open_run", "ingest_batch", "validate_batch"):
        night(task)
    caplog.clear()
    night("validate_batch")
    assert "at work" not in caplog.text
    night.dag.get_task("validate_batch").anew = True
    night("validate_batch")
    assert "at work" in caplog.text


@pytest.mark.parametrize(
    "key",
    ["../../etc", "2013-02-30", "2013-4-1", "２０１３-04-01", "2013-04-01\n", "x'; drop table dag; --", "x" * 10_000, "", None, 20130401],
)
def test_a_bad_partition_is_refused_before_anything_is_made(night, key):
    with pytest.raises(AirflowFailException, match=r"partition_key is .*; trigger the run with a date") as caught:
        night("open_run", partition=key)
    assert len(str(caught.value)) < 200
    assert not (night.repository / "var").exists()


def test_an_unknown_conf_is_refused_by_name(night):
    with pytest.raises(AirflowFailException, match="conf holds 'raeson', which this DAG does not know; it takes reason"):
        night("open_run", conf={"raeson": "typo"})
    assert not (night.repository / "var").exists()


def test_a_refusal_becomes_the_runs_note(night):
    instance = TaskInstance()
    dag_run = SimpleNamespace(dag_id=DAG_ID, run_id="run", partition_key="tomorrow", conf={})
    with pytest.raises(AirflowFailException):
        night.dag.get_task("open_run").execute({"dag_run": dag_run, "ti": instance})
    assert instance.pushed["note"].startswith("REFUSED: partition_key is 'tomorrow'")


def test_a_gate_fails_without_retry_and_its_report_is_kept(night):
    behave(night.repository, "ingest_batch", "gate")
    night("open_run")
    with pytest.raises(AirflowFailException, match="ingest_batch failed: GateFailed: column carrier: 3 nulls"):
        night("ingest_batch")
    assert (night.repository / "var" / "reports" / DAG_ID / "run" / "ingest_batch" / "report.html").exists()
    instance = night("close_run", states={"ingest_batch": "failed", "publish_scores": "upstream_failed"})
    assert instance.pushed["note"].startswith("NOT PUBLISHED 2013-04-01: ingest_batch: column carrier: 3 nulls. Report: ")
    assert instance.pushed["note"].endswith(f"/nightshift/reports/{DAG_ID}/run/ingest_batch")
    assert workspaces.find_workspace(DAG_ID, "run"), "kept for inspection"
    assert "(failed)" in git(night.repository, "show", "--no-patch", "--format=%s", f"refs/runs/{DAG_ID}/run")


@pytest.mark.parametrize("task", ["ingest_batch", "publish_scores"])
def test_what_may_pass_is_tried_again(night, task):
    behave(night.repository, task, "once")
    night("open_run")
    with pytest.raises(StageError, match=f"{task} failed"):
        night(task)
    night(task)


def test_a_failure_that_tells_nothing_is_tried_again_and_quotes_the_last_lines(night):
    night("open_run")
    workspace = workspaces.workspace_path(DAG_ID, "run")
    (workspace / "failure.json").write_text('{"stage": "old", "error": "E", "message": "of an earlier stage", "retryable": false}')
    (workspace / "pipelines" / "stub.py").write_text("def main(name): raise MemoryError('all of it')")
    with pytest.raises(StageError, match="ended with exit code") as caught:
        night("publish_scores")
    assert "MemoryError: all of it" in str(caught.value)
    assert "earlier stage" not in str(caught.value)


def test_a_closed_run_that_a_gate_stopped_can_be_cleared(night):
    for task in ("open_run", "ingest_batch", "validate_batch"):
        night(task)
    report = workspaces.workspace_path(DAG_ID, "run") / "data" / "reports" / "validate_batch" / "report.json"
    failed = {"open_run": "success", "validate_batch": "failed", "close_run": "running"}
    report.write_text("what a gate that fails leaves behind: not what dvc.lock says, and not in the cache")
    night("close_run", states=failed)
    night("open_run")
    assert "not what dvc.lock says" not in report.read_text()
    night("validate_batch")


def test_the_failure_of_a_stage_beside_it_is_not_taken_for_its_own(night):
    """Else an alert would fail for good because a report could not be drawn."""
    night("open_run")
    other = {"stage": "beside", "error": "E", "message": "of the stage beside", "retryable": False}
    stub = f"import pathlib\ndef main(name):\n    pathlib.Path('failure.json').write_text({json.dumps(other)!r})\n    raise SystemExit(1)"
    (workspaces.workspace_path(DAG_ID, "run") / "pipelines" / "stub.py").write_text(stub)
    with pytest.raises(StageError, match="publish_scores ended with exit code 1"):
        night("publish_scores")


def test_a_stage_that_runs_beside_another_undoes_nothing_of_dvc(night):
    for task in ("open_run", "ingest_batch"):
        night(task)
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    (workspace.path / "dvc.lock").write_text("half, since DVC is writing")
    night("publish_scores")
    assert (workspace.path / "dvc.lock").read_text() == "half, since DVC is writing"


def test_what_a_kill_has_torn_is_put_back_before_the_next_attempt(night):
    for task in ("open_run", "ingest_batch"):
        night(task)
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    lock = workspace.path / "dvc.lock"
    whole = lock.read_text()
    lock.write_text(whole[: len(whole) // 2])  # the machine dies while DVC writes
    (workspace.path / ".dvc" / "tmp" / "rwlock").write_text("")
    night("validate_batch")
    assert sorted(yaml.safe_load(lock.read_text())["stages"]) == ["ingest_batch", "validate_batch"]


def test_a_missing_workspace_says_what_to_do(night):
    with pytest.raises(AirflowFailException, match="is missing or incomplete; clear open_run"):
        night("ingest_batch")


def test_a_killed_stage_can_run_again_at_once(night):
    """DVC's own locks must not outlive the kill."""
    night("open_run")
    sleeping = behave(night.repository, "ingest_batch", "sleep")
    failures = []

    def run():
        try:
            night("ingest_batch")
        except StageError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 30
    while not process._running or not any("pipelines.data.ingest_batch" in command for command in commands(night.repository)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.stop_running()
    thread.join()
    assert len(failures) == 1
    assert not any("pipelines.data.ingest_batch" in command for command in commands(night.repository))
    sleeping.unlink()
    night("ingest_batch")


def commands(repository: Path) -> list[str]:
    """Command lines of the processes that run in the workspaces of `repository`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(repository):
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def test_a_stage_sees_no_secret_of_airflow(repository, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    workspace = workspaces.open_workspace(DAG_ID, "run")
    env = stage_environment(workspace)
    assert not [key for key in env if "AIRFLOW" in key or key.startswith("GIT_")]
    assert env["PYTHONPATH"] == str(workspace.path)
    assert env["NIGHTSHIFT_HOME"] == str(repository / "var")
    assert env["NIGHTSHIFT_REPOSITORY"] == str(repository)
    assert env["DVC_NO_ANALYTICS"] == "1"
    assert env["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert env["PATH"].split(os.pathsep)[1:] == os.environ["PATH"].split(os.pathsep)


@pytest.mark.parametrize("path", ["var/shop/*.csv", "{root}/var/shop/orders.csv"])
def test_a_source_in_the_repository_is_found_from_a_workspace(repository, path):
    """The table lies beside the code and is ignored by git, so no workspace has it."""
    (repository / "var" / "shop").mkdir(parents=True)
    (repository / "var" / "shop" / "orders.csv").write_text("id\n1\n")
    workspace = workspaces.open_workspace(DAG_ID, "run")
    code = "import sys; from pipelines.lib.sources import Source, revision; print(revision(Source(kind='csv', path=sys.argv[1])))"
    env = {**stage_environment(workspace), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", code, path.format(root=repository)], cwd=workspace.path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_run_is_recorded_before_what_names_it_is_published(night):
    night("open_run")
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    assert git(night.repository, "for-each-ref", workspace.ref) == ""
    publish_scores = StageOperator(task_id="publish_scores", room="scoring", records=True)
    behave(night.repository, "publish_scores", "gate")
    with pytest.raises(AirflowFailException):
        publish_scores.execute({"dag_run": SimpleNamespace(dag_id=DAG_ID, run_id="run"), "ti": TaskInstance()})
    assert git(night.repository, "show", "--no-patch", "--format=%s", workspace.ref) == f"{DAG_ID}: run (running)"


def test_a_connection_reaches_its_stage_alone_and_not_its_command_line(night, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_NIGHTSHIFT_API", "http://somebody:s%2Fecret@127.0.0.1:8080")
    stage = StageOperator(task_id="alert", room="monitoring", connection="nightshift_api", arguments={"report": "--odd"})
    assert stage.secrets() == {
        "NIGHTSHIFT_API_URL": "http://127.0.0.1:8080",
        "NIGHTSHIFT_API_USER": "somebody",
        "NIGHTSHIFT_API_PASSWORD": "s/ecret",
    }
    assert list(stage.command())[-1] == "--report=--odd", "one word, whatever it begins with"
    night("open_run")
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    assert not {name for name in stage_environment(workspace) if name.startswith("NIGHTSHIFT_API")}


def test_a_missing_connection_is_named_and_not_tried_again(night):
    stage = StageOperator(task_id="alert", room="monitoring", connection="nobody_made_this")
    with pytest.raises(AirflowFailException, match="no connection nobody_made_this; add it in Airflow"):
        stage.secrets()


def test_what_stages_hand_on_outside_dvc_comes_back_with_the_run(night):
    night("open_run")
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    decision = workspace.path / "data" / "reports" / "decide" / "decision.json"
    decision.parent.mkdir(parents=True)
    decision.write_text('{"verdict": "ask"}')
    night("ingest_batch")
    night("close_run")
    recorded = git(night.repository, "ls-tree", "-r", "--name-only", workspace.ref).splitlines()
    assert "data/reports/decide/decision.json" in recorded
    assert "data/reports/ingest_batch/report.json" not in recorded, "that is DVC's"
    night("open_run")
    assert decision.read_text() == '{"verdict": "ask"}'


def test_a_stage_without_a_workspace_works_where_nothing_is_left(night):
    with DAG("champion_replay"):
        publish_scores = StageOperator(task_id="publish_scores", room="scoring", in_workspace=False)
    instance = TaskInstance()
    start = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
    publish_scores.execute({"dag_run": SimpleNamespace(dag_id=DAG_ID, run_id="no-night", start_date=start), "ti": instance})
    shown = json.loads((workspaces.reports_path(DAG_ID, "no-night") / "run.json").read_text())
    assert shown == {"run_id": "no-night", "opened_at": "2026-01-01T02:00:00+00:00", "tasks": ["publish_scores"]}
    assert instance.pushed["note"].startswith("PUBLISHED: 945 rows, Core version 1. Report: ")
    assert (workspaces.reports_path(DAG_ID, "no-night") / "publish_scores" / "report.html").exists()
    assert workspaces.find_workspace(DAG_ID, "no-night") is None


def test_a_stage_is_told_what_its_inputs_must_be(night):
    for task in ("open_run", "ingest_batch"):
        night(task)
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    recorded = Path(stage_environment(workspace)["NIGHTSHIFT_RECORDED"])
    assert list(yaml.safe_load(recorded.read_text())["stages"]) == ["ingest_batch"]
