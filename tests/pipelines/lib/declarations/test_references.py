"""Which columns a declaration uses."""

import duckdb
import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.declarations.references import used_columns


def test_every_expression_is_looked_into_and_joined_columns_are_not_columns_of_the_events() -> None:
    dataset = {
        "source": {"kind": "parquet", "path": "x"},
        "key": ["id"],
        "event_time": "at",
        "label": {"expression": "refund IS NOT NULL"},
        "known_later": ["refund"],
        "tables": {"shops": {"columns": {"shop": {"type": "string"}, "size": {"type": "float"}}}},
    }
    features = {
        "joins": {"near": {"table": "shops", "key": {"shop": "lower(shop_name)"}}},
        "numeric": {"amount": {"missing": 0}, "size": {"expression": 'near_size + "unit price"', "missing": 0}},
        "categorical": {"kind": {}},
        "same_day": {"n": {"by": ["customer"]}},
        "lagged": {"late": {"by": ["hour(at)"], "value": "coalesce(fee, 0)", "window_days": 7}},
    }
    found = used_columns(duckdb.connect(), dataset, features)
    assert found == ["at", "id", "refund", "shop_name", "amount", "unit price", "kind", "customer", "fee"]


def test_a_declaration_without_a_key_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"dataset\.key is missing"):
        used_columns(duckdb.connect(), {"source": {"kind": "parquet"}}, {})
