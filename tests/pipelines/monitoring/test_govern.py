"""Governing in a workspace: from what the journal and the ledger hold to a recorded decision, again and again the same."""

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier

from pipelines.lib.core.home import ledger_url
from pipelines.lib.core.params import load_section
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.features.compute import Features, Numeric
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import Signature
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.measures.histogram import Histogram, count
from pipelines.lib.models.profile import SCORE, Profile, ProfileParams
from pipelines.lib.models.trained_profile import profile_of
from pipelines.lib.published.delta_tables import Lineage, publish
from pipelines.lib.published.nights import publications
from pipelines.lib.records.journal import Journal, NightRecord, PerformanceRecord, Verdict
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.lib.tables.dataset import Column, Dataset, Label, Source
from pipelines.monitoring.detect_drift import detect_drift
from pipelines.monitoring.govern import main, reference_of
from pipelines.training.export_onnx import ExportOnnx, export_onnx

ROOT = Path(__file__).parents[3]
NAME, NAMES, ROWS = "Core", ("heat", "wind"), 300
SIGNATURE = Signature(NAMES, "7" * 64)
DATASET = Dataset(
    name="small",
    source=Source(kind="parquet", path="none.parquet"),
    key=("id",),
    event_time="at",
    label=Label(name="late", expression="true", delay_days=1),
    columns={"id": Column(type="integer"), "at": Column(type="timestamp")},
)


def values(rows: int, seed: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal([20 + shift, 5], 5, (rows, 2)).astype(np.float32)


def fit(history: History) -> RandomForestClassifier:
    return RandomForestClassifier(10, max_depth=4, random_state=0).fit(history.features, history.labels)


@pytest.fixture(scope="module")
def trained() -> tuple[bytes, Profile]:
    matrix = values(28 * ROWS, seed=0)
    labels = (matrix[:, 0] + np.random.default_rng(1).normal(0, 5, len(matrix)) > 22).astype(np.int8)
    dates = [str(np.datetime64("2013-01-01") + day) for day in range(28) for _ in range(ROWS)]
    history = History(matrix, labels, pa.table({"partition": dates}), NAMES)
    forest = fit(history)
    features = Features(numeric={"heat": Numeric(missing=-99), "wind": Numeric(missing=-99)})
    params = ProfileParams(bins=10, window_nights=7, floor=0.0001)
    made = profile_of(forest, history, history.since("2013-01-15"), fit=fit, seed=0, dataset=DATASET, features=features, params=params)
    return export_onnx(forest, SIGNATURE, ExportOnnx(opset=22), made), made


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: tuple[bytes, Profile]) -> Path:
    """A champion since March, and nights from 1 to 14 May: calm ones, then three that are hotter."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    content, reference = trained
    Path("model.onnx").write_bytes(content)
    Ledger(ledger_url()).append(Entry(NAME, 1, "promote", "3", "0" * 64, "models:/Core/3", None, "2013-03-01", "test", "first"))
    journal, counted = Journal(ledger_url()), []
    for day in range(1, 15):
        matrix = values(ROWS, seed=day, shift=12.0 if day > 11 else 0.0)
        tonight = count({"heat": matrix[:, 0], "wind": matrix[:, 1], SCORE: np.full(ROWS, 0.3, np.float32)}, reference.binnings)
        drift = detect_drift(reference, tonight, counted[-6:], load_section("govern", Policy))
        counted.append(Histogram.from_json(tonight.to_json()))
        partition = f"2013-05-{day:02d}"
        journal.record_night(NightRecord(NAME, "3", partition, "ref", ROWS, tonight.to_json(), drift))
        journal.record_performance(PerformanceRecord(NAME, partition, "3", "0" * 64, ROWS, {"auc": 0.0 if day > 12 else 0.9}))
    return tmp_path


def decide(partition: str, version: str | None = "3") -> dict:
    model = {"path": "model.onnx", "name": NAME, "version": version}
    Path("run.yaml").write_text(yaml.safe_dump({"partition": partition, "model": model}), encoding="utf-8")
    assert main([]) == 0
    return json.loads(Path("data/reports/govern/decision.json").read_text(encoding="utf-8"))


def use(**changes: float) -> None:
    """Change the shipped policy."""
    params = parse_yaml(Path("params.yaml").read_text(encoding="utf-8"))
    params["govern"] |= changes
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")


def only_heat() -> None:
    """Judge the features only: the constant score of these nights is a drift by itself."""
    for night in Journal(ledger_url()).nights(NAME, until="2013-12-31"):
        night.drift["columns"][SCORE]["psi"] = 0.0
        Journal(ledger_url()).record_night(night)


@pytest.mark.costly
def test_a_hot_stretch_calls_for_a_retraining(workspace: Path) -> None:
    only_heat()
    calm = decide("2013-05-11")
    assert not calm["retrain"]
    decision = decide("2013-05-14")
    assert decision["retrain"], decision["reason"]
    assert decision["reason"].startswith("yes: PSI of heat is ")
    assert (decision["champion_version"], decision["partition"]) == ("3", "2013-05-14")
    assert decision["findings"]["signals"] == ["drift"]
    report = json.loads(Path("data/reports/govern/report.json").read_text(encoding="utf-8"))
    assert report["note"].startswith("retraining yes: PSI of heat is ")
    recorded = Journal(ledger_url()).decisions(NAME)
    assert [(row.partition, row.retrain) for row in recorded] == [("2013-05-11", False), ("2013-05-14", True)]


@pytest.mark.costly
def test_the_same_night_again_decides_and_records_the_same(workspace: Path) -> None:
    only_heat()
    first = decide("2013-05-14")
    report = Path("data/reports/govern/report.json").read_bytes()
    assert decide("2013-05-14") == first
    assert Path("data/reports/govern/report.json").read_bytes() == report
    assert len(Journal(ledger_url()).decisions(NAME)) == 1


@pytest.mark.costly
def test_outcomes_count_once_they_are_due(workspace: Path) -> None:
    """The nights of 13 and 14 May, which went as badly as can be, are known on the 15th at the earliest."""
    only_heat()
    assert decide("2013-05-14")["findings"]["quality"]["nights"][-1] == "2013-05-12"


def asked(partition: str, run_id: str | None = None, verdict: Literal["asked", "refused"] = "asked") -> None:
    """Write the record that `alert` leaves, or the end of a run that somebody else began."""
    run_id = run_id or f"drift__3__{partition}"
    Journal(ledger_url()).record_verdict(Verdict(NAME, run_id, partition, "3", "" if verdict == "asked" else "4", verdict, "", "test"))


@pytest.mark.costly
def test_after_a_yes_that_got_through_it_cools_down(workspace: Path) -> None:
    only_heat()
    use(alarm_nights=1, cool_down_nights=28)
    assert decide("2013-05-13")["retrain"]
    asked("2013-05-13")
    assert decide("2013-05-14")["reason"].startswith("no: cool-down until 2013-06-10")


@pytest.mark.costly
def test_a_decision_that_started_no_run_is_repeated_the_next_night(workspace: Path) -> None:
    only_heat()
    use(alarm_nights=1)
    assert decide("2013-05-13")["retrain"]
    assert decide("2013-05-14")["retrain"]


@pytest.mark.costly
def test_its_own_question_does_not_hold_a_night_back(workspace: Path) -> None:
    only_heat()
    first = decide("2013-05-14")
    asked("2013-05-14")
    assert decide("2013-05-14") == first
    assert first["retrain"]


@pytest.mark.costly
@pytest.mark.parametrize("run_id", ["drift__3__2013-05-10", "manual__2013-05-10"])
def test_a_retraining_that_somebody_else_began_counts(workspace: Path, run_id: str) -> None:
    only_heat()
    use(cool_down_nights=28)
    asked("2013-05-10", run_id, "refused")
    assert decide("2013-05-14")["reason"].startswith("no: cool-down until 2013-06-07")
    use(cool_down_nights=0, per_month=2)
    assert decide("2013-05-14")["retrain"]
    asked("2013-05-10", "manual__another", "refused")
    assert decide("2013-05-14")["reason"].startswith("no: 2 of 2 retrainings of 2013-05 are used")


@pytest.mark.costly
def test_a_question_and_its_verdict_are_one_retraining_for_the_reasons_of_its_decision(workspace: Path) -> None:
    only_heat()
    use(alarm_nights=1, cool_down_nights=0, per_month=2)
    assert decide("2013-05-13")["findings"]["signals"] == ["drift"]
    asked("2013-05-13")
    asked("2013-05-13", verdict="refused")
    assert decide("2013-05-14")["reason"].startswith("no: drift led to a retraining on 2013-05-13 and has not been calm since")


@pytest.mark.costly
def test_a_night_watched_again_after_a_later_one_starts_nothing(workspace: Path) -> None:
    only_heat()
    use(alarm_nights=1)
    assert decide("2013-05-14")["retrain"]
    assert decide("2013-05-13")["reason"].startswith("no: a later night, 2013-05-14, has been decided on")
    assert decide("2013-05-14")["retrain"]


@pytest.mark.costly
def test_a_night_that_another_version_scored_starts_nothing(workspace: Path) -> None:
    assert decide("2013-05-14", version="2")["reason"].startswith("no: version 2 scored this night in place of the champion, version 3")


@pytest.mark.costly
def test_a_policy_can_be_turned_off(workspace: Path) -> None:
    only_heat()
    use(per_month=0)
    assert decide("2013-05-14")["reason"].startswith("no: 0 of 0 retrainings of 2013-05 are used")


@pytest.mark.costly
def test_an_old_champion_is_retrained_by_schedule_once_a_period(workspace: Path) -> None:
    """It learned from the nights until 28 January. A night that is looked at again asks for the same run, and the next one for none."""
    only_heat()
    use(alarm_nights=3, refresh_days=104, cool_down_nights=0, per_month=9, auc_loss=1.0)
    assert decide("2013-05-11")["reason"].endswith("; refresh is due on 2013-05-12")
    first = decide("2013-05-12")
    assert first["retrain"]
    assert first["reason"] == "yes: refresh is due: version 3 learned until 2013-01-28, 104 days ago, govern.refresh_days is 104"
    report = json.loads(Path("data/reports/govern/report.json").read_text(encoding="utf-8"))
    assert report["note"] == f"retraining {first['reason']}"
    asked("2013-05-12")
    assert decide("2013-05-12") == first
    assert decide("2013-05-13")["reason"].endswith("; refresh is due on 2013-08-24")
    assert decide("2013-05-12")["reason"].startswith(
        "no: a later night, 2013-05-13, has been decided on (refresh is due: version 3 learned"
    )
    recorded = [(row.partition, row.retrain, row.findings["signals"]) for row in Journal(ledger_url()).decisions(NAME)]
    assert recorded == [
        ("2013-05-11", False, []),
        ("2013-05-12", True, ["refresh"]),
        ("2013-05-13", False, []),
        ("2013-05-12", False, []),
    ]


@pytest.mark.costly
@pytest.mark.parametrize(
    ("version", "error", "remedy"),
    [(None, "ModelError", "register one that train and export_onnx have made"), ("3", "ConfigError", "promote one that is live from then")],
)
def test_what_cannot_be_decided_is_refused(workspace: Path, version: str | None, error: str, remedy: str) -> None:
    model = {"path": "model.onnx", "name": NAME, "version": version}
    Path("run.yaml").write_text(yaml.safe_dump({"partition": "2013-02-01", "model": model}), encoding="utf-8")
    assert main([]) == 1
    failure = json.loads(Path("failure.json").read_text(encoding="utf-8"))
    assert failure["error"] == error
    assert remedy in failure["message"]
    assert not failure["retryable"]


def test_the_reference_is_that_of_single_nights(trained: tuple[bytes, Profile]) -> None:
    reference = reference_of(trained[1])
    assert reference is not None
    assert reference.nights == 14
    assert 0.7 < reference.quality < 1
    assert 0 < reference.night_sd < 0.1


def publish_scores(directory: Path, partition: str, run_id: str) -> str:
    """Publish a night of one row; what is then published of it."""
    pq.write_table(pa.table({"id": [1], "score": pa.array([0.3], pa.float32())}), directory / "scores.parquet")
    opened = datetime(2013, 6, 1, tzinfo=UTC)
    publish(
        directory / "scores.parquet",
        Lineage(partition, NAME, "3", "0" * 64, run_id, f"refs/runs/{run_id}", "c" * 40, False, opened),
        expected_rows=1,
    )
    return publications()[partition]


@pytest.mark.costly
def test_what_was_measured_of_scores_that_were_replaced_since_decides_nothing(workspace: Path) -> None:
    """Two nights, measured as they were first published, went as badly as can be; since then they have been scored again."""
    only_heat()
    journal = Journal(ledger_url())
    [record] = [record for record in journal.performance(NAME) if record.partition == "2013-05-12"]
    first = publish_scores(workspace, record.partition, "first")
    journal.record_performance(replace(record, publication=first, figures={"auc": 0.0}))
    [night] = journal.nights(NAME, since="2013-05-12", until="2013-05-12")
    journal.record_night(replace(night, publication=first))
    before = decide("2013-05-14")["findings"]
    assert (before["quality"]["nights"][-1], before["quality"]["quality"] < 0.8) == ("2013-05-12", True)
    assert before["drift"]["nights"][0] == "2013-05-12"
    publish_scores(workspace, record.partition, "second")
    after = decide("2013-05-14")["findings"]
    assert (after["quality"]["nights"][-1], after["quality"]["quality"]) == ("2013-05-11", 0.9)
    assert "2013-05-12" not in after["drift"]["nights"]
