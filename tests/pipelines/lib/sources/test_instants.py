"""Casts to instants: the offset of a value, or the declared zone, and never a guess."""

import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources.adapters import reading
from pipelines.lib.sources.casts import cast
from pipelines.lib.sources.scan import Notation
from pipelines.lib.tables.column import Column
from pipelines.lib.tables.engine import connect

pytestmark = pytest.mark.costly

SUMMER, WINTER = dt.datetime(2025, 10, 26, 0, 30, tzinfo=dt.UTC), dt.datetime(2025, 10, 26, 1, 30, tzinfo=dt.UTC)
"""Both are 02:30 in Berlin."""


def read(value: str, kind: str, notation: Notation | None = None, **declared: Any) -> Any:
    """Cast the SQL `value` of the DuckDB type `kind` as a timestamp of a dataset in Berlin; in UTC."""
    column = Column.model_validate({"type": "timestamp", **declared}).in_zone("Europe/Berlin")
    with connect("Europe/Berlin") as (connection, _), reading("a file"):
        found = cast("t", column, kind, "a file", notation or Notation())
        [(moment,)] = connection.sql(f"SELECT timezone('UTC', {found}) FROM (SELECT {value}::{kind} AS t)").fetchall()
        return moment and moment.replace(tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2025-10-26T02:30:00+02:00", SUMMER),
        ("2025-10-26 02:30:00+01", WINTER),
        ("2025-10-26T00:30:00Z", SUMMER),
        ("2025-10-26T00:30Z", SUMMER),
        ("2025-10-25 20:30:00.000000-0400", SUMMER),
    ],
)
def test_the_offset_of_a_text_counts(text: str, wanted: dt.datetime) -> None:
    assert read(f"'{text}'", "VARCHAR") == wanted
    assert read(f"'{text}'", "VARCHAR", written_in="America/New_York") == wanted


def test_a_declared_zone_gives_the_instant() -> None:
    assert read("'2025-10-26 00:30:00'", "VARCHAR", written_in="UTC") == SUMMER
    assert read("'2025-10-25 20:30:00'", "TIMESTAMP", written_in="America/New_York") == SUMMER
    assert read("'2025-10-25 20:30:00'", "TIMESTAMP_NS", written_in="America/New_York") == SUMMER
    assert read("'2025-07-01 12:00:00'", "TIMESTAMP", written_in="Europe/Berlin") == dt.datetime(2025, 7, 1, 10, tzinfo=dt.UTC)
    assert read("NULL", "VARCHAR") is None
    assert read("'26.10.2025 02:30 +0100'", "VARCHAR", Notation(timestamp_format="%d.%m.%Y %H:%M %z")) == WINTER
    assert read("'26.10.2025 00:30'", "VARCHAR", Notation(timestamp_format="%d.%m.%Y %H:%M"), written_in="UTC") == SUMMER


@pytest.mark.parametrize("kind", ["VARCHAR", "TIMESTAMP", "TIMESTAMP_NS"])
def test_an_hour_that_is_missing_or_comes_twice_is_never_guessed(kind: str) -> None:
    with pytest.raises(DataError, match=r"2025-03-30 02:30:00.*a time that the clocks of Europe/Berlin skip"):
        read("'2025-03-30 02:30:00'", kind, written_in="Europe/Berlin")
    with pytest.raises(DataError, match=r"2025-10-26 02:30:00.*show twice.*`repeated_hour: first` or `repeated_hour: second`"):
        read("'2025-10-26 02:30:00'", kind, written_in="Europe/Berlin")
    assert read("'2025-10-26 02:30:00'", kind, written_in="Europe/Berlin", repeated_hour="first") == SUMMER
    assert read("'2025-10-26 02:30:00'", kind, written_in="Europe/Berlin", repeated_hour="second") == WINTER


def test_a_time_without_a_zone_asks_for_one_line() -> None:
    line = "write `written_in: UTC` in the column in params.yaml.*`written_in: Europe/Berlin`.*repeated_hour"
    with pytest.raises(ConfigError, match=rf"column 't' of a file has times without a zone.*{line}"):
        read("'2025-07-01 12:00:00'", "TIMESTAMP")
    with pytest.raises(DataError, match=rf"holds '2025-07-01 12:00:00', which has no zone, and dataset.time_zone is Europe/Berlin: {line}"):
        read("'2025-07-01 12:00:00'", "VARCHAR")


@pytest.mark.parametrize(
    "text", ["2025-13-01 00:00:00+01:00", "2025-07-01 12:00:00+99:00", "noon", "2025-07-01 12:00:00.0000001Z", "01.07.2025 12:00"]
)
def test_a_text_that_is_not_a_time_is_refused_by_name(text: str) -> None:
    with pytest.raises(DataError, match="column 't' of a file holds"):
        read(f"'{text}'", "VARCHAR", written_in="UTC")


@pytest.mark.parametrize("zone", [" GMT", " CET", " Europe/Berlin", " America/New_York", "+02:00:30", " utc"])
def test_the_name_of_a_zone_is_never_dropped(zone: str) -> None:
    for written_in in ("UTC", "Europe/Berlin", None):
        with pytest.raises(DataError, match=r"column 't' of a file holds '2025-07-01 12:00:00") as refused:
            read(f"'2025-07-01 12:00:00{zone}'", "VARCHAR", written_in=written_in)
        assert "which has no zone" not in str(refused.value)


def test_nanoseconds_are_not_cut_off(tmp_path: Path) -> None:
    column = Column(type="timestamp").in_zone("Europe/Berlin")
    for nanoseconds, fits in ((1_761_438_600_000_001_000, True), (1_761_438_600_000_000_001, False)):
        pq.write_table(pa.table({"t": pa.array([nanoseconds]).cast(pa.timestamp("ns", "UTC"))}), tmp_path / "t.parquet")
        with connect("Europe/Berlin") as (connection, _):
            query = f"SELECT epoch_us({cast('t', column, 'TIMESTAMPTZ_NS', 'a file', Notation())}) FROM read_parquet('{tmp_path / 't.parquet'}')"
            if fits:
                assert connection.sql(query).fetchall() == [(1_761_438_600_000_001,)]
            else:
                with pytest.raises(duckdb.Error, match="holds"):
                    connection.sql(query).fetchall()


def test_a_date_needs_no_midnight(tmp_path: Path) -> None:
    column = Column(type="date").in_zone("America/Santiago")
    with connect("America/Santiago") as (connection, _), reading("a file"):
        found = cast("t", column, "VARCHAR", "a file", Notation())
        assert connection.sql(f"SELECT {found} FROM (SELECT '2025-09-07' AS t)").fetchall() == [(dt.date(2025, 9, 7),)]


@pytest.mark.parametrize("zone", ["+00", " GMT", " CET"])
def test_a_date_of_another_zone_is_not_taken_for_a_local_one(zone: str) -> None:
    column = Column(type="date").in_zone("America/Santiago")
    with connect("America/Santiago") as (connection, _), pytest.raises(duckdb.Error, match="holds '2025-07-01 00:00:00"):
        connection.sql(
            f"SELECT {cast('t', column, 'VARCHAR', 'a file', Notation())} FROM (SELECT '2025-07-01 00:00:00{zone}' AS t)"
        ).fetchall()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"time_zone": "Europe/Berln"}, "time_zone is 'Europe/Berln', which is not in the IANA database; did you mean Europe/Berlin?"),
        ({"columns": {"t": {"type": "date", "written_in": "UTC"}}}, "written_in is of a timestamp"),
        (
            {"columns": {"t": {"type": "timestamp", "written_in": "Utc/Berlin"}}},
            "written_in is 'Utc/Berlin', which is not in the IANA database",
        ),
        ({"columns": {"t": {"type": "timestamp", "repeated_hour": "first"}}}, "repeated_hour needs written_in"),
        (
            {"time_zone": None, "columns": {"t": {"type": "timestamp", "written_in": "UTC"}}},
            "columns.t.written_in is 'UTC', but the dataset has no time_zone",
        ),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    from pipelines.lib.tables.dataset import Dataset

    declared = {
        "name": "readings", "source": {"kind": "parquet", "path": "t.parquet"}, "key": ["t"], "event_time": "t", "time_zone": "Europe/Berlin",
        "label": {"name": "failed", "expression": "true", "delay_days": 1}, "columns": {"t": {"type": "timestamp"}},
    }  # fmt: skip
    with pytest.raises(ConfigError) as refused:
        parse_section({**declared, **changes}, Dataset, "dataset")
    assert said in str(refused.value)
