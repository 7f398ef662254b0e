"""The declaration of a table: what contradicts itself is refused by name."""

from typing import Any

import pytest

from pipelines.lib.dataset import Dataset
from pipelines.lib.errors import ConfigError
from pipelines.lib.params import parse_section
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
        ({"known_later": ["placed_at"]}, "placed_at cannot be both"),
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


@pytest.mark.parametrize("taken", ["rank", "distance", "outcome", "run_ref", "neighbour_order_id"])
def test_a_key_may_not_be_called_as_what_is_published_beside_it(taken: str) -> None:
    columns = orders.params()["dataset"]["columns"] | {taken: {"type": "integer"}}
    assert declared(columns=columns).key == ("order_id",), "any other column may"
    with pytest.raises(ConfigError, match=f"{taken} in the key is a name that Nightshift publishes"):
        declared(columns=columns, key=["order_id", taken])


def test_a_side_table_may_not_take_the_events_file() -> None:
    side = orders.params()["dataset"]["tables"]["products"]
    with pytest.raises(ConfigError, match="events"):
        declared(tables={"events": side})
