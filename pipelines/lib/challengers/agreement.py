"""How far two models' scores of the same rows lie apart, night by night and of all nights together.

What is kept of a night is its figures and its scores counted in bins, which can be added: memory does not grow with the nights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.lib.measures.binning import numeric_binning
from pipelines.lib.measures.distances import psi
from pipelines.lib.measures.histogram import count as count_in

FLOOR = 0.0001
"""Least share of a bin in the stability index of scores."""

BINS = 2_000
"""Equal bins over [0, 1] in which scores are counted."""


def measure(champion: np.ndarray, challenger: np.ndarray, threshold: float) -> dict[str, Any]:
    """How far two models' scores [n] of the same rows lie apart.

    `disagreement` is the share of rows on which the decision (score >= `threshold`) differs, `correlation` Spearman's (None where one of them
    is constant), `psi` and `ks` compare the challenger's distribution of scores with the champion's.
    """
    from scipy.stats import ks_2samp, spearmanr

    bins = numeric_binning("score", champion, bins=10, decimals=6)
    theirs, mine = (count_in({"score": scores}, [bins]).counts["score"] for scores in (champion, challenger))
    constant = min(np.ptp(champion), np.ptp(challenger)) == 0
    figures = {
        "champion_mean": champion.mean(dtype=np.float64),
        "challenger_mean": challenger.mean(dtype=np.float64),
        "disagreement": ((champion >= threshold) != (challenger >= threshold)).mean(),
        "psi": psi(theirs, mine, floor=FLOOR),
        "ks": ks_2samp(champion, challenger, method="asymp").statistic,
    }
    correlation = None if constant else round(float(spearmanr(champion, challenger).statistic), 6)
    return {"rows": len(champion), "correlation": correlation, **{name: round(float(value), 6) for name, value in figures.items()}}


def count(scores: np.ndarray) -> np.ndarray:
    """How many of the scores [n] fall into each of `BINS` equal bins over [0, 1]: int64 [BINS]."""
    return np.bincount((scores * np.float32(BINS)).astype(np.int64).clip(0, BINS - 1), minlength=BINS)


def merge(nights: Sequence[Mapping[str, Any]], counts: np.ndarray) -> dict[str, Any] | None:
    """The figures of `measure` over all `nights` that it has measured, None without a row; `counts` [2, BINS] are their scores in bins.

    Means and `disagreement` are those of all rows; `correlation` is the mean of the nights', each by its rows (None where none has one);
    `psi` and `ks` are exact to a bin.
    """
    if not counts.any():
        return None

    def mean(name: str) -> float | None:
        known = [(night[name], night["rows"]) for night in nights if night[name] is not None]
        return round(sum(value * rows for value, rows in known) / sum(rows for _, rows in known), 6) if known else None

    reached = counts.cumsum(axis=1) / counts.sum(axis=1, keepdims=True)
    starts = np.unique([0, *np.searchsorted(reached[0], np.arange(1, 10) / 10) + 1])  # tenths of the champion's scores
    theirs, mine = np.add.reduceat(counts, starts[starts < BINS], axis=1)
    averages = {name: mean(name) for name in ("correlation", "champion_mean", "challenger_mean", "disagreement")}
    distances = {"psi": psi(theirs, mine, floor=FLOOR), "ks": np.abs(reached[0] - reached[1]).max()}
    return {"rows": int(counts[0].sum()), **averages, **{name: round(float(value), 6) for name, value in distances.items()}}
