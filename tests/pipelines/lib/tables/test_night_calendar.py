"""Which nights should have rows, and how many in a row have none."""

import datetime as dt

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.night_calendar import WEEKDAYS, NightCalendar
from tests.gate_data import ORDERS

MONDAY = dt.date(2024, 5, 6)
SIX_DAYS = NightCalendar(WEEKDAYS[:6], 2)
WEEKLY = NightCalendar(("monday",), 1)


def counts(*dates: dt.date) -> dict[str, int]:
    return {str(date): 5 for date in dates}


def back(days: int) -> dt.date:
    return MONDAY - dt.timedelta(days=days)


@pytest.mark.parametrize(
    ("calendar", "rows", "expected"),
    [
        (SIX_DAYS, counts(MONDAY), 0),
        (SIX_DAYS, counts(back(2)), 1),  # Saturday had rows, Sunday has none in any week
        (SIX_DAYS, counts(back(3)), 2),
        (SIX_DAYS, counts(back(4)), 3),
        (SIX_DAYS, {}, 3),
        (WEEKLY, counts(back(7)), 1),
        (WEEKLY, counts(back(14)), 2),
        (WEEKLY, {}, 2),
        (NightCalendar(), {}, 1),
    ],
)
def test_nights_in_a_row_are_counted_on_weekdays_with_rows(calendar: NightCalendar, rows: dict[str, int], expected: int) -> None:
    assert calendar.empty_in_a_row(rows, MONDAY) == expected


def test_rows_of_other_weekdays_are_found_since_the_last_night_that_should_have_rows() -> None:
    sunday, wednesday = back(1), back(5)
    assert SIX_DAYS.unexpected(counts(sunday, wednesday), MONDAY) == {str(sunday): 5}
    assert SIX_DAYS.unexpected(counts(sunday), sunday) == {str(sunday): 5}
    assert SIX_DAYS.unexpected(counts(sunday), MONDAY + dt.timedelta(days=1)) == {}
    assert WEEKLY.unexpected(counts(wednesday), MONDAY) == {str(wednesday): 5}
    assert NightCalendar().unexpected(counts(sunday), MONDAY) == {}


def test_enough_days_are_read_to_see_one_night_too_many() -> None:
    for calendar in (SIX_DAYS, WEEKLY, NightCalendar(("friday",), 5), NightCalendar(most_empty=30)):
        oldest = MONDAY - dt.timedelta(days=calendar.days_back)
        expected = sum(calendar.expects_rows(oldest + dt.timedelta(days=day)) for day in range(calendar.days_back + 1))
        assert expected > calendar.most_empty


def test_nights_are_looked_for_within_the_days_that_their_weekdays_and_gaps_need() -> None:
    assert [calendar.days_of(7) for calendar in (NightCalendar(), WEEKLY, SIX_DAYS)] == [14, 98, 25]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weekdays": ["monday", "monday"]}, "names a day twice"),
        ({"weekdays": []}, "weekdays"),
        ({"weekdays": ["Mon"]}, "weekdays"),
        ({"nights_without_rows": -1}, "nights_without_rows"),
        ({"nights_without_rows": 367}, "nights_without_rows"),
    ],
)
def test_a_wrong_declaration_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_section({**ORDERS.model_dump(), **changed}, Dataset, "dataset")


def test_by_default_every_night_has_rows() -> None:
    assert not ORDERS.calendar.allows_empty
    assert ORDERS.calendar.days_back == 0
