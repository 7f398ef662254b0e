"""The cron of a table with rows on some weekdays: it scores each of their nights, and a cron that does not is found."""

import pytest

from pipelines.lib.declarations.weekday_cron import cron_of, never_scored
from pipelines.lib.tables.night_calendar import WEEKDAYS, NightCalendar, Weekday


@pytest.mark.parametrize(
    ("weekdays", "days_back", "cron"),
    [
        (("monday",), 1, "0 2 * * 2"),
        (("monday",), 0, "0 2 * * 1"),
        (("monday",), 364, "0 2 * * 1"),
        (("saturday",), 1, "0 2 * * 0"),
        (("sunday",), 1, "0 2 * * 1"),
        (WEEKDAYS[:6], 1, "0 2 * * 0,2,3,4,5,6"),
    ],
)
def test_a_night_is_scored_after_it_is_over(weekdays: tuple[Weekday, ...], days_back: int, cron: str) -> None:
    calendar = NightCalendar(weekdays)
    assert cron_of(calendar, days_back) == cron
    assert never_scored(calendar, cron, days_back) == []


def test_weekdays_without_a_tick_are_named() -> None:
    assert never_scored(NightCalendar(("monday", "thursday")), "0 3 * * 1", 1) == ["monday", "thursday"]
    assert never_scored(NightCalendar(("monday", "thursday")), "0 3 * * 2", 1) == ["thursday"]
    assert never_scored(NightCalendar(("monday",)), "0 3 * * *", 1) == []
