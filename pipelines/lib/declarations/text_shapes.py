"""The shapes of text columns: which of them hold values of one shape only. All columns are looked at in one pass, since a CSV is read for each."""

from collections.abc import Iterable

import duckdb

from pipelines.lib.tables.engine import name, text

_FEW_ROWS = 1_000


def examples(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Iterable[str], shape: str, others: str | None, *, both: bool = False
) -> dict[str, str]:
    """Return the least value of the pattern `shape` of each text column that has one, and whose other values are all of the pattern `others`.

    Without `others`, the other values do not matter. With `both`, a column needs a value of `others` as well.
    """
    asked = list(columns)
    if others is not None:  # a few rows rule out most columns, and matching patterns takes most of the time
        few = f"(SELECT * FROM {relation} LIMIT {_FEW_ROWS})"
        asked = [column for column, (_, _, whole) in _figures(connection, few, asked, shape, others).items() if whole is not False]
    return {
        column: example
        for column, (example, other, whole) in _figures(connection, relation, asked, shape, others).items()
        if example is not None and whole is not False and (other or not both)
    }


def _figures(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: list[str], shape: str, others: str | None
) -> dict[str, tuple[str | None, bool | None, bool | None]]:
    """Return for each of `columns` its least value of `shape`, whether a value is of `others`, and whether each is of one of them."""
    if not columns:
        return {}
    tests = []
    for column in columns:
        value = name(column)
        is_shape = f"regexp_full_match({value}, {text(shape)})"
        is_other = "true" if others is None else f"regexp_full_match({value}, {text(others)})"
        tests.append(f"min({value}) FILTER ({is_shape}), bool_or({is_other}), bool_and({is_shape} OR {is_other})")
    [row] = connection.sql(f"SELECT {', '.join(tests)} FROM {relation}").fetchall()
    return {column: (row[3 * place], row[3 * place + 1], row[3 * place + 2]) for place, column in enumerate(columns)}
