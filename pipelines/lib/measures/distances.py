"""Measures of the distance between two counts of the same bins."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import DataError

EXACT_CELLS = 250_000
"""Up to this product of both sample sizes the p-value of KS is exact (0.02 s); beyond it the limiting distribution is right to three digits."""

Shares = NDArray[np.float64]
AnyCounts = Sequence[int] | NDArray[np.integer[Any]]


def psi(expected: AnyCounts, actual: AnyCounts, floor: float | None = None) -> float:
    """The population stability index of two counts [b] of the same bins: the sum of (a - e) ln(a / e) over their shares a and e.

    A share below `floor` counts as `floor`. Without one, a bin empty on both sides adds nothing, and one empty on one side is infinite.
    It is the symmetrised Kullback-Leibler divergence in nats (Jeffreys 1946); .1 and .25 are the customary marks of some and of much drift.
    """
    e, a = _shares(expected), _shares(actual)
    if floor is not None:
        e, a = np.maximum(e, floor), np.maximum(a, floor)
    kept = (e > 0) | (a > 0)
    with np.errstate(divide="ignore"):
        return float(np.sum((a[kept] - e[kept]) * (np.log(a[kept]) - np.log(e[kept]))))


def jensen_shannon(expected: AnyCounts, actual: AnyCounts) -> float:
    """The Jensen-Shannon distance of two counts [b]: the root of the divergence to base 2, from 0 for equal to 1 for disjoint (Lin 1991)."""
    e, a = _shares(expected), _shares(actual)
    middle = (e + a) / 2

    def divergence(side: Shares) -> float:
        held = side > 0
        return float(np.sum(side[held] * np.log2(side[held] / middle[held])))

    return math.sqrt(min(1.0, max(0.0, (divergence(e) + divergence(a)) / 2)))


def ks(reference: AnyCounts, current: AnyCounts) -> tuple[float, float]:
    """The two-sample Kolmogorov-Smirnov statistic of two counts [b] of bins in order, and its two-sided p-value.

    Exact where each distinct value is a bin; with wider bins the statistic is a lower bound and the p-value an upper one.
    """
    r, c = np.cumsum(reference), np.cumsum(current)
    n, m = int(r[-1]), int(c[-1])
    if not n or not m:
        raise DataError("there are no rows on one side; a distance needs both")
    steps = int(np.abs(r * m - c * n).max()) // math.gcd(n, m)  # the statistic in units of 1 / lcm(n, m), exact
    statistic = steps * math.gcd(n, m) / (n * m)
    return statistic, _ks_exact(n, m, steps) if n * m <= EXACT_CELLS else _ks_limit(n, m, statistic)


def _ks_exact(n: int, m: int, steps: int) -> float:
    """The share of lattice paths from (0, 0) to (n, m) that stray `steps` / lcm(n, m) from the diagonal (Hodges 1957)."""
    n, m = sorted((n, m))  # one pass of NumPy for each of the fewer rows
    divisor = math.gcd(n, m)
    along, across = m // divisor, n // divisor
    columns = np.arange(m + 1)
    paths, logarithm = (columns * across < steps).astype(np.float64), 0.0
    for row in range(1, n + 1):
        inside = np.abs(row * along - columns * across) < steps
        paths = np.where(inside, np.cumsum(np.where(inside, paths, 0.0)), 0.0)
        top = paths.max()
        if top == 0:
            return 1.0
        paths, logarithm = paths / top, logarithm + math.log(top)
    if paths[-1] == 0:
        return 1.0
    all_paths = math.lgamma(n + m + 1) - math.lgamma(n + 1) - math.lgamma(m + 1)
    return min(1.0, max(0.0, -math.expm1(math.log(paths[-1]) + logarithm - all_paths)))


def _ks_limit(n: int, m: int, statistic: float) -> float:
    """Kolmogorov's limit, with Stephens' (1970) correction for finite samples."""
    root = math.sqrt(n * m / (n + m))
    reach = (root + 0.12 + 0.11 / root) * statistic
    if reach < 0.2:  # the series converges badly where its value is 1 to eight digits
        return 1.0
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * (k * reach) ** 2) for k in range(1, 101))))


def _shares(counts: AnyCounts) -> Shares:
    numbers = np.asarray(counts, dtype=np.float64)
    total = numbers.sum()
    if not total:
        raise DataError("there are no rows on one side; a distance needs both")
    return numbers / total
