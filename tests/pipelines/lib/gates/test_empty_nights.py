"""The gate of a night without rows: allowed only as declared, never shown as published or as good."""

import datetime as dt
import json
from pathlib import Path

import pandas as pd
import pytest

from pipelines.data.validate_batch import ValidateBatch, validate_batch
from pipelines.lib.core.errors import GateFailed
from pipelines.lib.core.params import parse_section
from pipelines.lib.gates import Report, deliver
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.night_calendar import WEEKDAYS
from tests.gate_data import NIGHT, ORDERS, orders, write_raw

PARAMS = ValidateBatch()
IN_A_ROW = "nights_without_rows_to_be_between"


def table(**declared: object) -> Dataset:
    return parse_section({**ORDERS.model_dump(), **declared}, Dataset, "dataset")


def judged(directory: Path, dataset: Dataset, nights: list[int], *, later: bool = False, tonight: int = 0) -> Report:
    """Return the verdict on a night of `tonight` rows, if the nights so far back, `nights` days before it, have rows."""
    before = [orders(NIGHT - dt.timedelta(days=days), days_late=days > 2) for days in nights]
    raw = write_raw(directory, pd.concat([*before, orders(NIGHT, tonight)]))
    if later:
        facts = json.loads((raw / "source.json").read_text())
        (raw / "source.json").write_text(json.dumps({**facts, "next": str(NIGHT + dt.timedelta(days=1))}))
    return validate_batch(dataset, PARAMS, partition=NIGHT, raw=raw)


def verdicts(report: Report) -> dict[str, str]:
    return {finding.type.removeprefix("expect_"): finding.verdict for finding in report.findings}


@pytest.mark.costly
def test_a_night_without_rows_is_allowed_up_to_the_declared_number_in_a_row(tmp_path: Path) -> None:
    report = judged(tmp_path, table(nights_without_rows=2), [2, 3, 4], later=True)
    assert (report.passed, report.rows) == (True, 0)
    assert verdicts(report)[IN_A_ROW] == "passed"
    assert report.empty == "night 2 in a row without rows, of at most 2; the last rows before it are of 2024-05-27"
    assert report.note.startswith(f"validate_batch: {report.empty}")


def test_one_night_more_fails_and_says_what_to_do(tmp_path: Path) -> None:
    report = judged(tmp_path, table(nights_without_rows=2), [3, 4, 5], later=True)
    assert not report.passed
    [failure] = report.failures
    assert failure.observed == "more than 2 nights in a row without rows: the last rows before it are of 2024-05-26"
    assert "raise dataset.nights_without_rows in params.yaml" in failure.notes


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"nights_without_rows": 1}, "more than 1 night in a row without rows: the last rows before it are of 2024-05-26"),
        ({"weekdays": ["wednesday", "sunday"]}, "no rows on a Wednesday: the last rows before it are of 2024-05-26"),
    ],
)
def test_the_number_of_nights_is_said_as_a_person_would(tmp_path: Path, declared: dict[str, object], said: str) -> None:
    [failure] = judged(tmp_path, table(**declared), [3, 7], later=True).failures
    assert failure.observed == said


def test_a_night_that_fails_is_not_one_that_may_be_empty(tmp_path: Path) -> None:
    report = judged(tmp_path, table(nights_without_rows=1), [3, 4, 5], later=True)
    assert (report.passed, report.empty) == (False, "")
    assert "empty" not in report.as_json()


def test_a_source_without_recent_rows_fails(tmp_path: Path) -> None:
    assert verdicts(judged(tmp_path, table(nights_without_rows=2), [40]))[IN_A_ROW] == "failed"


def test_whether_the_night_is_only_late_is_not_judged_if_the_source_ends(tmp_path: Path) -> None:
    report = judged(tmp_path, table(nights_without_rows=2), [1, 3, 4])
    assert report.passed
    assert verdicts(report)["column_max_to_be_between"] == "not judged"
    assert "column_max_to_be_between" not in verdicts(judged(tmp_path / "later", table(nights_without_rows=2), [1, 3, 4], later=True))


def test_a_weekday_without_rows_is_allowed_and_does_not_count(tmp_path: Path) -> None:
    other = [day for day in WEEKDAYS if day != "wednesday"]  # NIGHT is one
    report = judged(tmp_path, table(weekdays=other), [1, 3, 4], later=True)
    assert report.passed
    assert report.empty == "none are expected on a Wednesday"


@pytest.mark.costly
def test_rows_on_such_a_weekday_fail_that_night_and_the_next_one(tmp_path: Path) -> None:
    without_wednesday = table(weekdays=[day for day in WEEKDAYS if day != "wednesday"])
    report = judged(tmp_path / "itself", without_wednesday, [1, 3, 7], tonight=100)
    assert verdicts(report)["column_weekdays_to_be_in_set"] == "failed"
    without_tuesday = table(weekdays=[day for day in WEEKDAYS if day != "tuesday"])
    report = judged(tmp_path / "next", without_tuesday, [1, 2, 3, 7], tonight=100)
    [failure] = report.failures
    assert failure.observed == "100 rows of Tuesday 2024-05-28, a weekday that dataset.weekdays does not name"


@pytest.mark.costly
def test_a_night_with_rows_of_a_sparse_table_is_judged_as_any_other(tmp_path: Path) -> None:
    report = judged(tmp_path, table(nights_without_rows=2), [3, 7, 14, 21], tonight=100)
    assert (report.passed, report.rows, report.empty) == (True, 100, "")


def test_without_a_declaration_a_night_without_rows_fails_and_names_the_key(tmp_path: Path) -> None:
    report = judged(tmp_path, ORDERS, [1, 3, 7], later=True)
    [failure] = [one for one in report.failures if one.type == "expect_table_row_count_to_be_between"]
    assert "declare dataset.nights_without_rows" in failure.notes


def test_outcomes_that_have_stopped_to_arrive_fail_an_empty_night_too(tmp_path: Path) -> None:
    before = [orders(NIGHT - dt.timedelta(days=days)) for days in (1, 4, 5)]  # none of them has an outcome
    report = validate_batch(table(nights_without_rows=2), PARAMS, partition=NIGHT, raw=write_raw(tmp_path, pd.concat(before)))
    [failure] = report.failures
    assert (failure.column, failure.notes[:22]) == (
        "came_late",
        "outcomes of 2024-05-25",
    )  # the newest date with rows that should have them


def test_the_page_shows_neither_a_success_nor_a_failure(tmp_path: Path) -> None:
    deliver(judged(tmp_path / "raw", table(nights_without_rows=2), [1, 3, 4], later=True), tmp_path / "report")
    page = (tmp_path / "report" / "report.html").read_text()
    assert "found no rows (allowed) in partition 2024-05-29" in page
    assert 'class="good"' not in page.partition("<h2>")[0].partition("<body")[2]
    assert json.loads((tmp_path / "report" / "verdict.json").read_text())["rows"] == 0
    with pytest.raises(GateFailed, match="more than 2 nights in a row without rows"):
        deliver(judged(tmp_path / "long", table(nights_without_rows=2), [9], later=True), tmp_path / "failed")
