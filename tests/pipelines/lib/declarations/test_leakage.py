"""Signs that a column knows the outcome."""

import duckdb
import pytest

from pipelines.lib.declarations.facts import EVENTS
from pipelines.lib.declarations.leakage import signs
from pipelines.lib.tables.dataset import Dataset

DATASET = Dataset.model_validate(
    {
        "name": "x",
        "source": {"kind": "parquet", "path": "x"},
        "key": ("id",),
        "event_time": "at",
        "label": {"name": "bad", "expression": "outcome > 0", "delay_days": 1},
        "columns": {
            "id": {"type": "integer"}, "at": {"type": "date"}, "outcome": {"type": "integer", "nulls": 1.0}, "fair": {"type": "integer"},
            "copy": {"type": "float"}, "word": {"type": "string"}, "name": {"type": "string"}, "late": {"type": "boolean"}, "mirror": {"type": "float"},
        },
        "known_later": ("outcome",),
    }
)  # fmt: skip


@pytest.fixture
def connection() -> duckdb.DuckDBPyConnection:
    """A connection with 2,000 events of 20 dates, of which each third is bad; the outcomes of the last date are not known yet."""
    connection = duckdb.connect()
    connection.execute(
        f"""CREATE TABLE {EVENTS} AS SELECT id, DATE '2024-01-01' + (id // 100)::INT AS at,
        CASE WHEN id < 1900 THEN (id % 3 = 0)::INT END AS outcome, (id * 7919) % 100 AS fair, 100.0 - 5 * (id % 3 = 0)::INT AS copy,
        CASE WHEN id % 3 = 0 THEN 'refunded' ELSE 'kept' END AS word, 'n' || id AS name, CASE WHEN id < 1700 THEN id % 2 = 0 END AS late,
        CASE WHEN id < 1900 THEN 1.0 END AS mirror FROM range(2000) AS t(id)"""
    )
    return connection


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("copy", "predicts the label alone, with an AUC of 1.000"),
        ("word", "predicts the label alone, with an AUC of 1.000"),
        ("late", "is missing in 100% of the rows of the last 3 dates, but in 0% of those before"),
        ("mirror", "is missing exactly where the label is"),
    ],
)
def test_a_column_that_knows_the_outcome_is_named(connection: duckdb.DuckDBPyConnection, column: str, reason: str) -> None:
    assert [(sign.column, sign.reason) for sign in signs(connection, DATASET, [column])] == [(column, reason)]


def test_neither_a_fair_column_nor_a_name_of_each_row_is_a_sign(connection: duckdb.DuckDBPyConnection) -> None:
    assert signs(connection, DATASET, ["fair", "name", "outcome", "id", "at"]) == []
