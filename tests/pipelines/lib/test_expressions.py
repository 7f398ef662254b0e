"""Expressions from params.yaml: what sees more than its row is refused."""

from collections.abc import Iterator

import pytest

from pipelines.lib.engine import connect
from pipelines.lib.errors import ConfigError
from pipelines.lib.expressions import Checker, refused_functions


@pytest.fixture
def checker() -> Iterator[Checker]:
    with connect() as (connection, _):
        connection.execute("CREATE TABLE secret (arr_delay BIGINT)")
        yield Checker(connection, refused_functions(connection), {"a": "BIGINT", "t": "TIMESTAMP", "Word": "VARCHAR"}, ("arr_delay",))


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("a + 1", "BIGINT"),
        ("hour(t)", "BIGINT"),
        ("a / 2", "DOUBLE"),
        ("word IS NULL", "BOOLEAN"),
        ("a -- half of it", "BIGINT"),
        ("CASE WHEN a > 1 THEN 'x' END", "VARCHAR"),
        ("date_trunc('hour', t) - INTERVAL 3 HOUR", "TIMESTAMP"),
        ("a // 100 * 60 + a % 100", "BIGINT"),
    ],
)
def test_an_expression_over_the_row_has_a_type(checker: Checker, expression: str, kind: str) -> None:
    assert checker.check(expression, "features.numeric.x") == kind


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("arr_delay", "'arr_delay' is known only after the event"),
        ("ARR_DELAY + 0 * a", "known only after the event"),
        ('"arr_delay"', "known only after the event"),
        ("b", "no column 'b'"),
        ("(SELECT max(arr_delay) FROM secret)", "subquery"),
        ("a IN (SELECT arr_delay FROM secret)", "subquery"),
        ("sum(a) OVER ()", "window"),
        ("sum(a)", "other rows"),
        ("random()", "chance"),
        ("now()", "clock"),
        ("today()", "clock"),
        ("current_date", "current_date"),
        ("current_timestamp", "current_timestamp|clock"),
        ("getenv('HOME')", "getenv|cannot be computed"),
        ("a), (a", "exactly one"),
        ("a, a) --", "no SQL expression|exactly one"),
        ("a FROM secret", "no SQL expression"),
        ("1); DROP TABLE secret; SELECT (1", "exactly one|no SQL"),
        ("*", "star|no SQL|cannot"),
        ("a +", "no SQL expression"),
        ("", "no SQL expression"),
        ("?", "parameter"),
        ("word + t", "cannot be computed"),
        ("nosuch(a)", "cannot be computed"),
    ],
)
def test_what_looks_beyond_the_row_is_refused(checker: Checker, expression: str, told: str) -> None:
    with pytest.raises(ConfigError, match=rf"features\.numeric\.x is .*({told})"):
        checker.check(expression, "features.numeric.x")
