"""Casts: a value that another type says as well is converted, one that would lose something is refused."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources import reading
from pipelines.lib.sources.casts import cast
from pipelines.lib.sources.scan import Notation
from pipelines.lib.tables.dataset import Column
from pipelines.lib.tables.engine import connect

BIG = 2**53 + 1


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def converted(values: pa.Array, kind: Any) -> list[Any]:
    """`values` as a column of type `kind`."""
    with connect() as (connection, _), reading("a table"):
        connection.register("rows", pa.table({"v": values}))
        [(found,)] = connection.sql("SELECT DISTINCT typeof(v) FROM rows").fetchall()
        query = f"SELECT {cast('v', Column(type=kind), found, 'a table', Notation())} FROM rows"
        return [value for (value,) in connection.sql(query).fetchall()]


LOSSY = {
    "a boolean from 2": ("boolean", pa.array([1, 2])),
    "a boolean from a half": ("boolean", pa.array([0.5])),
    "a float from a large integer": ("float", pa.array([BIG])),
    "a float from a long decimal": ("float", pa.array(["0.1234567890123456789"]).cast(pa.decimal128(38, 19))),
    "a float from a long text": ("float", pa.array([str(BIG)])),
    "an integer from a half": ("integer", pa.array([1.5])),
    "an integer from a long half": ("integer", pa.array(["9007199254740992.5"]).cast(pa.decimal128(38, 1))),
    "a date from a moment": ("date", pa.array([moment("2024-01-01 10:00:00")], pa.timestamp("us"))),
    "a date from a text with a time": ("date", pa.array(["2024-01-01 10:00:00"])),
    "a moment from nanoseconds": ("timestamp", pa.array([1_704_100_000_000_000_001], pa.timestamp("ns"))),
    "a year of two digits": ("timestamp", pa.array(["31/12/12"])),
    "an infinite time": ("timestamp", pa.array(["infinity"])),
    "bytes for a text": ("string", pa.array([b"\x00a"])),
}


@pytest.mark.parametrize("case", LOSSY)
def test_a_conversion_that_would_lose_something_is_refused(case: str) -> None:
    kind, values = LOSSY[case]
    with pytest.raises(DataError, match="column 'v' of a table holds"):
        converted(values, kind)


@pytest.mark.parametrize(
    ("kind", "values", "wanted"),
    [
        ("boolean", pa.array([0, 1]), [False, True]),
        ("float", pa.array([2**53]), [2.0**53]),
        ("float", pa.array(["0.1"]).cast(pa.decimal128(5, 3)), [0.1]),
        ("float", pa.array(["1.5", "-12"]), [1.5, -12.0]),
        ("date", pa.array([moment("2024-01-01")], pa.timestamp("us")), [dt.date(2024, 1, 1)]),
        ("timestamp", pa.array([1_704_100_000_000_001_000], pa.timestamp("ns")), [moment("2024-01-01 09:06:40.000001")]),
    ],
)
def test_a_conversion_that_loses_nothing_is_made(kind: str, values: pa.Array, wanted: list[Any]) -> None:
    assert converted(values, kind) == wanted
