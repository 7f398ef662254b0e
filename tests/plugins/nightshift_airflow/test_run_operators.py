"""A run is opened, closed, refused and cleared."""

import json
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException
from nightshift_airflow import places, workspaces

from pipelines.lib.core.yaml_text import parse_yaml
from tests.opened_night import DAG_ID, TaskInstance
from tests.stub_repository import git


@pytest.mark.costly
def test_a_night_from_open_to_close(night):
    night("open_run")
    assert night.result["partition"] == "2013-04-01"
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    pinned = parse_yaml((workspace.path / "run.yaml").read_text())
    assert pinned["opened_at"] == "2026-01-01T02:00:00+00:00"
    assert pinned["run_ref"] == f"refs/runs/{DAG_ID}/run"
    for task in ("ingest_batch", "validate_batch", "publish_scores"):
        night(task)
    reports = night.repository / "var" / "reports" / DAG_ID / "run"
    assert json.loads((reports / "validate_batch" / "report.json").read_text())["partition"] == "2013-04-01"
    assert (night.repository / "var" / "published" / "2013-04-01").read_text() == "run"
    instance = night("close_run", states={"open_run": "success", "publish_scores": "success", "close_run": "running"})
    assert instance.pushed["note"].startswith("PUBLISHED 2013-04-01: 945 rows, Core version 1. Report: ")
    assert instance.pushed["note"].endswith(f"[validate_batch](</nightshift/reports/{DAG_ID}/run/validate_batch>)")
    assert not workspace.path.exists()
    lock = parse_yaml(git(night.repository, "show", f"refs/runs/{DAG_ID}/run:dvc.lock"))
    assert sorted(lock["stages"]) == ["ingest_batch", "validate_batch"]
    assert (reports / "validate_batch" / "report.html").exists(), "the pages outlive the workspace"
    night("close_run")  # again: nothing left to do


@pytest.mark.costly
def test_a_finished_night_runs_again_from_its_record_and_the_cache(night, caplog):
    caplog.set_level("INFO")
    for task in ("open_run", "ingest_batch", "validate_batch"):
        night(task)
    night("close_run")
    commit = git(night.repository, "rev-parse", f"refs/runs/{DAG_ID}/run")
    caplog.clear()
    night("open_run")
    made = places.workspace_path(DAG_ID, "run") / "data" / "reports" / "validate_batch" / "report.json"
    assert made.exists(), "a later task can run again on its own"
    for task in ("ingest_batch", "validate_batch"):
        night(task)
    assert "computes" not in caplog.text, "DVC restores what it has seen"
    assert made.exists()
    night("close_run")
    assert git(night.repository, "rev-parse", f"refs/runs/{DAG_ID}/run") == commit


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


@pytest.mark.costly
def test_a_closed_run_that_a_gate_stopped_can_be_cleared(night):
    for task in ("open_run", "ingest_batch", "validate_batch"):
        night(task)
    report = places.workspace_path(DAG_ID, "run") / "data" / "reports" / "validate_batch" / "report.json"
    failed = {"open_run": "success", "validate_batch": "failed", "close_run": "running"}
    report.write_text("what a gate that fails leaves behind: not what dvc.lock says, and not in the cache")
    night("close_run", states=failed)
    night("open_run")
    assert "not what dvc.lock says" not in report.read_text()
    night("validate_batch")


@pytest.mark.costly
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
