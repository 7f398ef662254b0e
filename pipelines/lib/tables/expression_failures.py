"""Which expression of ``params.yaml`` failed, on which row: DuckDB names neither.

An expression that passes its check can still fail on a value: a word that is not a number, a product that no BIGINT holds. The
same rows fail again however often a stage is tried, so the failure is a `DataError`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb

from pipelines.lib.core.errors import DataError
from pipelines.lib.tables.engine import name
from pipelines.lib.tables.expressions import columns_of, enclosed

_SHOWN = 60
"""Characters of a value in a message."""


@dataclass(frozen=True)
class Written:
    """An `expression` that stands at `where` in the parameters, and the `relation` whose rows it is computed of."""

    where: str
    expression: str
    relation: str


@contextmanager
def naming_the_culprit(connection: duckdb.DuckDBPyConnection, key: Sequence[str], written: Sequence[Written]) -> Iterator[None]:
    """Tell a failure of DuckDB on a value as a `DataError` that names the expression, the row by its `key`, and the remedy."""
    try:
        yield
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as error:
        for candidate in written:
            if message := _failure(connection, key, candidate):
                raise DataError(message) from None
        raise DataError(f"an expression cannot be computed: {_first_line(error)}. Correct it in params.yaml, or the rows") from None


def _failure(connection: duckdb.DuckDBPyConnection, key: Sequence[str], written: Written) -> str | None:
    """Return the message for the first row on which `written` fails, if there is one."""
    value = enclosed(written.expression)
    fails = f"TRY(coalesce({value}::VARCHAR, '')) IS NULL"
    read = [column for column in columns_of(connection, written.expression) if column.lower() not in map(str.lower, key)]
    shown = [*key, *read]
    try:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE culprit AS SELECT * FROM {written.relation} WHERE {fails} LIMIT 1")
        rows = connection.sql(f"SELECT {', '.join(map(name, shown))} FROM culprit").fetchall()
    except duckdb.Error:
        return None  # another expression that this relation needs fails
    for row in rows:
        reason = ""
        try:
            connection.sql(f"SELECT {value} FROM culprit").fetchall()
        except duckdb.Error as error:
            reason = f": {_first_line(error)}"
        cells = [f"{column} {str(cell)[:_SHOWN]!r}" for column, cell in zip(shown, row, strict=True)]
        row_text = ", ".join(cells[: len(key)]) + (f" (and {', '.join(cells[len(key) :])})" if read else "")
        return (
            f"{written.where} is {written.expression!r}, which cannot be computed for the row with {row_text}{reason}. "
            "Correct the row, or the expression in params.yaml: TRY(…) gives NULL for such a value, ::DOUBLE or ::HUGEINT holds larger numbers"
        )
    return None


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
