"""Candidates for key and label: proven on all rows, not guessed from some."""

import duckdb
import pytest

from pipelines.lib.declarations.candidates import label_candidates, named_as_key, unique_keys
from pipelines.lib.declarations.facts import EVENTS


def keys(query: str, kinds: dict[str, str]) -> list[tuple[str, ...]]:
    connection = duckdb.connect()
    connection.execute(f"CREATE TEMP TABLE {EVENTS} AS {query}")
    return unique_keys(connection, kinds)


def test_the_shortest_combination_is_a_key() -> None:
    query = "SELECT range // 10 AS shop, range % 10 AS number, 'same' AS country FROM range(1000)"
    assert keys(query, {"shop": "integer", "number": "integer", "country": "string"}) == [("shop", "number")]
    assert keys(f"SELECT *, shop * 10 + number AS id FROM ({query})", {"shop": "integer", "number": "integer", "id": "integer"}) == [
        ("id",)
    ]


def test_one_repeated_row_after_the_sample_rules_a_key_out() -> None:
    query = "SELECT CASE WHEN range = 29999 THEN 0 ELSE range END AS id FROM range(30000)"
    assert keys(query, {"id": "integer"}) == []


def test_a_column_with_a_missing_value_is_not_a_key() -> None:
    assert keys("SELECT CASE WHEN range > 0 THEN range END AS id FROM range(100)", {"id": "integer"}) == []


def test_a_float_is_not_a_key() -> None:
    assert keys("SELECT range / 7 AS x FROM range(100)", {"x": "float"}) == []


def test_a_name_with_quotes_and_spaces_is_a_key() -> None:
    assert keys('SELECT range AS "the ""id"" of it" FROM range(100)', {'the "id" of it': "integer"}) == [('the "id" of it',)]


@pytest.mark.parametrize(("column", "is_key"), [("order_id", True), ("shopId", True), ("KEY", True), ("width", False), ("idea", False)])
def test_a_word_of_the_name_tells_a_key(column: str, is_key: bool) -> None:
    assert named_as_key(column) is is_key


def test_columns_of_two_values_can_be_labels() -> None:
    kinds = {
        "won": "boolean",
        "is won": "boolean",
        "state": "string",
        "code": "integer",
        "many": "string",
        "order": "string",
        "end": "boolean",
    }
    values = {"state": ("new", "done"), "code": (1, 2), "many": ("a", "b", "c"), "order": ("it's", "a")}
    offered = ["won", '"is won"', "state = 'new'", "code = 2", "\"order\" = 'it''s'", '"end"']
    assert label_candidates(duckdb.connect(), kinds, values) == offered
