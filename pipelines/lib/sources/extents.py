"""Which files of a source a window needs. A file is skipped only with a proof that none of its rows is in the window, and is read otherwise.

A proof is the date that the source's path declares for the file, a folder of the event time (``day=2024-01-05``), or the statistics in the footer of
a Parquet file. Skipped files still count for how far the source reaches.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow.parquet as pq

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.sources.reach import Reach, Window
from pipelines.lib.sources.source_files import SourceFile

_PER_SECOND = {"milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_EPOCH = dt.date(1970, 1, 1)


@dataclass(frozen=True)
class Extent:
    """The dates between which all rows of a file are proven to be, both inclusive; the file has rows on both."""

    first: dt.date
    last: dt.date


def of_name(file: SourceFile, column: str) -> Extent | None:
    """Return the extent of `file` from its path: the declared partition, or a folder of the event time `column`, such as ``day=2024-01-05``."""
    if file.partition is not None:
        return Extent(file.partition, file.partition)
    try:
        day = parse_partition(file.values.get(column))
    except ConfigError:  # other texts may be times as well: the cast decides
        return None
    return Extent(day, day)


def of_statistics(metadata: pq.FileMetaData, column: str) -> Extent | None:
    """Return the extent of the time `column` from the statistics of a Parquet file; None if a row group has none, or rows without a time."""
    positions = [index for index in range(metadata.num_columns) if metadata.schema.column(index).path == column]
    if len(positions) != 1 or not metadata.num_rows:
        return None
    kind = json.loads(metadata.schema.column(positions[0]).logical_type.to_json())
    days = []
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(positions[0])
        found = chunk.statistics if chunk.is_stats_set else None
        if found is None or not found.has_min_max or not found.has_null_count or found.null_count:
            return None
        days += [_date(found.min_raw, kind), _date(found.max_raw, kind)]
    known = [day for day in days if day is not None]
    return Extent(min(known), max(known)) if len(known) == len(days) else None


def _date(raw: object, kind: Mapping[str, object]) -> dt.date | None:
    """Return the date (in UTC, if it has a zone) of `raw`, as Parquet writes a value of the logical type `kind`; None if it is not a time."""
    if not isinstance(raw, int):
        return None
    if kind.get("Type") == "Date":
        days = raw
    elif kind.get("Type") == "Timestamp" and (unit := _PER_SECOND.get(str(kind.get("timeUnit")))):
        days = raw // (unit * 86_400)
    else:
        return None
    try:
        return _EPOCH + dt.timedelta(days=days)
    except OverflowError:
        return None


def split(files: Sequence[SourceFile], extents: Mapping[str, Extent | None], window: Window) -> tuple[list[SourceFile], Reach]:
    """Return the `files` to read for `window`, at least one, and the reach of the others. `extents` are by the name of the file."""
    first, last = window.plausible
    read, reach = [], Reach()
    for file in files:
        extent = extents.get(file.name)
        before = extent is not None and window.first is not None and extent.last < window.first
        after = extent is not None and extent.first >= window.end
        # The rows of a file that is not plausible are counted, so it is read.
        if extent is None or not (before or after) or extent.first < first or extent.last > last:
            read.append(file)
        else:
            reach = joined(reach, Reach(extent.first, extent.last, extent.first if after else None))
    return read or [files[-1]], reach  # one tells the columns


def joined(one: Reach, other: Reach) -> Reach:
    """Return the reach of two parts of a source together."""
    firsts = [day for day in (one.first, other.first) if day is not None]
    lasts = [day for day in (one.last, other.last) if day is not None]
    nexts = [day for day in (one.next, other.next) if day is not None]
    return replace(
        one,
        first=min(firsts, default=None),
        last=max(lasts, default=None),
        next=min(nexts, default=None),
        too_early=one.too_early + other.too_early,
        too_late=one.too_late + other.too_late,
    )
