"""The gate of a side table: a feed that is gone, late, short, empty or doubled is stopped; every night of 2013 passes."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.validate_batch import ValidateBatch, validate_batch
from pipelines.data.validate_history import ValidateHistory, validate_history
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.gates import FAILED, NOT_JUDGED, PASSED, Finding, Report
from pipelines.lib.gates.side_tables import judge_dates, judge_side_tables
from pipelines.lib.sources import flights
from pipelines.lib.sources.casts import ARROW_TYPES
from pipelines.lib.tables.dataset import Dataset, SideTable, load_dataset
from pipelines.lib.tables.engine import UTC, connect
from tests.gate_data import NIGHT, ORDERS, write_night

RATES: dict[str, Any] = {
    "source": {"kind": "parquet", "path": "rates.parquet"},
    "key": ["country", "at"],
    "event_time": "at",
    "columns": {"country": {"type": "string"}, "at": {"type": "timestamp"}, "rate": {"type": "float", "nulls": 0.1, "minimum": 0}},
}
SHOPS: dict[str, Any] = {
    "source": {"kind": "parquet", "path": "shops.parquet"},
    "key": ["shop"],
    "columns": {"shop": {"type": "string"}, "size": {"type": "integer", "nulls": 0.5}},
}

Change = Callable[[pd.DataFrame], pd.DataFrame]


def dataset(**tables: dict[str, Any]) -> Dataset:
    return parse_section(ORDERS.model_dump(mode="json") | {"tables": tables}, Dataset, "dataset")


def rates(every_days: int = 1) -> pd.DataFrame:
    """Write ten countries on each day, or on every n-th day, up to the night."""
    days = [NIGHT - dt.timedelta(days=day) for day in range(0, 35, every_days)]
    return pd.DataFrame([{"country": f"C{n}", "at": pd.Timestamp(day), "rate": 1.0 + n} for day in days for n in range(10)])


def written(raw: Path, table: str, content: pd.DataFrame, declared: dict[str, Any]) -> None:
    schema = pa.schema([(column, ARROW_TYPES[kind["type"]]) for column, kind in declared["columns"].items()])
    pq.write_table(pa.Table.from_pandas(content, schema=schema, preserve_index=False), raw / f"{table}.parquet")


def judged(raw: Path, change: Change = lambda table: table, *, every_days: int = 1, **more: Any) -> Report:
    write_night(raw)
    written(raw, "rates", change(rates(every_days)), RATES)
    return validate_batch(dataset(rates=RATES | more), ValidateBatch(), partition=NIGHT, raw=raw)


def failed(report: Report) -> set[tuple[str, str | None]]:
    return {(finding.type.removeprefix("expect_"), finding.column) for finding in report.failures}


def tonight(change: Change) -> Change:
    def changed(table: pd.DataFrame) -> pd.DataFrame:
        of_tonight = table["at"] == pd.Timestamp(NIGHT)
        return pd.concat([table[~of_tonight], change(table[of_tonight])])

    return changed


BAD_TABLES: dict[str, tuple[Change, set[tuple[str, str | None]]]] = {
    "gone": (lambda table: table.head(0), {("table_row_count_to_be_between", "rates")}),
    "late": (tonight(lambda rows: rows.head(0)), {("table_row_count_to_be_between", "rates"), ("column_max_to_be_between", "rates.at")}),
    "short": (tonight(lambda rows: rows.head(4)), {("table_row_count_to_be_between", "rates")}),
    "empty column": (tonight(lambda rows: rows.assign(rate=None)), {("column_values_to_not_be_null", "rates.rate")}),
    "more missing than declared": (
        tonight(lambda rows: rows.assign(rate=rows["rate"].where(rows["rate"] > 2))),
        {("column_values_to_not_be_null", "rates.rate")},
    ),
    "key twice": (tonight(lambda rows: pd.concat([rows, rows.head(1)])), {("compound_columns_to_be_unique", "rates.country, at")}),
    "key missing": (tonight(lambda rows: rows.assign(country=rows["country"].where(rows["country"] != "C0"))), {("column_values_to_not_be_null", "rates.country")}),
    "out of range": (tonight(lambda rows: rows.assign(rate=-1.0)), {("column_values_to_be_between", "rates.rate")}),
}  # fmt: skip


@pytest.mark.costly
def test_an_ordinary_side_table_passes(tmp_path: Path) -> None:
    report = judged(tmp_path)
    assert report.passed, failed(report)
    assert {("rates", "expect_table_row_count_to_be_between"), ("rates.at", "expect_column_max_to_be_between")} <= {
        (str(finding.column), finding.type) for finding in report.holding
    }


@pytest.mark.costly
@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_side_table_stops_the_night(case: str, tmp_path: Path) -> None:
    change, expected = BAD_TABLES[case]
    assert failed(judged(tmp_path, change)) == expected


@pytest.mark.slow
def test_a_weekly_table_is_compared_with_its_own_rhythm(tmp_path: Path) -> None:
    def until(days_before: int) -> Change:
        """Leave rows of every seventh day, the newest of them some days before the night."""
        return lambda table: table.assign(at=table["at"] - pd.Timedelta(days=days_before))

    for days in (0, 3, 6):
        report = judged(tmp_path / str(days), until(days), every_days=7)
        assert report.passed, failed(report)
    assert failed(judged(tmp_path / "late", until(7), every_days=7)) == {
        ("table_row_count_to_be_between", "rates"),
        ("column_max_to_be_between", "rates.at"),
    }
    assert failed(judged(tmp_path / "declared", until(3), every_days=7, fresh_within_days=2)) == {("column_max_to_be_between", "rates.at")}


@pytest.mark.costly
def test_a_table_without_a_past_is_judged_by_what_a_join_may_use_and_says_so(tmp_path: Path) -> None:
    report = judged(tmp_path, lambda table: table[table["at"] == pd.Timestamp(NIGHT)])
    assert report.passed
    unjudged = {(finding.type, finding.column): finding.observed for finding in report.unjudged}
    assert unjudged["expect_table_row_count_to_be_between", "rates"] == "not judged: no earlier date to compare with"
    assert unjudged["expect_column_max_to_be_between", "rates.at"] == "not judged: too few dates have rows (1) to show a rhythm"


@pytest.mark.costly
def test_misdated_rows_of_a_side_table_stop_the_night(tmp_path: Path) -> None:
    assert judged(tmp_path).passed
    facts = json.loads((tmp_path / "source.json").read_text())
    facts["reach_of_tables"]["rates"] |= {"too_late": 3}
    (tmp_path / "source.json").write_text(json.dumps(facts))
    for tolerated, expected in ((0, {("column_values_to_be_between", "rates.at")}), (3, set())):
        tables = dataset(rates=RATES | {"misdated_rows": tolerated})
        assert failed(validate_batch(tables, ValidateBatch(), partition=NIGHT, raw=tmp_path)) == expected


@pytest.mark.costly
@pytest.mark.parametrize(
    ("rows", "declared", "expected"),
    [
        ({"shop": ["north", "south"], "size": [1, None]}, {}, set()),
        ({"shop": [], "size": []}, {}, {("table_row_count_to_be_between", "shops")}),
        ({"shop": ["north"], "size": [1]}, {"row_count": {"minimum_rows": 2}}, {("table_row_count_to_be_between", "shops")}),
        ({"shop": ["north", "north"], "size": [1, 2]}, {}, {("column_values_to_be_unique", "shops.shop")}),
        ({"shop": ["north", "south"], "size": [None, None]}, {}, {("column_values_to_not_be_null", "shops.size")}),
    ],
)
def test_a_table_without_a_time_is_judged_whole(
    rows: dict[str, Any], declared: dict[str, Any], expected: set[tuple[str, str]], tmp_path: Path
) -> None:
    write_night(tmp_path)
    written(tmp_path, "shops", pd.DataFrame(rows), SHOPS)
    assert failed(validate_batch(dataset(shops=SHOPS | declared), ValidateBatch(), partition=NIGHT, raw=tmp_path)) == expected


@pytest.mark.costly
def test_the_history_is_judged_with_all_rows_of_its_side_tables(tmp_path: Path) -> None:
    write_night(tmp_path)
    old = rates().assign(rate=lambda table: table["rate"].where(table["at"] > pd.Timestamp(NIGHT) - pd.Timedelta(days=20)))
    written(tmp_path, "rates", old, RATES)
    report = validate_history(dataset(rates=RATES), ValidateHistory(), partition=NIGHT + dt.timedelta(days=1), raw=tmp_path)
    assert ("column_values_to_not_be_null", "rates.rate") in failed(report)


def test_freshness_needs_a_time() -> None:
    with pytest.raises(ConfigError, match="fresh_within_days needs event_time"):
        parse_section(SHOPS | {"fresh_within_days": 1}, SideTable, "tables.shops")


@pytest.fixture(scope="module")
def weather() -> dict[str, int]:
    """Return how many observations each date of 2013 had."""
    with connect(UTC) as (connection, _):
        per_date = f"SELECT hour_start::DATE::VARCHAR, count(*) FROM {flights.scan(connection, 'weather')} GROUP BY 1"
        return dict(connection.sql(per_date).fetchall())


@pytest.mark.costly
def test_the_weather_passes_on_every_night_of_2013_and_fails_on_any_without_it(weather: dict[str, int]) -> None:
    side = load_dataset().tables["weather"]

    def verdicts(night: dt.date, counts: dict[str, int]) -> set[str]:
        recent = {date: rows for date, rows in counts.items() if str(night - dt.timedelta(days=90)) <= date <= str(night)}
        findings: list[Finding] = list(judge_dates("weather", side, recent, night))
        return {finding.verdict for finding in findings}

    nights = [dt.date(2013, 1, 1) + dt.timedelta(days=day) for day in range(365)]
    assert [night for night in nights if FAILED in verdicts(night, weather)] == []
    gone = [night for night in nights if FAILED in verdicts(night, {date: rows for date, rows in weather.items() if date != str(night)})]
    told_nothing = {dt.date(2013, 1, day) for day in (2, 3, 4)} | {dt.date(2013, 12, 31)}  # too little before, and a quiet date
    assert gone == [night for night in nights if night not in told_nothing]
    assert verdicts(nights[-1], weather) == {PASSED, NOT_JUDGED}


def test_nothing_is_found_where_there_is_no_side_table(tmp_path: Path) -> None:
    assert judge_side_tables(ORDERS, tmp_path, first=NIGHT, night=NIGHT) == []
