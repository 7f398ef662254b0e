"""The engine that moves tables: DuckDB within a memory limit, and Parquet files whose bytes are always the same.

Data that does not fit into memory is spilled into a scratch directory that goes away with the connection.
"""

import functools
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib.core.errors import ConfigError, DataError

ROW_GROUP = 65_536
"""Rows in a row group: small enough to be scored in a breath, large enough that the footer stays small."""


UTC = "UTC"
"""The zone of a connection that reads files of ours in which no date depends on a zone: partitions are text there."""


@contextmanager
def connect(time_zone: str) -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Yield a private in-memory DuckDB whose clocks show `time_zone` (that of the dataset, `Dataset.zone`), and its scratch directory.

    It holds at most ``NIGHTSHIFT_MEMORY`` (default ``1GiB``) before it spills; it is a property of the machine, not of the
    computation, so it is not a parameter. Extensions are never fetched. Raises `ConfigError` for a time zone that DuckDB does not know.
    """
    with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch:
        settings: dict[str, Any] = {
            "memory_limit": os.environ.get("NIGHTSHIFT_MEMORY", "1GiB"),
            "temp_directory": str(Path(scratch) / "spill"),
            "preserve_insertion_order": "false",  # every result that is written is sorted; keeping order besides costs memory
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        connection = duckdb.connect(config=settings)
        try:
            set_time_zone(connection, time_zone)
            yield connection, Path(scratch)
        finally:
            connection.close()


def bare_connection(time_zone: str) -> duckdb.DuckDBPyConnection:
    """Return a connection without a memory limit and a scratch directory: to parse expressions and tell their types, or to look at tables in memory.

    All of a process are connections to one DuckDB, since it takes 20 ms to start one. The tables that a connection registers, its temporary
    tables and its time zone are its own; so make no others.
    """
    connection = _in_memory().cursor()
    set_time_zone(connection, time_zone)
    return connection


@functools.cache
def _in_memory() -> duckdb.DuckDBPyConnection:
    return duckdb.connect()


def set_time_zone(connection: duckdb.DuckDBPyConnection, time_zone: str) -> None:
    """Let the dates and hours of instants on `connection` be those of `time_zone`. Raises `ConfigError` for one that DuckDB does not know."""
    try:
        connection.execute(f"SET TimeZone = {text(time_zone)}")
    except duckdb.Error:
        raise ConfigError(f"dataset.time_zone is {time_zone!r}, which DuckDB does not know; write a name such as Europe/Berlin") from None


def name(identifier: str) -> str:
    """Return `identifier` quoted for SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def text(value: object) -> str:
    """Return `value` as an SQL string literal."""
    return "'" + str(value).replace("'", "''") + "'"


def write_parquet(batches: Iterator[pa.RecordBatch], schema: pa.Schema, path: Path, metadata: dict[str, Any] | None = None) -> int:
    """Write `batches` of `schema` to `path` in row groups of exactly `ROW_GROUP` rows; returns the number of rows.

    `metadata` is written into the schema, each value as JSON. The bytes depend on the rows alone, however they were cut
    into batches.
    """
    if metadata:
        schema = schema.with_metadata({key: json.dumps(value, sort_keys=True) for key, value in metadata.items()})
    rows = 0
    with pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True) as writer:
        for group in _regroup(batches, schema):
            writer.write_table(group, row_group_size=ROW_GROUP)
            rows += group.num_rows
    return rows


def _regroup(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, ROW_GROUP - count)
            held.append(piece)
            start += piece.num_rows
            count += piece.num_rows
            if count == ROW_GROUP:
                yield pa.Table.from_batches(held).cast(schema).combine_chunks()
                held, count = [], 0
    if held:
        yield pa.Table.from_batches(held).cast(schema).combine_chunks()


def open_parquet(path: Path) -> pq.ParquetFile:
    """Open the Parquet file at `path` and read its footer; pages are compared with their checksums as they are read.

    Raises `DataError` if the file is missing or torn, or if damage left the name of a column that is not a text.
    """
    try:
        file = pq.ParquetFile(path, page_checksum_verification=True)
        _ = file.schema_arrow.names  # Arrow decodes them when they are asked for
        return file
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run the stage that writes it, or correct the path") from None
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        fact = str(error).splitlines()[0]
        raise DataError(f"{path} is not a whole Parquet file ({fact}); it was cut or is another format: deliver it again") from None
