"""CSVs that can be read in two ways: `init` chooses none in silence."""

from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.lib.declarations.csv_doubts import csv_doubts
from pipelines.lib.declarations.draft import Draft, Wishes, draft
from pipelines.lib.declarations.source_description import describe_source
from pipelines.lib.sources import adapters
from pipelines.lib.tables.dataset import Source
from pipelines.lib.tables.engine import UTC, connect
from tests import rides

LABEL = Wishes(label="minutes_late >= 10", label_name="late", delay_days=2)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drafted(replaced: str, delimiter: str = ",", days: int = 20) -> Draft:
    query = f"SELECT * REPLACE ({replaced}) FROM ({rides.rides(days=days, per_day=20)})"
    duckdb.sql(f"COPY ({query}) TO 'rides.csv' (FORMAT csv, HEADER, DELIMITER '{delimiter}')")
    return draft("rides.csv", LABEL)


@pytest.mark.costly
@pytest.mark.parametrize("delimiter", [",", ";"])
def test_a_comma_that_may_group_thousands_is_not_taken_for_a_decimal_comma(delimiter: str) -> None:
    found = drafted("(100 + distance)::INT || ',' || lpad((distance * 100)::INT::VARCHAR, 3, '0') AS distance", delimiter)
    assert "decimal" not in found.dataset["source"]
    assert "distance" not in found.features["numeric"]
    assert any("distance is read as text: '100,000' has a decimal comma, or a comma that groups thousands" in one for one in found.warnings)


@pytest.mark.costly
def test_a_value_that_shows_a_decimal_comma_ends_the_doubt() -> None:
    found = drafted(
        "replace((1 + distance)::DECIMAL(9, 3)::VARCHAR, '.', ',') || CASE WHEN distance < 1 THEN '5' ELSE '' END AS distance", ";"
    )
    assert found.dataset["source"]["decimal"] == ","
    assert "distance" in found.features["numeric"]
    assert not found.warnings


@pytest.mark.costly
@pytest.mark.parametrize(
    "number",
    ["'1.' || lpad((distance * 100)::INT::VARCHAR, 3, '0') || ',50'", "'1,' || lpad((distance * 100)::INT::VARCHAR, 3, '0') || '.50'"],
)
def test_grouped_thousands_are_named_as_the_reason_for_text(number: str) -> None:
    found = drafted(f"{number} AS distance", ";")
    assert any("distance is read as text, since the thousands of '1" in one for one in found.warnings), found.warnings


@pytest.mark.costly
def test_points_that_may_group_thousands_are_named() -> None:
    found = drafted("CASE WHEN electric THEN '900' ELSE '1.250' END AS distance", ";")
    assert any("distance holds '1.250' and is read with a decimal point" in one for one in found.warnings), found.warnings
    assert drafted("CASE WHEN electric THEN '0.900' ELSE '1.250' END AS distance", ";").warnings == []


@pytest.mark.costly
@pytest.mark.parametrize(("form", "other"), [("%d/%m/%Y %H:%M", "%m/%d/%Y %H:%M"), ("%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M")])
def test_days_and_months_that_could_change_places_are_a_guess_with_a_warning(form: str, other: str) -> None:
    found = drafted(f"strftime(started_at, '{form}') AS started_at", days=12)
    assert found.dataset["source"]["timestamp_format"] == form  # read the other way, twelve days would be twelve months
    assert [one for one in found.warnings if f"can be read as {form} and as {other}, which are other dates" in one]
    assert drafted(f"strftime(started_at, '{form}') AS started_at", days=13).warnings == []


def test_words_that_are_read_as_missing_are_named() -> None:
    found = drafted("CASE WHEN city = 'Bonn' THEN 'NA' ELSE city END AS city")
    assert found.dataset["source"]["nulls"] == ["", "NA"]
    assert any(one.startswith("Read as missing in every column: NA.") for one in found.notes)


class Counting:
    """A connection that counts its queries."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self.connection = connection
        self.queries = 0

    def sql(self, query: str) -> Any:
        self.queries += 1
        return self.connection.sql(query)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.connection, name)


def queries_for(columns: int, kind: str) -> int:
    """Count the queries that describe a CSV of a number of `columns` of a `kind`, and find its doubts."""
    names = [f"c{number}" for number in range(columns)]
    rows = [",".join(names), *(",".join(["1.5" if kind == "float" else "a word"] * columns) for _ in range(5))]
    Path("wide.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    with connect(UTC) as (connection, scratch):
        counting: Any = Counting(connection)
        source = Source(**describe_source(counting, "wide.csv", scratch))
        scanned = adapters.scan(connection, source, {}, None, scratch)
        list(csv_doubts(counting, scanned, source, dict.fromkeys(names, kind)))
    return counting.queries


@pytest.mark.parametrize("kind", ["float", "string"])
def test_a_csv_is_not_read_again_for_each_of_its_columns(kind: str) -> None:
    assert queries_for(60, kind) == queries_for(3, kind)
