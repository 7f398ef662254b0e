"""Expectations that nobody has to write: generated from the declared columns, the key, the dates and the recent nights."""

import datetime as dt
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from pipelines.lib.core.errors import DataError
from pipelines.lib.gates import FAILED, PASSED, Expectation, Finding, expect
from pipelines.lib.gates.suite import mostly
from pipelines.lib.tables.dataset import Column

ARROW_NAMES = {
    "string": "string[pyarrow]",
    "integer": "int64[pyarrow]",
    "float": "double[pyarrow]",
    "boolean": "bool[pyarrow]",
    "timestamp": "timestamp[us][pyarrow]",
    "date": "date32[day][pyarrow]",
}
"""The names of the declared types in Great Expectations, where the schema has Arrow's types. An instant has the zone of the dataset in its own."""

LARGEST_FLOAT64 = 1.7976931348623157e308
"""The largest finite float64: a bound that infinities alone exceed."""


def rows_per_date(raw: Path) -> dict[str, int]:
    """Return how many rows each date has in the raw directory `raw`. Raises `DataError` if its ``source.json`` is missing or torn."""
    return dict(_source(raw, "rows_per_date", dict))


def next_date(raw: Path) -> dt.date | None:
    """Return the first date from the night on that has rows in the whole source of the raw directory `raw`; None if there is none."""
    return _date(raw, "next")


_ORDINARY_GAP_DAYS = 7
"""Dates without rows that are ordinary, next to the longest gap of the nights before: a week."""


def of_freshness(raw: Path, event_time: str, partition: dt.date) -> Finding:
    """Expect that the source of the raw directory `raw` reaches `partition`: one that ends before it has not been delivered for this night.

    It is judged on ``source.json``, since the rows themselves do not distinguish a late delivery from a night on which nothing happened. The date
    that counts is the next date of the source from the night on: a single row far ahead is not a delivery.
    """
    last, after = (_date(raw, fact) for fact in ("last", "next"))
    finding = Finding(
        type="expect_column_max_to_be_between",
        column=event_time,
        kwargs={"column": event_time, "min_value": str(partition)},
        verdict=FAILED,
        observed=last and str(last),
        notes="the last date of the whole source: where it is earlier, the night has not been delivered yet",
    )
    if after is None:
        return finding
    before = sorted(dt.date.fromisoformat(date) for date in rows_per_date(raw) if date < str(partition))
    allowed = max([_ORDINARY_GAP_DAYS, *((later - earlier).days for earlier, later in pairwise(before))])
    if (after - partition).days <= allowed:
        return replace(finding, verdict=PASSED)
    notes = (
        f"the next date of the source may be {allowed} days after the night: rows farther ahead do not show that the night was delivered"
    )
    return replace(finding, observed=f"no row from {partition} up to {after}", notes=notes)


def of_plausible_times(raw: Path, column: str, *, days: int, tolerated: int, table: str | None = None) -> Finding:
    """Expect that no more than `tolerated` rows of the source, or of the side table `table`, are more than `days` from the night.

    Such rows belong to no night that will ever be scored: without this they would only be missing.
    """
    facts = (
        _source(raw, "reach_of_tables", dict).get(table) if table else {key: _source(raw, key, int) for key in ("too_early", "too_late")}
    )
    if facts is None:
        raise DataError(f"{raw / 'source.json'} does not tell the reach of {table}; run the stage that ingests it again")
    early, late = facts["too_early"], facts["too_late"]
    return Finding(
        type="expect_column_values_to_be_between",
        column=column,
        kwargs={"column": column, "misdated_rows": tolerated},
        verdict=PASSED if early + late <= tolerated else FAILED,
        observed=f"{early} rows too early and {late} too late",
        unexpected_count=early + late,
        notes=f"rows of the whole source more than {days} days from the night (plausible_days): they belong to no night, and would only be missing",
    )


def _date(raw: Path, fact: str) -> dt.date | None:
    recorded = _source(raw, fact, str, type(None))
    try:
        return None if recorded is None else dt.date.fromisoformat(recorded)
    except ValueError:
        raise DataError(f"{raw / 'source.json'} does not tell {fact}: it has {recorded!r}; run the stage that ingests it again") from None


def _source(raw: Path, fact: str, *kinds: type) -> Any:
    path = raw / "source.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))[fact]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} does not tell {fact} ({error!r}); run the stage that ingests it again") from None
    if not isinstance(found, kinds):
        raise DataError(f"{path} does not tell {fact}: it has {found!r}; run the stage that ingests it again")
    return found


def of_schema(columns: Mapping[str, Column], more: Sequence[str] = ()) -> list[Expectation]:
    """Return all declared columns, then `more`, and no others, in this order, each declared one of its type."""
    types = [expect("column_type_to_be", column=column, type_=_arrow_name(kind)) for column, kind in columns.items()]
    return [expect("table_columns_to_match_ordered_list", column_list=[*columns, *more]), *types]


def _arrow_name(kind: Column) -> str:
    return f"timestamp[us, tz={kind.zone}][pyarrow]" if kind.zone else ARROW_NAMES[kind.type]


def of_columns(columns: Mapping[str, Column]) -> list[Expectation]:
    """Return expectations on missing values, ranges and sets, with the shares that are declared as normal; numbers are finite."""
    return [expectation for column, kind in columns.items() for expectation in _of_column(column, kind)]


def _of_column(column: str, kind: Column) -> Iterable[Expectation]:
    if kind.nulls < 1:
        yield expect("column_values_to_not_be_null", column=column, **mostly(kind.nulls))
    if kind.type == "float":
        low, high = kind.minimum, kind.maximum
        yield expect(
            "column_values_to_be_between", column=column, notes="finite" if low is None or high is None else "",
            min_value=-LARGEST_FLOAT64 if low is None else low, max_value=LARGEST_FLOAT64 if high is None else high,
        )  # fmt: skip
    elif kind.minimum is not None or kind.maximum is not None:
        yield expect("column_values_to_be_between", column=column, **_whole_bounds(kind))
    if kind.values is not None:
        yield expect("column_values_to_be_in_set", column=column, value_set=kind.typed_values(), **mostly(kind.unseen))


def _whole_bounds(kind: Column) -> dict[str, Any]:
    """Return the bounds of an integer column as the whole numbers that they let pass, so that no comparison rounds."""
    low = {} if kind.minimum is None else {"min_value": math.ceil(kind.minimum)}
    return low if kind.maximum is None else low | {"max_value": math.floor(kind.maximum)}


def of_key(key: Sequence[str]) -> list[Expectation]:
    """Expect that no two rows have one key."""
    if len(key) == 1:
        return [expect("column_values_to_be_unique", column=key[0], notes="the key")]
    return [expect("compound_columns_to_be_unique", column_list=list(key), notes="the key")]


def of_dates(event_time: str, first: dt.date | None, end: dt.date, *, notes: str) -> list[Expectation]:
    """Return every event has a time, before `end` and, where it is given, not before `first`."""
    start: dict[str, Any] = {} if first is None else {"min_value": _midnight(first)}
    bounds = {**start, "max_value": _midnight(end), "strict_max": True}
    return [
        expect("column_values_to_not_be_null", column=event_time, notes="an event without a time has no partition"),
        expect("column_values_to_be_between", column=event_time, **bounds, notes=notes),
    ]


def _midnight(date: dt.date) -> str:
    return f"{date}T00:00:00"
