"""Which nights a use case begins with: the partition of its first champion, its holdout, and the dates that the clock then scores."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import Section

DEMO_NIGHTS = 4
"""Nights that `make demo` scores: the first partition and those after it."""

SHORTEST = 8
"""Days with outcomes, below which a first champion learns nothing."""

_LIVE_DAYS = 7
"""The age of the last date up to which a table is one of the present."""

_LONG_HOLDOUT = 14

_FEW_POSITIVE = 20
"""Positive rows of a holdout, below which its AUC says next to nothing."""


class FirstRun(Section):
    """Section ``first_run``: the partition of a run on a laptop and of the first champion, and the months of its vector index."""

    partition: str
    shards: tuple[str, ...] = ()


@dataclass(frozen=True)
class FirstNights:
    """The `partition` of the first run, and how many days before it starts the clock's run scores."""

    partition: dt.date
    replay_offset_days: int


def first_nights(counts: Mapping[dt.date, int], *, delay_days: int, today: dt.date, declared: dt.date | None) -> FirstNights:
    """Return the first nights of a table with the rows `counts` by date, from the first date with outcomes on, as of `today`.

    A table of the present begins with its last four nights, and tonight's run scores the next one. One of the past is divided in half: the first
    half is learned from, the other is replayed by whole weeks, so that weekdays stay, and tonight's run scores the night after the first four.
    Raises `DataError` if no four nights with data have enough history before them.
    """
    first, last = min(counts), max(counts)
    tonight, shortest = today + dt.timedelta(days=1), delay_days + SHORTEST
    live = last >= today - dt.timedelta(days=_LIVE_DAYS)
    end = min(last, today - dt.timedelta(days=1)) if live else last
    fit = [date for date in sorted(counts) if _fits(counts, date, end) and (date - first).days >= shortest]
    if declared is not None:
        return FirstNights(declared, 1 if live else _whole_weeks(tonight, declared))
    if not fit:
        raise DataError(
            f"outcomes begin on {first}, and rows end on {last}: no {DEMO_NIGHTS} nights in a row with data have {shortest} dates before them. "
            "Deliver a longer history, or declare first_run.partition"
        )
    if live:
        return FirstNights(fit[-1], 1)
    middle = first + (last - first) / 2
    later = [date for date in fit if date >= middle] or fit[-1:]
    same_weekday = [date for date in later if (tonight - date).days % 7 == DEMO_NIGHTS % 7] or later
    return FirstNights(same_weekday[0], _whole_weeks(tonight, same_weekday[0]))


def holdout_days(days: int, positive_per_day: float) -> int:
    """Return how many of `days` with outcomes the evaluation gets: 14, fewer of a short history, and more where positives are rare."""
    short = max(1, days // 4)
    if positive_per_day * _LONG_HOLDOUT >= _FEW_POSITIVE or positive_per_day <= 0:
        return min(_LONG_HOLDOUT, short)
    wanted = -(-_FEW_POSITIVE // positive_per_day)
    return int(min(max(_LONG_HOLDOUT, wanted), max(1, days // 3)))


def _fits(counts: Mapping[dt.date, int], date: dt.date, end: dt.date) -> bool:
    nights = [date + dt.timedelta(days=night) for night in range(DEMO_NIGHTS)]
    return nights[-1] <= end and all(counts.get(night) for night in nights)


def _whole_weeks(tonight: dt.date, partition: dt.date) -> int:
    """Return the multiple of seven that leads from `tonight` to the night after the first four, or up to six nights later."""
    return max(0, (tonight - partition).days - DEMO_NIGHTS) // 7 * 7
