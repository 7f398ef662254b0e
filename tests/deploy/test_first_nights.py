"""The order in which the monitoring of nights that are scored together is started."""

from typing import Any

import pytest

from deploy.embedded.client import Client
from deploy.embedded.first_nights import MONITORING, PUBLISH, NightlyMonitoring

NIGHTS = {"run1": "2013-04-01", "run2": "2013-04-02", "run3": "2013-04-03"}


class Recorder(Client):
    """A client whose calls go into a list instead of to Airflow."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "nobody", "")
        self.calls: list[tuple[str, str]] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.calls.append((path.split("/")[2].partition("?")[0], str((body or {}).get("partition_key", body))))
        return {"dag_run_id": (body or {}).get("dag_run_id", "")}


def published(state: str | None) -> list[dict[str, Any]]:
    return [{"task_id": "open_run", "state": "success"}, {"task_id": PUBLISH, "state": state}]


@pytest.fixture
def client() -> Recorder:
    return Recorder()


def test_nights_that_are_published_in_any_order_are_watched_in_their_own(client: Recorder) -> None:
    monitoring = NightlyMonitoring(client, NIGHTS)
    for run_id in ("run3", "run1"):
        monitoring.look(run_id, published("success"))
    monitoring.look("run2", published("running"))
    assert client.calls == [], "the second night is still to be published"
    monitoring.look("run2", published("success"))
    assert client.calls == [*((MONITORING, night) for night in NIGHTS.values()), (MONITORING, "{'is_paused': False}")]


def test_a_night_that_is_not_published_is_not_watched_and_holds_up_nobody(client: Recorder) -> None:
    monitoring = NightlyMonitoring(client, NIGHTS)
    monitoring.look("run1", published("upstream_failed"))
    for run_id in ("run3", "run2"):
        monitoring.look(run_id, published("success"))
    assert list(monitoring.start()) == ["2013-04-02", "2013-04-03"]
    assert len(client.calls) == 3, "once for each night, and the DAG is unpaused"
