"""The nights on which a table has rows: which weekdays, and how many nights in a row may have none.

An empty night and a broken feed look alike. So a night without rows is allowed only if the declaration says so, and only a declared number of
them in a row.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

WEEKDAYS: tuple[Weekday, ...] = get_args(Weekday)

WEEK = 7


@dataclass(frozen=True)
class NightCalendar:
    """Rows exist on the `weekdays` only. Of these nights, up to `most_empty` in a row may have no rows."""

    weekdays: tuple[Weekday, ...] = WEEKDAYS
    most_empty: int = 0

    @property
    def allows_empty(self) -> bool:
        """Whether any night may have no rows."""
        return self.most_empty > 0 or len(self.weekdays) < WEEK

    @property
    def days_back(self) -> int:
        """The number of days before a night that show whether too many nights in a row have no rows."""
        return (self.most_empty // len(self.weekdays) + 2) * WEEK if self.allows_empty else 0

    def expects_rows(self, night: dt.date) -> bool:
        """Return whether the weekday of `night` is one on which rows exist."""
        return WEEKDAYS[night.weekday()] in self.weekdays

    def empty_in_a_row(self, rows_per_date: Mapping[str, int], night: dt.date) -> int:
        """Return how many nights up to and with `night` have no rows, since the last one with rows. Other weekdays do not count.

        The result is at most one more than `most_empty`: further back nothing changes the verdict.
        """
        found = 0
        for day in (night - dt.timedelta(days=back) for back in range(self.days_back + 1)):
            if rows_per_date.get(str(day)):
                break
            found += self.expects_rows(day)
        return min(found, self.most_empty + 1)

    def unexpected(self, rows_per_date: Mapping[str, int], night: dt.date) -> dict[str, int]:
        """Return the rows of other weekdays since the last night before `night` that should have rows, by date; `night` counts too."""
        found = {}
        for day in (night - dt.timedelta(days=back) for back in range(WEEK)):
            if self.expects_rows(day):
                if day != night:
                    break
            elif rows := rows_per_date.get(str(day)):
                found[str(day)] = rows
        return found

    def days_of(self, nights: int) -> int:
        """Return within how many days `nights` nights with rows are looked for: twice as many as it takes, or more if more nights may be empty."""
        return -(-nights * max(2, self.most_empty + 1) * WEEK // len(self.weekdays))


def name_of(night: dt.date) -> str:
    """Return the weekday of `night` for people, such as *Sunday*."""
    return WEEKDAYS[night.weekday()].capitalize()
