"""Validate the night's raw rows before anything is computed from them.

*Reads* a raw directory (see `pipelines.lib.sources.raw`). *Writes* ``report.json`` and ``report.html``. *Fails when* an expectation does not hold: those
generated from the declared columns, the night's size against the recent nights, its date, its key, and the custom ones of its suite; the source
ends before the night; the outcomes of earlier events have stopped to arrive; or a side table is late, too short, or unlike its declaration. A
column that is distributed unlike on the nights before is a warning. A night without rows passes only as `dataset.weekdays` and
`dataset.nights_without_rows` allow it (docs/adr/0028), with 0 rows in the verdict.
"""

import datetime as dt
import sys
from dataclasses import replace
from pathlib import Path

from pydantic import Field

from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.gates import Expectation, Finding, Gate, Report, deliver, expect, expectations, judge, not_judged
from pipelines.lib.gates.empty_nights import HOW_TO_ALLOW, is_empty_night, judge_empty_night, judge_other_weekdays
from pipelines.lib.gates.recent_nights import compare_with_recent
from pipelines.lib.gates.side_tables import judge_side_tables
from pipelines.lib.tables.dataset import Dataset, load_dataset
from pipelines.lib.tables.engine import connect, name, text
from pipelines.lib.tables.expressions import enclosed
from pipelines.lib.tables.row_count import RowCount

_NO_RECENT_NIGHT = "no recent night to compare with"


class ValidateBatch(Gate):
    """`row_count` is the band of the night's size. The last event may come `last_event_minutes` before the earliest last event of the
    nights it is compared with, which shows a sorted file that was cut off; null where nights end when they like. `minimum_outcomes_known` is the
    least share of events with an outcome on the newest date whose outcomes should be known; null where nothing is known about that share.
    """

    row_count: RowCount = RowCount()
    last_event_minutes: int | None = None
    minimum_outcomes_known: float | None = Field(default=0.25, ge=0, le=1)


def validate_batch(dataset: Dataset, params: ValidateBatch, *, partition: dt.date, raw: Path) -> Report:
    """Return the verdict on the rows of `partition`, and on rows dated later or not at all, in the raw directory `raw`.

    A night without rows, in a table that may have such nights, is judged by what can be judged without rows.
    """
    events, moment = f"read_parquet({text(raw / 'events.parquet')})", name(dataset.event_time)
    query = f"SELECT * FROM {events} WHERE {moment}::DATE >= {text(partition)}::DATE OR {moment} IS NULL"
    plausible = expectations.of_plausible_times(raw, dataset.event_time, days=dataset.plausible_days, tolerated=dataset.misdated_rows)
    outcomes = _outcomes(dataset, params, partition, raw, events)
    weekdays = judge_other_weekdays(dataset, raw, partition)
    if is_empty_night(dataset, raw, partition):
        findings = [*judge_empty_night(dataset, raw, partition), *weekdays, plausible, *outcomes]
        report = Report("validate_batch", str(partition), 0, findings)
        return replace(report, empty=str(findings[0].observed)) if report.passed else report
    counts = expectations.rows_per_date(raw)
    band = params.row_count.band(counts, partition)
    size = band.reason if counts.get(str(partition)) else f"{band.reason}; {HOW_TO_ALLOW}"
    last = _last_event(dataset, params, partition, events)
    unjudged = [last] if isinstance(last, Finding) else []
    if band.reference is None:
        unjudged.append(not_judged("table_row_count_to_be_between", None, _NO_RECENT_NIGHT, notes="the night's size against recent nights"))
    judged_elsewhere = {dataset.event_time, *dataset.known_later}
    wanted = [
        *expectations.of_schema(dataset.columns),
        expect("table_row_count_to_be_between", min_value=band.low, max_value=band.high, notes=size),
        *expectations.of_dates(dataset.event_time, partition, partition + dt.timedelta(days=1), notes="the partition's own date"),
        *([last] if isinstance(last, Expectation) else []),
        *expectations.of_key(dataset.key),
        *expectations.of_columns({column: kind for column, kind in dataset.columns.items() if column not in judged_elsewhere}),
        *(expect("column_values_to_be_null", column=column, notes="known only later") for column in dataset.known_later),
        *params.custom_expectations(),
    ]
    rows, findings = judge(query, wanted, identity=[*dataset.key, dataset.event_time], time_zone=dataset.zone)
    fresh = expectations.of_freshness(raw, dataset.event_time, partition)
    side = judge_side_tables(dataset, raw, first=partition, night=partition)
    compared = compare_with_recent(dataset, raw, partition)
    return Report("validate_batch", str(partition), rows, [fresh, *weekdays, plausible, *findings, *unjudged, *outcomes, *side, *compared])


def _last_event(dataset: Dataset, params: ValidateBatch, partition: dt.date, events: str) -> Expectation | Finding | None:
    if params.last_event_minutes is None:
        return None
    moment = f"{name(dataset.event_time)}::TIMESTAMP"
    compared = ", ".join(text(night) for night in params.row_count.reference_dates(partition))
    with connect(dataset.zone) as (connection, _):
        earliest = connection.sql(
            f"SELECT min(reach), count(*) FROM (SELECT max({moment}) - max({moment})::DATE::TIMESTAMP AS reach FROM {events} "
            f"WHERE {moment}::DATE::VARCHAR IN ({compared}) GROUP BY {moment}::DATE)"
        ).fetchall()[0]
    if earliest[0] is None:
        return not_judged("column_max_to_be_between", dataset.event_time, _NO_RECENT_NIGHT, notes="how late the last event is")
    least = dt.datetime.combine(partition, dt.time()) + earliest[0] - dt.timedelta(minutes=params.last_event_minutes)
    reason = f"{earliest[1]} recent nights last until {earliest[0]} or later: a night that ends early was cut off"
    return expect("column_max_to_be_between", column=dataset.event_time, min_value=least.isoformat(), notes=reason)


def _outcomes(dataset: Dataset, params: ValidateBatch, partition: dt.date, raw: Path, events: str) -> list[Finding]:
    """Expect that outcomes keep arriving: features and monitoring live on them, and a source that stops to deliver them has no other sign.

    Judged on the newest date whose outcomes should be known at the start of `partition`; one that has no events tells nothing. In a table
    that has nights without rows, it is the newest such date with rows. A table that asks for no share of outcomes has no such check.
    """
    if params.minimum_outcomes_known is None:
        return []
    date = partition - dt.timedelta(days=dataset.label.delay_days + 1)
    if dataset.calendar.allows_empty:
        counts = expectations.rows_per_date(raw)
        date = dt.date.fromisoformat(max((one for one in counts if one <= str(date)), default=str(date)))
    identity = [*dataset.key, dataset.event_time]
    outcome, moment = f"{enclosed(dataset.label.expression)} AS {name(dataset.label.name)}", name(dataset.event_time)
    query = f"SELECT {', '.join(map(name, dict.fromkeys(identity)))}, {outcome} FROM {events} WHERE {moment}::DATE = {text(date)}::DATE"
    reason = f"outcomes of {date}, which should be known by now: fewer mean that they have stopped to arrive"
    wanted = expect("column_values_to_not_be_null", column=dataset.label.name, mostly=params.minimum_outcomes_known, notes=reason)
    rows, findings = judge(query, [wanted], identity=identity, time_zone=dataset.zone)
    return (
        findings if rows else [not_judged(wanted.type.removeprefix("expect_"), dataset.label.name, f"{date} has no events", notes=reason)]
    )


@stage("validate_batch")
def main(*, raw: Path, report: Path) -> None:
    """Validate as `run.yaml` and `params.yaml` say."""
    params = load_section("validate_batch", ValidateBatch)
    deliver(validate_batch(load_dataset(), params, partition=load_run().date, raw=raw), report)


if __name__ == "__main__":
    sys.exit(main())
