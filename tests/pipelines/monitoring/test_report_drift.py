"""The stage, as a run calls it: a real journal, ledger and MLflow."""

import datetime as dt
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.champions.registry import connect
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.home import ledger_url
from pipelines.lib.loop.tracking import WATCHED
from pipelines.lib.records.journal import Journal
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.monitoring.report_drift import main
from tests import watched_model
from tests.page_rules import broken_rules
from tests.watched_model import NAME, VERSION

REPORT = Path("data/reports/report_drift")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield a run's workspace on the last night, with all that earlier stages have recorded."""
    root = tmp_path_factory.mktemp("workspace")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(root / "home"))
        patch.chdir(root)
        watched_model.record(root)
        yield root


def run(**changes: Any) -> int:
    watched_model.pin(**changes)
    return main([])


def logged() -> dict[str, list[tuple[int, float]]]:
    client = connect()
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    [found] = client.search_runs(experiments, f"tags.`{WATCHED}` = '{NAME}/{VERSION}'")
    keys = ("psi/a", "realised/auc")
    return {key: [(m.step, m.value) for m in client.get_metric_history(found.info.run_id, key)] for key in keys}


@pytest.mark.costly
def test_the_report_is_written_and_the_series_hold_what_was_ever_recorded(workspace: Path) -> None:
    """Also what an earlier run has recorded and, killed before its report, told nobody."""
    assert run() == 0
    report = json.loads((REPORT / "report.json").read_text())
    assert report["note"].startswith("drift in ")
    assert report["changes"][0]["version"] == VERSION
    assert len(report["nights"]) == 14
    assert "keep Watched version 2" in (page := (REPORT / "report.html").read_text())
    assert not broken_rules(page)
    series = logged()
    assert [len(points) for points in series.values()] == [1, 12]
    before = {name: (REPORT / name).read_bytes() for name in ("report.json", "report.html")}
    assert run() == 0
    assert logged() == series
    assert {name: (REPORT / name).read_bytes() for name in before} == before


@pytest.mark.costly
def test_a_night_that_was_not_measured_is_an_error(workspace: Path) -> None:
    assert run(partition="2013-05-01") == 1
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("ConfigError", False)
    assert "run detect_drift first" in failure["message"]


@pytest.mark.costly
def test_without_mlflow_the_report_is_there_and_the_stage_is_tried_again(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for file in REPORT.glob("*"):
        file.unlink()
    assert run() == 1
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("TransientError", True)
    assert (REPORT / "report.html").exists()


@pytest.mark.costly
@pytest.mark.parametrize("ours", ["9", "10"])
def test_a_night_that_two_versions_scored_is_reported_with_the_one_that_is_asked_about(workspace: Path, ours: str) -> None:
    """Scored by 9, and again by 10 after its promotion, or the other way round after a rollback; older nights are not read."""
    journal, name = Journal(ledger_url()), f"Twice{ours}"
    for version in ("9", "10"):
        for night in watched_model.nights(number=8, version=version):
            journal.record_night(replace(night, name=name))
    journal.record_night(replace(night, name=name, partition="2012-01-01"))
    measured = str(watched_model.LAST - dt.timedelta(days=3))
    journal.record_performance(replace(watched_model.performance(measured, version="10"), name=name))
    Ledger(ledger_url()).append(Entry(name, 1, "promote", "9", "a" * 64, "m", None, "2013-01-01", "ada", "first"))
    assert run(model={"path": "model.onnx", "name": name, "version": ours, "sha256": sha256_of(Path("model.onnx"))}) == 0
    report = json.loads((REPORT / "report.json").read_text())
    assert (report["version"], report["window"]["nights"]) == (ours, 7)
    shown = {night["partition"]: night["version"] for night in report["nights"]}
    assert len(shown) == len(report["nights"]) == 8
    assert {partition: version for partition, version in shown.items() if version != "9"} == (
        {measured: "10"} | ({str(watched_model.LAST): "10"} if ours == "10" else {})
    )
