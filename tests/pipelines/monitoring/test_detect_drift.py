"""Drift of a night: counted once, added up with the nights before it, and strange nights measured or refused with a reason."""

import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier

from pipelines.lib.core.home import ledger_url
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.features.compute import Categorical, Features, Numeric
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.models.inference import load_model
from pipelines.lib.models.profile import Profile, ProfileParams
from pipelines.lib.models.trained_profile import profile_of
from pipelines.lib.published import nights
from pipelines.lib.published.delta_tables import Lineage, publish
from pipelines.lib.records.journal import Journal, NightRecord, of_published
from pipelines.lib.tables.dataset import Column, Dataset, Label, Source
from pipelines.monitoring.detect_drift import main
from pipelines.training.export_onnx import ExportOnnx, export_onnx

ROOT = Path(__file__).parents[3]
NAMES = ("heat", "flat", "void", "place")
SIGNATURE = Signature(NAMES, "7" * 64)
FEATURES = Features(
    numeric={"heat": Numeric(missing=-99), "flat": Numeric(missing=-1), "void": Numeric(missing=0)},
    categorical={"place": Categorical(values=("EWR", "JFK", "LGA"))},
)
DATASET = Dataset(
    name="small",
    source=Source(kind="parquet", path="none.parquet"),
    key=("id",),
    event_time="at",
    label=Label(name="late", expression="true", delay_days=1),
    columns={"id": Column(type="integer"), "at": Column(type="timestamp")},
)
ROWS = 400


def values(rows: int, seed: int, **changed: np.ndarray) -> dict[str, np.ndarray]:
    """Return a night of the world that was trained on, but for what is `changed`."""
    rng = np.random.default_rng(seed)
    columns = {
        "heat": rng.normal(20, 5, rows),
        "flat": np.ones(rows),
        "void": np.zeros(rows),
        "place": rng.choice([0, 1, 2], rows, p=[0.5, 0.3, 0.2]),
    }
    return {name: np.asarray(column, dtype=np.float32) for name, column in (columns | changed).items()}


def fit(history: History) -> RandomForestClassifier:
    return RandomForestClassifier(10, max_depth=4, random_state=0).fit(history.features, history.labels)


@pytest.fixture(scope="module")
def trained() -> tuple[RandomForestClassifier, Profile]:
    drawn = [values(ROWS, seed) for seed in range(28)]
    matrix = np.concatenate([np.stack(list(night.values()), axis=1) for night in drawn])
    labels = (matrix[:, 0] + np.random.default_rng(0).normal(0, 5, len(matrix)) > 22).astype(np.int8)
    dates = [str(np.datetime64("2013-01-01") + day) for day in range(28) for _ in range(ROWS)]
    history = History(matrix, labels, pa.table({"partition": dates}), NAMES)
    forest = fit(history)
    params = ProfileParams(bins=10, window_nights=7, floor=0.0001)
    return forest, profile_of(
        forest, history, history.since("2013-01-22"), fit=fit, seed=0, dataset=DATASET, features=FEATURES, params=params
    )


class Monitor:
    """A workspace in which one night after another is looked at."""

    def __init__(self, trained: tuple[RandomForestClassifier, Profile]) -> None:
        self.forest, self.profile = trained
        Path("model.onnx").write_bytes(export_onnx(self.forest, SIGNATURE, ExportOnnx(opset=22), self.profile))
        shutil.copy(ROOT / "params.yaml", "params.yaml")

    def write(self, columns: dict[str, np.ndarray], *, scores: int | None = None) -> None:
        for path in ("data/features", "data/scores"):
            Path(path).mkdir(parents=True, exist_ok=True)
        table = pa.table({"id": np.arange(len(next(iter(columns.values())))), **columns})
        pq.write_table(table.replace_schema_metadata({KEY: SIGNATURE.to_json()}), "data/features/batch.parquet")
        matrix = np.stack([columns.get(name, np.zeros(table.num_rows, np.float32)) for name in NAMES], axis=1)
        score = load_model(Path("model.onnx")).score(matrix)[:scores]
        pq.write_table(pa.table({"id": np.arange(len(score)), "score": score}), "data/scores/scores.parquet")

    def look(self, partition: str, version: str | None = "3", night_ref: str | None = None) -> dict:
        model = {"path": "model.onnx", "name": "Core", "version": version}
        Path("run.yaml").write_text(yaml.safe_dump({"partition": partition, "model": model, "night_ref": night_ref}))
        if main([]):
            return dict(json.loads(Path("failure.json").read_text()))
        return dict(json.loads(Path("data/reports/detect_drift/report.json").read_text()))

    def night(self, day: int, *, version: str = "3", rows: int = ROWS, **changed: np.ndarray) -> dict:
        self.write(values(rows, 100 + day, **changed))
        return self.look(f"2013-02-{day:02d}", version)

    def recorded(self, version: str = "3") -> list[NightRecord]:
        return Journal(ledger_url()).nights("Core", version, until="2013-12-31")


@pytest.fixture
def monitor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: tuple[RandomForestClassifier, Profile]) -> Monitor:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return Monitor(trained)


@pytest.fixture
def eager(monitor: Monitor) -> Monitor:
    """A monitor that judges a window of one night, so that a test needs no more."""
    params = parse_yaml(Path("params.yaml").read_text())
    params["govern"]["minimum_nights"] = 1
    Path("params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    return monitor


@pytest.mark.costly
def test_nights_of_the_same_world_do_not_drift(monitor: Monitor) -> None:
    for day in range(1, 10):
        report = monitor.night(day)
    assert report["window"] == [f"2013-02-{day:02d}" for day in range(3, 10)]
    assert (report["rows"], report["nights"], report["drifted"]) == (7 * ROWS, 7, [])
    assert "note" not in report
    assert set(report["columns"]) == {*NAMES, "score"} == set(report["tonight"]["columns"])
    assert max(column["psi"] for column in report["columns"].values()) < 0.05
    night = monitor.recorded()[-1]
    assert (night.partition, night.rows, night.drift["rows"], night.drift["nights"]) == ("2013-02-09", ROWS, 7 * ROWS, 7)
    assert sum(night.histogram["counts"]["score"]) == ROWS


@pytest.mark.costly
def test_a_world_that_moves_is_reported(monitor: Monitor) -> None:
    for day in range(1, 5):
        monitor.night(day)
    report = monitor.night(5, heat=np.random.default_rng(0).normal(30, 5, ROWS))
    assert report["drifted"][0] == "heat"
    assert set(report["drifted"]) == {"heat", "score"}
    assert report["tonight"]["columns"]["heat"]["psi"] > report["columns"]["heat"]["psi"] > 0.1


@pytest.mark.costly
def test_a_night_that_is_looked_at_again_is_counted_once(monitor: Monitor) -> None:
    first = [monitor.night(day) for day in range(1, 4)][-1]
    assert monitor.night(3) == first
    assert len(monitor.recorded()) == 3
    assert monitor.night(2)["window"] == ["2013-02-01", "2013-02-02"]


@pytest.mark.costly
def test_a_window_is_of_one_version(monitor: Monitor) -> None:
    monitor.night(1)
    monitor.night(2, version="4")
    assert monitor.night(3)["window"] == ["2013-02-01", "2013-02-03"]


@pytest.mark.costly
def test_a_version_that_comes_back_starts_a_window_of_its_own(monitor: Monitor) -> None:
    """Its nights of a season ago are not those of this week; two windows back, a store that is shut on Sundays still has seven."""
    for day in (1, 2, 3):
        monitor.night(day)
    assert monitor.night(17)["window"] == ["2013-02-03", "2013-02-17"]
    assert monitor.night(18)["window"] == ["2013-02-17", "2013-02-18"]


# ------------------------------------------------------------------------------------------------ bad nights


def test_three_rows_are_measured_and_not_judged(monitor: Monitor) -> None:
    report = monitor.night(1, rows=3, heat=np.full(3, 99.0))
    assert report["lacking"] == "1 of 5 nights and 3 of 1000 rows"
    assert report["drifted"] == []
    assert report["columns"]["heat"]["psi"] > 1
    assert report["columns"]["heat"]["drifted"] is None
    assert monitor.recorded()[0].rows == 3


def test_of_four_nights_nothing_is_said_however_many_rows_they_hold(monitor: Monitor) -> None:
    """A column of another world was in `drifted`, next to a page that called the window too short."""
    for day in range(1, 5):
        report = monitor.night(day, rows=2_000, heat=np.full(2_000, 99.0))
    assert (report["lacking"], report["drifted"]) == ("4 of 5 nights", [])
    assert monitor.night(5, rows=2_000, heat=np.full(2_000, 99.0))["drifted"][0] == "heat"


@pytest.mark.costly
def test_three_rows_next_to_whole_nights_change_little(monitor: Monitor) -> None:
    for day in range(1, 5):
        monitor.night(day)
    report = monitor.night(5, rows=3, heat=np.full(3, 99.0))
    assert not report["lacking"]
    assert report["drifted"] == []


def test_a_constant_feature_that_changes_drifts(eager: Monitor) -> None:
    assert eager.night(1, rows=2_000)["columns"]["flat"]["psi"] == 0
    assert "flat" in eager.night(2, rows=2_000, flat=np.full(2_000, 2.0))["drifted"]


@pytest.mark.parametrize("gone", [np.nan, -99.0])
def test_a_feature_that_is_all_missing_drifts(eager: Monitor, gone: float) -> None:
    report = eager.night(1, rows=2_000, heat=np.full(2_000, gone))
    assert "heat" in report["drifted"]
    assert (report["columns"]["heat"]["missing"], report["columns"]["heat"]["ks"]) == (1, None)
    assert report["columns"]["void"]["psi"] == 0  # it was missing in training as well


def test_a_new_category_drifts(eager: Monitor) -> None:
    places = np.where(np.arange(2_000) < 1_200, -1, 0)
    report = eager.night(1, rows=2_000, place=places)
    assert "place" in report["drifted"]
    assert report["columns"]["place"]["unseen"] == 0.6


def test_a_feature_column_that_is_gone_is_named(monitor: Monitor) -> None:
    columns = values(ROWS, 0)
    del columns["flat"]
    monitor.write(columns)
    failure = monitor.look("2013-02-01")
    assert failure["error"] == "DataError"
    assert "no column flat there" in failure["message"]
    assert monitor.recorded() == []


def test_scores_of_another_run_are_refused(monitor: Monitor) -> None:
    monitor.write(values(ROWS, 0), scores=10)
    assert "400 rows of features and 10 scores" in monitor.look("2013-02-01")["message"]


@pytest.mark.costly
def test_no_rows_at_all_are_refused(monitor: Monitor) -> None:
    assert "no rows on one side" in monitor.night(1, rows=0)["message"]


def test_a_night_without_rows_is_measured_with_those_before_it(monitor: Monitor) -> None:
    monitor.night(1)
    report = monitor.night(2, rows=0)
    assert (report["rows"], report["tonight"]) == (ROWS, {"rows": 0, "columns": {}})


@pytest.mark.parametrize("version", ["3", None])
def test_a_model_without_a_profile_or_version_is_refused(monitor: Monitor, version: str | None) -> None:
    if version is not None:
        Path("model.onnx").write_bytes(export_onnx(monitor.forest, SIGNATURE, ExportOnnx(opset=22)))
    monitor.write(values(ROWS, 0))
    failure = monitor.look("2013-02-01", version)
    assert failure["error"] == "ModelError"
    assert failure["retryable"] is False
    assert ("carries no profile" if version else "is of no version") in failure["message"]
    assert "retrain" in failure["message"]


# ------------------------------------------------------------------------------------------------ what a run has recorded


@pytest.fixture
def recorded_runs(monitor: Monitor) -> Monitor:
    """A workspace whose nights are recorded at refs and published."""
    run("git", "init", "--quiet")
    run(sys.executable, "-m", "dvc", "init", "--quiet")
    return monitor


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "DVC_NO_ANALYTICS": "1"})


def publish_night(monitor: Monitor, day: int, name: str, *, version: str = "3", **changed: np.ndarray) -> str:
    """Score a night in a run called `name`, record the run and publish what it scored; the ref of the run."""
    monitor.write(values(ROWS, 100 + day, **changed))
    ref, commit = (
        f"refs/runs/nightly/{name}",
        ("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--allow-empty", "-m", name),
    )
    run(sys.executable, "-m", "dvc", "add", "--quiet", "data/features/batch.parquet", "data/scores/scores.parquet")
    run("git", "add", "--", "data", ".dvc")
    run(*commit)
    run("git", "update-ref", ref, "HEAD")
    opened = datetime(2013, 3, 1, tzinfo=UTC)
    lineage = Lineage(f"2013-02-{day:02d}", "Core", version, "0" * 64, name, ref, "c" * 40, False, opened)
    publish(Path("data/scores/scores.parquet"), lineage, expected_rows=ROWS)
    return ref


@pytest.mark.costly
def test_a_night_that_was_published_again_counts_as_it_is_published_now(recorded_runs: Monitor) -> None:
    """Also if nobody has watched it again: each later window is that of the features behind the scores that people see."""
    monitor, hot = recorded_runs, np.random.default_rng(0).normal(40, 5, ROWS)
    refs = {
        day: publish_night(monitor, day, f"first-{day}", heat=hot) if day == 2 else publish_night(monitor, day, f"first-{day}")
        for day in (1, 2, 3)
    }
    for day, ref in refs.items():
        wrong = monitor.look(f"2013-02-{day:02d}", night_ref=ref)
    assert wrong["columns"]["heat"]["psi"] > 0.5
    again = publish_night(monitor, 2, "second")
    right = monitor.look("2013-02-03", night_ref=refs[3])
    assert right["columns"]["heat"]["psi"] < 0.05
    assert [(night.partition, night.run_ref) for night in monitor.recorded()] == [
        ("2013-02-01", refs[1]), ("2013-02-02", again), ("2013-02-03", refs[3]),
    ]  # fmt: skip
    assert [night.drift["columns"]["heat"]["psi"] < 0.05 for night in monitor.recorded()] == [True] * 3


@pytest.mark.slow
def test_a_night_that_is_watched_after_later_ones_moves_their_windows(recorded_runs: Monitor) -> None:
    monitor = recorded_runs
    refs = {day: publish_night(monitor, day, f"first-{day}") for day in (1, 2, 3)}
    for day in (1, 3, 2):
        monitor.look(f"2013-02-{day:02d}", night_ref=refs[day])
    assert [night.drift["window"] for night in monitor.recorded()] == [
        [f"2013-02-{day:02d}" for day in range(1, last + 1)] for last in (1, 2, 3)
    ]  # fmt: skip
    assert [night.drift["rows"] for night in monitor.recorded()] == [ROWS, 2 * ROWS, 3 * ROWS]


@pytest.mark.slow
def test_a_night_that_another_version_published_since_leaves_the_window(recorded_runs: Monitor) -> None:
    monitor = recorded_runs
    refs = {day: publish_night(monitor, day, f"first-{day}") for day in (1, 2)}
    for day, ref in refs.items():
        monitor.look(f"2013-02-{day:02d}", night_ref=ref)
    publish_night(monitor, 1, "other", version="4")
    assert monitor.look("2013-02-02", night_ref=refs[2])["window"] == ["2013-02-02"]


@pytest.mark.costly
def test_a_run_that_looks_at_scores_that_were_replaced_leaves_nothing_for_the_governor(recorded_runs: Monitor) -> None:
    monitor = recorded_runs
    old = publish_night(monitor, 1, "first")
    publish_night(monitor, 1, "second")
    monitor.look("2013-02-01", night_ref=old)
    assert of_published(monitor.recorded(), nights.publications()) == []


@pytest.mark.costly
def test_the_files_of_the_run_that_scored_the_night_are_counted(monitor: Monitor) -> None:
    run("git", "init", "--quiet")
    run(sys.executable, "-m", "dvc", "init", "--quiet")
    monitor.write(values(ROWS, 7))
    run(sys.executable, "-m", "dvc", "add", "--quiet", "data/features/batch.parquet", "data/scores/scores.parquet")
    run("git", "add", "--", "data", ".dvc")
    run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "night")
    run("git", "update-ref", "refs/runs/nightly/one", "HEAD")
    expected = monitor.look("2013-02-01")
    monitor.write(values(ROWS, 8))  # what the workspace holds besides is of no account
    report = monitor.look("2013-02-01", night_ref="refs/runs/nightly/one")
    assert report == expected
    assert monitor.recorded()[0].run_ref == "refs/runs/nightly/one"
