"""Which nights a use case begins with: the partition of its first champion, its holdout, and the dates that the clock then scores."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import Section
from pipelines.lib.tables.night_calendar import NightCalendar

DEMO_NIGHTS = 4
"""Nights that `make demo` scores: the first partition and those after it."""

SHORTEST = 8
"""Days with outcomes, below which a first champion learns nothing."""

_LIVE_DAYS = 7
"""The age of the last date up to which a table is one of the present."""

EVERY_NIGHT = NightCalendar()

_LONG_HOLDOUT = 14

_FEW_POSITIVE = 20
"""Positive rows of a holdout, below which its AUC says next to nothing."""


class FirstRun(Section):
    """Section ``first_run``: the partition of a run on a laptop and of the first champion, and the months of its vector index.

    `nights` are those that `make demo` scores; without them it is the partition and the days after it.
    """

    partition: str
    shards: tuple[str, ...] = ()
    nights: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstNights:
    """The `partition` of the first run, and how many days before it starts the clock's run scores.

    `nights` are the first nights to score if they are not the partition and the days after it, otherwise empty.
    """

    partition: dt.date
    replay_offset_days: int
    nights: tuple[dt.date, ...] = ()


def first_nights(
    counts: Mapping[dt.date, int],
    *,
    delay_days: int,
    today: dt.date,
    declared: dt.date | None,
    calendar: NightCalendar = EVERY_NIGHT,
    days_late: int = 0,
) -> FirstNights:
    """Return the first nights of a table with the rows `counts` by date, from the first date with outcomes on, as of `today`.

    The `calendar` says which nights may have no rows. A night of the present is whole `days_late` days after the next one has begun.

    A table of the present begins with its last four nights, and tonight's run scores the next one. One of the past is divided in half: the first
    half is learned from, the other is replayed by whole weeks, so that weekdays stay, and tonight's run scores the night after the first four.
    Raises `DataError` if no four nights with data have enough history before them.
    """
    first, last = min(counts), max(counts)
    tonight, shortest = today + dt.timedelta(days=1), delay_days + SHORTEST
    live = last >= today - dt.timedelta(days=_LIVE_DAYS)
    end = min(last, today - dt.timedelta(days=1)) if live else last
    fit = [date for date in sorted(counts) if _fits(counts, date, end, calendar) and (date - first).days >= shortest]
    if declared is not None:
        return _begin(counts, declared, calendar, None if live else tonight, days_late)
    if not fit:
        raise DataError(
            f"outcomes begin on {first}, and rows end on {last}: no {DEMO_NIGHTS} nights in a row with data have {shortest} dates before them. "
            "Deliver a longer history, or declare first_run.partition"
        )
    if live:
        return _begin(counts, fit[-1], calendar, None, days_late)
    middle = first + (last - first) / 2
    later = [date for date in fit if date >= middle] or fit[-1:]
    same_weekday = [date for date in later if (tonight - date).days % 7 == DEMO_NIGHTS % 7] or later
    return _begin(counts, same_weekday[0], calendar, tonight)


def holdout_days(days: int, positive_per_day: float, nights_per_day: float = 1.0) -> int:
    """Return how many of `days` with outcomes the evaluation gets: those of 14 nights with rows, fewer of a short history, and more where
    positives are rare.
    """
    long, short = round(_LONG_HOLDOUT / max(nights_per_day, 1 / _LONG_HOLDOUT)), max(1, days // 4)
    if positive_per_day * long >= _FEW_POSITIVE or positive_per_day <= 0:
        return min(long, short)
    wanted = -(-_FEW_POSITIVE // positive_per_day)
    return int(min(max(long, wanted), max(1, days // 3)))


def nights_from(counts: Mapping[dt.date, int], partition: dt.date, calendar: NightCalendar) -> list[dt.date]:
    """Return `DEMO_NIGHTS` nights from `partition` on: the days that follow, or the next with rows if nights without rows are normal."""
    if not calendar.allows_empty:
        return [partition + dt.timedelta(days=night) for night in range(DEMO_NIGHTS)]
    return [date for date in sorted(counts) if date >= partition and counts[date]][:DEMO_NIGHTS]


def _fits(counts: Mapping[dt.date, int], date: dt.date, end: dt.date, calendar: NightCalendar) -> bool:
    nights = nights_from(counts, date, calendar)
    return len(nights) == DEMO_NIGHTS and nights[0] == date and nights[-1] <= end and all(counts.get(night) for night in nights)


def _begin(
    counts: Mapping[dt.date, int], partition: dt.date, calendar: NightCalendar, tonight: dt.date | None, days_late: int = 0
) -> FirstNights:
    """Return the first nights from `partition` on. `tonight` None is a table of the present."""
    nights = nights_from(counts, partition, calendar)
    consecutive = nights == nights_from(counts, partition, EVERY_NIGHT)
    last = nights[-1] if nights else partition
    offset = 1 + days_late if tonight is None else _whole_weeks(tonight, last + dt.timedelta(days=1))
    return FirstNights(partition, offset, () if consecutive else tuple(nights))


def _whole_weeks(tonight: dt.date, after: dt.date) -> int:
    """Return the multiple of seven that leads from `tonight` to the date `after`, or up to six nights later."""
    return max(0, (tonight - after).days) // 7 * 7
