"""Casts: a value that another type says as well is converted, one that would lose something is refused."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources.adapters import reading
from pipelines.lib.sources.casts import cast
from pipelines.lib.sources.scan import Notation
from pipelines.lib.tables.dataset import Column
from pipelines.lib.tables.engine import UTC, connect

BIG = 2**53 + 1


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def converted(values: pa.Array, kind: Any) -> list[Any]:
    """Return `values` as a column of type `kind`."""
    with connect(UTC) as (connection, _), reading("a table"):
        connection.register("rows", pa.table({"v": values}))
        [(found,)] = connection.sql("SELECT DISTINCT typeof(v) FROM rows").fetchall()
        query = f"SELECT {cast('v', Column(type=kind), found, 'a table', Notation())} FROM rows"
        return [value for (value,) in connection.sql(query).fetchall()]


LOSSY = {
    "a text from whole numbers that became floats": ("string", pa.array([7.0, None])),
    "a text from a float32": ("string", pa.array([0.5], pa.float32())),
    "a boolean from 2": ("boolean", pa.array([1, 2])),
    "a boolean from a half": ("boolean", pa.array([0.5])),
    "a float from a large integer": ("float", pa.array([BIG])),
    "a float from a long decimal": ("float", pa.array(["0.1234567890123456789"]).cast(pa.decimal128(38, 19))),
    "a float from a long text": ("float", pa.array([str(BIG)])),
    "a float from a large number with a point": ("float", pa.array(["9007199254740993.0"])),
    "a float from a large number with an exponent": ("float", pa.array(["9007199254740993e0"])),
    "a float from a large number behind a space": ("float", pa.array([" 9007199254740993"])),
    "a float from nineteen digits": ("float", pa.array(["0.1234567890123456789"])),
    "a float from a number that no float reaches": ("float", pa.array(["1e400"])),
    "a float from a number that is zero to a float": ("float", pa.array(["-1e-400"])),
    "a float from a large decimal": ("float", pa.array(["1234567890123456770.00"]).cast(pa.decimal128(38, 2))),
    "a float from digits with an underscore": ("float", pa.array(["1_000.5"])),
    "an integer from a half": ("integer", pa.array([1.5])),
    "an integer from a long half": ("integer", pa.array(["9007199254740992.5"]).cast(pa.decimal128(38, 1))),
    "a date from a moment": ("date", pa.array([moment("2024-01-01 10:00:00")], pa.timestamp("us"))),
    "a date from a text with a time": ("date", pa.array(["2024-01-01 10:00:00"])),
    "a date before our era": ("date", pa.array(["2024-03-10 (BC)"])),
    "a date from a midnight of another zone": ("date", pa.array(["2024-03-10T00:00:00+02:00"])),
    "a moment from nanoseconds": ("timestamp", pa.array([1_704_100_000_000_000_001], pa.timestamp("ns"))),
    "a moment from nanoseconds with a zone": ("timestamp", pa.array([1_704_100_000_000_000_001], pa.timestamp("ns", "UTC"))),
    "a date from a nanosecond": ("date", pa.array([1], pa.timestamp("ns"))),
    "a year of two digits": ("timestamp", pa.array(["31/12/12"])),
    "an infinite time": ("timestamp", pa.array(["infinity"])),
    "bytes for a text": ("string", pa.array([b"\x00a"])),
}


@pytest.mark.costly
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
        ("float", pa.array(["12345678.12"]).cast(pa.decimal128(38, 18)), [12345678.12]),
        (
            "float",
            pa.array(["0.30000000000000004", "1.000000000000000056e-01", "5e-324", "0e0", "-1.0e300"]),
            [0.1 + 0.2, 0.1, 5e-324, 0.0, -1e300],
        ),
        ("float", pa.array(["1.7976931348623157e308", "0.100000000000000005551115"]), [1.7976931348623157e308, 0.1]),
        ("float", pa.array(["inf", "-Infinity"]), [float("inf"), float("-inf")]),
        ("timestamp", pa.array([1_704_100_000_000_001_000], pa.timestamp("ns", "Europe/Berlin")), [moment("2024-01-01 09:06:40.000001")]),
        ("date", pa.array([moment("2024-01-01")], pa.timestamp("us")), [dt.date(2024, 1, 1)]),
        (
            "date",
            pa.array(["2024-03-10", "2024-03-10T00:00:00Z", "2024-03-10T02:00:00+02:00", "0001-01-01"]),
            [dt.date(2024, 3, 10)] * 3 + [dt.date(1, 1, 1)],
        ),
        ("timestamp", pa.array([1_704_100_000_000_001_000], pa.timestamp("ns")), [moment("2024-01-01 09:06:40.000001")]),
    ],
)
def test_a_conversion_that_loses_nothing_is_made(kind: str, values: pa.Array, wanted: list[Any]) -> None:
    assert converted(values, kind) == wanted


@pytest.mark.parametrize(("kind", "offset"), [("timestamp", "+00:00"), ("date", " 00:00:00+00:00")])
def test_a_text_without_an_offset_is_the_same_value_as_one_in_utc(kind: str, offset: str) -> None:
    """Texts as they are usually written take a shorter way; the longer way of a text with an offset gives the same."""
    dates = ["2024-02-29", "0001-01-01", "9999-12-31", "1582-10-10", "1969-12-31", "2024-03-31"]
    times = [" 00:00", "T02:30:00", " 23:59:59", " 24:00:00", " 02:30:00.1", "T12:00:00.123456", " 12:00:00.000000"]
    written = [date + time for date in dates for time in times] if kind == "timestamp" else dates
    assert converted(pa.array(written), kind) == converted(pa.array([text + offset for text in written]), kind)


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("timestamp", "2024-02-30 00:00:00"),
        ("timestamp", "0000-01-01 00:00:00"),
        ("timestamp", "2024-01-01 23:59:60"),
        ("timestamp", "2024-01-01 12:00:00.1234567"),
        ("timestamp", "2024-13-01 00:00"),
        ("date", "2023-02-29"),
        ("date", "0000-01-01"),
    ],
)
def test_an_impossible_time_in_the_usual_form_is_refused(kind: str, written: str) -> None:
    with pytest.raises(DataError, match="column 'v' of a table holds"):
        converted(pa.array([written]), kind)


def test_a_column_of_floats_without_a_value_is_a_text_without_one() -> None:
    assert converted(pa.array([None, None], pa.float64()), "string") == [None, None]


def test_the_refusal_of_a_float_as_text_names_the_cause_and_the_remedy() -> None:
    with pytest.raises(
        DataError, match=r"'v' of a table holds '7\.0' \(DOUBLE\), which is not of type string: a missing id .*declare it as float"
    ):
        converted(pa.array([7.0, None]), "string")
