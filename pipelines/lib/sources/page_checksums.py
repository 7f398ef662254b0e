"""Page checksums of the Parquet files of a source. DuckDB ignores them, so pyarrow reads the same pages first, compares, and discards the values.

A file without checksums is not read a second time. Not covered: the footer of a file, which has no checksum in the format.
"""

import datetime as dt
import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources.reach import Window

if TYPE_CHECKING:
    import pyarrow.dataset as ds

BATCH_ROWS = 65_536

_WITH_CHECKSUM = re.compile(rb"(?:\x15[\x80-\xff]*[\x00-\x7f]){3}\x15")
"""The first four fields of a page header in Thrift's compact protocol: type, two sizes, and the checksum, which is optional."""

_LONGEST_FIELDS = 24
"""Bytes that those fields take at most: a mark and five bytes for each."""


def verify(file: Path, columns: Iterable[str], window: Window | None) -> bool:
    """Compare the pages of `columns` in the Parquet file `file` with their checksums; False if it carries none.

    With a `window`, its column is compared in all row groups and the others only in those that can hold rows of the window: DuckDB
    may skip the rest. Raises `DataError` if a page was damaged.
    """
    try:
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20, page_checksum_verification=True) as opened:
            with file.open("rb") as content:
                if not carried(content, opened.metadata):
                    return False
            wanted, groups = set(columns), list(range(opened.num_row_groups))
            if window is not None:
                _read(opened, groups, [window.column])
                wanted.discard(window.column)
                groups = _groups_of(file, opened.schema_arrow.field(window.column).type, window, groups)
            _read(opened, groups, sorted(wanted))
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} was damaged after it was written ({str(error).splitlines()[0]}); deliver it again") from None
    return True


def with_verification(dataset: "ds.FileSystemDataset") -> None:
    """Make every read of `dataset` compare the pages with their checksums."""
    import pyarrow.dataset as ds

    dataset.format.default_fragment_scan_options = ds.ParquetFragmentScanOptions(page_checksum_verification=True, pre_buffer=True)


def damaged_file(dataset: "ds.FileSystemDataset") -> str | None:
    """Return the path of the first file of `dataset` that cannot be read to its end. It reads all files until then: ask only after an
    error.
    """
    for fragment in dataset.get_fragments():
        try:
            for _ in fragment.to_batches(batch_size=BATCH_ROWS):
                pass
        except (pa.ArrowException, OSError):
            return str(fragment.path)
    return None


def carried(content: "IO[bytes] | pa.NativeFile", metadata: pq.FileMetaData) -> bool:
    """Return whether the first page of the first or of the last column chunk of the file `content` has a checksum. A damaged bit cannot
    hide both.
    """
    if metadata.num_row_groups == 0 or metadata.num_columns == 0:
        return False
    first, last = metadata.row_group(0).column(0), metadata.row_group(metadata.num_row_groups - 1).column(metadata.num_columns - 1)
    for chunk in (first, last):
        content.seek(chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset)
        if _WITH_CHECKSUM.match(content.read(_LONGEST_FIELDS)):
            return True
    return False


def _groups_of(file: Path, kind: pa.DataType, window: Window, groups: list[int]) -> list[int]:
    """Return those of `groups` whose statistics allow rows of `window`; all of them if its column, of the type `kind`, is not a time."""
    if not (pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
        return groups
    import pyarrow.dataset as ds
    from pyarrow.fs import LocalFileSystem

    column = ds.field(window.column)
    margin = dt.timedelta(days=2 if window.time_zone is not None else 0)  # the file has times in UTC, or in a zone of its own
    try:
        inside = column < _moment(window.end + margin, kind)
        if window.first is not None:
            inside &= column >= _moment(window.first - margin, kind)
        fragment = ds.ParquetFileFormat().make_fragment(str(file), filesystem=LocalFileSystem())
        return [group.id for group in fragment.subset(inside).row_groups]
    except (pa.ArrowInvalid, OverflowError):  # nanoseconds do not reach that far
        return groups


def _moment(day: dt.date, kind: pa.DataType) -> pa.Scalar:
    return pa.scalar(dt.datetime.combine(day, dt.time()), pa.timestamp("us")).cast(kind)


def _read(file: pq.ParquetFile, groups: list[int], columns: list[str]) -> None:
    if columns:
        for _ in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=columns):
            pass
