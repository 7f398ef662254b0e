"""Expressions from params.yaml: what sees more than its row is refused."""

from collections.abc import Iterator

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.tables.engine import UTC, connect
from pipelines.lib.tables.expressions import Checker, enclosed


@pytest.fixture
def checker() -> Iterator[Checker]:
    with connect(UTC) as (connection, _):
        connection.execute("CREATE TABLE secret (arr_delay BIGINT)")
        yield Checker(connection, {"a": "BIGINT", "t": "TIMESTAMP", "Word": "VARCHAR"}, ("arr_delay",))


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
        ("hour(t AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin')", "BIGINT"),
        ("TRY(word::INTEGER)", "INTEGER"),
        ("word LIKE 'x%' OR word NOT IN ('a', 'b') OR NOT a BETWEEN 1 AND 2", "BOOLEAN"),
        ("a::DECIMAL(10, 2)", "DECIMAL(10,2)"),
        ("substring(word FROM 1 FOR 2) || word[1]", "VARCHAR"),
    ],
)
def test_an_expression_over_the_row_has_a_type(checker: Checker, expression: str, kind: str) -> None:
    assert checker.check(expression, "features.numeric.x") == kind


@pytest.mark.parametrize(
    ("expression", "message"),
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
        ("current_date", "no column 'current_date'"),
        ("current_timestamp", "no column 'current_timestamp'"),
        ("age(t)", "clock"),
        ("ago(INTERVAL 1 DAY)", "clock"),
        ("current_localtime()", "clock"),
        ("current_localtimestamp()", "clock"),
        ("pg_postmaster_start_time()", "clock"),
        ("pg_conf_load_time()", "clock"),
        ("main.abs(a)", "not known"),
        ("abs(a) FILTER (a > 1)", "other rows"),
        ("count(*)", "other rows"),
        ("hour(t::TIMESTAMPTZ)", "a cast to TIMESTAMPTZ"),
        ("TIMESTAMPTZ '2024-01-01' > t", "a cast to TIMESTAMPTZ"),
        ("hour(t AT TIME ZONE 'UTC')", "write two"),
        ("timezone('UTC', timezone('UTC', timezone('UTC', t)))", "write two"),
        ("word COLLATE NOCASE", "collate"),
        ("list_transform([1], lambda y: y + 1)[1]", "list_transform|lambda"),
        ("[y FOR y IN [1]][1]", "list_apply"),
        ("DEFAULT", "value_default"),
        ("#1", "positional_reference"),
        ("getenv('HOME')", "getenv"),
        ("a), (a", "exactly one"),
        ("1) UNION ALL (SELECT 1", "exactly one"),
        ("1) FROM secret WHERE (1", "exactly one"),
        ("1 UNION ALL SELECT 1", "not a SQL expression"),
        ("a) + (a", "exactly one"),
        ("(a", "not a SQL expression"),
        ("a)", "not a SQL expression"),
        ("a;", "not a SQL expression"),
        ("a AS b", "not a SQL expression"),
        ("a /* half", "not a SQL expression"),
        ("a ORDER BY a", "not a SQL expression"),
        ("a, a", "row"),
        ("a, a) --", "not a SQL expression|exactly one"),
        ("a FROM secret", "not a SQL expression"),
        ("1); DROP TABLE secret; SELECT (1", "exactly one|no SQL"),
        ("*", "star"),
        ("a +", "not a SQL expression"),
        ("", "not a SQL expression"),
        ("?", "parameter"),
        ("word + t", "cannot be computed"),
        ("nosuch(a)", "not known"),
    ],
)
def test_what_looks_beyond_the_row_is_refused(checker: Checker, expression: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"features\.numeric\.x is .*({message})"):
        checker.check(expression, "features.numeric.x")


def test_an_enclosed_expression_is_one_operand() -> None:
    """A comment ends with its line, so what follows in the query still counts."""
    with connect(UTC) as (connection, _):
        assert connection.sql(f"SELECT {enclosed('1 + 1 -- two')} * 3").fetchall() == [(6,)]


@pytest.mark.parametrize(
    "expression",
    [
        "length(repeat('x', 2000000000))",
        "length(REPEAT(word, a))",
        "length(lpad(word, 2000000000, 'x'))",
        "length(rpad(word, a::INTEGER, 'x'))",
        "length(format('{:>2000000000}', word))",
        "length(printf('%2000000000d', a))",
        "len(range(2000000000))",
        "len(generate_series(1, a))",
    ],
)
def test_a_result_of_any_length_is_refused_before_it_is_computed(checker: Checker, expression: str) -> None:
    with pytest.raises(ConfigError, match=r"features\.numeric\.x is .*\(\) may give one row a result of gigabytes; to pad, write right"):
        checker.check(expression, "features.numeric.x")


def test_padding_without_a_length_that_grows(checker: Checker) -> None:
    assert checker.check("right('000' || a, 3)", "features.numeric.x") == "VARCHAR"
