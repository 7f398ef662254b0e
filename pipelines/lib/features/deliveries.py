"""Rows that were delivered more than once: each counts once in what features look back on, as it does in outcomes.

A row is its key. If two deliveries of a row disagree on what lagged features read, nobody knows which is right, and the
features cannot be computed. An outcome that is missing in one delivery and present in another does not disagree.
"""

from collections.abc import Mapping, Sequence

import duckdb

from pipelines.lib.core.errors import DataError
from pipelines.lib.tables.engine import name

_VIEW = "counted_once"


def count_once(
    connection: duckdb.DuckDBPyConnection,
    events: str,
    rows: str,
    key: Sequence[str],
    *,
    same: Mapping[str, str],
    values: Mapping[str, str],
) -> str:
    """Return the name of a relation that holds each of `rows` once: `rows` itself if no key of `events` repeats.

    `events` is a relation of the same rows that is cheap to read. `same` are the columns in which deliveries must agree, `values`
    those that some deliveries may lack, both with the name that a person gave them. Raises `DataError` for a row that contradicts itself.
    """
    keys = ", ".join(map(name, key))
    if not connection.sql(f"SELECT 1 FROM {events} GROUP BY {keys} HAVING count(*) > 1 LIMIT 1").fetchall():
        return rows
    _refuse_contradictions(connection, rows, key, same, values)
    kept = ", ".join([*same, *(f"max({value}) AS {value}" for value in values)])
    connection.execute(f"CREATE TEMP VIEW {_VIEW} AS SELECT {kept} FROM {rows} GROUP BY {', '.join([keys, *same])}")
    return _VIEW


def _refuse_contradictions(
    connection: duckdb.DuckDBPyConnection, rows: str, key: Sequence[str], same: Mapping[str, str], values: Mapping[str, str]
) -> None:
    keys = ", ".join(map(name, key))
    differing = [f"count(DISTINCT {column}) > 1" for column in (*same, *values)]
    differing += [f"count({column}) NOT IN (0, count(*))" for column in same]
    seen = [f"list_sort(list(DISTINCT coalesce({column}::VARCHAR, 'missing')))" for column in (*same, *values)]
    found = connection.sql(
        f"SELECT {', '.join([keys, 'count(*)', *seen])} FROM {rows} GROUP BY {keys} HAVING {' OR '.join(differing)} ORDER BY {keys} LIMIT 1"
    ).fetchall()
    for row in found:
        key_values = ", ".join(f"{column} {value}" for column, value in zip(key, row, strict=False))
        count, *lists = row[len(key) :]
        shown = zip([*same.values(), *values.values()], lists, strict=True)
        contradictions = "; ".join(f"{what}: {' and '.join(found)}" for what, found in shown if len(found) > 1)
        raise DataError(
            f"the row with {key_values} was delivered {count} times, and the deliveries contradict each other in what lagged features read "
            f"({contradictions}); deliver the row once, or the same each time"
        )
