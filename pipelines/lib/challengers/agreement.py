"""The differences between two models' scores of the same rows, per night and over all nights.

Of each night, only its figures and the counts of its scores in bins are kept. Counts can be added, so memory does not grow with the nights.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.lib.core.contract import STRICT
from pipelines.lib.measures.binning import TAIL, numeric_binning
from pipelines.lib.measures.distances import psi
from pipelines.lib.measures.histogram import count as count_in
from pipelines.lib.models.decision_rule import DecisionRule

FLOOR = 0.0001
"""Least share of a bin in the stability index of scores."""

BINS = 2_000
"""Equal bins in which scores are counted: over [0, 1] or, of forecasts, the range of those of the reference and as much on either side."""


@dataclass(frozen=True)
class Agreement:
    """The differences between two models' scores of the same `rows`.

    `disagreement` is the share of rows on which the decision differs; of forecasts, their mean difference as a share of the spread of the champion's. `correlation` is Spearman's, None if one model's
    scores are constant. `psi` and `ks` compare the challenger's distribution of scores with the champion's.
    """

    rows: int
    correlation: float | None
    champion_mean: float
    challenger_mean: float
    disagreement: float
    psi: float
    ks: float


@dataclass(frozen=True)
class Night:
    """A published night: its partition, the ref of its run and the version that scored it."""

    partition: str
    run_ref: str
    scored_by: str


@dataclass(frozen=True)
class ShadowedNight(Agreement, Night):
    """A night that both models have scored."""

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class SkippedNight(Night):
    """A night that was not shadowed; `skipped` is the reason."""

    __pydantic_config__ = STRICT

    skipped: str


@dataclass(frozen=True)
class Shadow:
    """Versions `champion` and `challenger` on the last published `nights`. `fault` is set if the challenger cannot score; `overall` is of all nights."""

    __pydantic_config__ = STRICT

    partition: str
    champion: str | None
    challenger: str
    fault: str | None
    nights: tuple[ShadowedNight | SkippedNight, ...]
    overall: Agreement | None
    note: str


def measure(champion: np.ndarray, challenger: np.ndarray, rule: DecisionRule | None) -> Agreement:
    """Measure the differences between two models' scores [n] of the same rows, a night, on which `rule` decides; None for forecasts."""
    from scipy.stats import ks_2samp, spearmanr

    bins = numeric_binning("score", champion, bins=10, decimals=6)
    theirs, mine = (count_in({"score": scores}, [bins]).counts["score"] for scores in (champion, challenger))
    constant = min(np.ptp(champion), np.ptp(challenger)) == 0
    figures = {
        "champion_mean": champion.mean(dtype=np.float64),
        "challenger_mean": challenger.mean(dtype=np.float64),
        "disagreement": _apart(champion, challenger) if rule is None else (rule.decisions(champion) != rule.decisions(challenger)).mean(),
        "psi": psi(theirs, mine, floor=FLOOR),
        "ks": ks_2samp(champion, challenger, method="asymp").statistic,
    }
    correlation = None if constant else round(float(spearmanr(champion, challenger).statistic), 6)
    return Agreement(rows=len(champion), correlation=correlation, **{name: round(float(value), 6) for name, value in figures.items()})


def _apart(champion: np.ndarray, challenger: np.ndarray) -> float:
    """Return the mean difference of two columns of forecasts as a share of the standard deviation of the champion's, at most 1."""
    spread = float(champion.std(dtype=np.float64))
    apart = float(np.abs(champion.astype(np.float64) - challenger).mean())
    return min(1.0, apart / spread) if spread > 0 else float(apart > 0)


def count(scores: np.ndarray, span: tuple[float, float] = (0.0, 1.0)) -> np.ndarray:
    """Count the scores [n] in each of `BINS` equal bins over `span`, those outside in the first and the last: int64 [BINS]."""
    low, high = span
    shares = scores if span == (0.0, 1.0) else (scores - np.float32(low)) / np.float32(high - low)
    return np.bincount((shares * np.float32(BINS)).clip(0, BINS - 1).astype(np.int64), minlength=BINS)


def merge(nights: Sequence[Agreement], counts: np.ndarray) -> Agreement | None:
    """Return the figures of `measure` over all measured `nights`, or None without a row; `counts` [2, BINS] are their scores in bins.

    Means and `disagreement` are those of all rows. `correlation` is the mean of the nights', weighted by their rows, and None if no night
    has one. `psi` and `ks` are exact to a bin.
    """
    if not counts.any():
        return None

    def mean(values: Sequence[float]) -> float:
        return round(float(np.average(values, weights=[night.rows for night in nights])), 6)

    reached = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    # The bins of `measure`, exact to one of `BINS`: tenths of the champion's scores, its tails, and the two ranges that it never scored.
    lowest = np.searchsorted(reached[0], 0, side="right")
    starts = np.unique([0, lowest, *np.searchsorted(reached[0], [TAIL, *np.arange(1, 10) / 10, 1 - TAIL, 1]) + 1])
    theirs, mine = np.add.reduceat(counts, starts[starts < BINS], axis=1)
    correlated = [(night.correlation, night.rows) for night in nights if night.correlation is not None]
    return Agreement(
        rows=int(counts[0].sum()),
        correlation=round(float(np.average([value for value, _ in correlated], weights=[rows for _, rows in correlated])), 6)
        if correlated
        else None,
        champion_mean=mean([night.champion_mean for night in nights]),
        challenger_mean=mean([night.challenger_mean for night in nights]),
        disagreement=mean([night.disagreement for night in nights]),
        psi=round(float(psi(theirs, mine, floor=FLOOR)), 6),
        ks=round(float(np.abs(reached[0] - reached[1]).max()), 6),
    )
