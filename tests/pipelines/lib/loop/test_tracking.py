"""Series in MLflow: a night is a step, a repeat changes nothing, a correction is the latest."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pipelines.lib.champions.registry import connect, experiment_id
from pipelines.lib.core.errors import TransientError
from pipelines.lib.loop.tracking import Point, log_points

if TYPE_CHECKING:
    from mlflow import MlflowClient

POINTS = [Point("2013-06-01", {"psi/distance": 0.1, "retrain": False}), Point("2013-06-02", {"psi/distance": 0.3})]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator["MlflowClient"]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(tmp_path_factory.mktemp("home")))
        yield connect()


def series(client: "MlflowClient", run_id: str, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)]


@pytest.mark.costly
@pytest.mark.costly
def test_a_repeat_changes_nothing_and_versions_do_not_mix(client: "MlflowClient") -> None:
    experiment = experiment_id(client, "tracking")
    run = log_points(client, experiment, "forest", "3", POINTS)
    assert log_points(client, experiment, "forest", "3", POINTS) == run
    assert series(client, run, "psi/distance") == [(15_857, 0.1), (15_858, 0.3)]
    assert series(client, run, "retrain") == [(15_857, 0.0)]
    other = log_points(client, experiment, "forest", "4", POINTS[:1])
    assert other != run
    assert series(client, other, "psi/distance") == [(15_857, 0.1)]
    assert client.get_run(run).info.status == "FINISHED"  # nothing runs on and on


@pytest.mark.costly
def test_a_corrected_figure_is_the_latest(client: "MlflowClient") -> None:
    experiment = experiment_id(client, "corrections")
    for point in (Point("2013-06-01", {"auc": 0.9}), Point("2013-06-01", {"auc": 0.6}, revision=2)):
        run = log_points(client, experiment, "forest", "3", [point])
    assert client.get_run(run).data.metrics["auc"] == 0.6


@pytest.mark.costly
def test_an_mlflow_that_does_not_answer_is_worth_a_retry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from mlflow import MlflowClient

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(TransientError, match="did not take the figures of forest/3"):
        log_points(MlflowClient("http://127.0.0.1:1"), "1", "forest", "3", POINTS)
