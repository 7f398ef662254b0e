"""The events of a use case in DuckDB: its source scanned, its columns completed, and its rows loaded with their declared types."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.time_zones import require_zone
from pipelines.lib.declarations.column_types import column_types
from pipelines.lib.declarations.facts import EVENTS
from pipelines.lib.declarations.references import used_columns
from pipelines.lib.sources import adapters
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.dataset import Column, Dataset, Source
from pipelines.lib.tables.engine import UTC


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
    types = column_types(connection, scanned, new)
    raw["columns"] = {**(raw.get("columns") or {}), **{column: {"type": types[column]} for column in new}}
    return scanned, parse_section(raw, Dataset, where), new


def load_events(connection: duckdb.DuckDBPyConnection, scanned: Scan, dataset: Dataset) -> None:
    """Load the columns of `dataset` into the table `EVENTS`. Raises `DataError` for a value that is not of its type."""
    with adapters.reading(scanned.where, scanned.dataset):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {EVENTS} AS {adapters.typed(scanned, dataset.columns)}")
