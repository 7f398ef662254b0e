"""Databases as a source, through SQLAlchemy: the needed columns and dates are spooled as text, which the casts then treat like a CSV's.

Text is what every database and driver can give of every type. A value whose text would not say all, such as bytes, is refused by name.
"""

import hashlib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, time
from decimal import Context, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.refused_login import is_refused
from pipelines.lib.sources.reach import Reach, Window, measured_by_database, reach_of, sent_by_database
from pipelines.lib.sources.scan import Scan, require_columns
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import text

if TYPE_CHECKING:
    import sqlalchemy as sa

_BATCH = 10_000
"""Rows that are fetched at a time."""


def columns_of(source: Source) -> list[str]:
    """Return the names of the columns of `source`; no row is read. Raises as `scan` does."""
    with _opened(source) as (database, table, _):
        return _names(database, table)


def scan(source: Source, columns: Mapping[str, Column], window: Window | None, scratch: Path) -> Scan:
    """Spool the needed columns and dates of `source`, as text, into a Parquet file under `scratch`.

    Raises `DataError` for a wrong table or a value whose text would not say all, `TransientError` for a database that does not answer.
    """
    import sqlalchemy as sa

    spool = scratch / f"{hashlib.sha256(repr(source).encode()).hexdigest()}.parquet"
    with _opened(source) as (database, table, where):
        _begin_at_one_moment(database)
        require_columns(columns, _names(database, table), where)
        reach = None
        if window is not None:
            _require_dates_that_sort(database, table, window.column, where)
            figures = database.execute(sa.select(*measured_by_database(_sql_column(window.column), window)).select_from(table)).one()
            declared = columns[window.column]
            reach = reach_of([_dated(figure, declared) for figure in figures], where, window.column, declared.type)
        statement: Any = sa.select(*map(_sql_column, columns)).select_from(table)
        if window is not None:
            statement = statement.where(sent_by_database(_sql_column(window.column), window))
        streamed = database.execution_options(stream_results=True, yield_per=_BATCH).execute(statement)
        schema_of_text = pa.schema([(column, pa.string()) for column in columns])
        with pq.ParquetWriter(spool, schema_of_text) as writer:
            for rows in streamed.partitions():
                cells = zip(columns.items(), zip(*rows, strict=True), strict=True)
                texts = [pa.array(_texts(values, column, declared, where), pa.string()) for (column, declared), values in cells]
                writer.write_batch(pa.RecordBatch.from_arrays(texts, schema=schema_of_text))
    unmeasured = window is not None and window.time_zone is not None  # of the rows that were sent, the reach is still to be measured
    return Scan(
        f"read_parquet({text(spool)})",
        dict.fromkeys(columns, "VARCHAR"),
        where,
        None if unmeasured else reach,
        skipped=(unmeasured and reach) or Reach(),
    )


@contextmanager
def _opened(source: Source) -> Iterator[tuple["sa.Connection", "sa.FromClause", str]]:
    """Connect to the database of `source`; gives the connection, the table or query, and its name for people. Errors of the database become ours."""
    import sqlalchemy as sa

    try:
        engine = sa.create_engine(_expand(source.url or ""))
    except (sa.exc.ArgumentError, ImportError) as error:  # neither tells the url, which may hold a password
        raise ConfigError(f"source.url in params.yaml cannot be used: {error}; correct it, or install the driver that it names") from None
    where = f"{source.table or 'the query'} at {engine.url.render_as_string(hide_password=True)}"
    table: sa.FromClause
    if source.query is not None:
        table = sa.text(source.query).columns().subquery("source")
    else:
        schema, _, plain = (source.table or "").rpartition(".")
        table = sa.table(sa.quoted_name(plain, quote=True), schema=sa.quoted_name(schema, quote=True) if schema else None)
    try:
        with engine.connect() as database:
            yield database, table, where
    except sa.exc.OperationalError as error:
        # SQLite's names for a wrong statement, where other databases raise ProgrammingError.
        if getattr(error.orig, "sqlite_errorname", None) in ("SQLITE_ERROR", "SQLITE_SCHEMA"):
            raise DataError(f"{where} cannot be read: {error.orig}; correct `source` in params.yaml") from None
        if is_refused(str(error.orig)):
            said = " ".join(str(error.orig).split())
            raise ConfigError(f"{where} refuses the connection: {said}; correct role, password and database in source.url") from None
        raise TransientError(f"{where} does not answer: {error.orig}; it is tried again") from None
    except sa.exc.SQLAlchemyError as error:
        fact = getattr(error, "orig", None) or error
        if isinstance(error, sa.exc.TimeoutError) or getattr(error, "connection_invalidated", False):
            raise TransientError(f"{where} does not answer: {fact}; it is tried again") from None
        raise DataError(f"{where} cannot be read: {fact}; correct `source` in params.yaml") from None
    finally:
        engine.dispose()


def _names(database: "sa.Connection", table: "sa.FromClause") -> list[str]:
    import sqlalchemy as sa

    return list(database.execute(sa.select(sa.text("*")).select_from(table).limit(0)).keys())


def _dated(moment: Any, declared: Column) -> Any:
    """Return the date that `moment`, an instant of a row that was not sent, has in the zone of its column; itself if it is none, or a count."""
    if declared.zone is None or moment is None or isinstance(moment, int):
        return moment
    try:
        found = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
        if found.tzinfo is None:
            found = found.replace(tzinfo=ZoneInfo(declared.written_in or "UTC"))
        return found.astimezone(ZoneInfo(declared.zone)).date()
    except (ValueError, OverflowError):
        return moment


def _begin_at_one_moment(database: "sa.Connection") -> None:
    """Let all statements on `database` see the table as it is at one moment: the reach and the rows are two statements."""
    if database.dialect.name in ("postgresql", "mysql", "mariadb"):
        database.execution_options(isolation_level="REPEATABLE READ")
    elif database.dialect.name == "sqlite":  # its driver begins a transaction for a write only
        database.exec_driver_sql("BEGIN")


_SORTS_AS_TEXT = "[0-9]*-[0-9][0-9]-[0-9][0-9]*"
"""SQLite's pattern of a date that as text comes where it comes as a date."""


def _require_dates_that_sort(database: "sa.Connection", table: "sa.FromClause", column: str, where: str) -> None:
    """Raise `DataError` if `column` of a SQLite `table` has a text such as 2024-1-20. SQLite compares text, and so would leave out rows
    of the night.
    """
    import sqlalchemy as sa

    if database.dialect.name != "sqlite":  # others have a type for dates, or refuse to compare text with a date
        return
    moment = _sql_column(column)
    unsorted = sa.and_(sa.func.typeof(moment) == "text", ~moment.op("GLOB")(_SORTS_AS_TEXT))
    found = database.execute(sa.select(moment).select_from(table).where(unsorted).limit(1)).scalar()
    if found is not None:
        raise DataError(
            f"column {column!r} of {where} holds {str(found)[:60]!r}, and SQLite compares times as text: rows of the night would be left out. "
            "Write year-month-day with two digits for month and day, as in 2024-01-20, or cast the column in source.query"
        )


_AS_TEXT = (str, bool, int, float, Decimal, date, time, UUID)
"""The values that a driver gives as Python's own types, and what their text says whole (a datetime is a date)."""


def _texts(values: Sequence[Any], column: str, declared: Column, where: str) -> list[str | None]:
    """Return `values` of `column` as text, from which the cast to the declared type starts. Raises `DataError` for one that its text
    would not give back.
    """
    if {*map(type, values)} <= {str, int, type(None)}:  # nearly always
        return [None if value is None else str(value) for value in values]
    texts = [None if value is None else _text(value, declared) for value in values]
    for value, as_text in zip(values, texts, strict=True):
        if value is not None and as_text is None:
            raise DataError(
                f"column {column!r} of {where} holds {str(value)[:60]!r} ({type(value).__name__}), which is not of type {declared.type}, or would lose something "
                "as one; cast it in a query of the source, or correct the type in params.yaml"
            )
    return texts


def _text(value: object, declared: Column) -> str | None:
    """Return `value` as text; None if that would not say all."""
    if not isinstance(value, _AS_TEXT):  # bytes, intervals, arrays and objects have no text but Python's own
        return None
    if isinstance(value, float) and declared.type == "string":  # an id that was a whole number would become 7.0
        return None
    if isinstance(value, bool):
        return str(int(value)) if declared.type in ("integer", "float") else str(value).lower()
    if isinstance(value, Decimal) and value.is_finite():
        if declared.type == "float" and not _held_by_a_float(value):
            return None
        return format(value, "f")  # never as 1E+3
    return str(value)


def _held_by_a_float(value: Decimal) -> bool:
    """Return whether the nearest float comes back as `value` when it is rounded to as many places, or below 2^53 to as many digits."""
    places = value.as_tuple().exponent
    assert isinstance(places, int)  # it is finite
    nearest = float(value)
    if abs(value) < 2**53 and value:  # 12345678.12 of a numeric(38, 18) has ten digits
        digits = "".join(map(str, value.as_tuple().digits)).strip("0")
        return Decimal(format(nearest, f".{len(digits) - 1}e")) == value
    return math.isfinite(nearest) and Decimal(nearest).quantize(Decimal(1).scaleb(places), context=Context(prec=2000)) == value


def _expand(url: str) -> str:
    def value(match: re.Match[str]) -> str:
        if (found := os.environ.get(match[1])) is None:
            raise ConfigError(f"source.url needs the environment variable {match[1]}, which is not set; set it where the workers run")
        return found

    return re.sub(r"\$\{(\w+)\}", value, url)


def _sql_column(column: str) -> "sa.ColumnClause[Any]":
    import sqlalchemy as sa

    return sa.column(sa.quoted_name(column, quote=True))  # always quoted: a column may be called "order"
