"""The order in which the monitoring of nights that are scored together is started."""

from typing import Any

from deploy.embedded.client import Client
from deploy.embedded.first_nights import MONITORING, watch_nights


class Recorder(Client):
    """A client whose calls go into a list instead of to Airflow."""

    def __init__(self) -> None:
        super().__init__("http://127.0.0.1:1", "nobody", "")
        self.calls: list[tuple[str, str]] = []

    def call(self, method: str, path: str, body: Any = None) -> Any:
        self.calls.append((path.split("/")[2].partition("?")[0], str((body or {}).get("partition_key", body))))
        return {"dag_run_id": (body or {}).get("dag_run_id", "")}


def test_nights_that_are_published_in_any_order_are_watched_in_their_own() -> None:
    client = Recorder()
    watched = watch_nights(client, ["2013-04-03", "2013-04-01", "2013-04-02"])
    assert client.calls == [*((MONITORING, night) for night in watched), (MONITORING, "{'is_paused': False}")]
    assert list(watched) == ["2013-04-01", "2013-04-02", "2013-04-03"]
