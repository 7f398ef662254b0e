"""The first nights of a use case, and the clock's offset to the night after them."""

import datetime as dt

import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.declarations.first_nights import FirstNights, first_nights, holdout_days
from pipelines.lib.tables.night_calendar import NightCalendar

FIRST = dt.date(2013, 1, 1)
YEAR = {FIRST + dt.timedelta(days=day): 900 for day in range(365)}


@pytest.mark.parametrize("weekday", range(7))
def test_tonight_scores_the_night_after_the_first_four_of_a_table_of_the_past(weekday: int) -> None:
    today = dt.date(2026, 11, 23) + dt.timedelta(days=weekday)
    found = first_nights(YEAR, delay_days=1, today=today, declared=None)
    assert found.replay_offset_days % 7 == 0
    assert today + dt.timedelta(days=1 - found.replay_offset_days) == found.partition + dt.timedelta(days=4)
    assert dt.date(2013, 7, 2) <= found.partition <= dt.date(2013, 7, 8)


def test_a_declared_partition_stays_and_the_clock_follows_within_a_week() -> None:
    found = first_nights(YEAR, delay_days=1, today=dt.date(2026, 11, 23), declared=dt.date(2013, 4, 1))
    assert found == FirstNights(dt.date(2013, 4, 1), 4977)


def test_dates_without_rows_are_not_first_nights() -> None:
    weekdays = {date: 0 if date.isoweekday() > 5 else rows for date, rows in YEAR.items()}
    found = first_nights(weekdays, delay_days=1, today=dt.date(2026, 11, 23), declared=None)
    assert found.partition.isoweekday() <= 2


def test_a_table_that_ends_this_week_is_live() -> None:
    found = first_nights(YEAR, delay_days=1, today=dt.date(2014, 1, 5), declared=None)
    assert found == FirstNights(dt.date(2013, 12, 28), 1)


def test_a_night_that_is_whole_a_day_later_is_scored_a_day_later() -> None:
    found = first_nights(YEAR, delay_days=1, today=dt.date(2014, 1, 5), declared=None, days_late=1)
    assert found == FirstNights(dt.date(2013, 12, 28), 2)
    past = first_nights(YEAR, delay_days=1, today=dt.date(2026, 11, 23), declared=None, days_late=1)
    assert past.replay_offset_days % 7 == 0


def test_today_is_not_over_yet() -> None:
    found = first_nights(YEAR, delay_days=1, today=dt.date(2013, 12, 31), declared=None)
    assert found == FirstNights(dt.date(2013, 12, 27), 1)


def test_too_short_a_table_is_refused() -> None:
    short = {date: rows for date, rows in YEAR.items() if date < dt.date(2013, 1, 12)}
    with pytest.raises(DataError, match="outcomes begin on 2013-01-01, and rows end on 2013-01-11: no 4 nights in a row"):
        first_nights(short, delay_days=1, today=dt.date(2026, 11, 23), declared=None)


WEEKLY = {date: rows if date.weekday() == 0 else 0 for date, rows in YEAR.items()}


def test_a_weekly_table_begins_with_four_of_its_nights_and_the_clock_goes_on_with_the_fifth() -> None:
    today = dt.date(2026, 11, 23)
    found = first_nights(WEEKLY, delay_days=1, today=today, declared=None, calendar=NightCalendar(("monday",)))
    assert found.partition == dt.date(2013, 7, 8)
    assert found.nights == tuple(found.partition + dt.timedelta(weeks=week) for week in range(4))
    following = found.nights[-1] + dt.timedelta(weeks=1)
    ticks = [today + dt.timedelta(days=day) for day in range(1, 8)]
    assert following in [tick - dt.timedelta(days=found.replay_offset_days) for tick in ticks]


def test_nights_without_rows_are_passed_over_if_they_are_normal() -> None:
    gap = {date: 0 if dt.date(2013, 4, 2) <= date <= dt.date(2013, 4, 4) else rows for date, rows in YEAR.items()}
    declared = dt.date(2013, 4, 1)
    sparse = first_nights(gap, delay_days=1, today=dt.date(2026, 11, 23), declared=declared, calendar=NightCalendar(most_empty=3))
    assert [night.day for night in sparse.nights] == [1, 5, 6, 7]
    assert first_nights(gap, delay_days=1, today=dt.date(2026, 11, 23), declared=declared).nights == ()


def test_a_weekly_table_has_a_longer_holdout() -> None:
    assert holdout_days(700, 50, 1 / 7) == 98
    assert holdout_days(200, 50, 1 / 7) == 50
    assert holdout_days(700, 50, 0.99) == 14


@pytest.mark.parametrize(("days", "positive_per_day", "expected"), [(200, 50, 14), (20, 50, 5), (200, 0.5, 40), (60, 0.1, 20), (2, 1, 1)])
def test_the_holdout_is_short_for_a_short_history_and_long_for_rare_positives(days: int, positive_per_day: float, expected: int) -> None:
    assert holdout_days(days, positive_per_day) == expected
