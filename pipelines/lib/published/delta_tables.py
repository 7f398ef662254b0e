"""The published tables: scores, and evidence next to them. Delta, partitioned by night; the only thing that consumers read.

A night appears, or replaces an earlier one, in a single commit of the table's log, so a reader sees all rows of one run or none of
them. The rows are written first, as one Parquet file that nothing points to: streamed, since delta-rs' own partitioned writer holds
much of a large night in memory, and flushed to disk before the commit, which delta-rs would leave to the operating system.

The fence. Delta sees two writers in conflict when both remove the same file, but not when both add a night that was not there: its
rows would be doubled. So each commit carries a Delta transaction named after its night: of two commits to one night that have
not seen each other, the second is refused for any changes, and its writer looks at the table again. The
transaction's version is a digest of what was published, and so is the name of the night's file. Publishing the same again finds that file in the table and
changes nothing. A transaction alone proves nothing: it outlives a restore and a deletion.

On S3 delta-rs takes its access from the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …); see docs/reference/published-store.md.
"""

import functools
import hashlib
import json
import logging
import operator
import os
import random
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.json
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.fs import DeltaStorageHandler
from deltalake.transaction import AddAction
from pyarrow.fs import PyFileSystem

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import RunFile
from pipelines.lib.published import night_files
from pipelines.lib.published.store import scores_url

BATCH_ROWS = 65_536
"""Rows streamed at a time, and the row-group size of a night's file."""

LINEAGE = pa.schema(
    [
        pa.field("partition", pa.string(), nullable=False),
        pa.field("model_name", pa.string(), nullable=False),
        pa.field("model_version", pa.string(), nullable=False),
        pa.field("model_sha256", pa.string(), nullable=False),
        pa.field("run_id", pa.string(), nullable=False),
        pa.field("run_ref", pa.string(), nullable=False),
        pa.field("git_commit", pa.string(), nullable=False),
        pa.field("degraded", pa.bool_(), nullable=False),
        pa.field("scored_at", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
"""The columns that follow those of the file that is published: the same value in every row of a night."""

log = logging.getLogger("nightshift")


@dataclass(frozen=True)
class Lineage:
    """The origin of a night's rows: the columns of `LINEAGE`. `run_ref` is the git ref of the run, `scored_at` (UTC) when it opened."""

    partition: str
    model_name: str
    model_version: str
    model_sha256: str
    run_id: str
    run_ref: str
    git_commit: str
    degraded: bool
    scored_at: datetime

    def __post_init__(self) -> None:
        """Refuse a partition that is not a date (it becomes a predicate) and a time without a zone."""
        parse_partition(self.partition)
        if self.scored_at.tzinfo is None:
            raise ConfigError(f"scored_at is {self.scored_at}, without a zone; write opened_at in UTC: 2013-06-01T02:00:00+00:00")


@dataclass(frozen=True)
class Publication:
    """The result of `publish`: the table's `version` that holds the night; `changed` is False if it was there already."""

    version: int
    rows: int
    changed: bool


def lineage_of(run: RunFile) -> Lineage:
    """Return what every row that `run` publishes says of its origin. Raises `ConfigError` if the run is not pinned."""
    model, opened_at, commit, ref = run.model, run.opened_at, run.git_commit, run.run_ref
    if model.version is None or model.sha256 is None or opened_at is None or commit is None or ref is None:
        raise ConfigError(
            "run.yaml is not pinned (model version and sha256, git_commit, run_ref and opened_at are needed to publish): "
            "only a run that open_run has pinned publishes; on a laptop look at data/scores and data/evidence instead"
        )
    try:
        scored_at = datetime.fromisoformat(opened_at)
    except ValueError:
        raise ConfigError(f"run.yaml: opened_at is {opened_at!r}; it must be UTC in ISO 8601: 2013-06-01T02:00:00+00:00") from None
    return Lineage(run.partition, model.name, model.version, model.sha256, run.run_id, ref, commit, model.degraded, scored_at)


def publish(source: Path, lineage: Lineage, *, expected_rows: int, url: str | None = None, attempts: int = 12) -> Publication:
    """Make the rows of the Parquet file `source` the only rows of the night `lineage.partition`, in one commit, in the table at `url` (None: the scores).

    Rows are streamed, so memory does not grow with the night. The table is made if there is none. A writer of the same night
    that was faster costs one of the `attempts`. Raises `DataError` when `source` is torn, empty or not of `expected_rows`, or when somebody has
    changed the night by hand since the run opened; `ConfigError` when the table has other columns, `TransientError` when other writers never let this
    one through.
    After any error, the table is as it was.
    """
    url = url or scores_url()
    try:
        sha256 = sha256_of(source)
        with pq.ParquetFile(source) as file:
            rows, schema = file.metadata.num_rows, _with_lineage(file.schema_arrow)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source} is not a whole Parquet file: {error}; run the stage that writes it again") from None
    if rows != expected_rows:
        raise DataError(f"{source} has {rows} rows, its report says {expected_rows}: they are not of one run; run the stages of both again")
    if rows == 0:
        raise DataError(f"{source} has no rows; a night without rows is not published. See what the gates say of its source")
    digest = {f"{_name_of(url)}_sha256": sha256}
    night = _night(lineage, digest)
    file_to_add: AddAction | None = None
    for attempt in range(attempts):
        table = _open_or_create(url, schema, attempts)
        held = night_files.held(table, url, lineage.partition, known=table.transaction_version(night.app_id) is not None)
        if held.is_publication(night.version, rows) and night_files.is_readable(table, url, lineage.partition):
            return Publication(table.version(), rows, changed=False)
        night_files.require_no_change_by_hand(held, lineage.partition, lineage.scored_at, url)
        _check_schema(table, schema, url)
        path = night_files.file_path(lineage.partition, night.version, table.version())
        file_to_add = file_to_add or _write_file(url, path, source, schema, lineage)
        try:
            table.create_write_transaction(
                [file_to_add],
                "overwrite",
                table.schema(),
                partition_by=["partition"],
                partition_filters=[("partition", "=", lineage.partition)],
                commit_properties=CommitProperties(
                    custom_metadata={"partition": lineage.partition, "run_id": lineage.run_id, **digest},
                    app_transactions=[night],
                ),
            )
        except CommitFailedError as error:
            log.info("another writer was first (%s); attempt %d of %d", str(error).splitlines()[0], attempt + 1, attempts)
            _back_off(attempt)
        else:
            table.update_incremental()
            return Publication(table.version(), rows, changed=True)
    raise TransientError(f"{attempts} attempts to publish {lineage.partition} to {url} lost against other writers; try again later")


def read_scores(partition: str, url: str | None = None, columns: list[str] | None = None) -> pa.Table:
    """Return the published rows of one night (of them `columns`) in the table at `url` (None: the scores), none if it is not published.

    Raises `ConfigError` if nothing was ever published, `DataError` where a file was damaged.
    """
    parse_partition(partition)
    return read_where({"partition": partition}, url, columns)


def read_where(values: Mapping[str, object], url: str | None = None, columns: list[str] | None = None) -> pa.Table:
    """Return the published rows with all of these `values`, by column. Compare every page with its checksum; raise as `read_scores`."""
    import pyarrow.dataset as ds

    url = url or scores_url()
    wanted = functools.reduce(operator.and_, (ds.field(name) == value for name, value in values.items()))
    verified = ds.ParquetFragmentScanOptions(page_checksum_verification=True)
    try:
        return DeltaTable(url).to_pyarrow_dataset().to_table(columns=columns, filter=wanted, fragment_scan_options=verified)
    except TableNotFoundError:
        raise ConfigError(f"there is no table at {url}; publish a night first, or set NIGHTSHIFT_PUBLISHED_URL") from None
    except (pa.ArrowException, OSError) as error:
        raise night_files.unreadable(url, str(values.get("partition", "a night")), error) from None


def _name_of(url: str) -> str:
    return url.rstrip("/").rpartition("/")[2]


def _with_lineage(source: pa.Schema) -> pa.Schema:
    """Return the table's schema: the columns of the file (strings not as dictionaries), then the lineage."""
    clash = sorted(set(source.names) & set(LINEAGE.names))
    if clash:
        raise ConfigError(f"the key has columns that the published table adds itself: {', '.join(clash)}; rename them in the source")
    return pa.schema([*source.remove_metadata(), *LINEAGE])


def _night(lineage: Lineage, digest: dict[str, str]) -> Transaction:
    """Return the Delta transaction of a night. Its version is not a counter but 63 bits of the digest of all that is published."""
    content = json.dumps({**asdict(lineage), "scored_at": lineage.scored_at.isoformat(), **digest}, sort_keys=True)
    version = int.from_bytes(hashlib.sha256(content.encode()).digest()[:8], "big") >> 1
    return Transaction(f"nightshift/{lineage.partition}", version)


def _open_or_create(url: str, schema: pa.Schema, attempts: int) -> DeltaTable:
    for attempt in range(attempts):
        try:
            return DeltaTable(url)
        except TableNotFoundError:
            try:
                DeltaTable.create(url, schema, mode="error", partition_by=["partition"], name=_name_of(url))
            except Exception as error:  # another process made it just now: delta-rs has three ways to say so
                log.info("%s was not made here (%s); looking again", url, str(error).splitlines()[0])
                _back_off(attempt)
    raise TransientError(f"{url} could neither be opened nor made in {attempts} attempts; see the log, then try again")


def _check_schema(table: DeltaTable, schema: pa.Schema, url: str) -> None:
    found = pa.schema(table.schema().to_arrow())
    if [(field.name, field.type) for field in found] != [(field.name, field.type) for field in schema]:
        raise ConfigError(
            f"{url} has the columns {_columns(found)}, what is to be published {_columns(schema)}; "
            "publish to another NIGHTSHIFT_PUBLISHED_URL, or change the table on purpose (docs/reference/published-store.md)"
        )


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} {field.type}" for field in schema)


def _write_file(url: str, path: str, source: Path, schema: pa.Schema, lineage: Lineage) -> AddAction:
    """Write a night's rows as the new file `path` of the table at `url`; no reader sees it until a commit adds it.

    A writer that is killed, or runs twice, writes the same bytes to the same place and leaves nothing over.
    """
    store = PyFileSystem(DeltaStorageHandler(url))
    index = schema.get_field_index("partition")
    constants = _constants(lineage)
    with (
        store.open_output_stream(path) as sink,
        pq.ParquetWriter(sink, schema.remove(index), compression="zstd", compression_level=3, write_page_checksum=True) as writer,
    ):
        for batch in _batches(source):
            columns = [*batch.columns, *(constant.slice(0, batch.num_rows) for constant in constants)]
            writer.write_batch(pa.record_batch(columns, schema=writer.schema))
    _flush(url, path)
    written, rows = store.get_file_info(path), pq.read_metadata(source).num_rows
    modified = written.mtime_ns // 1_000_000
    return AddAction(path, written.size, {"partition": lineage.partition}, modified, True, json.dumps({"numRecords": rows}))


def _batches(source: Path) -> Iterator[pa.RecordBatch]:
    try:
        with pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file:
            yield from file.iter_batches(BATCH_ROWS, use_threads=False)
    except (pa.ArrowException, OSError) as error:  # of the source alone: what the table's store raises is raised outside of here
        raise DataError(f"{source} cannot be read to its end: {error}; run the stage that writes it again") from None


def _constants(lineage: Lineage) -> list[pa.Array]:
    """Return `BATCH_ROWS` of each column of `LINEAGE` but the partition, which Delta keeps in the path.

    Through JSON, since a conversion of Python objects by pyarrow would import pandas, a second of every night.
    """
    schema = LINEAGE.remove(LINEAGE.get_field_index("partition"))
    content = {**asdict(lineage), "scored_at": lineage.scored_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")}
    line = json.dumps({field.name: content[field.name] for field in schema}).encode()
    row = pa.json.read_json(pa.BufferReader(line), parse_options=pa.json.ParseOptions(explicit_schema=schema))
    zeros = pa.Array.from_buffers(pa.int32(), BATCH_ROWS, [None, pa.py_buffer(bytes(4 * BATCH_ROWS))])
    return [row.column(field.name).combine_chunks().take(zeros) for field in schema]


def _back_off(attempt: int) -> None:
    time.sleep(random.uniform(0, min(2.0, 0.02 * 2**attempt)))  # noqa: S311 (full jitter, no secret)


def _flush(url: str, path: str) -> None:
    """Wait until the disk has a local file: the commit must not outlive the file that it points to."""
    if "://" in url:
        return
    file = Path(url) / path
    for part in (file, file.parent, file.parent.parent):
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
