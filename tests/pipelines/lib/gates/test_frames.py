"""Frames for Great Expectations: no value is rounded on the way."""

import datetime as dt

import pyarrow as pa
import pytest

from pipelines.lib.gates.frames import LARGEST_EXACT, to_pandas


@pytest.mark.parametrize("values", [[1, None], [LARGEST_EXACT + 1, None], [-LARGEST_EXACT - 1, None], [2**63 - 1, -(2**63)], [None, None]])
def test_integers_stay_what_they_are_next_to_nulls(values: list[int | None]) -> None:
    frame = to_pandas(pa.table({"number": pa.array(values, pa.int64())}))
    assert [None if missing else int(value) for value, missing in zip(frame["number"], frame["number"].isna(), strict=True)] == values


@pytest.mark.parametrize("year", [1, 1677, 2013, 2262, 9999])
def test_a_time_stays_what_it_is_in_any_year(year: int) -> None:
    moment = dt.datetime(year, 12, 31, 23, 59, 59, 999_999)  # noqa: DTZ001
    [found] = to_pandas(pa.table({"at": pa.array([moment], pa.timestamp("us"))}))["at"]
    assert (found.year, found.month, found.day, found.hour, found.microsecond) == (year, 12, 31, 23, 999_999)
