"""The dialect of a CSV as its values show it: what to declare, and what to have delivered otherwise. Nothing of it is used unasked."""

import csv
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import duckdb

from pipelines.lib.declarations.decimals import decimal_faults
from pipelines.lib.declarations.faults import Finding
from pipelines.lib.sources.scan import Scan
from pipelines.lib.sources.source_files import SourceFile
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import name, text

_OF_FOUR_DIGITS = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%d-%m-%Y")
DATE_FORMATS = (
    *_OF_FOUR_DIGITS,
    *("%m-%d-%Y", "%Y.%m.%d", "%d %b %Y", "%d-%b-%Y"),
    *("%Y%m%d", "%Y-%m-%d", "%Y/%m/%d"),
    *(form.replace("%Y", "%y") for form in _OF_FOUR_DIGITS),
)
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p")

DELIMITERS = (",", ";", "\t", "|")

_LIKE_A_DATE = "^([0-9]{1,4}[./-][0-9]{1,2}[./-]|[0-9]{8}|[0-9]{1,2}[ -][A-Za-z]{3}[ -])"

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


def delimiter_fault(of: SourceFile, source: Source, key: str) -> Finding | None:
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
    return Finding(
        f"{key}.delimiter", f"is {source.delimiter!r}, but {of.name} separates its fields by {shown!r}", f'write delimiter: "{shown}"'
    )


def notation_faults(
    connection: duckdb.DuckDBPyConnection, scanned: Scan, columns: Mapping[str, Column], source: Source, where: str
) -> Iterator[Finding]:
    """Yield the columns whose text is written otherwise than the `source` at the key `where` declares: with a decimal comma, or in other formats of dates."""
    sample = f"(SELECT * FROM {scanned.relation} LIMIT {_SAMPLE_ROWS})"
    numbers = [column for column, declared in columns.items() if declared.type in ("integer", "float")]
    yield from decimal_faults(connection, sample, numbers, source, where)
    for column, declared in columns.items():
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


def dated(connection: duckdb.DuckDBPyConnection, relation: str, columns: Iterable[str]) -> list[str]:
    """Return those text `columns` that have a value which begins like a date: a hundred formats are not tried on the others."""
    asked = list(columns)
    if not asked:
        return []
    tests = ", ".join(f"bool_or(regexp_matches({name(column)}, {text(_LIKE_A_DATE)}))" for column in asked)
    [found] = connection.sql(f"SELECT {tests} FROM {relation}").fetchall()
    return [column for column, is_dated in zip(asked, found, strict=True) if is_dated]


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
    if "." in form.partition("%d")[2][:1] or not form.startswith(("%d", "%m")) or "%b" in form:
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


def format_fault(
    counts: Mapping[str, int], column: str, kind: str, source: Source, where: str, *, iso_is_read: bool = True
) -> Finding | None:
    """Return the fault if `source` at the key `where` declares none of the formats `counts` in a `column` of a `kind`, or there are several.

    Without `iso_is_read`, not even a format that begins with the year is read unless it is declared.
    """
    declared = getattr(source, f"{kind}_format")
    key = f"{where}.{kind}_format"
    iso = iso_is_read and all(form.startswith(("%Y-%m-%d", "%Y/%m/%d")) for form in counts)
    if not counts or declared in counts or (declared is None and iso):
        return None
    if len(counts) > 1:
        seen = " and ".join(f"{count} values like {form}" for form, count in list(counts.items())[:3])
        return Finding(key, f"cannot be one format: column {column!r} holds {seen}", "deliver all dates in one format, best as 2024-01-31")
    [form] = counts
    said = "is not declared" if declared is None else f"is {declared!r}"
    return Finding(key, f"{said}, but column {column!r} is written like {form}", f'write {kind}_format: "{form}"')
