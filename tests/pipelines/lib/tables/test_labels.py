"""The label must be true or false: a number or a text would become an outcome that nobody declared."""

import duckdb
import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.labels import check_label
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
        ("channel", "which is a VARCHAR; compare it, .* as in channel = 'yes'"),
        ("placed_at", "which is a TIMESTAMP; compare it"),
        ("refnd IS NULL", "refnd"),
    ],
)
def test_any_other_label_is_refused_with_what_to_write(expression: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_label(duckdb.connect(), labelled(expression))
