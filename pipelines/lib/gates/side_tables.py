"""The gate of each side table: whether its rows for the night are there, as many and as new as they should be, and as they are declared."""

import datetime as dt
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from pipelines.lib.gates import FAILED, PASSED, Finding, expectations, judge, not_judged
from pipelines.lib.tables.dataset import Dataset, SideTable
from pipelines.lib.tables.engine import connect, name, text

_RHYTHM_DAYS = 90
"""Days before the night that show the rhythm of a table."""

_LEAST_GAPS = 3
"""Gaps between the dates of a table from which the longest says something about its rhythm."""


def judge_side_tables(dataset: Dataset, raw: Path, *, first: dt.date | None, night: dt.date) -> list[Finding]:
    """Return the findings on every side table in the raw directory `raw`, for events of the dates `first` (None: the first there is) to `night`.

    Each finding names its column as ``<table>.<column>``. Missing values, ranges, sets and the key are judged on the rows of these dates. If
    a table with a time has none for them, they are judged on the rows of the days before that a join may still use.
    """
    findings: list[Finding] = []
    for table, side in dataset.tables.items():
        query = f"SELECT * FROM read_parquet({text(raw / f'{table}.parquet')})"
        if side.event_time is not None:
            counts = _rows_per_date(query, side.event_time, night, dataset.zone)
            findings += judge_dates(table, side, counts, night)
            column, days = f"{table}.{side.event_time}", side.plausible_days
            findings.append(expectations.of_plausible_times(raw, column, days=days, tolerated=side.misdated_rows, table=table))
            start = night - dt.timedelta(days=side.join_days) if first is None or not counts.get(str(first)) else first
            query += f" WHERE {name(side.event_time)}::DATE >= {text(start)}::DATE" if first is not None else ""
        wanted = [*expectations.of_schema(side.columns), *expectations.of_key(side.key), *expectations.of_columns(side.columns)]
        rows, judged = judge(query, wanted, identity=side.key, time_zone=dataset.zone)
        if side.event_time is None:
            findings.append(_enough(table, rows, side.row_count.minimum_rows, None, f"at least {side.row_count.minimum_rows} rows"))
        findings += [replace(one, column=f"{table}.{one.column}" if one.column else table) for one in judged]
    return findings


def judge_dates(table: str, side: SideTable, rows_per_date: Mapping[str, int], night: dt.date) -> Iterator[Finding]:
    """Return whether the side table `table`, which has `rows_per_date` up to `night`, has as many for it as for the nights before,
    and as new ones.
    """
    band = side.row_count.band(rows_per_date, night)
    usable = sum(rows_per_date.get(str(night - dt.timedelta(days=days)), 0) for days in range(side.join_days + 1))
    if band.reference is None:
        least = max(1, band.low)
        yield _enough(table, usable, least, None, f"at least {least} rows of the {side.join_days} days up to {night}, which a join may use")
        yield not_judged("table_row_count_to_be_between", table, "no earlier date to compare with", notes=f"the rows of {night}")
    else:
        yield _enough(table, rows_per_date.get(str(night), 0), band.low, band.high, f"rows of {night}: {band.reason}")
    yield _freshness(table, side, sorted(rows_per_date), night)


def _freshness(table: str, side: SideTable, dates: list[str], night: dt.date) -> Finding:
    column, notes = f"{table}.{side.event_time}", "how new the newest row is"
    gaps = [(dt.date.fromisoformat(after) - dt.date.fromisoformat(before)).days for before, after in pairwise(dates)]
    if side.fresh_within_days is not None:
        allowed, notes = side.fresh_within_days, f"{notes}: fresh_within_days is {side.fresh_within_days}"
    elif str(night) in side.row_count.quiet_dates:
        return not_judged("column_max_to_be_between", column, f"{night} is a quiet date", notes=notes)
    elif len(gaps) < _LEAST_GAPS:
        return not_judged("column_max_to_be_between", column, f"too few dates have rows ({len(dates)}) to show a rhythm", notes=notes)
    else:
        allowed, notes = max(gaps) - 1, f"{notes}: its dates were at most {max(gaps)} days apart before"
    least = str(night - dt.timedelta(days=allowed))
    newest = dates[-1] if dates else None
    verdict = PASSED if newest is not None and newest >= least else FAILED
    return Finding("expect_column_max_to_be_between", column, {"min_value": least}, verdict, newest, notes=notes)


def _enough(table: str, rows: int, low: int, high: int | None, notes: str) -> Finding:
    limits = {"min_value": low} if high is None else {"min_value": low, "max_value": high}
    verdict = PASSED if rows >= low and (high is None or rows <= high) else FAILED
    return Finding("expect_table_row_count_to_be_between", table, limits, verdict, rows, notes=notes)


def _rows_per_date(query: str, event_time: str, night: dt.date, time_zone: str) -> dict[str, int]:
    date = f"{name(event_time)}::DATE"
    recent = f"{date} BETWEEN {text(night)}::DATE - {_RHYTHM_DAYS} AND {text(night)}::DATE"
    with connect(time_zone) as (connection, _):
        return dict(connection.sql(f"SELECT {date}::VARCHAR, count(*) FROM ({query}) WHERE {recent} GROUP BY 1 ORDER BY 1").fetchall())
