"""The declaration of a table: what contradicts itself is refused by name."""

from typing import Any

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.tables.dataset import Dataset
from tests.datasets import orders


def declared(**changes: Any) -> Dataset:
    return parse_section({**orders.params()["dataset"], **changes}, Dataset, "params.yaml: dataset")


def test_the_second_dataset_is_well_declared() -> None:
    assert declared().key == ("order_id",)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"key": ["nobody"]}, "nobody"),
        ({"event_time": "amount"}, "'amount' is a float"),
        ({"known_later": ["refunded"]}, "refunded"),
        ({"known_later": ["placed_at"]}, "known_later names placed_at, which cannot be both"),
        ({"label": {"name": "score", "expression": "true", "delay_days": 1}}, "score is a name that Nightshift writes"),
        ({"label": {"name": "amount", "expression": "true", "delay_days": 1}}, "also a column"),
        ({"source": {"kind": "csv"}}, "needs `path`"),
        ({"source": {"kind": "sql", "url": "sqlite:///x.db"}}, "either `table` or `query`"),
        ({"source": {"kind": "flights"}}, "needs `table`"),
        ({"source": {"kind": "excel", "path": "x"}}, "source.kind"),
        ({"colums": {}}, "colums"),
    ],
)
def test_a_wrong_declaration_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        declared(**changes)


@pytest.mark.costly
@pytest.mark.parametrize("taken", ["rank", "distance", "outcome", "run_ref", "neighbour_order_id"])
def test_a_key_may_not_have_the_name_of_a_published_column(taken: str) -> None:
    columns = orders.params()["dataset"]["columns"] | {taken: {"type": "integer"}}
    assert declared(columns=columns).key == ("order_id",), "any other column may"
    with pytest.raises(ConfigError, match=f"{taken} in the key is a name that Nightshift publishes"):
        declared(columns=columns, key=["order_id", taken])


def test_a_side_table_may_not_take_the_events_file() -> None:
    side = orders.params()["dataset"]["tables"]["products"]
    with pytest.raises(ConfigError, match="events"):
        declared(tables={"events": side})


def with_column(column: str, **declared_as: Any) -> dict[str, Any]:
    return orders.params()["dataset"]["columns"] | {column: declared_as}


@pytest.mark.parametrize("side", [False, True])
def test_a_part_of_a_key_may_not_be_missing(side: bool) -> None:
    """Two missing parts are not equal to SQL: such a row had no outcome and no evidence, and two of them counted as unique."""
    table = orders.params()["dataset"]["tables"]["products"]
    table["columns"]["product"]["nulls"] = 0.5
    changes = {"tables": {"products": table}} if side else {"columns": with_column("order_id", type="string", nulls=0.5)}
    with pytest.raises(ConfigError, match=r"nulls is 0\.5, but '(order_id|product)' is part of the key"):
        declared(**changes)


def test_a_time_may_not_be_missing() -> None:
    with pytest.raises(ConfigError, match="belongs to no partition"):
        declared(columns=with_column("placed_at", type="timestamp", nulls=0.1))


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"columns": with_column("Amount", type="float")}, "'amount' and 'Amount', which differ only by case"),
        ({"label": {"name": "Amount", "expression": "true", "delay_days": 1}}, "differs from the column 'amount' only by case"),
        ({"label": {"name": "Score", "expression": "true", "delay_days": 1}}, "Score is a name that Nightshift writes"),
        ({"tables": {"Events": orders.params()["dataset"]["tables"]["products"]}}, "Events: this file name is taken"),
    ],
)
def test_names_that_differ_only_by_case_are_refused_by_the_names_of_the_file(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        declared(**changes)


@pytest.mark.parametrize(
    ("kind", "values", "typed"),
    [
        ("integer", [1, 2, "-3", 9007199254740993], [1, 2, -3, 9007199254740993]),
        ("boolean", [True, "false"], [True, False]),
        ("string", ["1"], ["1"]),
    ],
)
def test_values_have_the_type_of_their_column(kind: Any, values: list[Any], typed: list[Any]) -> None:
    column = declared(columns=with_column("more", type=kind, values=values)).columns["more"]
    assert column.typed_values() == typed
    assert [type(value) for value in column.typed_values()] == [type(value) for value in typed]
    assert all(isinstance(value, str) for value in column.values or ())


@pytest.mark.parametrize(
    ("kind", "limits"),
    [
        ("integer", {"values": ["one"]}),
        ("integer", {"values": [True]}),
        ("integer", {"values": [1.5]}),
        ("boolean", {"values": ["yes"]}),
        ("string", {"values": [False]}),  # NO, the country, to YAML
        ("float", {"values": ["1.5"]}),
        ("date", {"values": ["2024-01-01"]}),
        ("string", {"minimum": 1}),
        ("timestamp", {"maximum": 1}),
    ],
)
def test_limits_that_no_value_of_the_column_could_keep_are_refused(kind: Any, limits: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"columns\.more"):
        declared(columns=with_column("more", type=kind, **limits))


def test_the_bounds_of_an_integer_column_are_exact() -> None:
    column = declared(columns=with_column("more", type="integer", maximum=9007199254740993)).columns["more"]
    assert column.maximum == 9007199254740993
    assert isinstance(column.maximum, int)


def test_a_declaration_comes_back_from_its_own_dump() -> None:
    """Its defaults are written out: those of a CSV stand next to a Parquet source, and are not declaration of a dialect."""
    dataset = declared()
    assert parse_section(dataset.model_dump(mode="json"), Dataset, "dataset") == dataset
