"""Slices: the values of any column go through JSON, and every row belongs to one slice."""

import datetime as dt
import json
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.lib.measures.slices import json_value, slices_of

DAY = dt.date(2024, 1, 2)
COLUMNS: dict[str, tuple[pa.Array, list[Any]]] = {
    "dates": (pa.array([DAY, None, DAY, dt.date(2023, 12, 31)]), ["2023-12-31", "2024-01-02", None]),
    "timestamps": (pa.array([dt.datetime(2024, 1, 2, 3, 4, 5), None] * 2), ["2024-01-02 03:04:05", None]),  # noqa: DTZ001
    "nanoseconds": (pa.array([1, 1, None, 2], pa.timestamp("ns")), ["1970-01-01 00:00:00.000000001", "1970-01-01 00:00:00.000000002", None]),
    "times": (pa.array([dt.time(3, 4)] * 4), ["03:04:00"]),
    "decimals": (pa.array([Decimal("1.50"), Decimal("-2.00")] * 2), ["-2.00", "1.50"]),
    "bytes": (pa.array([b"\x00\xff", None] * 2), ["00ff", None]),
    "booleans": (pa.array([True, False, None, True]), [False, True, None]),
    "integers": (pa.array([10, 9, 2**62, 9]), [9, 10, 2**62]),
    "floats": (pa.array([1.5, float("nan"), float("inf"), 1.5, None]), [1.5, "inf", None]),
    "strings": (pa.array(["b", "a", None, "a"]), ["a", "b", None]),
}  # fmt: skip


@pytest.mark.parametrize("name", COLUMNS)
def test_every_kind_of_value_goes_through_json(name: str) -> None:
    column, expected = COLUMNS[name]
    found = list(slices_of(column, minimum_rows=1))
    assert [part.value for part in found] == expected
    assert json.loads(json.dumps(expected, allow_nan=False)) == expected
    assert np.sum([part.rows for part in found], axis=0).tolist() == [1] * len(column)


def test_numpy_and_chunks_give_the_same() -> None:
    chunked = pa.chunked_array([["a", None], ["a", "b"]])
    whole = [(part.value, part.rows.tolist()) for part in slices_of(chunked.combine_chunks(), 1)]
    assert [(part.value, part.rows.tolist()) for part in slices_of(chunked, 1)] == whole
    assert [(part.value, part.rows.tolist()) for part in slices_of(np.array(["a", None, "a", "b"], dtype=object), 1)] == whole
    dates = np.array(["2024-01-02", "NaT", "2024-01-02"], dtype="datetime64[D]")
    assert [part.value for part in slices_of(dates, 1)] == ["2024-01-02", None]


def test_small_slices_are_left_out() -> None:
    assert [part.value for part in slices_of(pa.array(["a", "b", "b"]), 2)] == ["b"]


def test_a_value_of_another_kind_is_text() -> None:
    assert json_value(dt.timedelta(hours=1)) == "1:00:00"
