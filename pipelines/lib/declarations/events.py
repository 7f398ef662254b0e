"""The events of a use case in DuckDB: its source scanned, its columns completed, and its rows loaded with their declared types."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.time_zones import require_zone
from pipelines.lib.declarations.column_types import column_types
from pipelines.lib.declarations.facts import EVENTS
from pipelines.lib.declarations.references import used_columns
from pipelines.lib.sources import adapters
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.dataset import Column, Dataset, Source
from pipelines.lib.tables.engine import UTC, name

_MOST_SHOWN = 20
"""Columns that a message names."""


def time_zone_of(params: Mapping[str, Any]) -> str:
    """Return the time zone of the connection that reads the events of `params`, whose section dataset may be incomplete.

    Raises `ConfigError` for one that does not exist.
    """
    try:
        return require_zone(str((params.get("dataset") or {}).get("time_zone") or UTC), "dataset.time_zone")
    except ValueError as error:
        raise ConfigError(str(error)) from None


def scan_events(
    connection: duckdb.DuckDBPyConnection, params: Mapping[str, Any], scratch: Path, where: str
) -> tuple[Scan, Dataset, list[str]]:
    """Return the scan of the source, section dataset with every column that `params` uses, and the columns that are not declared.

    Raises `ConfigError` for a declaration that cannot be read, which names `where`, and `DataError` for a source that cannot.
    """
    raw = dict(params["dataset"])
    used = used_columns(connection, raw, params.get("features") or {})
    source = parse_section(raw["source"], Source, f"{where}.source")
    zone = raw.get("time_zone")
    given = {
        column: parse_section(content, Column, f"{where}.columns.{column}").in_zone(zone)
        for column, content in (raw.get("columns") or {}).items()
    }
    new = [column for column in used if column not in given]
    wanted = {**given, **{column: Column(type="string") for column in new}}
    scanned = adapters.scan(connection, source, wanted, None, scratch)
    require_rows(connection, scanned)
    types = column_types(connection, scanned, new)
    raw["columns"] = {**(raw.get("columns") or {}), **{column: {"type": types[column]} for column in new}}
    return scanned, parse_section(raw, Dataset, where), new


def require_rows(connection: duckdb.DuckDBPyConnection, scanned: Scan) -> None:
    """Raise `DataError` if `scanned` has columns and not one row: nothing can be said of their values."""
    with adapters.reading(scanned.where, scanned.dataset):
        found = connection.sql(f"SELECT 1 FROM {scanned.relation} LIMIT 1").fetchall()
    if not found:
        shown = [*scanned.columns][:_MOST_SHOWN] + ["…"] * (len(scanned.columns) > _MOST_SHOWN)
        raise DataError(
            f"{scanned.where} has the columns {', '.join(shown)}, but no row; deliver it with its rows, or name the source that has them"
        )


def load_events(connection: duckdb.DuckDBPyConnection, scanned: Scan, dataset: Dataset) -> None:
    """Load the columns of `dataset` into the table `EVENTS`. Raises `DataError` for a value that is not of its type."""
    with adapters.reading(scanned.where, scanned.dataset):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {EVENTS} AS {adapters.typed(scanned, dataset.columns)}")


def repeated_rows(connection: duckdb.DuckDBPyConnection, key: Sequence[str]) -> int:
    """Count the rows of the table `EVENTS` with a `key` that an earlier row has."""
    [(repeated,)] = connection.sql(
        f"SELECT coalesce(sum(n - 1), 0)::BIGINT FROM (SELECT count(*) AS n FROM {EVENTS} GROUP BY {', '.join(map(name, key))} HAVING n > 1)"
    ).fetchall()
    return int(repeated)


def shared(key: Sequence[str], repeated: int) -> str:
    """Return in words that `repeated` rows have the `key` of another."""
    return f"[{', '.join(key)}], which {repeated:,} {'row shares' if repeated == 1 else 'rows share'} with another"
