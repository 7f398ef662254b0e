"""A use case in a time zone through its stages: from a source in UTC to published nights of 23 and 25 hours, and their outcomes."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.featurize_batch import featurize_batch
from pipelines.data.featurize_history import featurize_history
from pipelines.data.ingest_batch import IngestBatch, ingest_batch
from pipelines.data.ingest_history import IngestHistory, ingest_history
from pipelines.data.validate_batch import ValidateBatch, validate_batch
from pipelines.data.validate_features import ValidateFeatures, validate_features
from pipelines.data.validate_history import ValidateHistory, validate_history
from pipelines.index.search import parse_key
from pipelines.index.shard_history import shard_history
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.gates import Report
from pipelines.lib.models.estimators import DEFAULT
from pipelines.lib.published.delta_tables import Lineage, publish, read_scores, read_where
from pipelines.lib.sources.outcomes import known_outcomes
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.row_count import RowCount
from pipelines.scoring.score import Score, score
from pipelines.scoring.validate_scores import ValidateScores, validate_scores
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import Train, train
from tests import hourly

FEATURES = {
    "numeric": {"value": {"missing": -1}},
    "calendar": ["hour", "weekday"],
    "lagged": {"failures": {"by": ["meter"], "window_days": 5}},
}
BAND = RowCount(nights=4, every_days=1, minimum_ratio=0.9, maximum_ratio=1.1)


def passed(report: Report) -> int:
    assert not [finding for finding in report.findings if finding.verdict == "failed"]
    return report.rows


def model(dataset: Dataset, features: Features, partition: dt.date, folder: Path) -> Path:
    ingest_history(dataset, IngestHistory(), partition=partition, lookback=0, raw=folder / "raw")
    passed(validate_history(dataset, ValidateHistory(row_count=BAND), partition=partition, raw=folder / "raw"))
    featurize_history(dataset, features, raw=folder / "raw", partition=partition, target=folder / "history.parquet")
    history = read_history(folder / "history.parquet", dataset)
    forest = train(
        history, Train(estimator=DEFAULT, parameters={"n_estimators": 5, "max_depth": 4}, holdout_days=2, random_state=1, minimum_rows=10)
    )
    (folder / "model.onnx").write_bytes(export_onnx(forest, signature_of_features(folder / "history.parquet"), ExportOnnx(opset=22)))
    return folder / "model.onnx"


@pytest.mark.costly
@pytest.mark.parametrize(
    ("zone", "day", "hours"), [hourly.CHANGES[1], *(pytest.param(*hourly.CHANGES[place], marks=pytest.mark.slow) for place in (0, 4))]
)
def test_nights_of_23_to_25_hours_are_published_whole(tmp_path: Path, zone: str, day: str, hours: int) -> None:
    frame = hourly.readings(zone, day)
    dataset = hourly.dataset("parquet a UTC day", frame, zone, tmp_path / "source")
    features, url = parse_section(FEATURES, Features, "features"), str(tmp_path / "published")
    onnx = model(dataset, features, hourly.moved(day, -1), tmp_path)
    for days, rows in ((-1, 24), (0, hours), (1, 24)):
        night, here = hourly.moved(day, days), tmp_path / f"night{days}"
        here.mkdir()
        ingest_batch(dataset, IngestBatch(history_days=7), partition=night, lookback=7, raw=here / "raw")
        gate = ValidateBatch(row_count=BAND, last_event_minutes=60)
        assert passed(validate_batch(dataset, gate, partition=night, raw=here / "raw")) == rows
        featurize_batch(dataset, features, raw=here / "raw", partition=night, target=here / "features.parquet")
        passed(validate_features(dataset, features, ValidateFeatures(), partition=night, path=here / "features.parquet"))
        params = Score(threshold=0.5)
        score(here / "features.parquet", onnx, here / "scores.parquet", sha256=None, key=dataset.key, params=params, task="binary")
        gate_of_scores = ValidateScores(minimum_mean_score=0.0, maximum_mean_score=1.0)
        checked = validate_scores(
            dataset, gate_of_scores, partition=str(night), features=here / "features.parquet", scores=here / "scores.parquet"
        )
        assert passed(checked) == rows
        lineage = Lineage(str(night), "m", "1", "a" * 64, "run", "refs/runs/run", "c" * 40, False, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
        publish(here / "scores.parquet", lineage, expected_rows=rows, url=url)
        wanted = frame[frame["date"] == night]
        published = read_scores(str(night), url)
        assert published.schema.field("read_at").type == pa.timestamp("us", "UTC")
        assert sorted(published["read_at"].to_pylist()) == sorted(wanted["read_at"].dt.to_pydatetime())
        with known_outcomes(dataset, partition=hourly.moved(day, 6), first=night) as outcomes:
            joined = outcomes.join_outcomes(str(night), published)
        real = dict(zip(wanted["read_at"].dt.to_pydatetime(), wanted["outcome"], strict=True))
        assert {row["read_at"]: bool(row["outcome"]) for row in joined.to_pylist()} == real


def test_a_key_in_the_doubled_hour_finds_its_own_row(tmp_path: Path) -> None:
    zone, day, hours = hourly.CHANGES[1]
    dataset = hourly.dataset("parquet", hourly.readings(zone, day, days=3), zone, tmp_path / "source")
    raw, url = tmp_path / "raw", str(tmp_path / "published")
    ingest_batch(dataset, IngestBatch(), partition=dt.date.fromisoformat(day), lookback=0, raw=raw)
    rows = pq.read_table(raw / "events.parquet", columns=["meter", "read_at"])
    pq.write_table(
        rows.append_column("score", pa.array([number / 100 for number in range(hours)], pa.float32())), tmp_path / "scores.parquet"
    )
    lineage = Lineage(day, "m", "1", "a" * 64, "run", "refs/runs/run", "c" * 40, False, dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    publish(tmp_path / "scores.parquet", lineage, expected_rows=hours, url=url)
    scores = {row["read_at"]: (row["meter"], row["score"]) for row in read_scores(day, url).to_pylist()}
    for offset, instant in (
        ("+02:00", dt.datetime(2025, 10, 26, 0, tzinfo=dt.UTC)),
        ("+01:00", dt.datetime(2025, 10, 26, 1, tzinfo=dt.UTC)),
    ):
        meter, wanted = scores[instant]
        key = parse_key(f"{meter},2025-10-26T02:00:00{offset}", dataset)
        assert key == (meter, instant)
        assert read_where(dict(zip(dataset.key, key, strict=True)), url)["score"].to_pylist() == [wanted]
    with pytest.raises(ConfigError, match="a time without a zone; write its offset from UTC too"):
        parse_key("m0,2025-10-26T02:00:00", dataset)


@pytest.mark.costly
def test_a_month_of_the_index_is_one_of_local_dates(tmp_path: Path) -> None:
    zone, day = "America/New_York", "2025-11-01"
    frame = hourly.readings(zone, day, days=6)
    dataset, features = hourly.dataset("parquet", frame, zone, tmp_path / "source"), parse_section(FEATURES, Features, "features")
    model(dataset, features, hourly.moved(day, 6), tmp_path)
    rows = shard_history(tmp_path / "history.parquet", ["2025-10", "2025-11"], tmp_path / "shards")
    known = frame[frame["date"] < hourly.moved(day, 5)]
    assert rows == {"2025-10": sum(date.month == 10 for date in known["date"]), "2025-11": sum(date.month == 11 for date in known["date"])}
