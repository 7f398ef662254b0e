"""Slices: the rows of a table that have one value in a column, by which quality is measured separately.

A column may hold anything that a source can: dates, times, decimals, bytes, nulls. Reports and the journal are JSON, so each
value has a form that JSON can carry, the same for the same value.
"""

import datetime as dt
import decimal
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

JsonValue = str | int | float | bool | None


class Slice(NamedTuple):
    """One value of a column in the form that JSON carries (None: no value), and the rows [n] that have it."""

    value: JsonValue
    rows: NDArray[np.bool_]


def slices_of(column: "pa.Array | pa.ChunkedArray | NDArray[Any]", minimum_rows: int) -> Iterator[Slice]:
    """Yield the slices of a `column` [n] that have at least `minimum_rows` rows, in the order of their values; no value comes last."""
    if isinstance(column, np.ndarray):
        column = pa.array(column)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_floating(array.type):  # NaN and null are both no value
        array = pc.if_else(pc.is_nan(array), None, array)
    coded = array.dictionary_encode(null_encoding="encode")
    codes = np.from_dlpack(coded.indices).astype(np.int32, copy=False)  # to_numpy() would import pandas
    counts = np.bincount(codes, minlength=len(coded.dictionary))
    values = [json_value(value) for value in _plain(coded.dictionary).to_pylist()]
    for code in sorted(range(len(values)), key=lambda code: _place(values[code])):
        if counts[code] >= minimum_rows:
            yield Slice(values[code], codes == code)


def json_value(value: object) -> JsonValue:
    """Return `value` as JSON can carry it: dates and times in ISO 8601, a decimal with all its digits, bytes in hexadecimal, NaN as no
    value.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return None if math.isnan(value) else value if math.isfinite(value) else str(value)
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return format(value, "f")
    if isinstance(value, bytes):
        return value.hex()
    return str(value)


def _plain(values: pa.Array) -> pa.Array:
    """Return `values` without nanoseconds, which Python's own times cannot hold: as text."""
    nanoseconds = (pa.types.is_timestamp(values.type) or pa.types.is_duration(values.type)) and values.type.unit == "ns"
    return values.cast(pa.string()) if nanoseconds else values


def _place(value: JsonValue) -> tuple[bool, bool, float, str]:
    """Return where `value` stands among others: numbers by size, then text, then no value."""
    number = isinstance(value, int | float)
    return value is None, not number, float(value) if isinstance(value, int | float) else 0.0, str(value)
