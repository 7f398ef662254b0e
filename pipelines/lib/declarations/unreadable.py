"""Columns whose values are not of their declared type, and what to declare or to deliver instead."""

from collections.abc import Mapping
from dataclasses import replace

import duckdb

from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.declarations.csv_dialect import notation_faults
from pipelines.lib.declarations.faults import Finding, of_error
from pipelines.lib.sources import adapters
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import name


def unreadable_faults(
    connection: duckdb.DuckDBPyConnection, scanned: Scan, columns: Mapping[str, Column], source: Source, key: str
) -> list[Finding]:
    """Return a fault for each of `columns` whose values are not of its type; of a CSV first how it is written.

    `source` and `columns` are those of the section at the dotted `key`.
    """
    if source.kind == "csv" and (notation := list(notation_faults(connection, scanned, columns, source, f"{key}.source"))):
        return notation
    found = []
    for column, declared in columns.items():
        try:
            with adapters.reading(scanned.where, scanned.dataset):
                connection.sql(f"SELECT count({name(column)}) FROM ({adapters.typed(scanned, {column: declared})})").fetchall()
        except NightshiftError as error:
            found.append(replace(of_error(error, f"{key}.columns.{column}"), derivable=False))
    return found
