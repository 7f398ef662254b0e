"""Bands of side tables: each where the table needs one, and what the gate of a night makes of it."""

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.params import parse_section
from pipelines.lib.declarations.side_tables import band_of_dates, derive_side_tables
from pipelines.lib.gates.side_tables import judge_dates
from pipelines.lib.tables.dataset import Dataset, SideTable
from pipelines.lib.tables.engine import UTC, connect
from tests import rides

DAY = dt.date(2024, 1, 1)


def dataset(**tables: Any) -> Dataset:
    columns = {"ride": {"type": "string"}, "started_at": {"type": "timestamp"}, "minutes_late": {"type": "integer", "nulls": 1}}
    content = {**rides.DECLARED["dataset"], "name": "rides", "columns": columns, "tables": tables}
    return parse_section(content, Dataset, "dataset")


def side(path: str, **more: Any) -> dict[str, Any]:
    return {"source": {"kind": "parquet", "path": path}, "key": ["city"], "columns": {"city": {"type": "string"}}, **more}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def derived(dataset: Dataset) -> dict[str, Any]:
    with connect(UTC) as (connection, scratch):
        return derive_side_tables(connection, dataset, scratch)


def test_a_table_without_a_time_may_not_lose_half_of_its_rows() -> None:
    rides.write(Path("cities.parquet"), "SELECT 'city ' || range AS city FROM range(431)")
    assert derived(dataset(cities=side("cities.parquet"))) == {"cities": {"row_count": {"minimum_rows": 210}}}


def test_a_table_of_each_date_gets_the_band_of_its_rows() -> None:
    query = f"SELECT DATE '{DAY}' + day::INT AS day, 'city ' || number AS city FROM range(60) AS d(day), range(40) AS n(number)"
    rides.write(Path("weather.parquet"), query)
    declared = side("weather.parquet", event_time="day", key=["city", "day"])
    declared["columns"]["day"] = {"type": "date"}
    [(table, found)] = derived(dataset(weather=declared)).items()
    assert (table, found["row_count"]) == (
        "weather",
        {"every_days": 1, "minimum_ratio": 0.8, "maximum_ratio": 10.0, "minimum_rows": 10},
    )


def verdicts(rows: dict[dt.date, int], night: dt.date) -> list[str]:
    declared = side("prices.parquet", event_time="day", key=["city", "day"], row_count=band_of_dates(rows))
    declared["columns"]["day"] = {"type": "date"}
    counts = {str(date): count for date, count in rows.items() if date <= night}
    return [finding.verdict for finding in judge_dates("prices", parse_section(declared, SideTable, "side"), counts, night)]


def test_a_night_without_a_row_of_a_price_list_passes_until_the_list_is_late() -> None:
    """Prices come every third day. Without a derived band, a night is refused whose weekday had prices before."""
    rows = {DAY + dt.timedelta(days=3 * step): 3 for step in range(40)}
    for night in (max(rows) + dt.timedelta(days=days) for days in (0, 1, 2)):
        assert "failed" not in verdicts(rows, night)
    assert "failed" in verdicts(rows, max(rows) + dt.timedelta(days=3))


def test_a_few_dates_say_nothing() -> None:
    assert band_of_dates({DAY + dt.timedelta(days=day): 5 for day in range(27)}) == {}
    assert band_of_dates({}) == {}
