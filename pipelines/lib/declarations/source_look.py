"""Look at a source before its columns are derived: their names, and how a CSV writes its numbers and dates."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipelines.lib.core.errors import ConfigError, NightshiftError
from pipelines.lib.declarations.bare_dataset import known_columns
from pipelines.lib.declarations.column_types import column_types
from pipelines.lib.declarations.csv_dialect import (
    decimal_comma,
    decimal_fault,
    delimiter_fault,
    delimiter_of,
    format_fault,
    formats_of,
    notation_faults,
    unread,
)
from pipelines.lib.declarations.faults import Found, closest, read_section
from pipelines.lib.sources import adapters, source_files
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.column import Column
from pipelines.lib.tables.dataset import Source
from pipelines.lib.tables.engine import name

_SAMPLE_ROWS = 20_000
_WHERE = "dataset.source"


@dataclass(frozen=True)
class _Look:
    """A source that can be read, and what section dataset says of its columns: those with a type, and the others that it uses."""

    connection: duckdb.DuckDBPyConnection
    scanned: Scan
    source: Source
    declared: Mapping[str, Column]
    undeclared: tuple[str, ...]


def source_look_faults(
    connection: duckdb.DuckDBPyConnection, source: Source, dataset: Mapping[str, Any], features: object, scratch: Path
) -> list[Found]:
    """Return the faults that `source` shows without derived values, of a valid section ``source`` in an otherwise unchecked `dataset`."""
    if source.kind == "sql":  # a query is sent once, with the columns that it is asked for
        return []
    try:
        readable, found = _with_its_delimiter(source, scratch)
        scanned = adapters.scan(connection, readable, {}, None, scratch)
    except ConfigError as error:
        return [Found(_WHERE, str(error).removeprefix("params.yaml: "))]
    except NightshiftError as error:
        return [Found(_WHERE, str(error))]
    used = known_columns(dataset, features)
    content = dataset.get("columns")
    columns = content if isinstance(content, dict) else {}
    models = {column: read_section(columns[column], Column, "")[0] for column in columns if column in scanned.columns}
    declared = {column: model for column, model in models.items() if model is not None}
    undeclared = tuple(column for column in used if column in scanned.columns and column not in columns)
    look = _Look(connection, scanned, readable, declared, undeclared)
    return [
        *found,
        *_unknown_columns(used, dataset, scanned.columns),
        *_label_faults(dataset.get("label"), scanned.columns),
        *(_notation_faults(look) if source.kind == "csv" else ()),
        *_time_faults(look, dataset.get("event_time")),
    ]


def _with_its_delimiter(source: Source, scratch: Path) -> tuple[Source, list[Found]]:
    """Return `source` with the delimiter that its first file has, and the fault if another one is declared."""
    if source.kind != "csv":
        return source, []
    first = source_files.at_hand(source_files.files_of(source)[:1], source, scratch)[0]
    fault = delimiter_fault(first, source, _WHERE)
    if fault is None:
        return source, []
    return source.model_copy(update={"delimiter": delimiter_of(first.path, source.encoding)}), [fault]


def _unknown_columns(used: list[str], dataset: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[Found]:
    by_name = {column.lower(): column for column in columns}
    for column in used:
        if column not in columns:
            near = by_name.get(column.lower())
            meant = f"did you mean {near}?" if near else closest(column, columns)
            yield Found(_key_of(column, dataset), f"names {column!r}, which the source does not have as a column", meant)


def _key_of(column: str, dataset: Mapping[str, Any]) -> str:
    """Return the key of section `dataset` that names `column`, or the section whose SQL does."""
    for key in ("event_time", "key", "known_later", "columns"):
        named = dataset.get(key)
        if column == named or (isinstance(named, list | dict) and column in named):
            return f"dataset.{key}"
    label = dataset.get("label")
    expression = str(label.get("expression")) if isinstance(label, dict) else ""
    return "dataset.label.expression" if column.lower() in expression.lower() else "features"


def _label_faults(label: object, columns: Mapping[str, str]) -> Iterator[Found]:
    said = label.get("name") if isinstance(label, dict) else None
    for column in columns:
        if isinstance(said, str) and column.lower() == said.lower():
            fault = "is also a column" if column == said else f"differs from the column {column!r} only by case"
            yield Found("dataset.label.name", f"{said!r} {fault}; give the label a name of its own")


def _notation_faults(look: _Look) -> Iterator[Found]:
    yield from notation_faults(look.connection, look.scanned, look.declared, look.source, _WHERE)
    if look.source.decimal == ",":
        return
    sample = f"(SELECT * FROM {look.scanned.relation} LIMIT {_SAMPLE_ROWS})"
    for column in look.undeclared:
        if decimal_comma(look.connection, sample, column):
            value = name(column)
            [(example,)] = look.connection.sql(f"SELECT min({value}) FROM {sample} WHERE contains({value}, ',')").fetchall()
            yield decimal_fault(column, example, _WHERE)


def _time_faults(look: _Look, event_time: object) -> Iterator[Found]:
    """Yield why the event time, whose type is not declared, is neither a timestamp nor a date."""
    if not isinstance(event_time, str) or event_time not in look.undeclared:
        return
    try:
        kind = column_types(look.connection, look.scanned, [event_time])[event_time]
    except NightshiftError as error:
        yield Found("dataset.event_time", str(error))
        return
    if kind in ("timestamp", "date"):
        return
    if kind == "string" and look.source.kind == "csv":
        found = {one: formats_of(look.connection, look.scanned.relation, event_time, one) for one in ("timestamp", "date")}
        likely = max(found, key=lambda one: sum(found[one].values()))
        if fault := format_fault(found[likely], event_time, likely, look.source, _WHERE, iso_is_read=False):
            yield fault
            return
    example = unread(look.connection, look.scanned.relation, event_time, look.source.timestamp_format if kind == "string" else None)
    held = "no value" if example is None else f"values such as {example!r}"
    yield Found(
        "dataset.event_time", f"is {event_time!r}, a column of type {kind} with {held}",
        "name a column of timestamps or dates, or convert it in a query of the source",
    )  # fmt: skip
