"""The gate before training: enough rows, no gaps, a believable share of labels."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from pipelines.data.validate_history import ValidateHistory, validate_history
from pipelines.lib.core.params import parse_section
from pipelines.lib.gates import Report
from pipelines.lib.tables.dataset import Column
from tests.gate_data import ORDERS, orders, write_raw

PARTITION = dt.date(2024, 3, 1)
DATES = [dt.date(2024, 1, 1) + dt.timedelta(days=day) for day in range(60)]
PARAMS = {
    "minimum_rows": 500,
    "minimum_label_rate": 0.2,
    "maximum_label_rate": 0.6,
    "row_count": {"nights": 7, "every_days": 1, "minimum_ratio": 0.5, "maximum_ratio": 1.5},
    "maximum_odd_date_share": 0.05,
}


def history() -> pd.DataFrame:
    """Return ten orders per date; outcomes that are not known at the start of the partition (two days' delay) are missing."""
    events = pd.concat([orders(date, 10, days_late=True) for date in DATES], ignore_index=True)
    return events.assign(days_late=events["days_late"].where(events["placed_at"] < pd.Timestamp(PARTITION - dt.timedelta(days=2))))


def judged(directory: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda events: events, **params: object) -> Report:
    raw = write_raw(directory, change(history()))
    return validate_history(ORDERS, parse_section({**PARAMS, **params}, ValidateHistory, "validate_history"), partition=PARTITION, raw=raw)


def failed(report: Report) -> set[tuple[str, str | None]]:
    return {(finding.type.removeprefix("expect_"), finding.column) for finding in report.failures}


@pytest.mark.costly
def test_an_ordinary_history_passes(tmp_path: Path) -> None:
    report = judged(tmp_path)
    assert report.passed, failed(report)
    assert report.rows == 600


def without(*days: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    gone = [DATES[day] for day in days]
    return lambda events: events[~events["placed_at"].dt.date.isin(gone)]


def thin(days: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    """Return the last `days` dates with four orders each."""
    cut = pd.Timestamp(DATES[-days])
    return lambda events: pd.concat(
        [events[events["placed_at"] < cut], events[events["placed_at"] >= cut][lambda rows: rows.index % 10 < 4]]
    )


CASES = {
    "too few rows": (lambda events: events.tail(490), {("table_row_count_to_be_between", None)}),
    "a date without rows": (without(30), {("column_values_to_be_between", "rows")}),
    "thin dates": (thin(4), {("column_values_to_be_between", "share_of_recent")}),
    "a row of the partition": (
        lambda events: pd.concat([events, orders(PARTITION, 10)]),
        {("column_values_to_be_between", "placed_at")},
    ),
    "all outcomes alike": (lambda events: events.assign(days_late=events["days_late"].clip(upper=0)), {("column_mean_to_be_between", "came_late")}),
    "outcomes missing that were known": (
        lambda events: events.assign(days_late=events["days_late"].where(events.index % 4 > 0)),
        {("column_values_to_not_be_null", "days_late")},
    ),
    "duplicate keys": (lambda events: pd.concat([events, events.head(1)]), {("compound_columns_to_be_unique", "shop, order_id")}),
}  # fmt: skip


@pytest.mark.costly
@pytest.mark.parametrize("case", CASES)
def test_a_bad_history_is_stopped(case: str, tmp_path: Path) -> None:
    change, expected = CASES[case]
    assert failed(judged(tmp_path, change)) == expected


@pytest.mark.costly
def test_an_outcome_that_is_not_known_yet_is_not_a_negative(tmp_path: Path) -> None:
    """A label like `refund IS NOT NULL` has a value for every row, also where nobody can know yet."""
    label = ORDERS.label.model_copy(update={"expression": "days_late IS NOT NULL"})
    raw = write_raw(tmp_path, history())
    params = parse_section({**PARAMS, "maximum_label_rate": 1}, ValidateHistory, "validate_history")
    report = validate_history(ORDERS.model_copy(update={"label": label}), params, partition=PARTITION, raw=raw)
    [share] = [finding.observed for finding in report.findings if finding.type == "expect_column_mean_to_be_between"]
    assert share == 1.0


@pytest.mark.costly
def test_a_gap_names_the_date_and_may_be_declared_normal(tmp_path: Path) -> None:
    report = judged(tmp_path / "strict", without(30))
    assert report.failures[0].sample_rows[0] == {"date": "2024-01-31", "rows": 0}
    assert judged(tmp_path / "lenient", without(30), maximum_empty_date_share=0.02).passed


@pytest.mark.slow
@pytest.mark.parametrize("rows", [7, 10, 11, 13, 17, 19, 23])
def test_a_correct_history_of_any_size_passes(rows: int, tmp_path: Path) -> None:
    """No known outcome is missing and none is tolerated: what cannot be known yet must not cost a known one, nor be rounded against it."""
    events = pd.concat([orders(date, rows, days_late=True) for date in DATES], ignore_index=True)
    events["days_late"] = events["days_late"].where(events["placed_at"] < pd.Timestamp(PARTITION - dt.timedelta(days=2)))
    strict = ORDERS.model_copy(update={"columns": {**ORDERS.columns, "days_late": Column(type="integer")}})
    params = parse_section({**PARAMS, "minimum_rows": 1}, ValidateHistory, "validate_history")
    report = validate_history(strict, params, partition=PARTITION, raw=write_raw(tmp_path / "right", events))
    assert report.passed, [finding.summary() for finding in report.failures]
    events.loc[0, "days_late"] = None
    report = validate_history(strict, params, partition=PARTITION, raw=write_raw(tmp_path / "wrong", events))
    assert failed(report) == {("column_values_to_not_be_null", "days_late")}


NUMBER = "CASE days_late WHEN 1000 THEN 'inf'::DOUBLE WHEN 2000 THEN 1e12 WHEN 3000 THEN 1e6 ELSE days_late END"
FORECAST = ORDERS.model_copy(update={"label": ORDERS.label.model_copy(update={"task": "regression", "expression": NUMBER})})


def failed_of_numbers(directory: Path, one: int, **params: object) -> set[str]:
    """Return what fails of the label if that of one row is `one`."""
    raw = write_raw(directory, history().assign(days_late=lambda events: events["days_late"].where(events.index != 30, one)))
    section = parse_section({**PARAMS, **params}, ValidateHistory, "validate_history")
    report = validate_history(FORECAST, section, partition=PARTITION, raw=raw)
    return {what for what, column in failed(report) if column == FORECAST.label.name}


@pytest.mark.costly
def test_a_label_that_is_a_number_is_judged_by_its_range_and_mean(tmp_path: Path) -> None:
    usual = {"minimum_label": -10, "maximum_label": 40, "maximum_label_mean": 20}
    assert failed_of_numbers(tmp_path / "usual", 1, **usual) == set()
    assert failed_of_numbers(tmp_path / "infinite", 1000) == {"column_values_to_be_between"}
    assert failed_of_numbers(tmp_path / "outlier", 2000, maximum_label=1e9) == {"column_values_to_be_between"}
    assert failed_of_numbers(tmp_path / "mean", 3000, maximum_label_mean=100) == {"column_mean_to_be_between"}
