"""The label is true or false, or a number, as its task says: anything else would become an outcome that nobody declared."""

import duckdb
import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.labels import check_label, finite_outcome, task_seen, with_task
from tests.datasets import orders


def labelled(expression: str) -> Dataset:
    content = orders.params()["dataset"]
    content["label"]["expression"] = expression
    return parse_section(content, Dataset, "dataset")


@pytest.mark.parametrize("expression", ["refund IS NOT NULL", "gift", "NULL::BOOLEAN", "items > 2 AND channel = 'web'"])
def test_what_is_true_or_false_is_a_label(expression: str) -> None:
    check_label(duckdb.connect(), labelled(expression))


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("items", r"dataset\.label\.expression is 'items', which is a BIGINT; compare it, .* as in items > 0"),
        ("amount / 2", "which is a DOUBLE; compare it"),
        ("channel", "which is a VARCHAR; compare it, .* as in channel = 'one of its values'"),
        ("placed_at", "which is a TIMESTAMP; compare it"),
        ("refnd IS NULL", "refnd"),
    ],
)
def test_any_other_label_is_refused_with_what_to_write(expression: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_label(duckdb.connect(), labelled(expression))


def forecast(expression: str) -> Dataset:
    return with_task(labelled(expression), "regression")


@pytest.mark.parametrize("expression", ["items", "amount / 2", "refund", "amount::DECIMAL(10, 2)"])
def test_a_number_is_a_label_of_its_own_task(expression: str) -> None:
    check_label(duckdb.connect(), forecast(expression))


@pytest.mark.parametrize(
    ("expression", "said"), [("gift", "which is a BOOLEAN.*write task: binary"), ("channel", "which is a VARCHAR.*give a number")]
)
def test_what_is_not_a_number_is_not_forecast(expression: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_label(duckdb.connect(), forecast(expression))


def seen(expression: str, *rows: str) -> str:
    connection = duckdb.connect()
    columns = "order_id, placed_at, customer, product, channel, amount, items, gift, refund"
    values = ", ".join(
        f"('A', TIMESTAMP '2024-01-01', 'c', 'P', 'web', {amount}, {items}, true, NULL::DOUBLE)" for amount, items in map(str.split, rows)
    )
    connection.execute(f"CREATE TABLE rows AS SELECT * FROM (VALUES {values}) AS rows({columns})")
    return task_seen(connection, labelled(expression), "rows", "--label")


def test_the_task_follows_from_the_type_of_the_expression() -> None:
    rows = ("1.5 1", "2.5 2", "3.5 3")
    assert seen("amount", *rows) == seen("items", *rows) == "regression"
    assert seen("gift", *rows) == "binary"


def test_a_number_of_two_values_is_asked_about() -> None:
    with pytest.raises(
        ConfigError, match=r"--label is 'items', which is 0 or 1 in all rows; compare it, as in items = 1, .* or write task: regression"
    ):
        seen("items", "1.5 0", "2.5 1", "3.5 1")


def test_a_number_that_is_not_finite_is_not_an_outcome() -> None:
    connection = duckdb.connect()
    rows = "(VALUES (1.5::DOUBLE), ('inf'::DOUBLE), ('nan'::DOUBLE), (NULL)) AS rows(amount)"
    found = connection.sql(f"SELECT {finite_outcome(forecast('amount'))} FROM {rows}").fetchall()
    assert found == [(1.5,), (None,), (None,), (None,)]
