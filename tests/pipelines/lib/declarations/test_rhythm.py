"""The rhythm of a table: which weekdays have rows, and how many nights in a row have none."""

import datetime as dt

from pipelines.lib.declarations.rhythm import not_declared, rhythm_of
from pipelines.lib.tables.night_calendar import WEEKDAYS, NightCalendar

FIRST = dt.date(2024, 1, 1)  # a Monday


def counts(days: int, *, empty: tuple[int, ...] = (), weekdays: tuple[int, ...] = tuple(range(7))) -> dict[dt.date, int]:
    return {
        FIRST + dt.timedelta(days=day): 0 if day in empty or (FIRST + dt.timedelta(days=day)).weekday() not in weekdays else 10
        for day in range(days)
    }


def test_a_table_with_rows_every_night_has_nothing_to_declare() -> None:
    found = rhythm_of(counts(60))
    assert (found.calendar, found.empty, found.declared(), found.words()) == (NightCalendar(), 0, {}, [])


def test_rows_on_mondays_only() -> None:
    found = rhythm_of(counts(62, weekdays=(0,)))
    assert found.declared() == {"weekdays": ["monday"]}
    assert found.words() == ["Rows on Monday only: see weekdays."]


def test_closed_on_sundays_and_over_a_holiday() -> None:
    found = rhythm_of(counts(60, empty=(22, 23, 24, 25), weekdays=tuple(range(6))))
    assert found.declared() == {"weekdays": list(WEEKDAYS[:6]), "nights_without_rows": 4}
    assert "at most 4 in a row" in found.words()[1]


def test_a_gap_over_a_closed_weekday_counts_nights_of_the_other_weekdays() -> None:
    assert rhythm_of(counts(60, empty=(4, 5, 7), weekdays=tuple(range(6)))).calendar.most_empty == 3


def test_one_missing_night_is_mentioned_and_not_declared() -> None:
    found = rhythm_of(counts(60, empty=(30,)))
    assert found.declared() == {}
    assert "1 night without rows, at most 1 in a row" in found.words()[0]


def test_a_short_table_does_not_tell_its_weekdays() -> None:
    assert rhythm_of(counts(15, weekdays=(0,))).calendar.weekdays == WEEKDAYS


def test_what_is_declared_is_not_mentioned_again() -> None:
    table = counts(60, empty=(22, 23, 24, 25), weekdays=tuple(range(6)))
    assert not_declared(table, NightCalendar(WEEKDAYS[:6], 4)) == []
    assert not_declared(table, NightCalendar(most_empty=5)) == []
    assert len(not_declared(table, NightCalendar())) == 2
    assert "at most 4 in a row" in not_declared(table, NightCalendar(WEEKDAYS[:6], 1))[1]
