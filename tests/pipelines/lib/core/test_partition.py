"""A partition from outside is a date, or is refused before anything is made of it."""

import datetime as dt

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.partition import parse_partition


def test_a_date() -> None:
    assert parse_partition("2013-06-01") == dt.date(2013, 6, 1)


@pytest.mark.parametrize(
    "text",
    [
        "../../etc",
        "2013-6-1",
        "20130601",
        "2013-06-01 ",
        "2013-06-01\n",
        "2013-02-30",
        "2013-13-01",
        "'; DROP TABLE x; --",
        "",
        "２０１３-06-01",
        "9" * 10_000,
    ],
)
def test_anything_else_is_refused_in_a_short_message(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_partition(text)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("value", [None, 20130601, dt.date(2013, 6, 1), ["2013-06-01"], {"a": 1}])
def test_a_value_that_is_not_a_string_is_refused_with_the_advice_to_quote_it(value: object) -> None:
    with pytest.raises(ConfigError, match="quoted"):
        parse_partition(value)
