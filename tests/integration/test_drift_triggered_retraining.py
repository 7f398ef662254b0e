"""Retrainings through real Airflow: each verdict, a person's answers over REST, and what is refused. The stages compute nothing."""

import json
import time

import pytest

from deploy.embedded.client import ApiError
from tests.stub_repository import git

pytestmark = pytest.mark.integration

DAG = "drift_triggered_retraining"
TIMEOUT_S = 300
SKIPPED = {"promote": "skipped", "verify": "skipped"}


@pytest.fixture(scope="module", autouse=True)
def unpaused(airflow):
    """Yield the DAG runs while these tests do; what others have left waiting in it is none of theirs."""
    client = airflow.client()
    for run in client.call("GET", f"/dags/{DAG}/dagRuns?limit=200")["dag_runs"]:
        client.call("DELETE", f"/dags/{DAG}/dagRuns/{run['dag_run_id']}")
    client.unpause(DAG)
    yield
    client.call("PATCH", f"/dags/{DAG}", {"is_paused": True})


def decide(state, partition, verdict):
    file = state / "behave" / f"decide-{partition}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(verdict)


def trigger(airflow, partition, **conf):
    return airflow.client().trigger(DAG, partition, run_id=f"drift__1__{partition}", conf={"source": "monitor", **conf})


def follow(airflow, *run_ids):
    return list(airflow.client().follow(DAG, run_ids, timeout_s=TIMEOUT_S, check=airflow.check).values())


def states(airflow, run_id):
    return {task["task_id"]: task["state"] for task in airflow.client().tasks(DAG, run_id)}


def called(state, stage, partition):
    path = state / "called" / f"{stage}-{partition}"
    return json.loads(path.read_text()) if path.exists() else None


def wait_for_the_question(airflow, run_id):
    deadline = time.monotonic() + TIMEOUT_S
    while states(airflow, run_id)["approve"] != "awaiting_input":
        assert time.monotonic() < deadline, states(airflow, run_id)
        airflow.check()
        time.sleep(0.3)
    return airflow.client().call("GET", question_of(run_id))


def answer(airflow, run_id, option, comment):
    """Answer, and again where Airflow asks again: it may lose an answer that comes before it has release of the worker that asked."""
    client, deadline = airflow.client(), time.monotonic() + TIMEOUT_S
    while (state := states(airflow, run_id)["approve"]) != "success":
        assert state != "failed"
        assert time.monotonic() < deadline, states(airflow, run_id)
        if state == "awaiting_input" and not client.call("GET", question_of(run_id))["response_received"]:
            client.call("PATCH", question_of(run_id), {"chosen_options": [option], "params_input": {"comment": comment}})
        time.sleep(0.3)


def question_of(run_id):
    return f"/dags/{DAG}/dagRuns/{run_id}/taskInstances/approve/-1/hitlDetails"


def test_a_better_challenger_becomes_champion_with_no_hand_in_between(airflow, state):
    run_id = trigger(airflow, "2013-06-01", champion_version="1", reason="PSI .4")
    assert follow(airflow, run_id) == ["success"]
    assert set(states(airflow, run_id).values()) == {"success"}
    assert len(states(airflow, run_id)) == 14
    assert {"--approver=", "--reason="} <= set(called(state, "promote", "2013-06-01"))
    assert called(state, "verify", "2013-06-01")
    assert not (state / "workspaces" / DAG / run_id).exists()
    assert "partition: '2013-06-01'" in git(airflow.repository, "show", f"refs/runs/{DAG}/{run_id}:run.yaml")
    events = airflow.client().call("GET", f"/assets/events?source_dag_id={DAG}&source_run_id={run_id}")["asset_events"]
    assert [event["source_task_id"] for event in events] == ["promote"]


@pytest.mark.slow
def test_a_question_waits_for_an_approval_and_the_approver_is_recorded(airflow, state):
    decide(state, "2013-06-02", "ask")
    run_id = trigger(airflow, "2013-06-02")
    question = wait_for_the_question(airflow, run_id)
    assert "| champion | challenger |\n| --- | ---: | ---: |\n| AUC | " in question["body"]
    assert question["options"] == ["Approve", "Reject"]
    with pytest.raises(ApiError) as caught:
        airflow.client().call("PATCH", question_of(run_id), {"chosen_options": ["Perhaps"], "params_input": {}})
    assert caught.value.status == 400
    answer(airflow, run_id, "Approve", "the slice matters")
    assert follow(airflow, run_id) == ["success"]
    assert {"--approver=nightshift", "--reason=the slice matters"} <= set(called(state, "promote", "2013-06-02"))
    with pytest.raises(ApiError) as caught:
        airflow.client().call("PATCH", question_of(run_id), {"chosen_options": ["Reject"], "params_input": {}})
    assert caught.value.status == 409


@pytest.mark.slow
def test_a_no_and_a_refusal_promote_nothing_and_are_recorded(airflow, state):
    decide(state, "2013-06-03", "ask")
    decide(state, "2013-06-04", "refuse")
    asked, refused = trigger(airflow, "2013-06-03"), trigger(airflow, "2013-06-04")
    wait_for_the_question(airflow, asked)
    answer(airflow, asked, "Reject", "not before the holidays")
    assert follow(airflow, asked, refused) == ["success", "success"]
    for run_id in (asked, refused):
        assert states(airflow, run_id).items() >= {**SKIPPED, "approve": "success", "close_run": "success"}.items()
    assert called(state, "promote", "2013-06-03") is called(state, "promote", "2013-06-04") is None
    assert {"--actor=nightshift", "--reason=rejected by nightshift: not before the holidays"} <= set(called(state, "refuse", "2013-06-03"))
    assert "--decision=data/reports/decide/decision.json" in called(state, "refuse", "2013-06-04")


def test_an_alert_about_a_champion_of_yesterday_computes_nothing(airflow):
    run_id = trigger(airflow, "2013-06-05", champion_version="7")
    assert follow(airflow, run_id) == ["failed"]
    assert airflow.client().run(DAG, run_id)["note"] == "REFUSED: LedgerConflict: the run is about version 7"
    assert states(airflow, run_id)["open_run"] == "failed"
    assert states(airflow, run_id)["ingest_history"] in (None, "upstream_failed")


@pytest.mark.parametrize(
    ("conf", "field"),
    [
        ({"champion_version": "../1"}, "champion_version"),
        ({"champion_version": 3}, "champion_version"),
        ({"champion_version": "1" * 10}, "champion_version"),
        ({"reason": "x" * 501}, "reason"),
        ({"source": "somebody"}, "source"),
    ],
)
def test_a_bad_conf_gets_a_4xx_that_names_the_field(airflow, conf, field):
    with pytest.raises(ApiError) as caught:
        airflow.client().trigger(DAG, "2013-06-06", conf=conf)
    assert caught.value.status in (400, 422)
    assert field in str(caught.value.detail)
