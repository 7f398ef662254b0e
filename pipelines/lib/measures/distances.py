"""Measures of the distance between two counts of the same bins."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import DataError

Shares = NDArray[np.float64]
AnyCounts = Sequence[int] | NDArray[np.integer[Any]]


def psi(expected: AnyCounts, actual: AnyCounts, floor: float | None = None) -> float:
    """Return the population stability index of two counts [b] of the same bins: the sum of (a - e) ln(a / e) over their shares a and e.

    A share below `floor` counts as `floor`. Without one, a bin empty on both sides adds nothing, and one empty on one side is infinite.
    It is the symmetrised Kullback-Leibler divergence in nats (Jeffreys 1946); 0.1 and 0.25 are the customary marks of some and of much drift.
    """
    e, a = _shares(expected), _shares(actual)
    if floor is not None:
        e, a = np.maximum(e, floor), np.maximum(a, floor)
    kept = (e > 0) | (a > 0)
    with np.errstate(divide="ignore"):
        return float(np.sum((a[kept] - e[kept]) * (np.log(a[kept]) - np.log(e[kept]))))


def jensen_shannon(expected: AnyCounts, actual: AnyCounts) -> float:
    """Return the Jensen-Shannon distance of two counts [b]: the root of the divergence to base 2, from 0 for equal to 1 for disjoint (Lin
    1991).
    """
    e, a = _shares(expected), _shares(actual)
    middle = (e + a) / 2

    def divergence(side: Shares) -> float:
        held = side > 0
        return float(np.sum(side[held] * np.log2(side[held] / middle[held])))

    return math.sqrt(min(1.0, max(0.0, (divergence(e) + divergence(a)) / 2)))


def ks(reference: AnyCounts, current: AnyCounts) -> float:
    """Return the two-sample Kolmogorov-Smirnov statistic of two counts [b] of bins in order. With bins of several values it is a lower
    bound.
    """
    r, c = np.cumsum(reference), np.cumsum(current)
    n, m = int(r[-1]), int(c[-1])
    if not n or not m:
        raise DataError("there are no rows on one side; a distance needs both")
    steps = int(np.abs(r * m - c * n).max()) // math.gcd(n, m)  # in units of 1 / lcm(n, m), exact
    return steps * math.gcd(n, m) / (n * m)


def _shares(counts: AnyCounts) -> Shares:
    numbers = np.asarray(counts, dtype=np.float64)
    total = numbers.sum()
    if not total:
        raise DataError("there are no rows on one side; a distance needs both")
    shares: Shares = numbers / total
    return shares
