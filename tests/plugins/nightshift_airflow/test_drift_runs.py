"""An alert before its night, after it, again, and about a run that came too early. On Airflow's own database, with the DAG as it is."""

import datetime as dt
import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from fastapi import HTTPException
from nightshift_airflow import drift_runs
from nightshift_airflow.alerts import Caller, receive_alerts

from tests.airflow_database import airflow_database, parse, publish, runs

ROOT = Path(__file__).resolve().parents[3]
DAG_ID = drift_runs.DAG
RUN_ID = "drift__3__2013-04-02"


@pytest.fixture(scope="module")
def parsed(tmp_path_factory):
    """Return a database with the DAG in it, which no test changes: to parse it takes longer than a test."""
    from airflow.dag_processing.dagbag import DagBag

    directory = tmp_path_factory.mktemp("parsed")
    with pytest.MonkeyPatch.context() as patch, airflow_database(directory, patch):
        parse(DagBag(ROOT / "dags" / f"{DAG_ID}.py").dags[DAG_ID])
    return directory / "airflow.db"


@pytest.fixture(autouse=True)
def database(tmp_path, monkeypatch, parsed):
    with airflow_database(tmp_path, monkeypatch, parsed):
        yield


def alert(*nights, use_cases=(), caller=None):
    """Return what the webhook answers to firing alerts about `nights`: status, body and how long to wait. The first ones are of `use_cases`."""
    alerts = [{"status": "firing", "labels": {"alertname": "Drift", "partition": night, "champion_version": "3"}} for night in nights]
    for one, use_case in zip(alerts, use_cases, strict=False):
        one["labels"]["use_case"] = use_case
    answer = receive_alerts(caller or Caller("a sender"), json.dumps({"version": "4", "alerts": alerts}).encode())
    return answer.status_code, json.loads(bytes(answer.body)), answer.headers.get("Retry-After")


def end(run_id, state, at):
    """Let the run be finished, with its tasks, as the scheduler would."""
    from airflow.models import DagRun
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        run = session.scalar(select(DagRun).where(DagRun.run_id == run_id))
        run.state, run.start_date, run.end_date = state, at, at
        for task in run.task_instances:
            task.state = "failed" if task.task_id == "open_run" else "upstream_failed"


def now():
    return dt.datetime.now(dt.UTC)


@pytest.mark.costly
def test_an_alert_before_its_night_makes_no_run_and_is_asked_for_again_until_it_does():
    publish("2013-04-01")
    for _ in range(2):
        status, answer, retry_after = alert("2013-04-02")
        assert (status, retry_after) == (503, "60"), "the sender tries again"
        assert answer["waiting"] == [
            {
                "run": RUN_ID,
                "fault": "night 2013-04-02 is not published yet, the newest that this Airflow has published is 2013-04-01; ask again once it is published",
            }
        ]
        assert runs(DAG_ID) == []
    publish("2013-04-02")
    assert alert("2013-04-02")[:2] == (200, {"created": [RUN_ID], "existed": [], "resolved": 0, "refused": []})
    assert alert("2013-04-02")[:2] == (200, {"created": [], "existed": [RUN_ID], "resolved": 0, "refused": []})
    assert [(run.run_id, run.partition_key) for run in runs(DAG_ID)] == [(RUN_ID, "2013-04-02")]


@pytest.mark.costly
def test_a_night_that_is_skipped_is_not_waited_for_once_a_later_one_is_published():
    publish("2013-04-03")
    assert alert("2013-04-02")[1]["created"] == [RUN_ID]


@pytest.mark.costly
def test_the_other_alerts_of_a_group_do_not_wait_for_an_early_one():
    publish("2013-04-02")
    status, answer, _ = alert("2013-04-02", "2013-04-09")
    assert status == 503
    assert answer["created"] == [RUN_ID]
    assert [each["run"] for each in answer["waiting"]] == ["drift__3__2013-04-09"]


def test_a_night_that_cannot_come_is_refused_for_good():
    publish("2013-04-02")
    status, answer, retry_after = alert("9999-12-31")
    assert (status, retry_after, "waiting" in answer) == (422, None, False)
    assert "partition 9999-12-31 is in the future" in answer["refused"][0]["fault"]
    assert runs(DAG_ID) == []


def test_a_run_that_came_too_early_is_started_once_when_its_alert_is_repeated():
    """In a new Airflow no event describes a night, so the run is made, and `open_run` finds in the table that it is early."""
    assert alert("2013-04-02")[1]["created"] == [RUN_ID]
    end(RUN_ID, DagRunState.FAILED, now() - dt.timedelta(hours=1))
    publish("2013-04-01")
    status, answer, _ = alert("2013-04-02")
    assert (status, [each["run"] for each in answer["waiting"]], answer["existed"]) == (503, [RUN_ID], [])
    publish("2013-04-02")
    status, answer, _ = alert("2013-04-02")
    assert (status, answer["restarted"], answer["existed"]) == (200, [RUN_ID], [])
    [run] = runs(DAG_ID)
    assert run.state == DagRunState.QUEUED
    assert {task.state for task in run.task_instances} == {None}
    status, answer, _ = alert("2013-04-02")
    assert (status, answer["existed"], "restarted" in answer) == (200, [RUN_ID], False)


@pytest.mark.parametrize("state", [DagRunState.FAILED, DagRunState.SUCCESS, DagRunState.RUNNING])
def test_a_run_that_ended_after_its_night_was_published_stays_as_it_is(state):
    publish("2013-04-02", at=now() - dt.timedelta(hours=1))
    alert("2013-04-02")
    end(RUN_ID, state, now())
    assert alert("2013-04-02")[1]["existed"] == [RUN_ID]
    assert [run.state for run in runs(DAG_ID)] == [state]


def test_a_use_case_that_is_not_declared_is_refused_and_the_others_of_the_group_have_their_runs():
    publish("2013-04-02")
    status, answer, _ = alert("2013-04-02", "2013-04-02", use_cases=["gone"])
    assert (status, answer["created"]) == (422, [RUN_ID])
    [refused] = answer["refused"]
    assert (refused["alert"], refused["label"]) == ("Drift", "use_case")
    assert refused["fault"].startswith("is 'gone'; there is no such use case; there are flights, ")


def test_a_use_case_without_a_sound_dag_waits_and_the_others_of_the_group_have_their_runs():
    publish("2013-04-02")  # Airflow has parsed the DAG of the default use case alone
    status, answer, retry_after = alert("2013-04-02", "2013-04-02", use_cases=["fraud"])
    assert (status, retry_after, answer["created"]) == (503, "60", [RUN_ID])
    [waiting] = answer["waiting"]
    assert waiting["run"] == f"{DAG_ID}__fraud/{RUN_ID}"
    assert f"Airflow has no sound {DAG_ID}__fraud" in waiting["fault"]


@dataclass(frozen=True)
class Restricted(Caller):
    """A user who may trigger the DAG `allowed` and no other one."""

    allowed: str = ""

    def require_trigger(self, dag_id: str) -> None:
        """Raise what Airflow raises."""
        if dag_id != self.allowed:
            raise HTTPException(403, "Forbidden")


def test_a_user_of_one_use_case_needs_no_right_to_the_default_one():
    publish("2013-04-02")
    status, answer, _ = alert("2013-04-02", "2013-04-02", use_cases=["fraud"], caller=Restricted("ann", allowed=DAG_ID))
    assert (status, answer["created"]) == (422, [RUN_ID])
    assert answer["refused"] == [{"run": RUN_ID, "fault": f"ann may not trigger {DAG_ID}__fraud"}]
    with pytest.raises(HTTPException) as refused:
        alert("2013-04-02", use_cases=["fraud"], caller=Restricted("ann", allowed="other"))
    assert refused.value.status_code == 403
