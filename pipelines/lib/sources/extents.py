"""Which files of a source a window needs. A file is skipped only with a proof that none of its rows is in the window, and is read otherwise.

A proof is the date that the source's path declares for the file, a folder of the event time (``day=2024-01-05``), or the statistics in the footer of
a Parquet file. Skipped files still count for how far the source reaches.

In a dataset with a time zone, a path may be named after the date in UTC, and the clocks may go back over midnight. So a file is read as well if its dates
are within a day of the window. The reach of a file that is skipped has the date in its path, which may be a day off.
"""

import datetime as dt
import json
import zoneinfo
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pyarrow.parquet as pq

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.sources.reach import Reach, Window
from pipelines.lib.sources.source_files import SourceFile

_PER_SECOND = {"milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_EPOCH = dt.date(1970, 1, 1)
_DAY = dt.timedelta(days=1)


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


def of_statistics(metadata: pq.FileMetaData, column: str, *, time_zone: str | None = None, written_in: str | None = None) -> Extent | None:
    """Return the extent of the time `column` from the statistics of a Parquet file; None if a row group has none, or rows without a time.

    With a `time_zone`, an instant has its date there; so has a time without a zone, which is one of `written_in`.
    """
    positions = [index for index in range(metadata.num_columns) if metadata.schema.column(index).path == column]
    if len(positions) != 1 or not metadata.num_rows:
        return None
    kind = json.loads(metadata.schema.column(positions[0]).logical_type.to_json())
    written_in = "UTC" if kind.get("isAdjustedToUTC") else written_in
    zones = None if time_zone is None or written_in is None else (written_in, time_zone)
    days = []
    for group in range(metadata.num_row_groups):
        chunk = metadata.row_group(group).column(positions[0])
        found = chunk.statistics if chunk.is_stats_set else None
        if found is None or not found.has_min_max or not found.has_null_count or found.null_count:
            return None
        days += [_date(found.min_raw, kind, zones), _date(found.max_raw, kind, zones)]
    known = [day for day in days if day is not None]
    return Extent(min(known), max(known)) if len(known) == len(days) else None


def _date(raw: object, kind: Mapping[str, object], zones: tuple[str, str] | None) -> dt.date | None:
    """Return the date of `raw`, as Parquet writes a value of the logical type `kind`; None if it is not a time.

    `zones` are the one in which it is written and the one whose date is wanted; None takes the date as it is written.
    """
    if not isinstance(raw, int):
        return None
    if kind.get("Type") == "Date":
        days = raw
    elif kind.get("Type") == "Timestamp" and (unit := _PER_SECOND.get(str(kind.get("timeUnit")))):
        days = raw // (unit * 86_400)
        if zones is not None:
            return _local_date(raw // unit, *zones)
    else:
        return None
    try:
        return _EPOCH + dt.timedelta(days=days)
    except OverflowError:
        return None


def _local_date(seconds: int, written_in: str, time_zone: str) -> dt.date | None:
    try:
        wall = dt.datetime(1970, 1, 1) + dt.timedelta(seconds=seconds)  # noqa: DTZ001 - the zone follows
        return wall.replace(tzinfo=zoneinfo.ZoneInfo(written_in)).astimezone(zoneinfo.ZoneInfo(time_zone)).date()
    except (OverflowError, ValueError):
        return None


def split(files: Sequence[SourceFile], extents: Mapping[str, Extent | None], window: Window) -> tuple[list[SourceFile], Reach]:
    """Return the `files` to read for `window`, at least one, and the reach of the others. `extents` are by the name of the file.

    Raises `DataError` if the window needs none, and none is as it was when the run was opened.
    """
    first, last = window.plausible
    margin = _DAY if window.time_zone is not None else dt.timedelta()
    read, reach = [], Reach()
    for file in files:
        extent = extents.get(file.name)
        before = extent is not None and window.first is not None and extent.last < _moved(window.first, -margin)
        after = extent is not None and extent.first >= _moved(window.end, margin)
        # The rows of a file that is not plausible are counted, so it is read.
        if extent is None or not (before or after) or extent.first < first or extent.last > last:
            read.append(file)
        else:
            reach = joined(reach, Reach(extent.first, extent.last, extent.first if after else None))
    return read or [_any_of(files)], reach


def _any_of(files: Sequence[SourceFile]) -> SourceFile:
    """Return the last of `files` that can be read: it tells the columns of a window without rows, and none of its own rows is in the window."""
    for file in reversed(files):
        if not (file.changed or file.gone):
            return file
    raise DataError(
        f"{files[-1].name if files else 'the source'} and all other files of the source were replaced or removed after the run was opened, so no file "
        "tells its columns. Trigger another run of this partition, which reads the source as it is now"
    )


def _moved(day: dt.date, by: dt.timedelta) -> dt.date:
    try:
        return day + by
    except OverflowError:
        return dt.date.max if by > dt.timedelta() else dt.date.min


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
