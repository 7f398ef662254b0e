"""The facts of a table from which its parameters are derived: rows, outcomes and values, read in a few passes."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import duckdb

from pipelines.lib.core.errors import DataError
from pipelines.lib.tables.column import sql_type
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import name, text
from pipelines.lib.tables.labels import finite_outcome

EVENTS = "use_case_events"
"""The table on a connection that holds the typed columns of the events."""

FEW_VALUES = 30
"""The most values of a column that can be listed, and makes slices."""

SHORTEST_HISTORY = 8
"""Dates; with fewer there is neither a week to learn from nor four nights to score."""


@dataclass(frozen=True)
class Day:
    """A date of the table: its `rows`, those with an outcome (`known`) and with a positive one, and the minute of the day of its last event.

    A label that is a number is positive here if it is above the mean of all. `total` is the sum of its values.
    """

    rows: int
    known: int
    positive: int
    last_minute: int
    total: float = 0.0


@dataclass(frozen=True)
class ColumnFacts:
    """A column: its share of missing values, the largest of a week, its values if they are few, most frequent first, and how many about."""

    nulls: float
    worst_nulls: float
    values: tuple[Any, ...] | None
    distinct: int


@dataclass(frozen=True)
class Facts:
    """A table: its dates in order, and its columns. `null_until_known`: the label of a row without its later values is NULL.

    The last rows of a date come with the file of the date `days_late` days after it.
    """

    days: Mapping[dt.date, Day]
    columns: Mapping[str, ColumnFacts] = field(default_factory=dict)
    null_until_known: bool = False
    days_late: int = 0
    label_range: tuple[float, float] | None = None
    """The least and the greatest label, if it is a number."""

    @property
    def first(self) -> dt.date:
        """The first date that has rows."""
        return min(self.days)

    @property
    def last(self) -> dt.date:
        """The last date that has rows."""
        return max(self.days)

    @property
    def end(self) -> dt.date:
        """The date after the last one that has rows."""
        return self.last + dt.timedelta(days=1)

    @property
    def rows(self) -> int:
        """The rows of all dates."""
        return sum(day.rows for day in self.days.values())

    @property
    def first_outcome(self) -> dt.date:
        """The first date of which an outcome is known; the first one that has rows if there is no outcome at all."""
        return min((date for date, day in self.days.items() if day.known), default=self.first)

    @property
    def counts(self) -> dict[dt.date, int]:
        """The rows of each date, 0 for one without any between the first and the last."""
        span = (self.last - self.first).days
        dates = (self.first + dt.timedelta(days=day) for day in range(span + 1))
        return {date: self.days[date].rows if date in self.days else 0 for date in dates}

    def labelled(self, first: dt.date, end: dt.date) -> int:
        """Count the rows of the dates [`first`, `end`) that have an outcome."""
        return sum(day.known for date, day in self.days.items() if first <= date < end)

    def positive(self, first: dt.date, end: dt.date) -> int:
        """Count the rows of the dates [`first`, `end`) with a positive outcome."""
        return sum(day.positive for date, day in self.days.items() if first <= date < end)

    def mean(self, first: dt.date, end: dt.date) -> float:
        """Return the mean of a label that is a number, of the dates [`first`, `end`). Raises `ZeroDivisionError` without an outcome."""
        return sum(day.total for date, day in self.days.items() if first <= date < end) / self.labelled(first, end)

    def outcomes_in_words(self) -> str:
        """Return how many rows have an outcome, and which share of them a positive one."""
        known, positive = self.labelled(self.first, self.end), self.positive(self.first, self.end)
        if not known:
            return f"none of {self.rows:,} rows has an outcome"
        since = "" if self.first_outcome == self.first else f", the first of {self.first_outcome}"
        if self.label_range is not None:
            least, most = self.label_range
            return f"{known:,} of {self.rows:,} rows have an outcome{since}: from {least:g} to {most:g}, {self.mean(self.first, self.end):g} on average"
        return f"{known:,} of {self.rows:,} rows have an outcome{since}; it is true for {positive / known:.1%} of them"


def read_facts(connection: duckdb.DuckDBPyConnection, dataset: Dataset, where: str) -> Facts:
    """Return the facts of the table `EVENTS` on `connection`, which has the columns of `dataset`. Raises `DataError` if it is too short."""
    date = f"{name(dataset.event_time)}::DATE"
    moment = f"{name(dataset.event_time)}::TIMESTAMP"
    label, is_number = finite_outcome(dataset), dataset.label.task == "regression"
    positive = positive_outcome(dataset, "label")
    rows = connection.sql(
        f"SELECT date, count(*), count(label), count(*) FILTER ({positive}), max(minute), coalesce(sum(label), 0)::DOUBLE, "
        f"min(label)::DOUBLE, max(label)::DOUBLE FROM (SELECT {date} AS date, {label} AS label, "
        f"hour({moment}) * 60 + minute({moment}) AS minute FROM {EVENTS}) WHERE date IS NOT NULL GROUP BY date ORDER BY date"
    ).fetchall()
    days = {day: Day(*figures) for day, *figures, _, _ in rows}
    ends = [(least, most) for *_, least, most in rows if least is not None]
    label_range = (min(least for least, _ in ends), max(most for _, most in ends)) if is_number and ends else None
    if len(days) < SHORTEST_HISTORY:
        raise DataError(
            f"{where} has rows of {len(days)} dates; at least {SHORTEST_HISTORY} are needed to learn from some and score the others. "
            "Deliver more of them, or correct dataset.event_time"
        )
    later = ", ".join(f"NULL::{sql_type(dataset.columns[column])} AS {name(column)}" for column in dataset.known_later)
    early = f"SELECT * REPLACE ({later}) FROM {EVENTS}" if later else f"SELECT * FROM {EVENTS}"
    [(known_early,)] = connection.sql(f"SELECT count({label}) FROM ({early})").fetchall()
    return Facts(days, _columns(connection, dataset, date), null_until_known=known_early == 0, label_range=label_range)


def positive_outcome(dataset: Dataset, label: str) -> str:
    """Return the SQL of whether the outcome in the column `label` is positive: true, or a number above the mean of all rows."""
    if dataset.label.task == "binary":
        return f"{label} = 1"
    return f"{label} > (SELECT avg({finite_outcome(dataset)}) FROM {EVENTS})"


def _columns(connection: duckdb.DuckDBPyConnection, dataset: Dataset, date: str) -> dict[str, ColumnFacts]:
    names = list(dataset.columns)
    nulls = ", ".join(f"count(*) FILTER ({name(column)} IS NULL)" for column in names)
    weeks = connection.sql(f"SELECT count(*), {nulls} FROM {EVENTS} GROUP BY date_trunc('week', {date})").fetchall()
    whole = [sum(column) for column in zip(*weeks, strict=True)]
    distinct = ", ".join(f"approx_count_distinct({name(column)})" for column in names)
    [about] = connection.sql(f"SELECT {distinct} FROM {EVENTS}").fetchall()
    found = {}
    for number, column in enumerate(names):
        worst = max(week[number + 1] / week[0] for week in weeks)
        few = about[number] <= 2 * FEW_VALUES and dataset.columns[column].type in ("string", "integer", "boolean")
        found[column] = ColumnFacts(whole[number + 1] / whole[0], worst, _values(connection, column) if few else None, about[number])
    return found


def _values(connection: duckdb.DuckDBPyConnection, column: str) -> tuple[Any, ...] | None:
    values = connection.sql(
        f"SELECT {name(column)} FROM {EVENTS} WHERE {name(column)} IS NOT NULL GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT {FEW_VALUES + 1}"
    ).fetchall()
    return None if len(values) > FEW_VALUES else tuple(value for (value,) in values)


def worst_missing_share(connection: duckdb.DuckDBPyConnection, expression: str, dataset: Dataset) -> float:
    """Return the largest share of rows of one date for which `expression` over the columns of the events is NULL."""
    [(share,)] = connection.sql(
        f"SELECT max(share) FROM (SELECT avg((({expression}\n) IS NULL)::INT) AS share FROM {EVENTS} "
        f"WHERE {name(dataset.event_time)} IS NOT NULL GROUP BY {name(dataset.event_time)}::DATE HAVING count(*) >= 20)"
    ).fetchall()
    return float(share or 0.0)


def worst_unseen_share(connection: duckdb.DuckDBPyConnection, expression: str, values: tuple[str, ...], dataset: Dataset) -> float:
    """Return the largest share of rows of one date whose `expression` is none of `values`."""
    listed = ", ".join(map(text, values))
    return worst_missing_share(connection, f"CASE WHEN ({expression}\n)::VARCHAR NOT IN ({listed}) THEN NULL ELSE 1 END", dataset)
