"""The time zone that a table's own times show: a proposal, and a note of what was seen."""

from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.declarations.zones_seen import zones_seen
from pipelines.lib.sources import adapters
from pipelines.lib.tables.dataset import Source
from pipelines.lib.tables.engine import UTC, connect

KINDS = {"at": "timestamp", "paid_at": "timestamp", "day": "date", "city": "string"}


def seen(file: Path, time: str = "at", kinds: dict[str, str] | None = None) -> tuple[str, str]:
    source = Source(kind="parquet" if file.suffix == ".parquet" else "csv", path=str(file))
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, source, {}, None, scratch)
        return zones_seen(connection, scanned, source, kinds or {"at": "timestamp"}, time)


def parquet(file: Path, kind: pa.DataType) -> Path:
    pq.write_table(pa.table({"at": pa.array([0, 10**9], pa.int64()).cast(pa.timestamp("us")).cast(kind)}), file)
    return file


def csv(file: Path, *times: str) -> Path:
    file.write_text("at\n" + "".join(f"{time}\n" for time in times), encoding="utf-8")
    return file


def test_a_date_needs_no_zone(tmp_path: Path) -> None:
    duckdb.sql(f"COPY (SELECT DATE '2024-01-01' AS day) TO '{tmp_path / 't.parquet'}'")
    assert seen(tmp_path / "t.parquet", "day", KINDS) == ("", "Time zone: the event time is a date, so none is needed.")


@pytest.mark.parametrize(
    ("zone", "expected", "note"),
    [
        ("Europe/Berlin", "Europe/Berlin", "at holds instants and names Europe/Berlin. time_zone is Europe/Berlin"),
        ("UTC", "UTC", "at holds instants, in UTC. time_zone is UTC"),
        ("+02:00", "UTC", "at holds instants, in UTC. time_zone is UTC"),
    ],
)
def test_the_zone_that_a_parquet_file_names_is_proposed(zone: str, expected: str, note: str, tmp_path: Path) -> None:
    """An offset is not a zone of the database: its days would not follow the clocks."""
    found, said = seen(parquet(tmp_path / "t.parquet", pa.timestamp("us", zone)))
    assert found == expected
    assert note in said


def test_times_without_a_zone_are_taken_as_the_local_clock(tmp_path: Path) -> None:
    for file in (parquet(tmp_path / "t.parquet", pa.timestamp("us")), csv(tmp_path / "t.csv", "2024-01-01 10:00:00")):
        zone, said = seen(file)
        assert zone == ""
        assert said.startswith("Time zone: at has none, so its times are taken as the local clock.")


def test_offsets_in_text_are_counted_the_most_frequent_first(tmp_path: Path) -> None:
    zone, said = seen(csv(tmp_path / "t.csv", *["2024-01-01 10:00:00+01:00"] * 2, *["2024-07-01 10:00:00+02:00"] * 3))
    assert zone == "UTC"
    assert "at has offsets: +02:00 in 3 rows, +01:00 in 2 rows. time_zone is UTC" in said


def test_one_time_without_an_offset_among_others_leaves_the_question_open(tmp_path: Path) -> None:
    assert seen(csv(tmp_path / "t.csv", "2024-01-01 10:00:00+01:00", "2024-01-01 10:00:00"))[0] == ""


def test_other_times_are_named_since_they_may_need_a_zone_of_their_own(tmp_path: Path) -> None:
    _, said = seen(parquet(tmp_path / "t.parquet", pa.timestamp("us", "UTC")), kinds=KINDS)
    assert "Other times (paid_at) need written_in in their column if they have no zone." in said
