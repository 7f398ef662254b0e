"""Casts: every value as its declared type, or an error of the query that names column, source and value. All of it is SQL: DuckDB casts
whole columns.
"""

from collections.abc import Iterator

import pyarrow as pa

from pipelines.lib.sources import instants
from pipelines.lib.sources.scan import Notation
from pipelines.lib.tables.column import SQL_TYPES, Column
from pipelines.lib.tables.engine import name, text
from pipelines.lib.tables.local_time import INSTANT

ARROW_TYPES = {
    "string": pa.string(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "date": pa.date32(),
}
"""The declared types as they are in Parquet, in a dataset without a time zone."""


def arrow_type(declared: Column) -> pa.DataType:
    """Return the type that a column has in our Parquet files. Instants are in UTC there: a value then stands for one instant in every library.

    In Python, two times of one zone in the hour that its clocks show twice are equal, and a dictionary would hold one of them.
    """
    return pa.timestamp("us", tz="UTC") if declared.zone else ARROW_TYPES[declared.type]


_WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")

_WHOLE = r"\s*[+-]?[0-9]+([.]0*)?\s*"
"""An integer as text; 12.0 is one."""

_SCIENTIFIC = r"\s*[+-]?[0-9]([.][0-9]{0,14})?[eE][+]?[0-9]{1,2}\s*"
"""A number as text, with so few digits that a float holds all of them."""

_DATE = "[0-9]{4}-[0-9]{2}-[0-9]{2}"

_USUAL = {"DATE": _DATE, "TIMESTAMP": f"{_DATE}[ T][0-9]{{2}}:[0-9]{{2}}(:[0-9]{{2}}([.][0-9]{{1,6}})?)?"}
"""How nearly every date and time without an offset is written. Nothing in such a text can be lost."""

REFUSED = "refused value: "
"""How the engine's error about a refused value begins."""


def cast(column: str, declared: Column, kind: str, where: str, notation: Notation) -> str:
    """Return `column` as its declared type, NULL kept; a value that would be lost or changed is an error of the query."""
    value, wanted = name(column), SQL_TYPES[declared.type]
    form = {"date": notation.date_format, "timestamp": notation.timestamp_format}.get(declared.type)
    if kind == (INSTANT if declared.zone else wanted):
        return value
    if wanted == "VARCHAR" and kind in ("DOUBLE", "FLOAT"):
        message = (
            text(f"{REFUSED}column {column!r} of {where} holds '")
            + f" || {value} || "
            + text(
                f"' ({kind}), which is not of type string: a missing id turns a column of whole numbers into floats, and 7 into 7.0; "
                "deliver it as text or as integers, or declare it as float in params.yaml"
            )
        )
        return f"CASE WHEN {value} IS NULL THEN NULL ELSE error({message}) END"
    if wanted == "VARCHAR" and kind != "BLOB":
        return f"CAST({value} AS VARCHAR)"
    of_nanoseconds = declared.zone is not None and kind == "TIMESTAMPTZ_NS"
    if of_nanoseconds:
        value, kind = f"make_timestamp_ns(epoch_ns({value}))", "TIMESTAMP_NS"
    if kind == "TIMESTAMPTZ_NS" and wanted in ("TIMESTAMP", "DATE"):  # how pandas wrote times with a zone; it has no cast of its own
        value, kind = f"CAST({value} AS TIMESTAMP_NS)", "TIMESTAMP_NS"
    moment = f"try_strptime({value}, {text(form)})" if form is not None and kind == "VARCHAR" else None
    zoned_form = form is not None and "%z" in form.lower()
    if moment is not None and declared.zone and zoned_form:
        tried = f"timezone('UTC', {moment})"
    elif moment is not None:
        tried = f"CAST({moment} AS {wanted})"
    elif wanted in ("BIGINT", "DOUBLE") and kind == "VARCHAR" and notation.decimal == ",":
        # A point next to a decimal comma groups thousands; 1.234 would be another number.
        value = f"CASE WHEN contains({value}, '.') THEN '' ELSE replace({value}, ',', '.') END"
        tried = f"TRY_CAST({value} AS {wanted})"
    elif declared.zone and kind == "VARCHAR":
        tried = f"CASE WHEN {instants.has_offset(value)} THEN timezone('UTC', TRY_CAST({value} AS TIMESTAMPTZ)) ELSE TRY_CAST({value} AS TIMESTAMP) END"
    elif wanted == "TIMESTAMP" and kind == "VARCHAR":
        tried = f"CAST(TRY_CAST({value} AS TIMESTAMPTZ) AS TIMESTAMP)"  # an offset is converted to UTC rather than dropped
    else:
        tried = f"TRY_CAST({value} AS {wanted})"
    kept = _lossless(value, tried, wanted, kind, declared) if moment is None else _formatted(moment, tried, wanted, form or "")
    fits = " AND ".join([f"{tried} IS NOT NULL", *kept])
    before = text(f"{REFUSED}column {column!r} of {where} holds '")
    remedy = "deliver it as declared, or correct the type in params.yaml"
    if form is not None:
        remedy = f"the source declares {declared.type}_format {form!r}: deliver it so, or correct that in params.yaml"
    after = text(f"' ({kind}), which is not of type {declared.type}; ")
    message = (
        f"{before} || left(CAST({name(column)} AS VARCHAR), 60) || {after} || {_remedy(name(column), declared, kind, notation, remedy)}"
    )
    usual = ""
    if (
        kind == "VARCHAR" and form is None and wanted in _USUAL and not declared.zone
    ):  # a third of the time of what proves the same of any text
        plain = f"TRY_CAST({value} AS {wanted})"
        usual = f"WHEN regexp_full_match({value}, {text(_USUAL[wanted])}) AND year({plain}) > 0 THEN {plain} "
    result = tried
    if declared.zone:
        refusals = instants.Refusals(column, where, f"CAST({name(column)} AS VARCHAR)", f"{REFUSED}column {column!r} of {where} holds ")
        if of_nanoseconds or (moment is not None and zoned_form):
            result = instants.of_utc(tried)
        elif kind == "VARCHAR" and moment is None:
            result = instants.of_text(value, tried, declared, refusals)
        else:
            result = instants.of_wall(tried, declared, refusals)
    return f"CASE WHEN {name(column)} IS NULL THEN NULL {usual}WHEN {fits} THEN {result} ELSE error({message}) END"


def _remedy(value: str, declared: Column, kind: str, notation: Notation, otherwise: str) -> str:
    """Return the SQL of the line to write in params.yaml, if the refused `value` is of a well-known notation, or of the text `otherwise`."""
    if kind != "VARCHAR" or {"date": notation.date_format, "timestamp": notation.timestamp_format}.get(declared.type) is not None:
        return text(otherwise)
    cases = []
    if declared.type in ("integer", "float") and notation.decimal == ".":
        comma = "[+-]?[0-9]{1,3}([.]?[0-9]{3})*,[0-9]+|[+-]?[0-9]+,[0-9]+"
        cases.append(
            (f"regexp_full_match({value}, {text(comma)})", 'if that is a decimal comma, write `decimal: ","` in the source in params.yaml')
        )
    if declared.type in ("date", "timestamp"):
        key, time = f"{declared.type}_format", "" if declared.type == "date" else " %H:%M"
        for sign in (".", "/"):
            example = f"%d{sign}%m{sign}%Y{time}"
            hint = f'all values must have one format; if they are all like this one, write `{key}: "{example}"` (day first, for example) in the source in params.yaml'
            cases.append((f"regexp_matches({value}, {text(f'^[0-9]{{1,2}}[{sign}][0-9]{{1,2}}[{sign}][0-9]{{2,4}}')})", hint))
    whens = " ".join(f"WHEN {condition} THEN {text(hint)}" for condition, hint in cases)
    return f"CASE {whens} ELSE {text(otherwise)} END" if cases else text(otherwise)


def _formatted(moment: str, tried: str, wanted: str, form: str) -> Iterator[str]:
    """Yield the conditions under which `moment`, read with the format `form`, says the same as `tried`, which is of the type `wanted`."""
    yield f"year({tried}) >= 1000"  # %Y takes 12 for the year 12
    if wanted == "DATE":
        yield f"CAST({tried} AS TIMESTAMP) = CAST({moment} AS TIMESTAMP)"  # a time of day is not cut off
    elif "%n" in form:
        yield f"CAST({tried} AS TIMESTAMP_NS) = {moment}"


def _lossless(value: str, tried: str, wanted: str, kind: str, declared: Column) -> Iterator[str]:
    """Yield the conditions under which `value`, of the type `kind`, says the same as `tried`, which is of the type `wanted`."""
    number = kind in (*_WHOLE_NUMBERS, "DOUBLE", "FLOAT") or kind.startswith("DECIMAL")
    if wanted == "BIGINT" and kind == "VARCHAR":
        exact = f"abs(TRY_CAST({value} AS DOUBLE)) < {2**53} AND TRY_CAST({value} AS DOUBLE) = trunc(TRY_CAST({value} AS DOUBLE))"
        yield f"(regexp_full_match({value}, {text(_WHOLE)}) OR (regexp_full_match({value}, {text(_SCIENTIFIC)}) AND {exact}))"
    if wanted == "BIGINT" and kind.startswith("DECIMAL"):
        yield f"TRY_CAST({tried} AS {kind}) = {value}"
    if wanted == "BIGINT" and kind in ("DOUBLE", "FLOAT"):
        yield f"{value} = trunc({value})"  # 12.5 is not an integer; DuckDB would round it
    if wanted == "BOOLEAN" and number:
        yield f"{value} IN (0, 1)"  # DuckDB takes any other number for true
    if wanted == "DOUBLE" and number and kind != "FLOAT":
        same = f"TRY_CAST({tried} AS {kind}) = {value}"  # a float holds integers up to 2^53
        of_decimal = f"OR (abs({tried}) < {2**53} AND {_said(f'CAST({value} AS VARCHAR)', tried)})" if kind.startswith("DECIMAL") else ""
        yield f"({same} {of_decimal})"
    if wanted == "DOUBLE" and kind == "VARCHAR":
        yield f"NOT contains({value}, '_')"  # DuckDB reads 1_000.5 as 1000.5
        yield f"(NOT regexp_full_match({value}, '[+-]?[0-9]+') OR TRY_CAST({tried} AS HUGEINT) = TRY_CAST({value} AS HUGEINT))"
        yield _said(value, tried)
    if wanted in ("TIMESTAMP", "DATE") and kind == "VARCHAR":
        yield f"regexp_matches({value}, '^[0-9]{{4}}[-/]')"  # 31/12/12 is not a day of the year 31
        yield f"year({tried}) > 0"  # DuckDB reads 2024-03-10 (BC) as a date 4,047 years earlier
    if wanted == "TIMESTAMP" and kind == "VARCHAR":
        yield f"NOT regexp_matches({value}, ':[0-9]{{2}}[.][0-9]{{6}}0*[1-9]')"  # a part of a microsecond would be cut off
        yield f"NOT regexp_matches({value}, ':[0-9]{{2}}([.][0-9]+)?[+-](1[5-9]|[2-9][0-9]|[0-9]{{2}}:?[6-9][0-9])')"  # no zone is 99 hours away
    if wanted == "TIMESTAMP" and kind == "TIMESTAMP_NS":
        yield f"CAST({tried} AS TIMESTAMP_NS) = {value}"
    if wanted == "DATE" and kind == "TIMESTAMP_NS":
        yield f"CAST({tried} AS TIMESTAMP_NS) = {value}"
    elif wanted == "DATE" and kind == "VARCHAR":
        moment = f"TRY_CAST({value} AS TIMESTAMPTZ)"  # of a time with an offset, the date in the zone of the connection counts
        if declared.in_time_zone:  # where a midnight may be missing
            moment = (
                f"CASE WHEN {instants.names_other_zone(value)} THEN CAST({moment} AS TIMESTAMP) ELSE TRY_CAST({value} AS TIMESTAMP) END"
            )
        yield f"CAST({moment} AS TIMESTAMP) = CAST({tried} AS TIMESTAMP)"  # a time of day is not cut off
    elif wanted == "DATE" and kind.startswith("TIMESTAMP"):
        yield f"TRY_CAST({value} AS TIMESTAMP) = CAST({tried} AS TIMESTAMP)"  # a time of day is not cut off
    if kind == "BLOB":
        yield "false"  # bytes have no text of their own


def _said(written: str, tried: str) -> str:
    """Return whether the float `tried`, with as many digits as the number `written` has, is `written`: 0.1 is, 9007199254740993.0 and
    1e400 are not.
    """
    digits = _digits(written)
    rounded = _digits(f"format('{{:.' || length({digits}) - 1 || 'e}}', {tried})")
    return (
        f"CASE WHEN length({written}) <= 15 AND NOT contains(lower({written}), 'e') THEN true "  # a float holds fifteen digits
        f"WHEN {digits} = '' THEN true "  # zero, NaN and infinity
        f"WHEN isfinite({tried}) THEN {rounded} = {digits} ELSE false END"
    )


def _digits(written: str) -> str:
    """Return the digits of a number as text, without its exponent and the zeros around them."""
    return f"trim(regexp_replace(regexp_replace({written}, '[eE].*$', ''), '[^0-9]', '', 'g'), '0')"
