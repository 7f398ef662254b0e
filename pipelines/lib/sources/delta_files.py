"""Compare the files of a Delta table with what its log says of them, as far as that needs no value: sizes, rows, columns, page checksums.

The log has no digests. It has the smallest and largest value of each column, but comparing them with the values is not worth a second read: of 892
flipped bits that gave other values, 57 left the range or made a null. So page checksums alone protect values; files without them are named in the log.
"""

import logging
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources import page_checksums

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from deltalake import DeltaTable

LOOKED_AT = 20
"""Files that are searched for page checksums: one writer writes all files of a table alike, and a table may have thousands."""

FOOTERS_AT_ONCE = 16
"""Footers that are read at a time: from an object store each takes a round trip. The search for the last date needs them all, and does
not read them again.
"""

log = logging.getLogger("nightshift")


@dataclass(frozen=True)
class Logged:
    """The facts of the log about a file; None if it does not have them. `valued` are the columns of which it counted a value."""

    size: int
    rows: int | None
    valued: frozenset[str]


def logged(table: "DeltaTable") -> dict[str, Logged]:
    """Return what the log of `table` says of each file, by its path in the table."""
    found = {}
    for action in pa.table(table.get_add_actions(flatten=True)).to_pylist():
        rows = action.get("num_records")
        nulls = {key.removeprefix("null_count."): count for key, count in action.items() if key.startswith("null_count.")}
        valued = frozenset(name for name, count in nulls.items() if rows is not None and count is not None and count < rows)
        found[str(action["path"])] = Logged(int(action["size_bytes"]), rows, valued)
    return found


def require_sizes(where: str, logged_files: dict[str, Logged], sizes: dict[str, int | None]) -> None:
    """Raise `DataError` if a file of `sizes` (by its path in the table) has not the size that the log has in `logged_files`."""
    for path, size in sizes.items():
        if path in logged_files and size != logged_files[path].size:
            raise DataError(
                f"file {path} of {where} has {size} bytes, {logged_files[path].size} are in the log of the table: it was cut or replaced. "
                "Restore the file from a copy, or write its rows again"
            )


def require_footers(where: str, logged_files: dict[str, Logged], dataset: "ds.FileSystemDataset", columns: Iterable[str]) -> None:
    """Raise `DataError` if a file of `dataset` lacks rows or one of `columns` that the log counted, or has no whole footer.

    A footer has no checksum. If a damaged bit changes the name of a column, Arrow reads nulls in its place.
    """
    wanted, fragments = set(columns), list(dataset.get_fragments())

    def look(fragment: "ds.ParquetFileFragment") -> None:
        path, of_file = fragment.path, logged_files.get(fragment.path)
        try:
            names, rows = set(fragment.physical_schema.names), fragment.metadata.num_rows
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"file {path} of {where} is not a whole Parquet file ({str(error).splitlines()[0]}); restore it from a copy, or write its rows again"
            ) from None
        if of_file is None:
            return
        gone = sorted(wanted & of_file.valued - names)
        if gone or of_file.rows not in (None, rows):
            fact = f"has no column {', '.join(map(repr, gone))}" if gone else f"has {rows} rows"
            logged_fact = "counts its values" if gone else f"counts {of_file.rows}"
            raise DataError(
                f"file {path} of {where} {fact}, but the log of the table {logged_fact}: it was damaged or replaced. "
                "Restore the file from a copy, or write its rows again"
            )

    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        list(pool.map(look, fragments))
    name_unverified(where, fragments)


def name_unverified(where: str, fragments: "Sequence[ds.ParquetFileFragment]") -> None:
    """Say in the log which of `fragments` have no page checksums; of many, some are looked at."""
    looked_at = fragments[:: max(1, -(-len(fragments) // LOOKED_AT))]
    with ThreadPoolExecutor(FOOTERS_AT_ONCE) as pool:
        carries = list(pool.map(_carries_checksums, looked_at))
    unverified = [fragment.path for fragment, carried in zip(looked_at, carries, strict=True) if not carried]
    if unverified:
        log.info(
            "%d of %d files of %s that were looked at have no page checksums, such as %s: damage to their values would not be noticed",
            len(unverified),
            len(looked_at),
            where,
            unverified[0],
        )


def _carries_checksums(fragment: "ds.ParquetFileFragment") -> bool:
    with fragment.filesystem.open_input_file(fragment.path) as content:
        return page_checksums.carried(content, fragment.metadata)
