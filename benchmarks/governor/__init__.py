"""Does the governor see shifts, and is it quiet otherwise? Simulated years of nights, drawn from real flights.

The flights of half a year are split by nights: every other night is what a forest of the shipped parameters and its profile learn from, the
others are the *pool*. Nothing moves between the two, so a year of nights drawn from the pool is stationary, and each retraining in it is
false. A shifted year turns, on a random night, into one of

* ``feature``: flights drawn so that one of the three most important features has a PSI of `SHIFTED_PSI` in the profile's own bins;
* ``concept``: outcomes swapped at random until the AUC falls by `COST`; no feature moves;
* ``season``: flights of 2013-10-14 to 2013-11-10, on which the forest of January to June loses about as much.

A night has `ROWS` flights, drawn one by one: that is the primary world, whose keys have no suffix. In the other, ``whole_nights``, real nights
are drawn, each with its own weather, a Monday from the Mondays: windows then differ far more, and the same policy must not storm there.

All is counted in the profile's bins, and decided by `govern` with the shipped policy; quality is known `label.delay_days` + 1 nights later. Each year
draws a holdout of its own, of `train.holdout_days` nights. After a retraining the champion stays, as if the challenger had been refused.
The delay counts the nights of the new world that were scored when the governor said yes. The policy was tuned with seeds below `SEED`.
"""

import datetime as dt
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import load_section
from pipelines.lib.features.compute import Features, featurize, lookback_days
from pipelines.lib.features.history import History, read_history
from pipelines.lib.loop.champion_history import History as Recorded
from pipelines.lib.loop.champion_history import Measure, Night, Outcome, Promotion, Reference, Retraining
from pipelines.lib.loop.governor import govern
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.measures.distances import psi
from pipelines.lib.measures.histogram import count
from pipelines.lib.models.profile import SCORE, ProfileParams
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from pipelines.training.train import Train, profile_of, train

YEARS = 250
"""Stationary years a world, and shifted years a shift."""

SEED = 1_000
ROWS = 900
NIGHTS = 365
SHIFTED_PSI, COST = 0.26, 0.05
WITHIN = 7
FOLLOWED = 28
"""Nights for which a shifted year goes on, if nothing is seen."""

LIVE_FROM = dt.date(2012, 1, 1)
FIRST = dt.date(2013, 1, 1)
HALF = ("2013-01-22", "2013-07-01")
"""Not the first three weeks: what looks back on earlier flights has too little there, and no later week is like them."""

SEASON = ("2013-10-14", "2013-11-11")

TARGETS = {
    "false_retrains_per_year": ("<=", 1.0),
    "detected_within_7": (">=", 0.95),
    "false_retrains_per_year_whole_nights": ("<=", 1.0),
}

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


def main() -> dict[str, Any]:
    """Simulate both worlds, each with its stationary and its shifted years."""
    dataset, features = section("dataset", Dataset), section("features", Features)
    with tempfile.TemporaryDirectory() as name:
        year = read_history(features_of_2013(dataset, features, Path(name)), dataset)
    figures: dict[str, Any] = {"stationary_years": YEARS}
    for suffix, world in (("", Flights), ("_whole_nights", WholeNights)):
        simulation = world(year, dataset, features)
        figures |= {f"{key}{suffix}": value for key, value in simulation.figures(section("govern", Policy), YEARS, SEED).items()}
    return figures


@cache
def section(name: str, model: Any) -> Any:
    """Return section `name` of the repository's own parameters."""
    return load_section(name, model, REPOSITORY / "params.yaml")


def features_of_2013(dataset: Dataset, features: Features, directory: Path) -> Path:
    """Compute the features of all labelled flights of 2013, as the stages do, into a file in `directory`."""
    first, end = dt.date(2013, 1, 1), dt.date(2014, 1, 1)
    raw, target = directory / "raw", directory / "features.parquet"
    extract(dataset, partition=end, start=first, end=end, lookback_days=lookback_days(dataset, features), target=raw)
    featurize(dataset, features, raw=raw, first=first, end=end, labelled=True, target=target)
    return target


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
            self.forest, self._training(training), pool, dataset=dataset, features=features, params=section("profile", ProfileParams)
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

    def figures(self, policy: Policy, years: int, seed: int) -> dict[str, Any]:
        """Count the false retrainings in stationary years, and measure how soon each shift is found."""
        rng = np.random.default_rng(seed)
        false = [self._year(rng, policy, NIGHTS, "") for _ in range(years)]
        delays: dict[str, list[int]] = {}
        for shift in (*self.weights, "concept", "season"):
            onsets = rng.integers(WITHIN, NIGHTS - FOLLOWED, size=years)
            seen = [[night - onset + 1 for night in self._year(rng, policy, onset, shift) if night >= onset] for onset in onsets.tolist()]
            delays[shift] = [min(found, default=NIGHTS) for found in seen]
        every = np.concatenate(list(delays.values()))
        return {
            "shifted_years": len(every),
            "false_retrains_per_year": round(float(np.mean([len(found) for found in false])), 3),
            "years_without_false_retraining": round(float(np.mean([not found for found in false])), 3),
            "detected_within_7": round(float(np.mean(every <= WITHIN)), 3),
            "median_delay_nights": float(np.median(every)),
            "shifts": {
                shift: {
                    "detected_within_7": round(float(np.mean(np.array(found) <= WITHIN)), 3),
                    "median_delay_nights": float(np.median(found)),
                    **self._size(shift),
                }
                for shift, found in delays.items()
            },
        }

    def _year(self, rng: np.random.Generator, policy: Policy, onset: int, shift: str) -> list[int]:
        """Return the nights on which the governor says yes in a year that turns at `onset`; without a shift it is `onset` nights long."""
        _, areas, _ = self.draw(rng, 0, self.params.holdout_days, "")
        quality = self.profile.quality
        assert quality is not None
        assert quality.night_auc_std is not None
        reference = Reference(float(areas.mean()), quality.night_auc_std, len(areas))
        spans = [self.draw(rng, 0, onset, "")] + ([self.draw(rng, onset, FOLLOWED, shift)] if shift else [])
        counts, areas, rows = (np.concatenate(part) for part in zip(*spans, strict=True))
        nights, outcomes = self._windows(counts), outcomes_of(areas, rows)
        hidden = self.dataset.label.delay_days + 1
        retrainings: list[Retraining] = []
        said: list[int] = []
        for index in range(len(nights)):
            # Nights before the last retraining do not count, and it is faster without them.
            since = max(policy.alarm_window_nights, policy.quality_nights + hidden, index - said[-1] + policy.quality_nights if said else 0)
            known = outcomes[max(0, index + 1 - since) : max(0, index + 1 - hidden)]
            decision = govern(
                Recorded("simulated", day(index), "1", LIVE, nights[max(0, index + 1 - since) : index + 1], known, retrainings, reference),
                policy,
            )
            if decision.retrain:
                retrainings.append(Retraining(day(index), "1", tuple(decision.findings["signals"])))
                said.append(index)
                if shift and index >= onset:
                    break
        return said

    def _windows(self, counts: Ints) -> list[Night]:
        """Return the record of `detect_drift` for each night: the PSI of the window that ends with it, in the form of the governor."""
        total = np.concatenate([np.zeros((1, counts.shape[1]), dtype=np.int64), np.cumsum(counts, axis=0)])
        ends = np.arange(1, len(total))
        starts = np.maximum(ends - self.profile.window_nights, 0)
        windows = total[ends] - total[starts]
        values = self.psi(windows)
        rows = windows[:, self.starts[0] : self.starts[1]].sum(axis=1)
        columns = [(column.binning.name, column.noise.p95, column.importance) for column in self.profile.columns]
        found = []
        for index in range(len(counts)):
            measures = {
                name: Measure(value, noise, importance)
                for (name, noise, importance), value in zip(columns, values[index].tolist(), strict=True)
            }
            score = measures.pop(SCORE)
            found.append(Night(day(index), "1", int(rows[index]), int(ends[index] - starts[index]), measures, score))
        return found

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

    def _size(self, shift: str) -> dict[str, float]:
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


def outcomes_of(areas: Floats, rows: Ints) -> list[Outcome]:
    """Return the record of `measure_performance` for each night."""
    return [Outcome(day(index), "1", int(n), float(auc)) for index, (auc, n) in enumerate(zip(areas, rows, strict=True))]


def day(index: int) -> str:
    """Return the partition of the simulated night `index`."""
    return (FIRST + dt.timedelta(days=index)).isoformat()


LIVE: Sequence[Promotion] = (Promotion(1, LIVE_FROM.isoformat(), "1"),)
