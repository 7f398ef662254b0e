"""The gate of a night without rows: whether the declaration allows it, and of rows on weekdays that should have none."""

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

from pipelines.lib.gates import FAILED, PASSED, Finding, not_judged
from pipelines.lib.gates.expectations import next_date, rows_per_date
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.night_calendar import WEEK, name_of

_IN_A_ROW = "expect_nights_without_rows_to_be_between"

HOW_TO_ALLOW = "if nights without rows are normal, declare dataset.nights_without_rows: the most in a row"


def is_empty_night(dataset: Dataset, raw: Path, partition: dt.date) -> bool:
    """Return whether the raw directory `raw` has no rows of `partition`, nor later ones, and the table may have such nights."""
    return dataset.calendar.allows_empty and not any(date >= str(partition) for date in rows_per_date(raw))


def judge_empty_night(dataset: Dataset, raw: Path, partition: dt.date) -> list[Finding]:
    """Return the findings on a night without rows: whether it is one of too many in a row, and whether it may only be late."""
    calendar, counts = dataset.calendar, rows_per_date(raw)
    before = max((date for date in counts if date < str(partition)), default=None)
    since = f"the last rows before it are of {before}" if before else "no earlier night that was read has rows"
    limits = {"max_value": calendar.most_empty}
    if not calendar.expects_rows(partition):
        observed = f"none are expected on a {name_of(partition)}"
        in_a_row = Finding(_IN_A_ROW, dataset.event_time, limits, PASSED, observed, notes=since)
    elif (found := calendar.empty_in_a_row(counts, partition)) <= calendar.most_empty:
        observed = f"night {found} in a row without rows, of at most {calendar.most_empty}; {since}"
        in_a_row = Finding(_IN_A_ROW, dataset.event_time, limits, PASSED, observed, notes="dataset.nights_without_rows")
    else:
        most = calendar.most_empty
        too_many = (
            f"more than {most} night{'' if most == 1 else 's'} in a row without rows" if most else f"no rows on a {name_of(partition)}"
        )
        observed = f"{too_many}: {since}"
        remedy = "deliver the rows; if that many empty nights are normal, raise dataset.nights_without_rows in params.yaml"
        in_a_row = Finding(_IN_A_ROW, dataset.event_time, limits, FAILED, observed, notes=remedy)
    return [in_a_row, *_lateness(dataset, raw, partition)]


def judge_other_weekdays(dataset: Dataset, raw: Path, partition: dt.date) -> list[Finding]:
    """Return the finding on rows of weekdays that should have none, since the night before `partition` that should; none if all weekdays have rows."""
    calendar = dataset.calendar
    if len(calendar.weekdays) == WEEK:
        return []
    strays = calendar.unexpected(rows_per_date(raw), partition)
    listed = ", ".join(f"{rows} rows of {name_of(dt.date.fromisoformat(date))} {date}" for date, rows in strays.items())
    return [
        Finding(
            "expect_column_weekdays_to_be_in_set", dataset.event_time, {"value_set": list(calendar.weekdays)}, FAILED if strays else PASSED,
            f"{listed}, a weekday that dataset.weekdays does not name" if strays else "no rows of other weekdays",
            unexpected_count=sum(strays.values()),
            notes="add the weekday to dataset.weekdays in params.yaml, or correct the times of the rows" if strays else "since the night before",
        )
    ]  # fmt: skip


def _lateness(dataset: Dataset, raw: Path, partition: dt.date) -> Sequence[Finding]:
    """Return that a late delivery cannot be told from an empty night as long as the source has no later rows; nothing if it has some."""
    if next_date(raw) is not None or not dataset.calendar.expects_rows(partition):
        return ()
    reason = "the source has no later rows, so a late delivery would look the same"
    return (not_judged("column_max_to_be_between", dataset.event_time, reason, notes="whether the night was delivered"),)
