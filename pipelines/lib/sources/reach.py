"""How far a source reaches: its first and last date, what is at a night or after it, and the rows whose time is not plausible.

One row of the year 9999 must not make a source look as if it were delivered, and rows of the year 204 must not vanish: a time more than
`Window.plausible_days` from the night is counted, and says nothing about how far the source reaches.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

from pipelines.lib.core.errors import DataError
from pipelines.lib.tables.dataset import PLAUSIBLE_DAYS
from pipelines.lib.tables.engine import name, text
from pipelines.lib.tables.local_time import dates_within

if TYPE_CHECKING:
    import sqlalchemy as sa


@dataclass(frozen=True)
class Window:
    """The dates [first, end) of `column`; `first` None means from the beginning. Times may be `plausible_days` away from `end`.

    The dates are those of `time_zone`, if the dataset has one: an instant then has its local date. With `whole`, a source that cannot have all rows
    of the last date yet is refused.
    """

    column: str
    first: date | None
    end: date
    plausible_days: int = PLAUSIBLE_DAYS
    time_zone: str | None = None
    whole: bool = False

    @property
    def night(self) -> date:
        """The last date of the window."""
        return self.end - timedelta(days=1)

    @property
    def plausible(self) -> tuple[date, date]:
        """The first and the last plausible date."""
        before, after = min(self.plausible_days, (self.end - date.min).days), min(self.plausible_days, (date.max - self.end).days)
        return self.end - timedelta(days=before), self.end + timedelta(days=after)

    def sql(self, column: str) -> str:
        """Return the window as a condition on `column`, an SQL expression."""
        return dates_within(column, self.first, self.end, self.time_zone)


@dataclass(frozen=True)
class Reach:
    """The first and last plausible date of a whole source, the next one from the window's night on, and how many rows are outside the
    plausible.
    """

    first: date | None = None
    last: date | None = None
    next: date | None = None
    too_early: int = 0
    too_late: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return the reach as ``source.json`` has it."""
        dates = {"first": self.first, "last": self.last, "next": self.next}
        return {key: day and str(day) for key, day in dates.items()} | {"too_early": self.too_early, "too_late": self.too_late}


def measured(moment: str, window: Window) -> str:
    """Return the five figures of `Reach`, and the number of rows without a time, as a SELECT list over `moment`, which is a column of
    DuckDB.
    """
    column = name(moment) if window.time_zone is None else f"{name(moment)}::DATE"
    first, last = (f"{text(day)}::DATE" for day in window.plausible)
    inside = f"{column} >= {first} AND {column}::TIMESTAMP < ({last} + 1)::TIMESTAMP"
    night = f"{inside} AND {column} >= {text(window.night)}::DATE"
    return (
        f"(min({column}) FILTER ({inside}))::DATE, (max({column}) FILTER ({inside}))::DATE, (min({column}) FILTER ({night}))::DATE, "
        f"count(*) FILTER ({column} < {first}), count(*) FILTER ({column}::TIMESTAMP >= ({last} + 1)::TIMESTAMP), count(*) - count({column})"
    )


def sent_by_database(moment: "sa.ColumnClause[Any]", window: Window) -> "sa.ColumnElement[bool]":
    """Return the condition by which a database sends the rows of `window`, and some more: the cut that is exact is made on the converted time.

    A database compares its own type. A time with a zone may be of the date before or after; in a dataset with a time zone, that date may again be of the one
    before or after.
    """
    import sqlalchemy as sa

    margin = timedelta(days=1 if window.time_zone is None else 2)
    sent = moment < sa.bindparam("window_end", window.end + margin, sa.Date)
    if window.first is not None:
        sent &= moment >= sa.bindparam("window_first", window.first - margin, sa.Date)
    return sent


def measured_by_database(moment: "sa.ColumnClause[Any]", window: Window) -> "list[sa.ColumnElement[Any]]":
    """Return the same as `measured`, for SQLAlchemy. A database compares its own type, so with zoned time stamps the night may be a day off.

    In a dataset with a time zone, only of the rows that `sent_by_database` leaves out: the others are measured when they have come.
    """
    import sqlalchemy as sa

    def day(label: str, value: date) -> "sa.BindParameter[date]":
        return sa.bindparam(label, value, sa.Date)

    first, last = window.plausible
    early, late = (
        moment < day("plausible_first", first),
        moment >= day("plausible_end", min(last, date.max - timedelta(days=1)) + timedelta(days=1)),
    )
    left_out = sa.true() if window.time_zone is None else ~sent_by_database(moment, window)
    inside = sa.case((~early & ~late & left_out, moment))
    at_night = sa.case((~early & ~late & left_out & (moment >= day("night", window.night)), moment))
    return [
        sa.func.min(inside),
        sa.func.max(inside),
        sa.func.min(at_night),
        sa.func.count(sa.case((early & left_out, 1))),
        sa.func.count(sa.case((late & left_out, 1))),
        sa.func.count() - sa.func.count(moment),
    ]


def reach_of(row: Iterable[Any], where: str, column: str, kind: str) -> Reach:
    """Return the `Reach` of the source `where` from the `row` of figures. Raises `DataError` for rows without a time, and for a time that
    is none.
    """
    *found, too_early, too_late, timeless = list(row)
    if timeless:
        raise DataError(
            f"{where} has {timeless} rows without {column!r}, so they belong to no partition; deliver the time, or drop the rows"
        )
    days = []
    for value in found:
        try:
            days.append(None if value is None else date.fromisoformat(str(value)[:10]))
        except ValueError:
            raise DataError(
                f"column {column!r} of {where} holds {str(value)[:60]!r}, which is not of type {kind}; deliver it as declared"
            ) from None
    first, last, after = days
    return Reach(first, last, after, int(too_early), int(too_late))
