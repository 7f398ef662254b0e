"""Validate the history that a model is to learn from.

*Reads* a raw directory (see `pipelines.lib.sources.raw`). *Writes* ``report.json`` and ``report.html``. *Fails when* an expectation does not hold: those
generated from the declared columns, the least number of rows, dates that are missing or thin, the share of positive labels, and those
written by hand; or a side table is late, short or not as declared.
"""

import datetime as dt
import sys
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.features.declaration import LARGEST
from pipelines.lib.gates import Expectation, Finding, Gate, Report, deliver, expect, expectations, judge, not_judged
from pipelines.lib.gates.side_tables import judge_side_tables
from pipelines.lib.gates.suite import mostly
from pipelines.lib.tables.dataset import Dataset, Label, load_dataset
from pipelines.lib.tables.engine import UTC, connect, name, text
from pipelines.lib.tables.expressions import enclosed
from pipelines.lib.tables.labels import check_label
from pipelines.lib.tables.row_count import RowCount


class ValidateHistory(Gate):
    """`minimum_label_rate` and `maximum_label_rate` bound the share of positive labels. `minimum_label_mean` and `maximum_label_mean` bound the mean of a label that
    is a number, `minimum_label` and `maximum_label` each of its values; null means unbounded. `row_count` is the band of a date against those before it;
    `maximum_odd_date_share` is the share of dates outside it, and `maximum_empty_date_share` the share without any row, that is still normal.
    """

    minimum_rows: int = Field(default=100, ge=1)
    minimum_label_rate: float = Field(default=0.001, ge=0, le=1)
    maximum_label_rate: float = Field(default=0.999, ge=0, le=1)
    minimum_label_mean: float | None = None
    maximum_label_mean: float | None = None
    minimum_label: float | None = None
    maximum_label: float | None = None
    row_count: RowCount = RowCount()
    maximum_odd_date_share: float = Field(default=0.05, ge=0, le=1)
    maximum_empty_date_share: float = Field(default=0.0, ge=0, le=1)


def validate_history(dataset: Dataset, params: ValidateHistory, *, partition: dt.date, raw: Path) -> Report:
    """Return the verdict on all rows before `partition` in the raw directory `raw`. Raises `ConfigError` for a label that is not true or false."""
    with connect(dataset.zone) as (connection, _):
        check_label(connection, dataset)
    counts = _plausible(expectations.rows_per_date(raw), partition - dt.timedelta(days=dataset.plausible_days))
    known = f"{name(dataset.event_time)}::DATE + {dataset.label.delay_days} < {text(partition)}::DATE"
    kind = "DOUBLE" if dataset.label.task == "regression" else "BIGINT"
    label = f"CASE WHEN {known} THEN {enclosed(dataset.label.expression)}::{kind} END AS {name(dataset.label.name)}"
    query = f"SELECT *, {label} FROM read_parquet({text(raw / 'events.parquet')})"
    judged_elsewhere = {dataset.event_time, *dataset.known_later}
    columns = {column: kind for column, kind in dataset.columns.items() if column not in judged_elsewhere}
    wanted = [
        *expectations.of_schema(dataset.columns, more=[dataset.label.name]),
        expect("table_row_count_to_be_between", min_value=params.minimum_rows, notes="fewer teach nothing"),
        *expectations.of_dates(dataset.event_time, None, partition, notes="nothing of the partition or later"),
        *expectations.of_key(dataset.key),
        *expectations.of_columns(columns),
        *_of_label(dataset.label, params),
        *params.custom_expectations(),
    ]  # fmt: skip
    identity = [*dataset.key, dataset.event_time]
    rows, findings = judge(query, wanted, identity=identity, time_zone=dataset.zone)
    later = expectations.of_columns({column: dataset.columns[column] for column in dataset.known_later})
    # Of the rows whose outcome is known: what nobody can know yet is missing on all others, and no share has to allow for them.
    _, of_outcomes = judge(f"SELECT * FROM ({query}) WHERE {known}", later, identity=identity, time_zone=dataset.zone) if later else (0, [])
    plausible = expectations.of_plausible_times(raw, dataset.event_time, days=dataset.plausible_days, tolerated=dataset.misdated_rows)
    side = judge_side_tables(dataset, raw, first=None, night=partition - dt.timedelta(days=1))
    return Report("validate_history", str(partition), rows, [plausible, *findings, *of_outcomes, *_dates(dataset, params, counts), *side])


def _of_label(label: Label, params: ValidateHistory) -> list[Expectation]:
    """Return what the outcomes must be: their share of positive ones or, of numbers, each of them and their mean."""
    if label.task == "binary":
        return [
            expect(
                "column_mean_to_be_between", column=label.name, min_value=params.minimum_label_rate, max_value=params.maximum_label_rate,
                notes="share of positive labels",
            )
        ]  # fmt: skip
    least = -LARGEST if params.minimum_label is None else params.minimum_label
    most = LARGEST if params.maximum_label is None else params.maximum_label
    mean = {"min_value": params.minimum_label_mean, "max_value": params.maximum_label_mean}
    bounds = {end: value for end, value in mean.items() if value is not None}
    return [
        expect("column_values_to_be_between", column=label.name, min_value=least, max_value=most, notes="a finite number in its range"),
        *([expect("column_mean_to_be_between", column=label.name, **bounds, notes="mean of the labels")] if bounds else []),
    ]


def _plausible(counts: Mapping[str, int], first: dt.date) -> dict[str, int]:
    """Return the dates from `first` on: one row of the year 204 is misdated, and its century is not a hole in the history."""
    return {date: rows for date, rows in counts.items() if len(date) == len(str(first)) and date >= str(first)}


def _dates(dataset: Dataset, params: ValidateHistory, counts: Mapping[str, int]) -> list[Finding]:
    """Return the verdict on the dates from the first to the last: none missing but of weekdays without rows, none of an odd size."""
    if not counts:
        return [not_judged("column_values_to_be_between", "rows", "no date has rows", notes="dates without rows")]
    first, last = (dt.date.fromisoformat(date) for date in (min(counts), max(counts)))
    span = (first + dt.timedelta(days=day) for day in range((last - first).days + 1))
    dates = [date for date in span if counts.get(str(date)) or dataset.calendar.expects_rows(date)]
    rows = []
    for date in dates:
        count, reference = counts.get(str(date), 0), params.row_count.band(counts, date).reference
        rows.append(f"({text(date)}, {count}, {'NULL' if reference is None or not count else count / reference}::DOUBLE)")
    query = f"SELECT * FROM (VALUES {', '.join(rows)}) AS dates(date, rows, share_of_recent)"
    wanted = [
        expect(
            "column_values_to_be_between", column="rows", min_value=1, notes="dates without rows", **mostly(params.maximum_empty_date_share)
        ),
        expect(
            "column_values_to_be_between", column="share_of_recent", min_value=params.row_count.minimum_ratio, max_value=params.row_count.maximum_ratio,
            notes="size of each date against the dates before it", **mostly(params.maximum_odd_date_share),
        ),
    ]  # fmt: skip
    return judge(query, wanted, identity=["date"], time_zone=UTC)[1]


@stage("validate_history")
def main(*, raw: Path, report: Path) -> None:
    """Validate as `run.yaml` and `params.yaml` say."""
    params = load_section("validate_history", ValidateHistory)
    deliver(validate_history(load_dataset(), params, partition=load_run().date, raw=raw), report)


if __name__ == "__main__":
    sys.exit(main())
