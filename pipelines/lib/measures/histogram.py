"""Counts of rows in bins. A night is counted once: then windows of nights are sums of histograms, and no night is read twice.

Nothing is searched: ``np.count_nonzero(block > edge)`` for each edge, on a block that stays in cache, gives the cumulative counts at 0.08 ns a
value and edge, where ``np.searchsorted`` takes 20 ns a value; NaN is above no edge. More threads gain nothing: ``count_nonzero`` keeps
Python's lock.
"""

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import DataError
from pipelines.lib.measures.binning import Binning
from pipelines.lib.measures.categories import codes

if TYPE_CHECKING:
    import pyarrow as pa

BLOCK_ROWS = 65_536
"""Values compared at a time: 256 KiB of float32 stay in a core's second cache."""

MOST_COMPARISONS = 128
"""With more cuts than this, one search is sooner than that many comparisons."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Histogram:
    """How many of `rows` rows are in each bin of each column; histograms in the same bins add up."""

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
        """Return the histogram as JSON can hold it."""
        return {"rows": self.rows, "counts": {name: list(counts) for name, counts in self.counts.items()}}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the inverse of `to_json`."""
        return cls(content["rows"], {name: tuple(counts) for name, counts in content["counts"].items()})


def merge(histograms: Iterable[Histogram]) -> Histogram:
    """Return the sum of one or more histograms in the same bins."""
    first, *others = histograms
    return sum(others, start=first)


def empty(binnings: Sequence[Binning]) -> Histogram:
    """Return a histogram without rows."""
    return Histogram(0, {binning.name: (0,) * binning.size for binning in binnings})


def count(columns: Mapping[str, NDArray[Any]], binnings: Sequence[Binning]) -> Histogram:
    """Count each column [n] in its bins. A matrix is given as ``dict(zip(names, matrix.T))``. Raises `DataError` for a column that is
    gone.
    """
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

    The next batches are read while one is counted. Raises `DataError` if the file is torn or a column is gone or no number. Nulls are
    counted as missing.
    """
    import pyarrow as pa

    from pipelines.lib.tables.engine import open_parquet

    tallies = [_Tally(binning) for binning in binnings]
    rows = 0
    with open_parquet(path) as file:
        _require(file.schema_arrow.names, binnings, str(path))
        try:
            for batch in _ahead(file.iter_batches(BLOCK_ROWS, columns=[binning.name for binning in binnings])):
                rows += batch.num_rows
                for tally in tallies:
                    tally.add(_numbers(batch.column(tally.binning.name), tally.binning))
        except (pa.ArrowException, OSError) as error:
            raise DataError(f"{path} cannot be read to its end: {error}; it is torn, make it again") from None
    return Histogram(rows, {tally.binning.name: tuple(tally.counts().tolist()) for tally in tallies})


def _ahead(batches: Iterator["pa.RecordBatch"]) -> Iterator["pa.RecordBatch"]:
    """Yield the same `batches`, of which two are fetched ahead by a thread."""
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


def _numbers(column: Any, binning: Binning) -> NDArray[Any]:
    """Return an Arrow array as NumPy, text as the codes of the binning, without a copy where it has no nulls (not by to_numpy(), which imports pandas)."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if binning.values is not None and pa.types.is_string(column.type):
        return codes(column, binning.values)
    try:
        if column.null_count:
            column = pc.fill_null(column if pa.types.is_floating(column.type) else column.cast(pa.float64()), math.nan)
        return np.from_dlpack(column)
    except (TypeError, pa.ArrowException):
        raise DataError(f"the column {binning.name} holds {column.type}; a feature is a number") from None


class _Tally:
    """Counts of one column as they come in, block by block: how many values are above each cut, how many are a number at all.

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
            if self.binning.decimals is not None:
                block = np.round(block, self.binning.decimals)
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
        """Return the counts [binning.size]."""
        numbers = self.below + self.above[0]
        bins = -np.diff([numbers, *self.above, 0])
        if self.binning.values is not None:  # (.., missing], unseen, the values in order, beyond them
            missing, unseen, *known, beyond = bins
            return np.array([*known, unseen + beyond, missing + self.rows - numbers], dtype=np.int64)
        if self._limits and self._filler is not None:
            bins[np.searchsorted(np.asarray(self._limits), self._filler)] -= self.filled
        return np.append(bins, self.rows - numbers + self.filled).astype(np.int64)
