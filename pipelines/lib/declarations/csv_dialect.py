"""The dialect of a CSV as its values show it: what to declare, and what to have delivered otherwise. Nothing of it is used unasked."""

import csv
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import duckdb

from pipelines.lib.declarations.faults import Found
from pipelines.lib.sources.scan import Scan
from pipelines.lib.sources.source_files import SourceFile
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import name, text

DATE_FORMATS = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y", "%Y%m%d", "%Y-%m-%d", "%Y/%m/%d")
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f")

DELIMITERS = (",", ";", "\t", "|")

_COMMA = r"[+-]?[0-9]{1,3}([.]?[0-9]{3})*,[0-9]+"
_SAMPLE_ROWS = 20_000
_LINES = 20


def delimiter_of(file: Path, encoding: str = "utf-8") -> str | None:
    """Return the delimiter that gives every one of the first lines of `file` the same number of fields, and the most of them; None for none."""
    with file.open(newline="", encoding=encoding, errors="replace") as lines:
        head = [line for line in islice(lines, _LINES) if line.strip()]
    fields = {}
    for delimiter in DELIMITERS:
        counts = {len(row) for row in csv.reader(head, delimiter=delimiter)}
        fields[delimiter] = counts.pop() if len(counts) == 1 else 1
    best = max(fields, key=lambda delimiter: fields[delimiter])
    return best if fields[best] > 1 else None


def delimiter_fault(of: SourceFile, source: Source, key: str) -> Found | None:
    """Return the fault if the file `of` the source has another delimiter than `source` declares."""
    file = of.path
    if file.suffix == ".gz" or not file.is_file():
        return None
    found = delimiter_of(file, source.encoding)
    if found is None or found == source.delimiter:
        return None
    with file.open(newline="", encoding=source.encoding, errors="replace") as lines:
        header = next(csv.reader([lines.readline()], delimiter=source.delimiter), [])
    if len(header) > 1:
        return None
    shown = "\\t" if found == "\t" else found
    return Found(
        f"{key}.delimiter", f"is {source.delimiter!r}, but {of.name} separates its fields by {shown!r}", f'write delimiter: "{shown}"'
    )


def notation_faults(connection: duckdb.DuckDBPyConnection, scanned: Scan, columns: Mapping[str, Column], source: Source) -> Iterator[Found]:
    """Yield the columns whose text is written otherwise than `source` declares: with a decimal comma, or in other formats of dates."""
    sample = f"(SELECT * FROM {scanned.relation} LIMIT {_SAMPLE_ROWS})"
    for column, declared in columns.items():
        value = name(column)
        if declared.type in ("integer", "float") and source.decimal == ".":
            [(commas, example)] = connection.sql(
                f"SELECT count(*), min({value}) FROM {sample} WHERE regexp_full_match({value}, {text(_COMMA)})"
            ).fetchall()
            if commas:
                yield Found("dataset.source.decimal", f"is '.', but column {column!r} holds {example!r}", 'write decimal: ","')
        if declared.type in ("date", "timestamp"):
            key = f"{declared.type}_format"
            if fault := _format_fault(formats_of(connection, sample, column, declared.type), column, key, getattr(source, key)):
                yield fault


def decimal_comma(connection: duckdb.DuckDBPyConnection, relation: str, column: str) -> bool:
    """Return whether every number of a text `column` could have a decimal comma, and some have."""
    value = name(column)
    whole = f"regexp_full_match({value}, {text(_COMMA)})"
    [(commas, others)] = connection.sql(
        f"SELECT count(*) FILTER ({whole}), count(*) FILTER (NOT {whole} AND NOT regexp_full_match({value}, '[+-]?[0-9]+')) FROM {relation}"
    ).fetchall()
    return bool(commas) and not others


def formats_of(connection: duckdb.DuckDBPyConnection, relation: str, column: str, kind: str) -> dict[str, int]:
    """Return how many values of a text `column` each known format of a `kind` (date, timestamp) reads, as few formats as read them all."""
    value = name(column)
    forms = DATE_FORMATS if kind == "date" else [f"{date}{gap}{time}" for date in DATE_FORMATS for gap in (" ", "T") for time in TIMES]
    tests = ", ".join(f"count(*) FILTER (try_strptime({value}, {text(form)}) IS NOT NULL)" for form in forms)
    [(rows, *counts)] = connection.sql(f"SELECT count({value}), {tests} FROM {relation}").fetchall()
    found = {form: count for form, count in sorted(zip(forms, counts, strict=True), key=lambda one: -one[1]) if count}
    whole = next((form for form, count in found.items() if count == rows), None)
    return {whole: rows} if whole else found


def _format_fault(found: Mapping[str, int], column: str, key: str, declared: str | None) -> Found | None:
    where = f"dataset.source.{key}"
    iso = all(form.startswith(("%Y-%m-%d", "%Y/%m/%d")) for form in found)
    if not found or declared in found or (declared is None and iso):
        return None
    if len(found) > 1:
        seen = " and ".join(f"{count} values like {form}" for form, count in list(found.items())[:3])
        return Found(where, f"cannot be one format: column {column!r} holds {seen}", "deliver all dates in one format, best as 2024-01-31")
    [form] = found
    said = "is not declared" if declared is None else f"is {declared!r}"
    return Found(where, f"{said}, but column {column!r} is written like {form}", f'write {key}: "{form}"')
