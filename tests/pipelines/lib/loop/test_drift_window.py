"""Windows: a night is in those that follow it, and a window that no longer fits is measured again."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipelines.lib.loop.drift_window import earlier, refreshed
from pipelines.lib.records.journal import NightRecord
from pipelines.lib.tables.night_calendar import NightCalendar


def night(day: int, publication: str = "a") -> NightRecord:
    return NightRecord("m", "1", f"2013-06-{day:02d}", "ref", 10, {}, publication=publication)


def measure(own: NightRecord, before: Sequence[NightRecord]) -> dict[str, Any]:
    return {"rows": own.rows + sum(record.rows for record in before)}


def days(records: Sequence[NightRecord]) -> list[int]:
    return [int(record.partition[-2:]) for record in records]


def test_a_window_holds_the_last_nights_before_it() -> None:
    records = [night(day) for day in (9, 1, 3, 5, 7, 11)]
    assert days(earlier(records, "2013-06-09", 3)) == [5, 7]
    assert days(earlier(records, "2013-06-09", 1)) == []
    assert days(earlier(records, "2013-06-30", 7)) == [], "twice its length is how far it reaches back"
    assert days(earlier(records, "2013-06-21", 7)) == [7, 9, 11]


def test_a_window_of_a_weekly_table_reaches_back_over_its_weeks() -> None:
    mondays = [
        NightRecord("m", "1", f"2013-{month:02d}-{day:02d}", "ref", 10, {}) for month, day in ((4, 29), (5, 6), (5, 13), (5, 20), (5, 27))
    ]
    assert earlier(mondays, "2013-06-03", 5) == [mondays[-1]], "with rows every night, older nights are of another season"
    assert earlier(mondays, "2013-06-03", 5, NightCalendar(("monday",))) == mondays[1:]


def test_only_windows_that_hold_what_has_changed_are_measured_again() -> None:
    published = {f"2013-06-{day:02d}": "a" for day in range(1, 10)}
    first = refreshed([night(day) for day in range(1, 10)], [], published, 3, measure)
    assert [record.drift["rows"] for record in first] == [10, 20, *[30] * 7]
    assert refreshed(first, [], published, 3, measure) == []
    changed = [replace(record, rows=11) if record.partition == "2013-06-04" else record for record in first]
    again = refreshed(changed, ["2013-06-04"], published, 3, measure)
    assert [(record.partition[-2:], record.drift["rows"]) for record in again] == [("04", 31), ("05", 31), ("06", 31)]


def test_a_night_that_is_about_other_scores_leaves_its_windows() -> None:
    published = {f"2013-06-{day:02d}": "a" for day in range(1, 5)}
    first = refreshed([night(day) for day in range(1, 5)], [], published, 3, measure)
    again = refreshed(first, [], published | {"2013-06-02": "b"}, 3, measure)
    assert [record.drift["window"] for record in again] == [["2013-06-01", "2013-06-03"], ["2013-06-01", "2013-06-03", "2013-06-04"]]
