"""The dialect of a CSV as its values show it: what to declare, and what to have delivered otherwise. Nothing of it is used unasked."""

import csv
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

import duckdb

from pipelines.lib.declarations.faults import Found
from pipelines.lib.sources.scan import Scan
from pipelines.lib.sources.source_files import SourceFile
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import name, text

_OF_FOUR_DIGITS = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y")
DATE_FORMATS = (*_OF_FOUR_DIGITS, "%Y%m%d", "%Y-%m-%d", "%Y/%m/%d", *(form.replace("%Y", "%y") for form in _OF_FOUR_DIGITS))
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")

DELIMITERS = (",", ";", "\t", "|")

_LIKE_A_DATE = "^([0-9]{1,4}[./-][0-9]{1,2}[./-]|[0-9]{8})"

_COMMA = r"[+-]?[0-9]{1,3}([.]?[0-9]{3})*,[0-9]+"

_GROUPED = "[+-]?[1-9][0-9]{0,2}(,[0-9]{3})+"
"""A number whose commas may group its thousands: 1,234 is one thousand and more, or one and a quarter."""

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


def notation_faults(
    connection: duckdb.DuckDBPyConnection, scanned: Scan, columns: Mapping[str, Column], source: Source, where: str
) -> Iterator[Found]:
    """Yield the columns whose text is written otherwise than the `source` at the key `where` declares: with a decimal comma, or in other formats of dates."""
    sample = f"(SELECT * FROM {scanned.relation} LIMIT {_SAMPLE_ROWS})"
    for column, declared in columns.items():
        value = name(column)
        if declared.type in ("integer", "float") and source.decimal == ".":
            [(commas, example)] = connection.sql(
                f"SELECT count(*), min({value}) FROM {sample} WHERE regexp_full_match({value}, {text(_COMMA)})"
            ).fetchall()
            if commas:
                yield decimal_fault(column, example, where)
        if declared.type in ("date", "timestamp"):
            form = getattr(source, f"{declared.type}_format")
            if form is not None and not unread(connection, sample, column, form):
                continue
            found = formats_of(connection, sample, column, declared.type)
            if fault := format_fault(found, column, declared.type, source, where):
                yield fault


def unread(connection: duckdb.DuckDBPyConnection, relation: str, column: str, form: str | None) -> str | None:
    """Return a value of a text `column` that the format `form` does not read, or any value if `form` is None; None if there is none."""
    value = name(column)
    condition = f"{value} IS NOT NULL" + (f" AND try_strptime({value}, {text(form)}) IS NULL" if form is not None else "")
    rows = connection.sql(f"SELECT {value} FROM {relation} WHERE {condition} LIMIT 1").fetchall()
    return str(rows[0][0]) if rows else None


def decimal_fault(column: str, example: str, where: str) -> Found:
    """Return the fault of a source at the key `where` that does not declare the decimal comma of `example` in `column`."""
    remedy = 'write decimal: ","'
    if re.fullmatch(_GROUPED, example):
        remedy += "; or if that comma groups thousands, deliver the number without it"
    return Found(f"{where}.decimal", f"is '.', but column {column!r} holds {example!r}", remedy)


def decimal_comma(connection: duckdb.DuckDBPyConnection, relation: str, column: str) -> bool:
    """Return whether every number of a text `column` could have a decimal comma, and some have."""
    value = name(column)
    whole = f"regexp_full_match({value}, {text(_COMMA)})"
    [(commas, others)] = connection.sql(
        f"SELECT count(*) FILTER ({whole}), count(*) FILTER (NOT {whole} AND NOT regexp_full_match({value}, '[+-]?[0-9]+')) FROM {relation}"
    ).fetchall()
    return bool(commas) and not others


def grouped_thousands(connection: duckdb.DuckDBPyConnection, relation: str, column: str) -> str | None:
    """Return a value of a text `column` of numbers whose commas may all group thousands; None if it has none, or if a value shows that they do not."""
    value = name(column)
    grouped = f"regexp_full_match({value}, {text(_GROUPED)})"
    [(example, others)] = connection.sql(
        f"SELECT min({value}) FILTER ({grouped}), count(*) FILTER (NOT {grouped} AND NOT regexp_full_match({value}, '[+-]?[0-9]{{1,3}}')) FROM {relation}"
    ).fetchall()
    return None if others or example is None else str(example)


def formats_of(connection: duckdb.DuckDBPyConnection, relation: str, column: str, kind: str) -> dict[str, int]:
    """Return how many values of a text `column` each known format of a `kind` (date, timestamp) reads, as few formats as read them all.

    If several read them all, it is the one whose dates are closest together: a table of ten days, read month first, would be one of ten months.
    """
    value = name(column)
    if not connection.sql(f"SELECT 1 FROM {relation} WHERE regexp_matches({value}, {text(_LIKE_A_DATE)}) LIMIT 1").fetchall():
        return {}  # most columns: a hundred formats are not tried on each
    forms = DATE_FORMATS if kind == "date" else [f"{date}{gap}{time}" for date in DATE_FORMATS for gap in (" ", "T") for time in TIMES]
    # %Y takes 24 for the year 24.
    tests = ", ".join(f"count(*) FILTER (year(try_strptime({value}, {text(form)})) >= 1000)" for form in forms)
    [(rows, *counts)] = connection.sql(f"SELECT count({value}), {tests} FROM {relation}").fetchall()
    found = {form: count for form, count in sorted(zip(forms, counts, strict=True), key=lambda one: -one[1]) if count}
    whole = [form for form, count in found.items() if count == rows]
    return {_narrowest(connection, relation, column, whole): rows} if whole else found


def other_reading(connection: duckdb.DuckDBPyConnection, relation: str, column: str, form: str) -> str | None:
    """Return `form` with day and month in each other's place, if that also reads every value of a text `column`, and some as other dates.

    With dots, the day always comes first.
    """
    other = form.replace("%d", "%_").replace("%m", "%d").replace("%_", "%m")
    if "." in form.partition("%d")[2][:1] or not form.startswith(("%d", "%m")):
        return None
    mine, swapped = (f"try_strptime({name(column)}, {text(one)})" for one in (form, other))
    [(unread, differing)] = connection.sql(
        f"SELECT count({name(column)}) - count({swapped}), count(*) FILTER ({swapped} <> {mine}) FROM {relation}"
    ).fetchall()
    return other if differing and not unread else None


def _narrowest(connection: duckdb.DuckDBPyConnection, relation: str, column: str, forms: list[str]) -> str:
    if len(forms) == 1:
        return forms[0]
    moments = [f"try_strptime({name(column)}, {text(form)})" for form in forms]
    spans = ", ".join(f"epoch(max({moment})) - epoch(min({moment}))" for moment in moments)
    [found] = connection.sql(f"SELECT {spans} FROM {relation}").fetchall()
    return min(zip(found, forms, strict=True), key=lambda one: one[0])[1]


def format_fault(found: Mapping[str, int], column: str, kind: str, source: Source, where: str, *, iso_is_read: bool = True) -> Found | None:
    """Return the fault if `source` at the key `where` declares none of the formats `found` in a `column` of a `kind`, or there are several.

    Without `iso_is_read`, not even a format that begins with the year is read unless it is declared.
    """
    declared = getattr(source, f"{kind}_format")
    key = f"{where}.{kind}_format"
    iso = iso_is_read and all(form.startswith(("%Y-%m-%d", "%Y/%m/%d")) for form in found)
    if not found or declared in found or (declared is None and iso):
        return None
    if len(found) > 1:
        seen = " and ".join(f"{count} values like {form}" for form, count in list(found.items())[:3])
        return Found(key, f"cannot be one format: column {column!r} holds {seen}", "deliver all dates in one format, best as 2024-01-31")
    [form] = found
    said = "is not declared" if declared is None else f"is {declared!r}"
    return Found(key, f"{said}, but column {column!r} is written like {form}", f'write {kind}_format: "{form}"')
