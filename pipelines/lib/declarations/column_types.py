"""The type of a column that is not declared: that of the source, or for text the narrowest type that every value has."""

from collections.abc import Iterable, Mapping

import duckdb

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources.adapters import reading
from pipelines.lib.sources.scan import Notation, Scan
from pipelines.lib.tables.engine import name, text

_INTEGERS = frozenset({"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"})

_WHOLE = "[+-]?(0|[1-9][0-9]{0,17})"
"""A whole number as text. 007 is an id."""

_NUMBER = "[+-]?((0|[1-9][0-9]{0,14})([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,3})?"
"""A number as text that a float holds. 007 and a number of twenty digits are ids."""

_FEW_ROWS = 10_000

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"

_TIME = f"{_DATE}[ T][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]{{1,6}})?)?(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)?"


def column_types(connection: duckdb.DuckDBPyConnection, scanned: Scan, columns: Iterable[str]) -> dict[str, str]:
    """Return the declared type that fits each of `columns` of `scanned`. Raises `DataError` for a type that cannot be declared."""
    found = {column: _type_of(scanned.columns[column]) for column in columns}
    if refused := sorted(column for column, kind in found.items() if kind is None):
        raise DataError(
            f"column {refused[0]!r} of {scanned.where} is of type {scanned.columns[refused[0]]}, which cannot be declared; "
            "convert it in a query of the source, or leave it out"
        )
    texts = [column for column, kind in found.items() if kind == "string"]
    return {column: str(kind) for column, kind in found.items()} | _types_of_text(connection, scanned, texts)


def declarable(engine_type: str) -> bool:
    """Return whether a column of the engine's type can be declared."""
    return _type_of(engine_type) is not None


def _type_of(engine_type: str) -> str | None:
    if engine_type in _INTEGERS:
        return "integer"
    if engine_type in ("DOUBLE", "FLOAT") or engine_type.startswith("DECIMAL"):
        return "float"
    if engine_type.startswith("TIMESTAMP"):
        return "timestamp"
    if engine_type.startswith("ENUM"):
        return "string"
    return {"VARCHAR": "string", "BOOLEAN": "boolean", "DATE": "date"}.get(engine_type)


def _types_of_text(connection: duckdb.DuckDBPyConnection, scanned: Scan, columns: list[str]) -> dict[str, str]:
    """Return the types of text `columns`. A CSV holds everything as text; elsewhere, text is most often a date or a time that a tool did not convert."""
    if not columns:
        return {}
    conditions = {column: _conditions(name(column), scanned.notation) for column in columns}
    if any(kind != "VARCHAR" for kind in scanned.columns.values()):
        conditions = {column: {kind: of[kind] for kind in ("date", "timestamp")} for column, of in conditions.items()}
    # Types that a few rows rule out are not tested on all rows, since matching patterns takes most of the time.
    few = _holding(connection, scanned, conditions, f"(SELECT * FROM {scanned.relation} LIMIT {_FEW_ROWS})")
    whole = _holding(connection, scanned, few, scanned.relation)
    return {column: next(iter(kinds), "string") for column, kinds in whole.items()}


def _conditions(value: str, notation: Notation) -> dict[str, str]:
    """Return for each type, the narrowest first, the SQL by which the text `value` has it."""
    number = value if notation.decimal == "." else f"replace({value}, ',', '.')"
    date, moment = _matches(value, _DATE), _matches(value, _TIME)
    if notation.date_format is not None:
        date = f"try_strptime({value}, {text(notation.date_format)}) IS NOT NULL"
    if notation.timestamp_format is not None:
        moment = f"try_strptime({value}, {text(notation.timestamp_format)}) IS NOT NULL"
    return {
        "boolean": f"lower({value}) IN ('true', 'false')",
        "integer": _matches(value, _WHOLE),
        "float": _matches(number, _NUMBER),
        "date": date,
        "timestamp": moment,
    }


def _holding(
    connection: duckdb.DuckDBPyConnection, scanned: Scan, conditions: Mapping[str, Mapping[str, str]], relation: str
) -> dict[str, dict[str, str]]:
    """Return those of the `conditions` that hold for every value of their column in `relation`; none for a column without a value."""
    tests = [(column, kind, condition) for column, kinds in conditions.items() for kind, condition in kinds.items()]
    found: dict[str, dict[str, str]] = {column: {} for column in conditions}
    if tests:
        with reading(scanned.where, scanned.dataset):
            [row] = connection.sql(f"SELECT {', '.join(f'bool_and({test})' for _, _, test in tests)} FROM {relation}").fetchall()
        for (column, kind, condition), holds in zip(tests, row, strict=True):
            if holds or (holds is None and relation != scanned.relation):
                found[column][kind] = condition
    return found


def _matches(value: str, pattern: str) -> str:
    return f"regexp_full_match({value}, {text(pattern)})"
