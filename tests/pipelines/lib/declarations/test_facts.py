"""The facts of a table: rows and outcomes of each date, values and missing shares of each column."""

import datetime as dt

import duckdb
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.declarations.facts import EVENTS, Day, Facts, read_facts, worst_missing_share, worst_unseen_share
from pipelines.lib.tables.dataset import Dataset
from tests import rides

COLUMNS = {
    "ride": {"type": "string"},
    "started_at": {"type": "timestamp"},
    "city": {"type": "string", "nulls": 1},
    "minutes_late": {"type": "integer", "nulls": 1},
}
DATASET = parse_section({**rides.DECLARED["dataset"], "name": "rides", "columns": COLUMNS}, Dataset, "dataset")


def loaded(query: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect()
    connection.execute(f"CREATE TEMP TABLE {EVENTS} AS SELECT ride, started_at, city, minutes_late FROM ({query})")
    return connection


def facts(query: str) -> Facts:
    return read_facts(loaded(query), DATASET, "rides.parquet")


def test_each_date_has_its_rows_outcomes_and_last_minute() -> None:
    found = facts(rides.rides(days=10))
    # The first of January 2024 is a Monday; 100 rides are spread over its minutes, and minutes_late is the number times 31, modulo 13.
    late = sum(number * 31 % 13 >= 10 for number in range(100))
    assert found.days[rides.FIRST] == Day(100, 100, late, 99 * 1440 // 100, total=late)
    assert (found.first, found.last, found.rows) == (rides.FIRST, dt.date(2024, 1, 10), 880)
    assert found.null_until_known


def test_a_date_without_rows_counts_nothing() -> None:
    found = facts(f"SELECT * FROM ({rides.rides(days=12)}) WHERE started_at::DATE <> DATE '2024-01-05'")
    assert found.counts[dt.date(2024, 1, 5)] == 0
    assert len(found.counts) == 12


def test_outcomes_begin_with_the_first_one_that_is_known() -> None:
    query = f"SELECT * REPLACE (CASE WHEN started_at >= '2024-01-04' THEN minutes_late END AS minutes_late) FROM ({rides.rides(days=10)})"
    found = facts(query)
    assert found.first_outcome == dt.date(2024, 1, 4)
    assert found.labelled(found.first, dt.date(2024, 1, 4)) == 0
    assert "the first of 2024-01-04" in found.outcomes_in_words()


def test_columns_have_their_values_and_the_worst_week_of_missing_ones() -> None:
    query = f"SELECT * REPLACE (CASE WHEN started_at < '2024-01-08' THEN NULL ELSE city END AS city) FROM ({rides.rides(days=14)})"
    column = facts(query).columns["city"]
    assert column.worst_nulls == 1
    assert column.nulls == pytest.approx(0.52, abs=0.01)
    assert sorted(column.values or ()) == ["Bonn", "Köln", "Mainz"]
    assert facts(query).columns["ride"].values is None, "too many to list"


def test_a_table_of_a_few_dates_is_refused() -> None:
    with pytest.raises(DataError, match=r"rides\.parquet has rows of 7 dates; at least 8 are needed"):
        facts(rides.rides(days=7))


def test_shares_are_those_of_the_worst_date() -> None:
    connection = loaded(
        f"SELECT * REPLACE (CASE WHEN started_at::DATE = DATE '2024-01-03' THEN 'Trier' ELSE city END AS city) FROM ({rides.rides(days=10)})"
    )
    assert worst_unseen_share(connection, "city", ("Bonn", "Köln", "Mainz"), DATASET) == 1
    assert worst_missing_share(connection, "city", DATASET) == pytest.approx(0.05, abs=0.011)
