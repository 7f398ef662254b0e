"""No expression makes gigabytes of a short text, and the bound on its length is one: on values that DuckDB computes."""

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.tables.engine import UTC, connect
from pipelines.lib.tables.expressions import Checker


def nested(function: str, times: int, inner: str = "word") -> str:
    for _ in range(times):
        inner = function.replace("@", inner)
    return inner


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        (nested("replace(@, 'a', 'aaaaaaaaaa')", 10), "10000000000 times as long"),
        (nested("regexp_replace(@, '', 'aaaaaaaaa', 'g')", 10), "10000000000 times as long"),
        (f"length({nested('hex(@)', 30)})", "1073741824 times as long"),
        (f"length({nested('bin(@)', 10)})", "1073741824 times as long"),
        (f"length({nested('regexp_escape(@)', 30)})", "1073741824 times as long"),
        (f"CASE WHEN a > 0 THEN 1 ELSE length({nested('url_encode(@)', 10)}) END", "times as long"),
        ("length(replace(word, 'a', other))", "replacement that is not a text in quotes"),
        ("length(regexp_replace(word, 'a', other, 'g'))", "replacement that is not a text in quotes"),
        ("length(replace(word, 'a', concat('a', 'b')))", "replacement that is not a text in quotes"),
    ],
)
def test_a_text_that_may_grow_without_a_limit_is_refused(expression: str, said: str) -> None:
    with connect(UTC) as (connection, _), pytest.raises(ConfigError, match=rf"features\.numeric\.x is .*{said}"):
        Checker(connection, {"a": "INTEGER", "word": "VARCHAR", "other": "VARCHAR"}).check(expression, "features.numeric.x")


@pytest.mark.parametrize(
    "expression",
    [
        nested("replace(@, 'ä', 'ae')", 7),
        nested("replace(@, ' ', '')", 40),
        "concat(word, '-', word, '-', word) || word",
        "concat_ws(word, 'x', word, 'y', word)",
        "regexp_replace(word, '(.*)', '\\1\\1\\1')",
        "hex(bin(word))",
        "CASE WHEN word = 'a' THEN upper(trim(word)) ELSE right('000' || word, 3) END",
        "overlay(word PLACING word FROM 2)",
    ],
)
def test_what_people_write_is_allowed_and_no_longer_than_the_bound(expression: str) -> None:
    from pipelines.lib.tables.expressions import _tree
    from pipelines.lib.tables.text_growth import growth

    with connect(UTC) as (connection, _):
        Checker(connection, {"word": "VARCHAR"}).check(expression, "features.categorical.x")
        times = growth(_tree(connection, f"SELECT {expression}")["statements"][0]["node"]["select_list"][0])
        for word in ("ä" * 50, "a%\\." * 20, "7" * 64, " " * 30):
            [(length,)] = connection.execute(f"SELECT length({expression}) FROM (SELECT ?::VARCHAR AS word)", [word]).fetchall()
            assert length <= times * max(len(word.encode()), 40)
