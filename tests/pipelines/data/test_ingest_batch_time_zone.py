"""Ingest in a time zone: a night has the rows of its local date, 23, 24 or 25 hours of them, from every kind of source."""

import datetime as dt
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipelines.data.ingest_batch import IngestBatch, ingest_batch
from pipelines.data.ingest_history import IngestHistory, ingest_history
from pipelines.lib.core.errors import DataError
from tests import hourly

pytestmark = pytest.mark.costly


@pytest.mark.parametrize(
    ("zone", "day", "hours", "kind"),
    [
        (*change, kind) if kind == "parquet" or change == hourly.CHANGES[1] else pytest.param(*change, kind, marks=pytest.mark.slow)
        for change in hourly.CHANGES
        for kind in hourly.KINDS
    ],
)
def test_a_night_has_the_hours_of_its_local_date(tmp_path: Path, zone: str, day: str, hours: int, kind: str) -> None:
    frame = hourly.readings(zone, day, days=4)
    dataset = hourly.dataset(kind, frame, zone, tmp_path / "source")
    for days, expected in ((-1, 24), (0, hours), (1, 24)):
        night, raw = hourly.moved(day, days), tmp_path / f"raw{days}"
        ingest_batch(dataset, IngestBatch(history_days=2), partition=night, lookback=0, raw=raw)
        wanted = frame[(frame["date"] >= night - dt.timedelta(days=2)) & (frame["date"] <= night)]
        assert sorted(pq.read_table(raw / "events.parquet")["read_at"].to_pylist()) == sorted(wanted["read_at"].dt.to_pydatetime())
        facts = json.loads((raw / "source.json").read_text())
        assert facts["rows_per_date"] == {str(date): rows for date, rows in wanted["date"].value_counts().items()}
        assert facts["rows_per_date"][str(night)] == expected
        assert facts["next"] == str(night)
        if kind != "parquet a UTC day":  # whose reach is that of the dates in the paths
            assert (facts["first"], facts["last"]) == (str(frame["date"].min()), str(frame["date"].max()))


@pytest.mark.parametrize("zone", ["America/New_York", "America/Santiago", "Pacific/Honolulu"])
def test_a_night_whose_last_hours_are_in_a_file_that_is_not_there_yet_is_refused(tmp_path: Path, zone: str) -> None:
    """West of Greenwich, if the path has the date in UTC. Later files show that nothing more comes."""
    day = "2025-05-20"
    frame = hourly.readings(zone, day, days=4)
    dataset, night, after = (
        hourly.dataset("parquet a UTC day", frame, zone, tmp_path / "source"),
        dt.date.fromisoformat(day),
        hourly.moved(day, 1),
    )
    for file in (tmp_path / "source").iterdir():
        if dt.date.fromisoformat(file.stem) > after:
            file.unlink()
    ingest_batch(dataset, IngestBatch(history_days=2), partition=night, lookback=0, raw=tmp_path / "whole")
    assert json.loads((tmp_path / "whole" / "source.json").read_text())["rows_per_date"][day] == 24
    (tmp_path / "source" / f"{after}.parquet").unlink()
    with pytest.raises(
        DataError, match=rf"the last rows of {day} are not delivered yet: .*add 1 to nightly_batch_scoring\.replay_offset_days"
    ):
        ingest_batch(dataset, IngestBatch(history_days=2), partition=night, lookback=0, raw=tmp_path / "early")
    may_be_empty = dataset.model_copy(update={"nights_without_rows": 1})  # then a file may be missing for good
    ingest_batch(may_be_empty, IngestBatch(history_days=2), partition=night, lookback=0, raw=tmp_path / "sparse")


@pytest.mark.parametrize(
    ("zone", "kind"), [("Europe/Berlin", "parquet a UTC day"), ("Asia/Tokyo", "parquet a UTC day"), ("America/New_York", "parquet a day")]
)
def test_a_night_that_ends_in_its_own_file_needs_no_later_one(tmp_path: Path, zone: str, kind: str) -> None:
    day = "2025-05-20"
    dataset = hourly.dataset(kind, hourly.readings(zone, day, days=4), zone, tmp_path / "source")
    for file in (tmp_path / "source").iterdir():
        if file.stem > day:
            file.unlink()
    ingest_batch(dataset, IngestBatch(history_days=2), partition=dt.date.fromisoformat(day), lookback=0, raw=tmp_path / "raw")
    assert json.loads((tmp_path / "raw" / "source.json").read_text())["rows_per_date"][day] == 24


@pytest.mark.parametrize("kind", hourly.KINDS)
def test_the_history_ends_where_the_night_begins(tmp_path: Path, kind: str) -> None:
    zone, day, _ = hourly.CHANGES[2]
    frame = hourly.readings(zone, day, days=4)
    dataset = hourly.dataset(kind, frame, zone, tmp_path / "source")
    night = hourly.moved(day, 1)
    ingest_history(dataset, IngestHistory(start=str(hourly.moved(day, -1))), partition=night, lookback=0, raw=tmp_path / "raw")
    wanted = frame[(frame["date"] >= hourly.moved(day, -1)) & (frame["date"] < night)]
    rows = pq.read_table(tmp_path / "raw" / "events.parquet").to_pylist()
    assert sorted(row["read_at"] for row in rows) == sorted(wanted["read_at"].dt.to_pydatetime())
    assert len(rows) == 24 + 23
    known = dict(zip(wanted["read_at"].dt.to_pydatetime(), wanted["date"], strict=True))
    assert all((row["outcome"] is None) == (known[row["read_at"]] >= hourly.moved(day, 0)) for row in rows)  # known a local day later


@pytest.mark.parametrize("kind", ["parquet a day", "parquet a UTC day", "hive folders"])
def test_files_far_from_the_night_are_not_read(tmp_path: Path, kind: str) -> None:
    zone, day, hours = hourly.CHANGES[1]
    dataset = hourly.dataset(kind, hourly.readings(zone, day, days=9), zone, tmp_path / "source")
    for file in (tmp_path / "source").rglob("*.parquet"):
        date = dt.date.fromisoformat(next(part for part in str(file.relative_to(tmp_path / "source")).replace("day=", "").split("/"))[:10])
        if abs((date - dt.date.fromisoformat(day)).days) > 2:
            content = bytearray(file.read_bytes())
            content[4:40] = bytes(36)  # the footer is whole, the first page is not
            file.write_bytes(bytes(content))
    ingest_batch(dataset, IngestBatch(), partition=dt.date.fromisoformat(day), lookback=0, raw=tmp_path / "raw")
    assert pq.read_metadata(tmp_path / "raw" / "events.parquet").num_rows == hours
