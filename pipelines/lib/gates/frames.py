"""Frames for Great Expectations: Arrow's columns in the types of pandas that it judges quickly and without rounding."""

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    import pandas as pd

LARGEST_EXACT = 2**53
"""Up to it, every integer is a float64."""


def to_pandas(data: pa.Table | pa.RecordBatch) -> "pd.DataFrame":
    """Return `data` in the types for which Great Expectations has vectorised paths: float64, and time stamps of nanoseconds where they fit.

    An instant becomes what the clocks of its zone show, without a zone: bounds of expectations are local times. Integers next to nulls are floats to pandas; where a float64 would round one of them, they stay integers, which is slower.
    """
    import pandas as pd

    columns, exact = [], {}
    for column, kind in zip(data.columns, data.schema.types, strict=True):
        if pa.types.is_float32(kind):
            columns.append(column.cast(pa.float64()))
        elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zone = kind.tz if pa.types.is_timestamp(kind) else None
            try:
                columns.append(column.cast(pa.timestamp("ns", zone)))
            except pa.ArrowInvalid:  # before 1677 or after 2262: slower, still right
                columns.append(column.cast(pa.timestamp("us", zone)))
        else:
            columns.append(column)
    for column, named, kind in zip(data.columns, data.schema.names, data.schema.types, strict=True):
        if pa.types.is_integer(kind) and column.null_count:
            limits = pc.min_max(column).as_py()
            if limits["min"] is not None and max(-limits["min"], limits["max"]) > LARGEST_EXACT:
                exact[named] = pd.array(column.to_pylist(), dtype="Int64")
    frame: pd.DataFrame = pa.table(columns, names=data.schema.names).to_pandas()
    zoned = [column for column, kind in zip(data.schema.names, data.schema.types, strict=True) if getattr(kind, "tz", None)]
    return frame.assign(**exact, **{column: frame[column].dt.tz_localize(None) for column in zoned})
