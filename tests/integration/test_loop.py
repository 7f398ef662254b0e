"""The loop through real Airflow on real flights: nights are scored, drift is seen, an alert starts a retraining, and the next night has another champion.

A champion of March meets the nights of July, with no hand in between. Windows are shorter than in production, so that two nights are evidence enough;
everything else is as it is shipped. The second night is also 116 days after the last night that the champion learned from: a retraining is due by schedule.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.embedded.client import FINISHED, ApiError
from deploy.embedded.server import Server
from pipelines.lib.published.nights import published_night
from pipelines.lib.records.journal import Journal
from pipelines.lib.records.ledger import Ledger
from tests.real_repository import DAG_ID, RealRepository

pytestmark = [pytest.mark.integration, pytest.mark.slow]

MONITORING, RETRAINING = "drift_monitoring", "drift_triggered_retraining"
NIGHTS = ("2013-07-09", "2013-07-10")
NEXT = "2013-07-11"
NAME = "Core_RF_Classifier"
TIMEOUT_S = 600
FASTER = {
    "profile": {"window_nights": 2},
    "govern": {"minimum_nights": 2, "alarm_nights": 1, "alarm_window_nights": 1, "outcome_nights": 0, "refresh_days": 116},
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RealRepository, Server]]:
    """Yield a clone with a champion of March and a running Airflow. Every DAG of the loop is active; assets start runs, and the clock starts none."""
    repository = RealRepository(tmp_path_factory.mktemp("loop"), FASTER)
    repository.train()
    dags = (DAG_ID, MONITORING, RETRAINING)
    registry = f"sqlite:///{repository.home / 'mlflow' / 'mlflow.db'}"
    environment = {"NIGHTSHIFT_DVC_CACHE": repository.environment()["NIGHTSHIFT_DVC_CACHE"], "MLFLOW_TRACKING_URI": registry}
    with Server(
        repository.home, repository=repository.root, port=0, schedule=False, parse_every_s=120, wait_for_dags=dags, env=environment
    ) as server:
        for dag_id in dags:
            server.client().unpause(dag_id)
        yield repository, server


def wait_for(server: Server, what: str, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        server.check()
        assert time.monotonic() < deadline, f"{what} did not come in {TIMEOUT_S} s"
        time.sleep(0.5)


def score(server: Server, partition: str) -> None:
    """Score a night, and wait until its monitoring has ended well."""
    client = server.client()
    run_id = client.trigger(DAG_ID, partition, run_id=f"night__{partition}")
    assert client.follow(DAG_ID, [run_id], timeout_s=TIMEOUT_S, check=server.check) == {run_id: "success"}
    monitored: dict[str, str] = {}

    def has_ended() -> bool:
        runs = client.call("GET", f"/dags/{MONITORING}/dagRuns?limit=100")["dag_runs"]
        monitored.update({run["partition_key"]: run["state"] for run in runs})
        return monitored.get(partition) in FINISHED

    wait_for(server, f"the monitoring of {partition}", has_ended)
    assert monitored[partition] == "success"


def test_the_loop_closes_by_itself(house: tuple[RealRepository, Server], monkeypatch: pytest.MonkeyPatch) -> None:
    repository, server = house
    client, url = server.client(), f"sqlite:///{repository.home / 'ledger.db'}"
    ledger, journal = Ledger(url), Journal(url)
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(repository.home / "published"))
    first = ledger.champion(NAME)
    assert first is not None
    for partition in NIGHTS:
        score(server, partition)
    decisions = {row.partition: row for row in journal.decisions(NAME)}
    assert [decisions[partition].retrain for partition in NIGHTS] == [False, True]
    assert "nights" in decisions[NIGHTS[0]].reason, "one night is not an evidence, and the row says so"
    assert decisions[NIGHTS[0]].reason.endswith("; refresh is due on 2013-07-10")
    scheduled = "refresh is due: version 1 learned until 2013-03-16, 116 days ago, govern.refresh_days is 116"
    assert decisions[NIGHTS[-1]].reason.endswith(scheduled)
    assert "refresh" in decisions[NIGHTS[-1]].findings["signals"]

    run_id = f"drift__{first.version}__{NIGHTS[-1]}"
    assert client.follow(RETRAINING, [run_id], timeout_s=TIMEOUT_S, check=server.check) == {run_id: "success"}
    assert scheduled in client.call("GET", f"/dags/{RETRAINING}/dagRuns/{run_id}")["conf"]["reason"]
    second = ledger.champion(NAME)
    assert second is not None
    assert (second.version, second.from_version, second.live_from) == ("2", first.version, NEXT)
    assert second.evidence, "the ledger says on which comparison it was decided"
    for report in ("evaluate", "shadow", "decide"):
        pages = list((repository.home / "reports" / RETRAINING).glob(f"*/{report}/report.html"))
        assert len(pages) == 1, report
    assert (repository.home / "reports" / "models" / NAME / "2" / "model_card.html").exists()

    score(server, NEXT)
    assert published_night(NAME, NIGHTS[-1]).model_version == first.version
    assert published_night(NAME, NEXT).model_version == second.version
    last = journal.decisions(NAME)[-1]
    assert (last.partition, last.version, last.retrain) == (NEXT, second.version, False)
    assert last.reason.endswith("; refresh is due on 2013-11-03")
    assert [entry.version for entry in ledger.history(NAME)] == [first.version, second.version]


def test_the_same_alert_again_starts_nothing(house: tuple[RealRepository, Server]) -> None:
    _, server = house
    client = server.client()
    before = client.call("GET", f"/dags/{RETRAINING}/dagRuns")["total_entries"]
    with pytest.raises(ApiError) as refused:
        client.trigger(RETRAINING, NIGHTS[-1], run_id=f"drift__1__{NIGHTS[-1]}")
    assert refused.value.status == 409
    assert client.call("GET", f"/dags/{RETRAINING}/dagRuns")["total_entries"] == before


def test_nothing_of_the_runs_is_left(house: tuple[RealRepository, Server]) -> None:
    repository, _ = house
    assert not [path for path in (repository.home / "workspaces").glob("*/*") if Path(path).is_dir()]
