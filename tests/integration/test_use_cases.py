"""Two use cases in one Airflow: their nights of one date run at the same time, each in its own workspace, table by table."""

import time

import pytest
import yaml

from deploy.embedded.server import Server
from tests.stub_repository import git

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAGS = ("nightly_batch_scoring", "nightly_batch_scoring__shop")
NIGHT = "2013-09-17"
_PATIENCE_S = 240


def test_nights_of_two_use_cases_run_at_once_and_record_their_own_parameters(airflow: Server) -> None:
    client = airflow.client()
    sleeping = airflow.home / "behave" / f"score-{NIGHT}"  # both wait in this stage, until both have reached it
    sleeping.parent.mkdir(exist_ok=True)
    sleeping.write_text("sleep")
    for dag_id in DAGS:
        client.unpause(dag_id)
        client.trigger(dag_id, NIGHT, run_id="together")
    deadline = time.monotonic() + _PATIENCE_S
    while not all(_is_running(client.tasks(dag_id, "together"), "score") for dag_id in DAGS):
        airflow.check()
        assert time.monotonic() < deadline, [client.tasks(dag_id, "together") for dag_id in DAGS]
        time.sleep(0.2)
    sleeping.unlink()
    for dag_id in DAGS:
        assert client.follow(dag_id, ["together"], timeout_s=_PATIENCE_S, check=airflow.check) == {"together": "success"}
    assert {task["pool"] for task in client.tasks(DAGS[0], "together")} == {"default_pool"}
    assert {task["pool"] for task in client.tasks(DAGS[1], "together")} == {"shop"}
    assert client.call("GET", "/pools/shop")["slots"] == 2
    recorded = [yaml.safe_load(git(airflow.repository, "show", f"refs/runs/{dag_id}/together:params.yaml")) for dag_id in DAGS]
    assert [params.get("use_case") for params in recorded] == [None, {"name": "shop", "default": False}]
    assert [params["dataset"]["name"] for params in recorded] == ["flights", "shop"]


def _is_running(tasks: list[dict[str, object]], name: str) -> bool:
    return any(task["task_id"] == name and task["state"] == "running" for task in tasks)
