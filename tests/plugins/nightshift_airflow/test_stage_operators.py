"""A stage runs in the workspace of its run, or in none, and gets the arguments that it needs."""

import datetime as dt
import json
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowFailException, DownstreamTasksSkipped
from nightshift_airflow import places, workspaces
from nightshift_airflow.stage_operators import BatchGateOperator, DvcStageOperator, StageOperator
from nightshift_airflow.stage_process import stage_environment

from tests.opened_night import DAG_ID, TaskInstance, behave
from tests.stub_repository import git


@pytest.mark.costly
def test_a_stage_that_measures_runs_again_where_nothing_has_changed(night, caplog):
    caplog.set_level("INFO")
    for task in ("open_run", "ingest_batch", "validate_batch"):
        night(task)
    caplog.clear()
    night("validate_batch")
    assert "computes" not in caplog.text
    night.dag.get_task("validate_batch").always_run = True
    night("validate_batch")
    assert "computes" in caplog.text


@pytest.mark.costly
def test_a_run_is_recorded_before_what_names_it_is_published(night):
    night("open_run")
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    assert git(night.repository, "for-each-ref", workspace.ref) == ""
    publish_scores = StageOperator(task_id="publish_scores", package="scoring", records=True)
    behave(night.repository, "publish_scores", "gate")
    with pytest.raises(AirflowFailException):
        publish_scores.execute({"dag_run": SimpleNamespace(dag_id=DAG_ID, run_id="run"), "ti": TaskInstance()})
    assert git(night.repository, "show", "--no-patch", "--format=%s", workspace.ref) == f"{DAG_ID}: run (running)"


@pytest.mark.costly
@pytest.mark.parametrize(("behaviour", "skipped"), [("", ["publish_empty_night"]), ("empty", ["featurize_batch"])])
def test_a_night_without_rows_is_recorded_and_one_with_rows_is_scored(night, behaviour, skipped):
    if behaviour:
        behave(night.repository, "validate_batch", behaviour)
    with DAG("sparse"):
        gate = BatchGateOperator(task_id="validate_batch", without_rows="publish_empty_night")
        gate >> [DvcStageOperator(task_id="featurize_batch"), StageOperator(task_id="publish_empty_night", package="scoring")]
    for task in ("open_run", "ingest_batch"):
        night(task)
    instance = TaskInstance()
    instance.map_index = -1
    with pytest.raises(DownstreamTasksSkipped) as raised:
        gate.execute({"dag_run": SimpleNamespace(dag_id=DAG_ID, run_id="run"), "ti": instance})
    assert list(raised.value.tasks) == skipped
    assert instance.pushed == {"skipmixin_key": {"skipped": skipped}}, "so that a cleared task is skipped again"


def test_a_connection_reaches_its_stage_alone_and_not_its_command_line(night, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_NIGHTSHIFT_API", "http://somebody:s%2Fecret@127.0.0.1:8080")
    stage = StageOperator(task_id="alert", package="monitoring", connection="nightshift_api", arguments={"report": "--odd"})
    assert stage.secrets() == {
        "NIGHTSHIFT_API_URL": "http://127.0.0.1:8080",
        "NIGHTSHIFT_API_USER": "somebody",
        "NIGHTSHIFT_API_PASSWORD": "s/ecret",
    }
    assert list(stage.command())[-1] == "--report=--odd", "one word, with any first character"
    night("open_run")
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    assert not {name for name in stage_environment(workspace) if name.startswith("NIGHTSHIFT_API")}


def test_a_missing_connection_is_named_and_not_tried_again(night):
    stage = StageOperator(task_id="alert", package="monitoring", connection="nobody_made_this")
    with pytest.raises(AirflowFailException, match="no connection nobody_made_this; add it in Airflow"):
        stage.secrets()


def test_a_stage_without_a_workspace_works_where_nothing_is_left(night):
    with DAG("champion_replay"):
        publish_scores = StageOperator(task_id="publish_scores", package="scoring", in_workspace=False)
    instance = TaskInstance()
    start = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
    publish_scores.execute({"dag_run": SimpleNamespace(dag_id=DAG_ID, run_id="no-night", start_date=start), "ti": instance})
    shown = json.loads((places.reports_path(DAG_ID, "no-night") / "run.json").read_text())
    assert shown == {"run_id": "no-night", "opened_at": "2026-01-01T02:00:00+00:00", "tasks": ["publish_scores"]}
    assert instance.pushed["note"].startswith("PUBLISHED: 945 rows, Core version 1. Report: ")
    assert (places.reports_path(DAG_ID, "no-night") / "publish_scores" / "report.html").exists()
    assert workspaces.find_workspace(DAG_ID, "no-night") is None
