"""The cron of a table that has rows on some weekdays only: a tick for each night that should have rows."""

import datetime as dt

from croniter import croniter

from pipelines.lib.tables.night_calendar import WEEK, WEEKDAYS, NightCalendar, Weekday

_A_SUNDAY = dt.date(2023, 12, 31)


def cron_of(calendar: NightCalendar, days_back: int) -> str:
    """Return the cron that ticks at 02:00 on the days that are `days_back` days after a weekday with rows."""
    ticks = sorted((WEEKDAYS.index(day) + 1 + days_back) % WEEK for day in calendar.weekdays)
    return f"0 2 * * {','.join(map(str, ticks))}"


def never_scored(calendar: NightCalendar, cron: str, days_back: int) -> list[Weekday]:
    """Return the weekdays with rows for whose nights `cron` has no tick within five weeks."""
    ticks = croniter(cron, dt.datetime.combine(_A_SUNDAY, dt.time()))
    end, scored = dt.datetime.combine(_A_SUNDAY + dt.timedelta(weeks=5), dt.time()), set()
    while (tick := ticks.get_next(dt.datetime)) < end:
        scored.add(WEEKDAYS[(tick.date() - dt.timedelta(days=days_back)).weekday()])
    return [day for day in calendar.weekdays if day not in scored]
