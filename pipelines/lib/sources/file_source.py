"""Parquet and CSV files as a source: the files that a window needs, with the columns that their folders name."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources import csv_source, extents, parquet_source, pinned_files, source_files
from pipelines.lib.sources.casts import REFUSED, cast
from pipelines.lib.sources.reach import Reach, Window
from pipelines.lib.sources.scan import FILE, Notation
from pipelines.lib.sources.source_files import SourceFile
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import name, text

log = logging.getLogger("nightshift")

_PARTITION = "__nightshift_partition"


def scan(
    connection: duckdb.DuckDBPyConnection,
    source: Source,
    columns: Mapping[str, Column],
    window: Window | None,
    notation: Notation,
    scratch: Path,
) -> tuple[str, Reach]:
    """Make the files of `source` that hold rows of `window` readable on `connection`; returns the relation, and the reach of the other files.

    Without `columns`, the relation has all that there are.

    Raises `DataError` for a file that cannot be read, for one that was replaced since the run was opened, and for one whose folders or whose date in
    the path contradict its rows.
    """
    files = pinned_files.pinned_files(source)
    newest = max((file.partition for file in files if file.partition is not None), default=None)
    skipped = Reach()
    if window is not None:
        total = len(files)
        files, skipped = extents.split(files, _extents(files, source, window, columns[window.column].written_in, notation), window)
        log.info("%d of %d files of %s are read for the dates up to %s", len(files), total, source.path, window.night)
    pinned_files.require_unchanged(files)
    files = source_files.at_hand(files, source, scratch)
    named = [column for column in columns if any(column in file.values for file in files)]
    _require_folders(connection, files, {column: columns[column] for column in named}, notation)
    paths = [file.path for file in files]
    inside = [column for column in columns if column not in named]
    if source.kind == "parquet":
        relation = parquet_source.relation(paths, inside, window if window and window.column in inside else None)
    else:
        relation = csv_source.relation(paths, inside, source)
    if not columns:  # a look at all columns, before any is declared
        columns = _text_of_folders(connection, files, relation)
        named = list(columns)
    dated = window is not None and any(file.partition for file in files)
    if not named and not dated:
        return f"(SELECT * EXCLUDE ({name(FILE)}) FROM {relation})", skipped
    table = f"files_{hashlib.sha256(repr(source).encode()).hexdigest()[:16]}"
    facts = {FILE: [str(file.path) for file in files], _PARTITION: [file.partition for file in files]}
    facts |= {column: [file.values.get(column) for file in files] for column in named}
    types = [(FILE, pa.string()), (_PARTITION, pa.date32()), *((column, pa.string()) for column in named)]
    connection.register(table, pa.table(facts, schema=pa.schema(types)))
    present = {row[0].lower(): row[1] for row in connection.sql(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    both = [column for column in named if column.lower() in present]
    joined = f"{relation} AS rows JOIN {table} AS files ON rows.{name(FILE)} = files.{name(FILE)}"
    for column in both:
        _require_agreement(connection, joined, column, columns[column], present[column.lower()], notation, source.path or "")
    if dated and window is not None:
        kind, owner = ("VARCHAR", "files") if window.column in named else (present[window.column.lower()], "rows")
        moment = cast(window.column, columns[window.column], kind, source.path or "", notation)
        _require_partition(connection, joined, window, moment, owner, source.path or "")
        in_zone = window.time_zone is not None and columns[window.column].type == "timestamp"
        if window.whole and in_zone and newest is not None and newest <= window.night:
            _require_next_file(connection, joined, window, moment, owner, source.path or "")
    values = "".join(f", files.{name(column)}" for column in named)
    return f"(SELECT rows.* EXCLUDE ({', '.join(map(name, [FILE, *both]))}){values} FROM {joined})", skipped


def _text_of_folders(connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile], relation: str) -> dict[str, Column]:
    """Return the columns, as text, that the folders of all `files` name and the files themselves lack."""
    common = [column for column in files[0].values if all(column in file.values for file in files)]
    if not common:
        return {}
    present = {row[0].lower() for row in connection.sql(f"DESCRIBE SELECT * FROM {relation}").fetchall()}
    return {column: Column(type="string") for column in common if column.lower() not in present}


def _extents(
    files: Sequence[SourceFile], source: Source, window: Window, written_in: str | None, notation: Notation
) -> dict[str, extents.Extent | None]:
    iso = notation.date_format is None and notation.timestamp_format is None  # another format also reads the text of a folder
    found = {file.name: extents.of_name(file, window.column) if file.partition is not None or iso else None for file in files}
    # The footer of a file that was replaced does not say which rows were in it before.
    unnamed = [file for file in files if found[file.name] is None and window.column not in file.values and not file.changed]
    if source.kind == "parquet":
        footers = source_files.footers(unnamed, source)
        found |= {
            name: extents.of_statistics(footer, window.column, time_zone=window.time_zone, written_in=written_in)
            for name, footer in footers.items()
        }
    return found


def _require_folders(
    connection: duckdb.DuckDBPyConnection, files: Sequence[SourceFile], named: Mapping[str, Column], notation: Notation
) -> None:
    """Raise `DataError` if a folder names no value of a column that folders of other files name, or one that is not of the declared type."""
    first: dict[tuple[str, str], str] = {}
    for file in files:
        for column in named:
            if column not in file.values:
                raise DataError(
                    f"{file.name} is in no folder {column}=…, as other files of the source are; move it into one, or take {column!r} out of `columns` in params.yaml"
                )
            if (value := file.values[column]) is not None:
                first.setdefault((column, value), file.name)
    for (column, value), file_name in first.items():
        tried = cast(column, named[column], "VARCHAR", f"the folder {column}={value} of {file_name}", notation)
        try:
            connection.sql(f"SELECT {tried} FROM (SELECT {text(value)} AS {name(column)})").fetchall()
        except duckdb.Error as error:
            if REFUSED not in str(error):
                raise
            raise DataError(str(error).split(REFUSED, 1)[1].strip()) from None


def _require_agreement(
    connection: duckdb.DuckDBPyConnection, joined: str, column: str, declared: Column, kind: str, notation: Notation, path: str
) -> None:
    """Raise `DataError` if a file of `joined` holds another value of `column` than the folder in which it is."""
    both = f"SELECT rows.{name(FILE)} AS __file, rows.{name(column)}, files.{name(column)} AS __folder FROM {joined}"
    own = f"SELECT __file, {cast(column, declared, kind, path, notation)} AS __own, __folder AS {name(column)} FROM ({both})"
    of_folder = cast(column, declared, "VARCHAR", path, notation)
    found = connection.sql(
        f"SELECT __file, __own::VARCHAR, {name(column)} FROM ({own}) WHERE __own IS DISTINCT FROM {of_folder} LIMIT 1"
    ).fetchall()
    for file, inside, outside in found:
        raise DataError(
            f"{file} holds {inside!r} in the column {column!r}, but its folder is {column}={outside}; move the rows, or take the column out of the file"
        )


def _require_partition(connection: duckdb.DuckDBPyConnection, joined: str, window: Window, moment: str, owner: str, path: str) -> None:
    """Raise `DataError` if a file of `joined` has a row of another date than the source's `path` declares for it.

    `moment` is the SQL of the time, the column of `window`, which is in the file (`owner` is rows) or in its folders (files). In a dataset with a time zone the
    path may be named after the date in UTC, which is a day from the local one at most.
    """
    column, other = window.column, f"({moment})::DATE <> __declared"
    if window.time_zone is not None:
        other += f" AND abs(({moment})::DATE - __declared) > 1"
    dated = f"SELECT files.{name(FILE)} AS __file, files.{name(_PARTITION)} AS __declared, {owner}.{name(column)} FROM {joined}"
    found = connection.sql(f"SELECT __file, __declared, {name(column)}::VARCHAR FROM ({dated}) WHERE {other} LIMIT 1").fetchall()
    for file, partition, value in found:
        raise DataError(
            f"{file} holds a row whose {column!r} is {value}, but `path: {path}` declares that all of its rows are of {partition}; deliver the row in the "
            "file of its date, or write * instead of {partition}: then Nightshift does not rely on the name"
        )


def _require_next_file(connection: duckdb.DuckDBPyConnection, joined: str, window: Window, moment: str, owner: str, path: str) -> None:
    """Raise `DataError` if the path of a source without later files has the date in UTC, west of Greenwich: the night of `window` ends in the next file.

    A file shows that if the date of all its rows in UTC is that in its path, and the local date of some is the one before.
    """
    dated = f"SELECT files.{name(FILE)} AS __file, files.{name(_PARTITION)} AS __declared, {owner}.{name(window.column)} FROM {joined}"
    dates = f"SELECT __file, __declared, ({moment})::DATE AS __local, (({moment}) AT TIME ZONE 'UTC')::DATE AS __utc FROM ({dated})"
    found = connection.sql(
        f"SELECT __file, min(__local) FROM ({dates}) GROUP BY __file, __declared "
        "HAVING bool_and(__utc = __declared) AND min(__local) < __declared ORDER BY ALL LIMIT 1"
    ).fetchall()
    for file, day in found:
        raise DataError(
            f"the last rows of {window.night} are not delivered yet: {file} begins with rows of {day} in {window.time_zone}, so `path: {path}` has the "
            f"date in UTC, and no file is there after that of {window.night}. Run the night when the file of the next date is there: in params.yaml, write a "
            "later nightly_batch_scoring.cron, or add 1 to nightly_batch_scoring.replay_offset_days"
        )
