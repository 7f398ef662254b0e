"""Check side tables against their data: how they are written, their keys, and how many rows they have."""

from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.declarations.faults import Finding, of_error
from pipelines.lib.declarations.side_tables import SIDE, load_side_table
from pipelines.lib.declarations.source_look import source_fault
from pipelines.lib.declarations.unreadable import unreadable_faults
from pipelines.lib.sources import adapters
from pipelines.lib.tables.dataset import SideTable
from pipelines.lib.tables.engine import name


def side_faults(connection: duckdb.DuckDBPyConnection, table: str, side: SideTable, scratch: Path) -> Iterator[Finding]:
    """Yield the faults of the side table called `table`, which is declared as `side`."""
    key = f"dataset.tables.{table}"
    if (fault := source_fault(side.source, f"{key}.source", scratch)) is not None:
        yield fault
        return
    try:
        load_side_table(connection, side, scratch)
        columns = ", ".join(map(name, side.key))
        [(rows, repeated)] = connection.sql(f"SELECT count(*), count(*) - count(DISTINCT ({columns})) FROM {SIDE}").fetchall()
    except NightshiftError as error:
        yield from _unloaded(connection, key, side, scratch) or [of_error(error, key)]
        return
    if repeated and side.event_time is None:
        yield Finding(
            f"{key}.key", f"is [{', '.join(side.key)}], which {repeated:,} rows of the table share with another", "name the whole key"
        )
    if side.event_time is None and rows < side.row_count.minimum_rows:
        yield Finding(
            f"{key}.row_count.minimum_rows",
            f"is {side.row_count.minimum_rows}, but the table has {rows:,} rows",
            "lower it, or deliver all rows",
        )


def _unloaded(connection: duckdb.DuckDBPyConnection, key: str, side: SideTable, scratch: Path) -> list[Finding]:
    """Return the faults of the columns for which `side` could not be loaded; none if its source cannot be read at all."""
    try:
        scanned = adapters.scan(connection, side.source, side.columns, None, scratch)
    except NightshiftError:
        return []
    return unreadable_faults(connection, scanned, side.columns, side.source, key)
