"""How far a source reaches: a time that no night will have is counted, and moves neither end."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources import adapters
from pipelines.lib.sources.reach import Reach, Window
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import UTC, connect
from tests.datasets import orders

END = dt.date(2024, 5, 30)
COLUMNS = {"at": Column(type="timestamp")}


def reach(directory: Path, times: list[dt.datetime], suffix: str, window: Window) -> Reach | None:
    directory.mkdir(exist_ok=True)
    orders.write(pa.table({"at": pa.array(times, pa.timestamp("us"))}), directory / f"events.{suffix}")
    path = str(directory / f"events.{suffix}")
    source = (
        Source(kind="sql", url=f"sqlite:///{path}", table="events")
        if suffix == "db"
        else Source.model_validate({"kind": suffix, "path": path})
    )
    with connect(UTC) as (connection, scratch):
        return adapters.scan(connection, source, COLUMNS, window, scratch).reach


@pytest.mark.costly
@pytest.mark.parametrize("suffix", ["parquet", "csv", "db"])
def test_what_is_not_plausible_is_counted_and_moves_no_end(suffix: str, tmp_path: Path) -> None:
    days = ["0204-05-29", "1970-01-01", "2024-05-20", "2024-05-28", "2024-06-03", "2025-01-01", "2204-05-29", "9999-12-31"]
    times = [dt.datetime.fromisoformat(f"{day}T08:00:00") for day in days]
    found = reach(tmp_path, times, suffix, Window("at", None, END))
    assert found == Reach(dt.date(2024, 5, 20), dt.date(2025, 1, 1), dt.date(2024, 6, 3), too_early=2, too_late=2)
    wider = Window("at", None, END, plausible_days=90_000)
    assert reach(tmp_path / "wider", times[1:], suffix, wider) == Reach(
        dt.date(1970, 1, 1), dt.date(2204, 5, 29), dt.date(2024, 6, 3), too_late=1
    )


@pytest.mark.parametrize("suffix", ["parquet", "csv", "db"])
def test_the_plausible_ends_with_its_last_day(suffix: str, tmp_path: Path) -> None:
    window = Window("at", None, END, plausible_days=10)
    times = ["2024-05-19T23:59:59", "2024-05-20T00:00:00", "2024-06-09T23:59:59", "2024-06-10T00:00:00"]
    found = reach(tmp_path, [dt.datetime.fromisoformat(time) for time in times], suffix, window)
    assert found == Reach(dt.date(2024, 5, 20), dt.date(2024, 6, 9), dt.date(2024, 6, 9), too_early=1, too_late=1)


def test_infinity_is_too_late(tmp_path: Path) -> None:
    pq.write_table(pa.table({"at": pa.array([2**63 - 1, -(2**63) + 1, 1716969600000000], pa.timestamp("us"))}), tmp_path / "events.parquet")
    with connect(UTC) as (connection, scratch):
        source = Source(kind="parquet", path=str(tmp_path / "events.parquet"))
        found = adapters.scan(connection, source, COLUMNS, Window("at", None, END), scratch).reach
    assert found == Reach(dt.date(2024, 5, 29), dt.date(2024, 5, 29), dt.date(2024, 5, 29), too_early=1, too_late=1)


@pytest.mark.parametrize("plausible_days", [1, 10_958, 10_000_000])
def test_the_plausible_range_is_within_the_calendar(plausible_days: int) -> None:
    first, last = Window("at", None, END, plausible_days).plausible
    assert dt.date.min <= first < END < last <= dt.date.max


@pytest.mark.costly
@pytest.mark.parametrize("offset", ["+99:00", "-15:00", "+02:75", "+9900", "+99:0"])
def test_an_offset_of_no_zone_is_refused(offset: str, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(f"at\n2024-05-29 08:00:00{offset}\n")
    with connect(UTC) as (connection, scratch), pytest.raises(DataError, match=r"2024-05-29 08:00:00[+-].* which is not of type timestamp"):
        adapters.scan(connection, Source(kind="csv", path=str(tmp_path / "events.csv")), COLUMNS, Window("at", None, END), scratch)


@pytest.mark.costly
@pytest.mark.parametrize("offset", ["+14:00", "-12:00", "+05:45", "+02", "Z", ""])
def test_an_offset_of_a_zone_is_read(offset: str, tmp_path: Path) -> None:
    (tmp_path / "events.csv").write_text(f"at\n2024-05-29 12:00:00{offset}\n")
    with connect(UTC) as (connection, scratch):
        found = adapters.scan(
            connection, Source(kind="csv", path=str(tmp_path / "events.csv")), COLUMNS, Window("at", None, END), scratch
        ).reach
    assert found is not None
    assert found.last in (dt.date(2024, 5, 28), dt.date(2024, 5, 29), dt.date(2024, 5, 30))
