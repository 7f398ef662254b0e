"""Whether the columns of a night are distributed as on the nights before: two columns that a sender has swapped, a unit that has changed.

Types and ranges may be right and the values still be those of another column. So each column of the night is compared with the same column
of the nights that the batch looks back on, and what differs by far more than those nights differ from each other is a warning.
"""

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from pipelines.lib.gates import PASSED, WARNING, Finding, not_judged
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import connect, name, text

NIGHTS = 28
"""Days before the night with which it is compared: four of each weekday."""

_LEAST_NIGHTS = 5
"""Nights from which it can be said what nights differ by."""

_ROWS = 1_000_000
"""Rows that are compared; of more, every so many-th."""

_BINS = 10
"""Bins of a number, of about equal rows."""

_WORDS = 1_000
"""Distinct values up to which words are compared as they are; beyond, their shape is: A-0000017 is a-9999999."""

_MARGIN = 0.1
"""Share of the rows that may are elsewhere than on the nights before, beyond what those differ by."""

_RESTLESS = 0.5
"""A column whose nights differ by more, such as a number that counts up, cannot be compared."""

_VALUE = "/* value */"
"""The placeholder of the column in the SQL of a bin."""

_TYPE = "expect_column_values_to_be_distributed_as_before"


@dataclass(frozen=True)
class _Column:
    """A column, the SQL of the bin of `_VALUE`, the shares of the bins on the recent nights, and how much a night may differ from them."""

    name: str
    kind: str
    bin: str
    recent: dict[object, float]
    allowed: float


def compare_with_recent(dataset: Dataset, raw: Path, partition: dt.date) -> list[Finding]:
    """Return the findings on the columns of `partition` in the raw directory `raw`; never a failure."""
    columns = [column for column in dataset.columns if column not in {dataset.event_time, *dataset.known_later}]
    with connect(dataset.zone) as (connection, _):
        moment, file = name(dataset.event_time), text(raw / "events.parquet")
        connection.execute(
            f"CREATE TEMP VIEW events AS SELECT *, {moment}::DATE AS __date FROM read_parquet({file}, file_row_number = true) "
            f"WHERE {moment}::DATE BETWEEN {text(partition)}::DATE - {NIGHTS} AND {text(partition)}::DATE"
        )
        [(rows,)] = connection.sql("SELECT count(*) FROM events").fetchall()
        connection.execute(f"CREATE TEMP TABLE compared AS SELECT * FROM events WHERE file_row_number % {rows // _ROWS + 1} = 0")
        [(tonight, nights)] = connection.sql(
            f"SELECT count(*) FILTER (__date = {text(partition)}::DATE), count(DISTINCT __date) FILTER (__date < {text(partition)}::DATE) FROM compared"
        ).fetchall()
        if not tonight or nights < _LEAST_NIGHTS:
            reason = "no rows" if not tonight else f"{nights} of {_LEAST_NIGHTS} nights before it are known"
            return [not_judged(_TYPE.removeprefix("expect_"), None, reason, notes="the columns against the nights before")]
        measured = [_measure(connection, dataset, column, partition) for column in columns]
        comparable = [column for column in measured if column is not None]
        distances = {column.name: _distance(_shares(connection, column, column.name, partition), column.recent) for column in comparable}
        moved = [column for column in comparable if distances[column.name] > column.allowed]
        alike = {column.name: _alike(connection, column, moved, partition) for column in moved}
    return [_finding(column, distances[column.name], alike.get(column.name), nights) for column in comparable]


def _finding(column: _Column, distance: float, alike: Sequence[str] | None, nights: int) -> Finding:
    observed = f"{distance:.0%} of the rows are elsewhere than on the {nights} nights before"
    if alike:
        observed += f"; they look like {', '.join(map(repr, alike))}: were the columns swapped?"
    return Finding(
        type=_TYPE,
        column=column.name,
        kwargs={"column": column.name, "largest_share": round(column.allowed, 6)},
        verdict=PASSED if alike is None else WARNING,
        observed=observed,
        notes=f"the nights before differ from each other by less than {column.allowed:.0%}",
    )


def _measure(connection: duckdb.DuckDBPyConnection, dataset: Dataset, column: str, partition: dt.date) -> _Column | None:
    """Return what is normal for `column`; None if it cannot be compared."""
    kind = dataset.columns[column].type
    binned = _bin(
        connection, name(column), kind, name(dataset.event_time), partition, "TIMESTAMP" if dataset.time_zone is None else "TIMESTAMPTZ"
    )
    counted = connection.sql(
        f"SELECT __date, {binned.replace(_VALUE, name(column))} AS bin, count(*) FROM compared WHERE __date < {text(partition)}::DATE GROUP BY ALL ORDER BY 1, 2"
    ).fetchall()
    bins = {value: place for place, value in enumerate(dict.fromkeys(value for _, value, _ in counted))}
    dates = {date: place for place, date in enumerate(dict.fromkeys(date for date, _, _ in counted))}
    counts: NDArray[np.float64] = np.zeros((len(dates), len(bins)))
    for date, value, rows in counted:
        counts[dates[date], bins[value]] = rows
    total = counts.sum(axis=0)
    others = total - counts
    differ = np.abs(counts / counts.sum(axis=1, keepdims=True) - others / others.sum(axis=1, keepdims=True)).sum(axis=1) / 2
    noise = float(differ.max())
    if noise > _RESTLESS:
        return None
    return _Column(column, kind, binned, dict(zip(bins, (total / total.sum()).tolist(), strict=True)), noise + max(noise, _MARGIN))


def _bin(connection: duckdb.DuckDBPyConnection, quoted: str, kind: str, moment: str, partition: dt.date, time: str) -> str:
    """Return the SQL of the bin of a value: a word, the shape of a word, or the place of a number between quantiles, of which heavy ones
    have their own.
    """
    recent = f"FROM compared WHERE __date < {text(partition)}::DATE"
    if kind == "boolean":
        return f"{_VALUE}::VARCHAR"
    if kind == "string":
        [(words,)] = connection.sql(f"SELECT count(DISTINCT {quoted}) {recent}").fetchall()
        shape = f"regexp_replace(regexp_replace(lower({_VALUE}), '[0-9]', '9', 'g'), '[[:alpha:]]', 'a', 'g')"
        return _VALUE if words <= _WORDS else f"left({shape}, 60)"
    number = f"{_VALUE}::DOUBLE" if kind in ("integer", "float") else f"epoch({_VALUE}::{time} - {moment}::{time})::DOUBLE"
    shares = [step / _BINS for step in range(_BINS + 1)]
    [(found,)] = connection.sql(f"SELECT quantile_disc({number.replace(_VALUE, quoted)}, {shares}) {recent}").fetchall()
    edges = ", ".join(f"{edge!r}::DOUBLE" for edge in sorted({edge for edge in found or () if np.isfinite(edge)}))
    place = f"2 * len(list_filter([{edges}]::DOUBLE[], lambda edge: edge < {number})) + list_contains([{edges}]::DOUBLE[], {number})::INT"
    return f"CASE WHEN {_VALUE} IS NOT NULL THEN {place} END"


def _shares(connection: duckdb.DuckDBPyConnection, bins: _Column, column: str, partition: dt.date) -> dict[object, float]:
    """Return the shares of the rows of `partition` whose value of `column` is in each of the `bins`, which may be those of another
    column.
    """
    binned = bins.bin.replace(_VALUE, name(column))
    counted = connection.sql(f"SELECT {binned} AS bin, count(*) FROM compared WHERE __date = {text(partition)}::DATE GROUP BY 1").fetchall()
    rows = sum(count for _, count in counted)
    return {value: count / rows for value, count in counted}


def _distance(one: dict[object, float], other: dict[object, float]) -> float:
    """Return the total variation distance: the share of the rows that would have to are elsewhere."""
    return math.fsum(abs(one.get(value, 0.0) - other.get(value, 0.0)) for value in {**one, **other}) / 2


def _alike(connection: duckdb.DuckDBPyConnection, column: _Column, moved: Sequence[_Column], partition: dt.date) -> list[str]:
    """Return the other columns that have moved, of the same type, whose recent nights look like tonight's `column`."""
    others = [other for other in moved if other.name != column.name and other.kind == column.kind]
    return [other.name for other in others if _distance(_shares(connection, other, column.name, partition), other.recent) <= other.allowed]
