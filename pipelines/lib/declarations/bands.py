"""Which numbers of rows are normal for a table: the bands of its gates, derived from the rows of each date."""

import datetime as dt
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipelines.lib.tables.row_count import RowCount

WEEK = 7

_CLEARLY = 0.9
"""A comparison with the same weekday must spread at most this share of that with the days before, to be worth a reference that is a month old."""


_CHANCE = 4.0
"""Standard deviations that a night of few independent rows may be from its reference: at ten rows per night, chance alone gives 3 or 20."""

_FEW_ROWS = 50
"""Rows of a night, below which a history of some weeks does not show how far chance goes."""


@dataclass(frozen=True)
class DerivedBand:
    """The parameters of a `RowCount`, and the share of dates outside it."""

    every_days: int
    minimum_ratio: float
    maximum_ratio: float
    minimum_rows: int
    odd_share: float


def derive_band(counts: Mapping[dt.date, int], *, nights: int, every_days: int | None) -> DerivedBand:
    """Return the band in which nearly every date of `counts` (rows by date) is; `every_days` None takes the one that explains them better.

    One date in a hundred at each end does not count: a holiday or a first date of some hours would make the band useless. Then there is headroom,
    and the band of a small table is never narrower than chance makes its counts, unless these vary less than chance would have them.
    """
    by_step = {step: ratios(counts, nights=nights, every_days=step) for step in ((1, WEEK) if every_days is None else (every_days,))}
    chosen = every_days or 1
    if every_days is None and (
        len(by_step[1]) < len(by_step[WEEK])  # rows on a few weekdays only: the days before have none
        or (len(by_step[WEEK]) >= 2 * WEEK and _spread(by_step[WEEK]) < _CLEARLY * _spread(by_step[1]))
    ):
        chosen = WEEK
    found = by_step[chosen]
    low, high = (quantile(found, 0.01), quantile(found, 0.99)) if found else (1.0, 1.0)
    typical = statistics.median(count for count in counts.values() if count)
    deviation = 1 / math.sqrt(typical)
    chance = _CHANCE * deviation if typical < _FEW_ROWS and _spread(found) > deviation / 2 else 0.0
    minimum_ratio = min(floor_to(0.8 * low, 2), 0.9, floor_to(max(0.0, 1 - chance), 2))
    maximum_ratio = max(ceil_to(1.25 * high, 2), 1.1, ceil_to(1 + chance, 2))
    odd = sum(not minimum_ratio <= ratio <= maximum_ratio for ratio in found)
    fewest = quantile([count for count in counts.values() if count], 0.01)
    return DerivedBand(chosen, minimum_ratio, maximum_ratio, max(1, significant(fewest / 4)), odd / len(found) if found else 0.0)


def ratios(counts: Mapping[dt.date, int], *, nights: int, every_days: int) -> list[float]:
    """Return the rows of each date as a share of its reference, which is that of the gates."""
    band, by_text = RowCount(nights=nights, every_days=every_days), {str(date): rows for date, rows in counts.items()}
    found = ((rows, band.band(by_text, date).reference) for date, rows in counts.items() if rows)
    return [rows / reference for rows, reference in found if reference]


def quantile(values: Sequence[float], share: float) -> float:
    """Return the quantile `share` of `values`, without interpolation."""
    ordered = sorted(values)
    place = math.floor(share * (len(ordered) - 1)) if share < 0.5 else math.ceil(share * (len(ordered) - 1))
    return ordered[place]


def floor_to(value: float, digits: int) -> float:
    """Return `value` rounded down to `digits` decimals."""
    return math.floor(value * 10.0**digits + 1e-9) / 10.0**digits


def ceil_to(value: float, digits: int) -> float:
    """Return `value` rounded up to `digits` decimals."""
    return math.ceil(value * 10.0**digits - 1e-9) / 10.0**digits


def significant(value: float) -> int:
    """Return `value` rounded down to a whole number with two significant digits: it is a limit, not a measurement."""
    whole = math.floor(value)
    unit = int(10 ** max(0, len(str(max(whole, 1))) - 2))
    return whole // unit * unit


def _spread(values: Sequence[float]) -> float:
    return statistics.pstdev([math.log(ratio) for ratio in values]) if len(values) > 1 else 0.0
