"""The files of one night in a published table: which files, which commit last changed their rows, and whether they can be read to their end.

A Delta transaction says that a run once committed. It says nothing about the rows of today: `restore`, `delete` and `update` leave it in place. The name
of a published file begins with the digest of what was published, so the names in the log tell what the night consists of.
"""

import datetime as dt
import re
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from deltalake.fs import DeltaStorageHandler
from pyarrow.fs import PyFileSystem

from pipelines.lib.core.errors import DataError, TransientError

RESTORE, OPTIMIZE = "RESTORE", "OPTIMIZE"
_NAME = re.compile(r"partition=[^/]+/([0-9a-f]{16})-[0-9]+\.zstd\.parquet")


@dataclass(frozen=True)
class NightFile:
    """A file of a night: its path in the table, and the rows that the log counts in it."""

    path: str
    rows: int


@dataclass(frozen=True)
class Change:
    """The commit that last changed the rows of a night. `published` says that a run made it."""

    version: int
    operation: str
    at: dt.datetime
    published: bool

    @property
    def is_manual(self) -> bool:
        """Whether a person, or a program other than `publish`, wanted these rows so; a restore goes back to rows that were there before."""
        return not self.published and self.operation != RESTORE


@dataclass(frozen=True)
class Held:
    """One night of a table: its `files`, as they were before the table was optimised, and the last `change` where no run
    published them.
    """

    files: tuple[NightFile, ...]
    change: Change | None = None

    def is_publication(self, digest: int, rows: int) -> bool:
        """Return whether this is the one file of `rows` rows that the publication with `digest` wrote."""
        return [(_digest_of(file), file.rows) for file in self.files] == [(digest, rows)]


def file_path(partition: str, digest: int, version: int) -> str:
    """Return where the file of a publication goes: named after its content and the table's `version` that it follows, so never like one
    that was removed.
    """
    return f"partition={partition}/{digest:016x}-{version}.zstd.parquet"


def held(table: DeltaTable, url: str, partition: str, *, known: bool) -> Held:
    """Return what `table` at `url` holds of `partition`; `known` says that a run published the night before.

    Reads the log's history only where the night does not consist of what a run has published.
    """
    files = _files_of(table, partition)
    if (len(files) == 1 and _digest_of(files[0]) is not None) or not (files or known):
        return Held(files)
    history = table.history()
    for commit in history:
        if commit.get("partition", partition) != partition or commit["operation"].startswith("VACUUM"):
            continue
        try:
            before = _files_of(DeltaTable(url, version=commit["version"] - 1), partition)
        except (DeltaError, OverflowError, ValueError):  # older than the log
            break
        if before == files:
            continue
        if commit["operation"] == OPTIMIZE:  # the same rows in other files
            files = before
            continue
        return Held(files, Change(commit["version"], commit["operation"], _moment(commit), "partition" in commit))
    return Held(files, Change(history[-1]["version"], "a commit before the log", _moment(history[-1]), published=False))


def is_readable(table: DeltaTable, url: str, partition: str) -> bool:
    """Return whether every page of the night's files can be read and has the checksum that was written with it."""
    store = PyFileSystem(DeltaStorageHandler(url))
    try:
        for one in _files_of(table, partition):
            with (
                store.open_input_file(one.path) as source,
                pq.ParquetFile(source, pre_buffer=False, page_checksum_verification=True) as file,
            ):
                if sum(batch.num_rows for batch in file.iter_batches(use_threads=False)) != one.rows:
                    return False
    except (pa.ArrowException, OSError):
        return False
    return True


def require_no_change_by_hand(held: Held, partition: str, opened_at: dt.datetime, url: str) -> None:
    """Raise `DataError` if somebody changed the night after the run opened: a cleared task must not bring back what was deleted on
    purpose.
    """
    change = held.change
    if change and change.is_manual and change.at >= opened_at:
        raise DataError(
            f"{partition} was changed outside Nightshift ({change.operation} at {change.at:%Y-%m-%d %H:%M:%S} UTC, version {change.version} of {url}) after "
            f"this run opened; nothing was published. To keep the change, leave this task failed. To replace the night, trigger a new run for "
            f"{partition}. See docs/reference/published-store.md, Rows that were changed outside Nightshift"
        )


def unreadable(url: str, partition: str, error: Exception) -> DataError | TransientError:
    """Return what to raise where the files of a published night cannot be read."""
    said = str(error).splitlines()[0]
    if isinstance(error, OSError) and not re.search(
        "(?i)crc|checksum|parquet|corrupt|magic|zstd|thrift|decompress|unexpected end|page", said
    ):
        return TransientError(f"{partition} of {url} was not read ({said}); check the store and try again")
    return DataError(
        f"a file of {partition} in {url} was damaged after it was published ({said}). Clear publish_scores or publish_evidence of the run that "
        "published it: it writes the file again"
    )


def _files_of(table: DeltaTable, partition: str) -> tuple[NightFile, ...]:
    files = table.get_add_actions(flatten=True)
    listed = zip(*(files[column].to_pylist() for column in ("partition.partition", "path", "num_records")), strict=True)
    return tuple(sorted((NightFile(path, rows) for night, path, rows in listed if night == partition), key=lambda file: file.path))


def _digest_of(file: NightFile) -> int | None:
    named = _NAME.fullmatch(file.path)
    return int(named[1], 16) if named else None


def _moment(commit: dict[str, object]) -> dt.datetime:
    return dt.datetime.fromtimestamp(int(str(commit["timestamp"])) / 1000, dt.UTC)
