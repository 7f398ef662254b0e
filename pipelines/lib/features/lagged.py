"""The SQL of lagged features: sums that are exact, so that they are the same bits in every order and window of computation.

Whole numbers of 64 bits, booleans and decimals of 28 digits are summed as DuckDB sums them: exactly, and no number of rows overflows the sum. Wider ones are
summed as whole numbers without a limit. A floating-point number is summed as a whole number of 2^-256: exactly for every number that a float32 feature can show.
"""

import re
from collections.abc import Sequence

import duckdb

from pipelines.lib.core.errors import DataError
from pipelines.lib.features.declaration import LARGEST, Lagged
from pipelines.lib.tables.engine import name

_UNIT = repr(2.0**256)

_DIGITS = 28
"""Of a decimal whose sum has 38: ten digits are left for the number of rows."""


def is_float(kind: str) -> bool:
    """Return whether the DuckDB type `kind` has a floating point."""
    return kind in ("FLOAT", "DOUBLE")


def summable(value: str, kind: str) -> str:
    """Return the SQL `value` of type `kind` as `aggregate` takes it: NULL for NaN and infinity, which are not outcomes."""
    if kind == "BOOLEAN":
        return f"{value}::BIGINT"
    return f"CASE WHEN isfinite({value}) THEN {value}::DOUBLE END" if is_float(kind) else value


def check_range(connection: duckdb.DuckDBPyConnection, relation: str, column: str, key: Sequence[str], where: str) -> None:
    """Raise `DataError` if the floating-point `column` of `relation` holds a value whose mean no feature could hold."""
    keys = ", ".join(map(name, key))
    found = connection.sql(f"SELECT {keys}, {column} FROM {relation} WHERE abs({column}) > {LARGEST!r} ORDER BY ALL LIMIT 1").fetchall()
    for *values, value in found:
        row = ", ".join(f"{part} {cell}" for part, cell in zip(key, values, strict=True))
        raise DataError(
            f"{where} is {value!r} in the row with {row}; a feature holds at most {LARGEST!r}: correct the row, or divide it there"
        )


def _whole(value: str, kind: str) -> tuple[str, str]:
    """Return the SQL of `value`, a number of the DuckDB type `kind`, whose sum is exact and does not overflow, and the unit that divides the sum."""
    if is_float(kind):
        return f"({value} * {_UNIT})::BIGNUM", _UNIT
    if kind in ("HUGEINT", "UHUGEINT"):
        return f"{value}::BIGNUM", "1"
    decimal = re.fullmatch(r"DECIMAL\((\d+),(\d+)\)", kind)
    if decimal and int(decimal[1]) > _DIGITS:  # its text has all digits that are declared
        return f"replace({value}::VARCHAR, '.', '')::BIGNUM", repr(10.0 ** int(decimal[2]))
    return value, "1"


def aggregate(relation: str, keys: Sequence[str], value: str, *, kind: str, windows: Sequence[int], delay: int, dates: str) -> str:
    """Return a SELECT of the sum (s, DOUBLE) and number (n) of `value`, of the DuckDB type `kind`, in each window, for each date and key that `dates` names."""
    filled = " AND ".join([f"{key} IS NOT NULL" for key in keys] or ["true"])
    whole, unit = _whole(value, kind)
    daily = f"SELECT {', '.join(['__date', *keys])}, sum({whole}) AS s, count({value}) AS n FROM {relation} WHERE {filled} GROUP BY ALL"
    partition = f"PARTITION BY {', '.join(keys)}" if keys else ""
    frames, sums = [], []
    for days in windows:
        frame = f"RANGE BETWEEN {delay + days} PRECEDING AND {delay + 1} PRECEDING"
        frames.append(f"w{days} AS ({partition} ORDER BY __date - DATE '1970-01-01' {frame})")
        sums.append(f"coalesce((sum(s) OVER w{days})::DOUBLE / {unit}, 0) AS s{days}, coalesce(sum(n) OVER w{days}, 0) AS n{days}")
    windowed = f"SELECT {', '.join(['__date', *keys, *sums])} FROM ({daily}) WINDOW {', '.join(frames)}"
    return f"SELECT * FROM ({windowed}) WHERE {dates}"


def statistic(lagged: Lagged, own: str, all_rows: str) -> str:
    """Return the feature, from the tables `own` (the rows that agree in `by`) and `all_rows` that `aggregate` gives."""
    days = lagged.window_days
    count = f"coalesce({own}.n{days}, 0)"
    if lagged.statistic == "count":
        return count
    mean = f"({all_rows}.s{days} / {all_rows}.n{days})"
    smoothed = f"(coalesce({own}.s{days}, 0) + {lagged.prior_weight!r} * {mean}) / ({count} + {lagged.prior_weight!r})"
    return f"CASE WHEN {all_rows}.n{days} > 0 AND {count} + {lagged.prior_weight!r} > 0 THEN {smoothed} ELSE {lagged.nothing_seen!r}::DOUBLE END"
