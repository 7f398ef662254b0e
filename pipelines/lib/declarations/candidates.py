"""Candidates that a table offers for its key, its time and its label, for a person who has not named them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

import duckdb

from pipelines.lib.declarations.facts import EVENTS, Facts
from pipelines.lib.declarations.references import as_sql
from pipelines.lib.tables.engine import name, text

LARGEST_KEY = 3
"""Columns of the longest key that is looked for."""

_SAMPLE_ROWS = 20_000
_MOST_COLUMNS = 12
"""Columns whose combinations are tried: those with the most values."""


def unique_keys(connection: duckdb.DuckDBPyConnection, kinds: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Return the shortest combinations of columns (name to type) without a missing value that name each row of `EVENTS`.

    A combination is tried on a sample, and proven on all rows. Columns of type float are left out.
    """
    fit = [column for column, kind in kinds.items() if kind != "float"]
    if not fit:
        return []
    figures = ", ".join(f"count({name(column)}), approx_count_distinct({name(column)})" for column in fit)
    [(rows, *found)] = connection.sql(f"SELECT count(*), {figures} FROM {EVENTS}").fetchall()
    distinct = {column: found[2 * place + 1] for place, column in enumerate(fit) if found[2 * place] == rows}
    widest = sorted(distinct, key=lambda column: -distinct[column])[:_MOST_COLUMNS]
    connection.execute(f"CREATE OR REPLACE TEMP TABLE sampled AS SELECT * FROM {EVENTS} LIMIT {_SAMPLE_ROWS}")
    for size in range(1, LARGEST_KEY + 1):
        if keys := list(_unique(connection, combinations([column for column in fit if column in widest], size), distinct, rows)):
            return keys
    return []


def _unique(
    connection: duckdb.DuckDBPyConnection, tried: Iterable[tuple[str, ...]], distinct: Mapping[str, int], rows: int
) -> Iterator[tuple[str, ...]]:
    for columns in tried:
        possible = 1
        for column in columns:
            possible *= distinct[column]
        if possible < 0.9 * rows:  # counts are approximate
            continue
        listed = ", ".join(map(name, columns))
        for table in ("sampled", EVENTS):
            [(repeated,)] = connection.sql(f"SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {listed} HAVING count(*) > 1)").fetchall()
            if repeated:
                break
        else:
            yield columns


def row_numbers(connection: duckdb.DuckDBPyConnection, kinds: Mapping[str, str], facts: Facts) -> list[str]:
    """Return the integer columns with another value in each row of `EVENTS`: such a number names a row and says nothing about it."""
    likely = [
        column for column, kind in kinds.items()
        if kind == "integer" and facts.columns[column].nulls == 0 and facts.columns[column].distinct > 0.9 * facts.rows
    ]  # fmt: skip
    if not likely:
        return []
    exact = ", ".join(f"count(DISTINCT {name(column)}) = count(*)" for column in likely)
    [unique] = connection.sql(f"SELECT {exact} FROM {EVENTS}").fetchall()
    return [column for column, is_unique in zip(likely, unique, strict=True) if is_unique]


def named_as_key(column: str) -> bool:
    """Return whether a word of the name says that the values name something: ``order_id``, ``shopId``, ``key``; not ``width``."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", column)
    return any(word.lower() in ("id", "key", "uuid", "guid") for word in words)


def label_candidates(
    connection: duckdb.DuckDBPyConnection, kinds: Mapping[str, str], values: Mapping[str, tuple[object, ...] | None]
) -> list[str]:
    """Return expressions that could be the label: columns with exactly two values, compared so that they are true or false."""
    found = []
    for column, kind in kinds.items():
        known, written = values.get(column), as_sql(connection, column)
        if kind == "boolean":
            found.append(written)
        elif known is not None and len(known) == 2:
            shown = sorted(map(str, known))[-1]
            found.append(f"{written} = {shown if kind == 'integer' else text(shown)}")
    return found
