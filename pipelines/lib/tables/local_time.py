"""SQL of instants and local dates. An instant is a ``TIMESTAMPTZ``; the connection has the time zone of the dataset.

The local clock skips times and repeats times when its zone changes. DuckDB resolves such a time without a word, so a wall-clock time becomes an instant
here alone: from the offsets of a day before and after it, as both are tried.
"""

import re
from datetime import date, timedelta

from pipelines.lib.tables.engine import text

INSTANT = "TIMESTAMP WITH TIME ZONE"
"""DuckDB's type of an instant."""

OFFSET = r":[0-9]{2}([.][0-9]+)?\s*([zZ]|UTC|[+-][0-9]{2}(:?[0-9]{2})?)\s*$"
"""The end of a time as text that says its zone."""

OTHER_ZONE = r"[0-9]:[0-9]{2}([.][0-9]+)?\s*[^0-9:.\s]"
"""Anything after a time as text: if it is not an `OFFSET`, it is the name of a zone, or an offset with seconds. DuckDB would drop it without an error."""

_APART = "INTERVAL 26 HOUR"
"""From a time to the offsets around it: more than any zone is from UTC, and less than two changes of a zone are apart."""


def says_its_zone(written: str) -> bool:
    """Return whether a time as text says its zone."""
    return re.search(OFFSET, written, re.ASCII) is not None


def dates_within(column: str, first: date | None, end: date, time_zone: str | None) -> str:
    """Return the condition that the SQL `column`, a time or a date, has a date in [`first`, `end`); `first` None means from the beginning.

    With a `time_zone` the column may be an instant, and its local date counts. A midnight may be missing or come twice, so dates are compared, and not
    instants with a midnight. The instants a day around only let an engine skip what cannot be inside.
    """
    if time_zone is None:
        condition = f"{column} < {text(end)}::DATE"
        return condition if first is None else f"{condition} AND {column} >= {text(first)}::DATE"
    parts = [f"{column}::DATE < {text(end)}::DATE"]
    if end <= date.max - timedelta(days=2):
        parts.append(f"{column} < {utc_midnight(end + timedelta(days=1))}")
    if first is not None:
        parts.append(f"{column}::DATE >= {text(first)}::DATE")
        if first >= date.min + timedelta(days=2):
            parts.append(f"{column} >= {utc_midnight(first - timedelta(days=1))}")
    return " AND ".join(parts)


def utc_midnight(day: date) -> str:
    """Return the instant at which `day` begins in UTC, as SQL."""
    return f"TIMESTAMPTZ '{day} 00:00:00+00'"


def day_start(day: str, time_zone: str) -> str:
    """Return the first instant of the SQL date `day` in `time_zone`, also if midnight is missing there or comes twice."""
    midnight = f"({day})::TIMESTAMP"
    before, after = _candidates(midnight, time_zone)
    earliest = f"least({before}, {after})"
    return f"CASE WHEN {_local(earliest, time_zone)}::DATE >= {day} THEN {earliest} ELSE greatest({before}, {after}) END"


def instant(wall: str, time_zone: str, *, missing: str, repeated: str) -> str:
    """Return the instant at which the clocks of `time_zone` show the SQL time `wall`.

    `missing` is the SQL for a time that they skip. `repeated` is that for one that they show twice: ``first``, ``second``, or an SQL of its own.
    """
    if time_zone == "UTC":
        return f"timezone('UTC', {wall})"
    before, after = _candidates(wall, time_zone)
    shows_before, shows_after = (f"{_local(candidate, time_zone)} = {wall}" for candidate in (before, after))
    both = {"first": f"least({before}, {after})", "second": f"greatest({before}, {after})"}.get(repeated, repeated)
    return (
        f"CASE WHEN {before} <> {after} AND {shows_before} AND {shows_after} THEN {both} "
        f"WHEN {shows_before} THEN {before} WHEN {shows_after} THEN {after} ELSE {missing} END"
    )


def _candidates(wall: str, time_zone: str) -> tuple[str, str]:
    """Return the instants of `wall` by the offset that holds a day before it, and by that of a day after it."""
    utc = f"timezone('UTC', {wall})"
    offsets = (f"({_local(near, time_zone)} - timezone('UTC', {near}))" for near in (f"({utc} - {_APART})", f"({utc} + {_APART})"))
    before, after = (f"timezone('UTC', {wall} - {offset})" for offset in offsets)
    return before, after


def _local(moment: str, time_zone: str) -> str:
    return f"timezone({text(time_zone)}, {moment})"
