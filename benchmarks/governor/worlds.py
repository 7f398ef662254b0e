"""Two worlds of simulated nights, drawn from the flights of half a year: flight by flight, or whole nights."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from benchmarks.flights_of_2013 import section
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import History
from pipelines.lib.measures.distances import psi
from pipelines.lib.measures.histogram import count
from pipelines.lib.models.profile import SCORE, ProfileParams
from pipelines.lib.models.trained_profile import profile_of
from pipelines.lib.tables.dataset import Dataset
from pipelines.training.train import Train, train

ROWS = 900
SHIFTED_PSI, COST = 0.26, 0.05

FIRST = dt.date(2013, 1, 1)
HALF = ("2013-01-22", "2013-07-01")
"""Not the first three weeks: what looks back on earlier flights has too little there, and no later week is like them."""

SEASON = ("2013-10-14", "2013-11-11")

Ints = NDArray[np.integer[Any]]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Pool:
    """Rows to draw from: `cells` [n, c], each column's bin as a place among all counts; `ranks` of the scores [n]; `labels` [n]; rows by night."""

    cells: Ints
    ranks: Ints
    labels: Ints
    nights: tuple[Ints, ...]
    weekdays: Ints


class Flights:
    """The world in which flights are drawn one by one."""

    def __init__(self, year: History, dataset: Dataset, features: Features) -> None:
        self.dataset, self.params = dataset, section("train", Train)
        dates = year.rows["partition"].to_numpy().astype("datetime64[D]")
        half, odd = (dates >= np.datetime64(HALF[0])) & (dates < np.datetime64(HALF[1])), dates.astype(int) % 2 == 1
        training, pool = select(year, half & ~odd), select(year, half & odd)
        season = select(year, (dates >= np.datetime64(SEASON[0])) & (dates < np.datetime64(SEASON[1])))
        self.forest = train(training, self.params)
        self.profile = profile_of(
            self.forest,
            self._training(training),
            pool,
            fit=lambda rows: train(rows, self.params),
            seed=self.params.random_state,
            dataset=dataset,
            features=features,
            params=section("profile", ProfileParams),
        )
        self.pool, self.season = self._pool(pool), self._pool(season)
        self.reference = np.concatenate([column.counts for column in self.profile.columns])
        self.starts = np.cumsum([0, *(column.binning.size for column in self.profile.columns)])[:-1]
        self.swapped = COST / (area(self.pool.ranks, self.pool.labels) - 0.5)
        self.tops = sorted(self.profile.features, key=lambda column: -column.importance)[:3]
        self.weights = {column.binning.name: self._tilted(column.binning.name) for column in self.tops}

    def draw(self, rng: np.random.Generator, first: int, nights: int, shift: str) -> tuple[Ints, Floats, Ints]:
        """Return (counts [nights, all bins], AUC [nights], rows [nights]) of the nights from the `first` on."""
        pool = self.season if shift == "season" else self.pool
        if shift in self.weights:
            rows = np.searchsorted(self.weights[shift], rng.random((nights, ROWS)))
        else:
            rows = rng.integers(len(pool.labels), size=(nights, ROWS))
        return self._measured(rng, pool, list(rows), shift)

    def psi(self, windows: Ints) -> Floats:
        """Return `pipelines.lib.measures.distances.psi` of every column of every window: counts [w, all bins] -> [w, columns]."""
        actual = np.maximum(windows / windows[:, self.starts[0] : self.starts[1]].sum(axis=1, keepdims=True), self.profile.floor)
        expected = np.maximum(self.reference / self.profile.rows, self.profile.floor)
        return np.add.reduceat((actual - expected) * np.log(actual / expected), self.starts, axis=1)

    def _measured(self, rng: np.random.Generator, pool: Pool, nights: Sequence[Ints], shift: str) -> tuple[Ints, Floats, Ints]:
        size = self.starts[-1] + self.profile.score.binning.size
        counts = np.stack([np.bincount(pool.cells[rows].ravel(), minlength=size) for rows in nights])
        areas = np.array([area(pool.ranks[rows], self._labels(rng, pool, rows, shift)) for rows in nights])
        return counts, areas, np.array([len(rows) for rows in nights])

    def _labels(self, rng: np.random.Generator, pool: Pool, rows: Ints, shift: str) -> Ints:
        labels = pool.labels[rows]
        return np.where(rng.random(len(rows)) < self.swapped, rng.permutation(labels), labels) if shift == "concept" else labels

    def _training(self, training: History) -> History:
        """Return the nights from which the profile is built: drawn flight by flight, like the nights of the comparison."""
        rng = np.random.default_rng(0)
        nights = len(set(training.rows["partition"].to_pylist()))
        rows = rng.integers(len(training.labels), size=nights * ROWS)
        return History(
            training.features[rows],
            training.labels[rows],
            pa.table({"partition": np.repeat([day(night) for night in range(nights)], ROWS)}),
            training.names,
        )

    def _scores(self, rows: History) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self.forest.predict_proba(rows.features)[:, 1].astype(np.float32)
        return scores

    def _pool(self, rows: History) -> Pool:
        """Put every value into its bin, once. Raise `AssertionError` if that differs from the counts of `pipelines.lib.measures.histogram`."""
        scores = self._scores(rows)
        columns = {**dict(zip(rows.names, rows.features.T, strict=True)), SCORE: np.round(scores, 6)}
        counted = count(columns, self.profile.binnings)
        cells = np.empty((len(scores), len(columns)), dtype=np.int32)
        start = 0
        for index, binning in enumerate(self.profile.binnings):
            values = columns[binning.name]
            place = np.searchsorted(np.asarray(binning.edges, dtype=values.dtype), values)
            if binning.filler is not None:
                place[values == binning.filler] = binning.size - 1
            assert np.bincount(place, minlength=binning.size).tolist() == list(counted.counts[binning.name]), binning.name
            cells[:, index] = place + start
            start += binning.size
        partitions = rows.rows["partition"].to_numpy().astype("datetime64[D]")
        nights = np.unique(partitions)
        order = np.random.default_rng(0).permutation(len(scores))  # equal scores in no order
        ranks = np.empty(len(scores), dtype=np.int64)
        ranks[order[np.argsort(scores[order], kind="stable")]] = np.arange(len(scores))
        return Pool(
            cells, ranks, rows.labels.astype(np.int64), tuple(np.flatnonzero(partitions == night) for night in nights), weekday(nights)
        )

    def _tilted(self, name: str) -> Floats:
        """Return cumulated chances [n] of the pool's rows. Rows in higher bins of the feature are likelier, so that its PSI is `SHIFTED_PSI`."""
        column = self.profile.column(name)
        index = self.profile.columns.index(column)
        bins = self.pool.cells[:, index] - self.starts[index]
        steps = (bins - bins.mean()) / bins.std()
        low, high = 0.0, 5.0
        for _ in range(50):
            middle = (low + high) / 2
            chances = np.exp(middle * steps)
            chances /= chances.sum()
            shares = np.bincount(bins, weights=chances, minlength=column.binning.size)
            low, high = (
                (middle, high)
                if psi(column.counts, np.round(shares * 1e9).astype(np.int64), self.profile.floor) < SHIFTED_PSI
                else (low, middle)
            )
        cumulated: NDArray[np.floating[Any]] = np.cumsum(chances) / chances.sum()
        return cumulated

    def size(self, shift: str) -> dict[str, float]:
        """Measure the size of a shift over a hundred of its nights."""
        counts, areas, _ = self.draw(np.random.default_rng(0), 0, 100, shift)
        _, usual, _ = self.draw(np.random.default_rng(0), 0, 100, "")
        values = dict(zip((column.binning.name for column in self.profile.columns), self.psi(counts.sum(axis=0)[None])[0], strict=True))
        figures_of_shift = {"auc_cost": round(float(usual.mean() - areas.mean()), 3)}
        return figures_of_shift | ({"psi": round(float(values[shift]), 3)} if shift in values else {})


class WholeNights(Flights):
    """The world in which whole nights are drawn, each from the nights of its weekday."""

    def draw(self, rng: np.random.Generator, first: int, nights: int, shift: str) -> tuple[Ints, Floats, Ints]:
        """Return the same as in the other world; a shifted feature is shifted within each night."""
        pool = self.season if shift == "season" else self.pool
        wanted = np.arange(first, first + nights) % 7
        chosen = [pool.nights[rng.choice(np.flatnonzero(pool.weekdays == weekday))] for weekday in wanted]
        if shift in self.weights:
            chances = np.diff(self.weights[shift], prepend=0.0)
            chosen = [rng.choice(rows, ROWS, p=chances[rows] / chances[rows].sum()) for rows in chosen]
        return self._measured(rng, pool, chosen, shift)

    def _training(self, training: History) -> History:
        return training


def select(history: History, mask: NDArray[np.bool_]) -> History:
    """Return the rows of `mask` [n]."""
    return History(history.features[mask], history.labels[mask], history.rows.filter(pa.array(mask)), history.names)


def weekday(dates: NDArray[np.datetime64]) -> Ints:
    """Return the days since the last Tuesday, the weekday of `FIRST`."""
    days: Ints = (dates - np.datetime64(FIRST, "D")).astype(int) % 7
    return days


def area(ranks: Ints, labels: Ints) -> float:
    """Return the AUC of rows [n] whose scores have these distinct ranks (Mann and Whitney 1947)."""
    ordered = labels[np.argsort(ranks)]
    positives = int(ordered.sum())
    negatives = len(ordered) - positives
    return float((np.flatnonzero(ordered).sum() + positives - positives * (positives + 1) / 2) / (positives * negatives))


def day(index: int) -> str:
    """Return the partition of the simulated night `index`."""
    return (FIRST + dt.timedelta(days=index)).isoformat()
