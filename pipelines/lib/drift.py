"""How far rows have moved from a reference: counts in the reference's bins, and measures of the distance between two such counts.

A feature is counted once, in bins that never change: then windows of nights are sums of histograms, and no night is read twice. Bins are
closed above and open below, ``(edge, next edge]``; the outer ones have open ends, so that every value falls into one. What is no value has a
bin of its own at the end: NaN, and the exact number (`filler`) that stands for a missing value in a features file. Categories (codes, see
`pipelines.lib.features`) have one bin each, one for what was not declared and one for what is missing.

Nothing is searched: ``np.count_nonzero(block > edge)`` for each edge, on a block that stays in cache, gives the cumulative counts at .08 ns a
value and edge, where ``np.searchsorted`` takes 20 ns a value; NaN is above no edge. More threads gain nothing: ``count_nonzero`` keeps
Python's lock.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.errors import ConfigError, DataError

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_ROWS = 65_536
"""Values compared at a time: 256 KiB of float32 stay in a core's second cache."""

MOST_COMPARISONS = 128
"""With more cuts than this, one search is sooner than that many comparisons."""

EXACT_CELLS = 250_000
"""Up to this product of both sample sizes the p-value of KS is exact (0.02 s); beyond it the limiting distribution is right to three digits."""

UNSEEN_CODE, MISSING_CODE = -1, -2
"""Codes of categories in features files (`pipelines.lib.features`, which is too heavy to be loaded for two numbers; a test compares them)."""

Counts = NDArray[np.int64]
Shares = NDArray[np.float64]
AnyCounts = Sequence[int] | NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Binning:
    """The bins of one column: numeric with ascending inner `edges`, or categorical with the declared `values` (then `edges` is empty).

    Counts are laid out as ``[bins in order..., missing]`` for numbers, ``[values in order..., unseen, missing]`` for categories.
    """

    name: str
    edges: tuple[float, ...] = ()
    filler: float | None = None
    values: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.values is None and (not self.edges or not all(a < b for a, b in pairwise(self.edges))):
            raise ConfigError(f"the bins of {self.name} have the edges {self.edges}; they must ascend, and there must be one at least")

    @property
    def kind(self) -> str:
        """``numeric`` or ``categorical``."""
        return "numeric" if self.values is None else "categorical"

    @property
    def size(self) -> int:
        """How many counts there are."""
        return len(self.edges) + 2 if self.values is None else len(self.values) + 2

    @property
    def labels(self) -> list[str]:
        """A word for each count, in order."""
        if self.values is not None:
            return [*self.values, "unseen", "missing"]
        edges = [f"{edge:g}" for edge in self.edges]
        inner = [f"{low} to {high}" for low, high in pairwise(edges)]
        missing = "missing" if self.filler is None else f"missing or {self.filler:g}"
        return [f"up to {edges[0]}", *inner, f"above {edges[-1]}", missing]

    @property
    def cuts(self) -> tuple[float, ...]:
        """What values are compared with: the edges, or the codes, from that of a missing category on."""
        return self.edges if self.values is None else tuple(range(MISSING_CODE, len(self.values)))

    def to_json(self) -> dict[str, Any]:
        """As JSON can carry it."""
        told = {"name": self.name, "edges": list(self.edges), "filler": self.filler, "values": self.values and list(self.values)}
        return {key: value for key, value in told.items() if value is not None}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        values = told.get("values")
        return cls(told["name"], tuple(told["edges"]), told.get("filler"), None if values is None else tuple(values))


def numeric_binning(name: str, values: NDArray[np.floating[Any]], *, bins: int, filler: float | None = None) -> Binning:
    """Quantile bins of the finite `values` [n] that are not the `filler`: `bins` of about equal rows, fewer where values repeat.

    At most `bins` distinct values get a bin each, and one below them all: then the bins tell everything about the reference, and
    a constant that changes is seen. Edges are rounded to the precision of `values`. Without any value, there is one edge at 0.
    """
    kept = values[np.isfinite(values)]
    if filler is not None:
        kept = kept[kept != np.asarray(filler, dtype=values.dtype)]
    distinct = np.unique(kept)
    if len(distinct) == 0:
        edges = np.zeros(1, dtype=values.dtype)
    elif len(distinct) <= bins:
        lowest = distinct[:1].astype(np.float64)
        below = lowest - (distinct[1] - lowest) / 2 if len(distinct) > 1 else np.nextafter(distinct[:1], -np.inf)
        edges = np.unique(np.append(np.maximum(below, np.finfo(values.dtype).min).astype(values.dtype), distinct))
    else:
        edges = np.unique(np.quantile(kept.astype(np.float64), np.linspace(0, 1, bins + 1)[1:-1]).astype(values.dtype))
    return Binning(name, tuple(float(str(edge)) for edge in edges), filler)  # str: the shortest decimal that gives it back


def categorical_binning(name: str, values: Sequence[str]) -> Binning:
    """A bin for each of the declared `values`, whose codes are their places, one for unseen and one for missing."""
    return Binning(name, values=tuple(values))


@dataclass(frozen=True)
class Histogram:
    """How many of `rows` rows lie in each bin of each column; histograms in the same bins add up."""

    rows: int
    counts: dict[str, tuple[int, ...]]

    def __add__(self, other: "Histogram") -> "Histogram":
        sizes, others = ({name: len(counts) for name, counts in side.counts.items()} for side in (self, other))
        if sizes != others:
            raise DataError(
                f"histograms of {sizes} and of {others} bins do not add up; both must be counted in the bins of one model's profile"
            )
        summed = {name: tuple(a + b for a, b in zip(counts, other.counts[name], strict=True)) for name, counts in self.counts.items()}
        return Histogram(self.rows + other.rows, summed)

    def to_json(self) -> dict[str, Any]:
        """As JSON can carry it."""
        return {"rows": self.rows, "counts": {name: list(counts) for name, counts in self.counts.items()}}

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """The inverse of `to_json`."""
        return cls(told["rows"], {name: tuple(counts) for name, counts in told["counts"].items()})


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """The sum of one or more histograms in the same bins."""
    first, *others = histograms
    return sum(others, start=first)


def empty(binnings: Sequence[Binning]) -> Histogram:
    """No rows."""
    return Histogram(0, {binning.name: (0,) * binning.size for binning in binnings})


# ------------------------------------------------------------------------------------------------ counting


def count(columns: Mapping[str, NDArray[Any]], binnings: Sequence[Binning]) -> Histogram:
    """Count each column [n] in its bins. A matrix is given as ``dict(zip(names, matrix.T))``. Raises `DataError` for a column that is gone."""
    _require(columns, binnings)
    counted = {binning.name: _Tally(binning) for binning in binnings}
    for name, tally in counted.items():
        tally.add(columns[name])
    rows = {len(columns[binning.name]) for binning in binnings}
    if len(rows) > 1:
        raise DataError(f"the columns have {', '.join(map(str, sorted(rows)))} rows; they must be columns of one table")
    return Histogram(rows.pop() if rows else 0, {name: tuple(tally.counts().tolist()) for name, tally in counted.items()})


def count_parquet(path: Path, binnings: Sequence[Binning]) -> Histogram:
    """Count the columns of a Parquet file batch by batch: memory stays flat, however many rows there are.

    The next batches are read while one is counted. Raises `DataError` where the file is torn or a column is gone or no number. Nulls are
    counted as missing.
    """
    import pyarrow as pa

    from pipelines.lib.engine import open_parquet

    tallies = [_Tally(binning) for binning in binnings]
    rows = 0
    with open_parquet(path) as file:
        _require(file.schema_arrow.names, binnings, str(path))
        try:
            for batch in _ahead(file.iter_batches(BLOCK_ROWS, columns=[binning.name for binning in binnings])):
                rows += batch.num_rows
                for tally in tallies:
                    tally.add(_numbers(batch.column(tally.binning.name), tally.binning.name))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read to its end: {error}; it is torn, make it again") from None
    return Histogram(rows, {tally.binning.name: tuple(tally.counts().tolist()) for tally in tallies})


def _ahead(batches: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """The same `batches`, of which two are fetched ahead by a thread."""
    with ThreadPoolExecutor(1) as pool:
        pending = deque(pool.submit(next, batches, None) for _ in range(2))
        while (batch := pending.popleft().result()) is not None:
            pending.append(pool.submit(next, batches, None))
            yield batch


def _require(names: Iterable[str], binnings: Sequence[Binning], where: str = "the rows") -> None:
    found = list(names)
    absent = [binning.name for binning in binnings if binning.name not in found]
    if absent:
        raise DataError(
            f"{where}: no column {', '.join(absent)} there; there are {', '.join(found)}. The model's profile counts them: "
            "compute the features that it was trained on"
        )


def _numbers(column: Any, name: str) -> NDArray[Any]:
    """An Arrow array as NumPy, without a copy where it has no nulls (not by to_numpy(), which imports pandas)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        if column.null_count:
            column = pc.fill_null(column if pa.types.is_floating(column.type) else column.cast(pa.float64()), math.nan)
        return np.from_dlpack(column)
    except (TypeError, pa.ArrowException):
        raise DataError(f"the column {name} holds {column.type}; a feature is a number") from None


class _Tally:
    """Counts of one column as they come in, block by block: how many values lie above each cut, how many are a number at all.

    All that does not depend on a block is done once, since a block takes 5 microseconds a cut.
    """

    def __init__(self, binning: Binning) -> None:
        self.binning = binning
        self.rows = self.below = self.filled = 0
        self.above = [0] * len(binning.cuts)
        self._limits: list[NDArray[Any]] = []
        self._flags = np.empty(BLOCK_ROWS, dtype=bool)

    def add(self, values: NDArray[Any]) -> None:
        """Count `values` [n]."""
        self.rows += len(values)
        dtype = values.dtype if values.dtype.kind == "f" else np.dtype(np.float64)
        if not self._limits or self._limits[0].dtype != dtype:
            self._limits = [np.asarray(cut, dtype=dtype) for cut in self.binning.cuts]  # no dimension: compared sooner than a scalar
            self._filler = None if self.binning.filler is None else np.asarray(self.binning.filler, dtype=dtype)
        for start in range(0, len(values), BLOCK_ROWS):
            block = np.ascontiguousarray(values[start : start + BLOCK_ROWS])
            flags = self._flags[: len(block)]
            if len(self._limits) <= MOST_COMPARISONS:
                self.below += int(np.count_nonzero(np.less_equal(block, self._limits[0], flags)))
                for index, limit in enumerate(self._limits):
                    self.above[index] += int(np.count_nonzero(np.greater(block, limit, flags)))
            else:
                self._search(block)
            if self._filler is not None:
                self.filled += int(np.count_nonzero(np.equal(block, self._filler, flags)))

    def _search(self, block: NDArray[Any]) -> None:
        held = block[~np.isnan(block)]
        places = np.bincount(np.searchsorted(np.asarray(self._limits), held), minlength=len(self._limits) + 1)
        self.below += int(places[0])
        self.above = [before + now for before, now in zip(self.above, (len(held) - np.cumsum(places[:-1])).tolist(), strict=True)]

    def counts(self) -> Counts:
        """The counts [binning.size]."""
        numbers = self.below + self.above[0]
        bins = -np.diff([numbers, *self.above, 0])
        if self.binning.values is not None:  # (.., missing], unseen, the values in order, beyond them
            missing, unseen, *known, beyond = bins
            return np.array([*known, unseen + beyond, missing + self.rows - numbers], dtype=np.int64)
        if self._limits and self._filler is not None:
            bins[np.searchsorted(np.asarray(self._limits), self._filler)] -= self.filled
        return np.append(bins, self.rows - numbers + self.filled).astype(np.int64)


# ------------------------------------------------------------------------------------------------ measures


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


# ------------------------------------------------------------------------------------------------ comparing


@dataclass(frozen=True)
class Measures:
    """How far one column of `rows` rows is from the reference, to six decimals.

    `psi` is over all bins, those of missing and unseen included. `ks` and `ks_p` are of the numbers alone, None for categories and where
    either side has no number. `jensen_shannon` is a distance in [0, 1]. `missing` and `unseen` are shares of the current rows.
    """

    rows: int
    psi: float
    ks: float | None
    ks_p: float | None
    jensen_shannon: float
    missing: float
    unseen: float


def compare(binnings: Sequence[Binning], reference: Histogram, current: Histogram, *, floor: float) -> dict[str, Measures]:
    """The measures of each column of `current` against `reference`, both counted in `binnings`. Raises `DataError` without rows."""
    return {binning.name: _measure(binning, reference.counts[binning.name], current.counts[binning.name], floor) for binning in binnings}


def _measure(binning: Binning, reference: tuple[int, ...], current: tuple[int, ...], floor: float) -> Measures:
    rows = sum(current)
    ordered = binning.values is None and any(reference[:-1]) and any(current[:-1])
    statistic, p_value = ks(reference[:-1], current[:-1]) if ordered else (None, None)
    return Measures(
        rows=rows,
        psi=round(psi(reference, current, floor), 6),
        ks=None if statistic is None else round(statistic, 6),
        ks_p=None if p_value is None else round(p_value, 6),
        jensen_shannon=round(jensen_shannon(reference, current), 6),
        missing=round(current[-1] / rows, 6),
        unseen=0.0 if binning.values is None else round(current[-2] / rows, 6),
    )
