"""On which nights a table has had rows: its weekdays, and the most nights in a row without any."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.lib.tables.night_calendar import WEEK, WEEKDAYS, NightCalendar

_WEEKS = 4
"""Weeks without rows on a weekday, from which that is a habit of the table."""

_EMPTY_NIGHTS = 3
"""Nights without rows, from which they are more than a single failure of the feed."""


@dataclass(frozen=True)
class Rhythm:
    """The `calendar` that a history shows: the weekdays that have rows, and the longest gap. `empty` of these nights have none."""

    calendar: NightCalendar
    empty: int

    @property
    def is_sparse(self) -> bool:
        """Whether nights without rows are so frequent that they look intended."""
        return len(self.calendar.weekdays) < WEEK or self.empty >= _EMPTY_NIGHTS

    def declared(self) -> dict[str, Any]:
        """Return the keys of section ``dataset`` that allow what the history shows; none if it shows nothing of the kind."""
        found: dict[str, Any] = {}
        if len(self.calendar.weekdays) < WEEK:
            found["weekdays"] = list(self.calendar.weekdays)
        if self.empty >= _EMPTY_NIGHTS:
            found["nights_without_rows"] = self.calendar.most_empty
        return found

    def words(self) -> list[str]:
        """Return what a person should know of it, in sentences."""
        said = []
        if len(self.calendar.weekdays) < WEEK:
            said.append(f"Rows on {', '.join(day.capitalize() for day in self.calendar.weekdays)} only: see weekdays.")
        if self.empty:
            nights = "night" if self.empty == 1 else "nights"
            of_weekdays = "" if len(self.calendar.weekdays) == WEEK else " of these weekdays"
            said.append(
                f"{self.empty} {nights}{of_weekdays} without rows, at most {self.calendar.most_empty} in a row. nights_without_rows: "
                f"{self.calendar.most_empty} allows that. A broken feed looks the same, so write no more than is normal."
            )
        return said


def rhythm_of(counts: Mapping[dt.date, int]) -> Rhythm:
    """Return the rhythm of a table with the rows `counts` by date, which has each date from the first to the last with rows."""
    weekdays = WEEKDAYS
    if len(counts) >= _WEEKS * WEEK:
        used = {date.weekday() for date, rows in counts.items() if rows}
        weekdays = tuple(day for number, day in enumerate(WEEKDAYS) if number in used)
    calendar, empty, run, longest = NightCalendar(weekdays), 0, 0, 0
    for date in sorted(counts):
        if counts[date]:
            run = 0
        elif calendar.expects_rows(date):
            empty, run = empty + 1, run + 1
            longest = max(longest, run)
    return Rhythm(NightCalendar(weekdays, longest), empty)


def not_declared(counts: Mapping[dt.date, int], calendar: NightCalendar) -> list[str]:
    """Return what the history shows and the `calendar` of the declaration does not allow, in sentences."""
    found = rhythm_of(counts)
    narrower = set(found.calendar.weekdays) < set(calendar.weekdays)
    longer = found.calendar.most_empty > calendar.most_empty
    return found.words() if (narrower and not calendar.allows_empty) or longer else []
