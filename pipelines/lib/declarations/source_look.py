"""Look at the sources of a use case before columns are derived: their names, and how a CSV writes its numbers and dates."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.declarations.bare_dataset import known_columns
from pipelines.lib.declarations.column_types import column_types, declarable
from pipelines.lib.declarations.csv_dialect import delimiter_fault, delimiter_of, format_fault, formats_of, notation_faults, unread
from pipelines.lib.declarations.decimals import decimal_commas, decimal_fault, decimal_faults, grouped_faults
from pipelines.lib.declarations.events import require_rows
from pipelines.lib.declarations.faults import Finding, closest, of_error, read_section
from pipelines.lib.sources import adapters, database_source, source_files
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.column import Column
from pipelines.lib.tables.dataset import Source

_SAMPLE_ROWS = 20_000


@dataclass(frozen=True)
class _Look:
    """A source that can be read, what its section at the dotted `key` says of its columns: those with a type, and the others that it uses."""

    key: str
    connection: duckdb.DuckDBPyConnection
    scanned: Scan
    source: Source
    declared: Mapping[str, Column]
    undeclared: tuple[str, ...]


def source_look_faults(
    connection: duckdb.DuckDBPyConnection, key: str, section: Mapping[str, Any], features: object, scratch: Path
) -> list[Finding]:
    """Return the faults that a source shows without derived values; none if its section ``source`` itself has faults, which other checks name.

    `section`, at the dotted `key`, is section dataset or that of a side table. Nothing else of it is checked.
    """
    where = f"{key}.source"
    source, _ = read_section(section.get("source"), Source, where)
    if source is None:
        return []
    fault = source_fault(source, where, scratch)
    if fault is not None and fault.key != f"{where}.delimiter":
        return [fault]
    used = known_columns(section, features)
    try:
        if source.kind == "sql":  # its rows are sent once, when all columns that are needed are known
            names = dict.fromkeys(database_source.columns_of(source), "VARCHAR")
            return [*_unknown_columns(used, key, section, names), *_label_faults(section, names)]
        readable = source if fault is None else _with_its_delimiter(source, scratch)
        scanned = adapters.scan(connection, readable, {}, None, scratch)
        require_rows(connection, scanned)
    except NightshiftError as error:
        return [of_error(error, where)]
    content = section.get("columns")
    columns = content if isinstance(content, dict) else {}
    models = {column: read_section(columns[column], Column, "")[0] for column in columns if column in scanned.columns}
    declared = {column: model for column, model in models.items() if model is not None}
    undeclared = tuple(column for column in used if column in scanned.columns and column not in columns)
    look = _Look(key, connection, scanned, readable, declared, undeclared)
    found = [
        *([] if fault is None else [fault]),
        *_unknown_columns(used, key, section, scanned.columns),
        *_label_faults(section, scanned.columns),
    ]
    try:
        with adapters.reading(scanned.where, scanned.dataset):
            found += _notation_faults(look) if source.kind == "csv" else ()
            found += _time_faults(look, section.get("event_time"))
    except NightshiftError as error:  # a row that cannot be read, which is the fault of no column
        found.append(of_error(error, where))
    return found


def source_fault(source: Source, key: str, scratch: Path) -> Finding | None:
    """Return the fault of a `source` whose path names no files, or whose CSV has another delimiter."""
    if source.kind not in ("parquet", "csv"):
        return None
    try:
        files = source_files.files_of(source)
        first = source_files.at_hand(files[:1], source, scratch) if source.kind == "csv" else []
    except NightshiftError as error:
        return of_error(error, f"{key}.path")
    return delimiter_fault(first[0], source, key) if first else None


def label_name_faults(label_name: object, columns: Iterable[str]) -> Iterator[Finding]:
    """Yield the fault of a label that is called as one of the `columns` of the source, which need not be one that is used."""
    for column in columns:
        if isinstance(label_name, str) and column.lower() == label_name.lower():
            fault = "is also a column" if column == label_name else f"differs from the column {column!r} only by case"
            yield Finding("dataset.label.name", f"{label_name!r} {fault}; give the label a name of its own")


def _with_its_delimiter(source: Source, scratch: Path) -> Source:
    """Return `source` with the delimiter that its first file has."""
    first = source_files.at_hand(source_files.files_of(source)[:1], source, scratch)[0]
    return source.model_copy(update={"delimiter": delimiter_of(first.path, source.encoding)})


def _unknown_columns(used: list[str], key: str, section: Mapping[str, Any], columns: Mapping[str, str]) -> Iterator[Finding]:
    by_name = {column.lower(): column for column in columns}
    for column in used:
        if column not in columns:
            near = by_name.get(column.lower())
            meant = f"did you mean {near}?" if near else closest(column, columns)
            yield Finding(_key_of(column, key, section), f"names {column!r}, which the source does not have as a column", meant)


def _key_of(column: str, key: str, section: Mapping[str, Any]) -> str:
    """Return the key of the `section` at `key` that names `column`, or the section whose SQL does."""
    for field in ("event_time", "key", "known_later", "columns"):
        named = section.get(field)
        if column == named or (isinstance(named, list | dict) and column in named):
            return f"{key}.{field}"
    label = section.get("label")
    expression = str(label.get("expression")) if isinstance(label, dict) else ""
    return f"{key}.label.expression" if column.lower() in expression.lower() else "features"


def _label_faults(section: Mapping[str, Any], columns: Iterable[str]) -> Iterator[Finding]:
    label = section.get("label")
    return label_name_faults(label.get("name") if isinstance(label, dict) else None, columns)


def _notation_faults(look: _Look) -> Iterator[Finding]:
    where = f"{look.key}.source"
    yield from notation_faults(look.connection, look.scanned, look.declared, look.source, where)
    sample = f"(SELECT * FROM {look.scanned.relation} LIMIT {_SAMPLE_ROWS})"
    if look.source.decimal == ",":
        yield from decimal_faults(look.connection, sample, look.undeclared, look.source, where)
        yield from grouped_faults(look.connection, sample, look.scanned.columns, look.undeclared, where)
        return
    for column, example in decimal_commas(look.connection, sample, look.undeclared).items():
        yield decimal_fault(column, example, where)


def _time_faults(look: _Look, event_time: object) -> Iterator[Finding]:
    """Yield why the event time, whose type is not declared, is neither a timestamp nor a date."""
    if not isinstance(event_time, str) or event_time not in look.undeclared:
        return
    try:
        kind = column_types(look.connection, look.scanned, [event_time])[event_time]
    except NightshiftError as error:
        if declarable(look.scanned.columns[event_time]):
            raise
        yield Finding(f"{look.key}.event_time", str(error))
        return
    if kind in ("timestamp", "date"):
        return
    if kind == "string" and look.source.kind == "csv":
        found = {one: formats_of(look.connection, look.scanned.relation, event_time, one) for one in ("timestamp", "date")}
        likely = max(found, key=lambda one: sum(found[one].values()))
        if fault := format_fault(found[likely], event_time, likely, look.source, f"{look.key}.source", iso_is_read=False):
            yield fault
            return
    example = unread(look.connection, look.scanned.relation, event_time, look.source.timestamp_format if kind == "string" else None)
    held = "no value" if example is None else f"values such as {example!r}"
    yield Finding(
        f"{look.key}.event_time", f"is {event_time!r}, a column of type {kind} with {held}",
        "name a column of timestamps or dates, or convert it in a query of the source",
    )  # fmt: skip
