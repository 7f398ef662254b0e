"""How good scores are, for labels {0, 1} [n] and scores [0, 1] [n]: scikit-learn's metrics, in the form that reports hold.

Values are rounded to six decimals, since the last bits of a sum differ between machines and reports are versioned.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

Labels = NDArray[np.integer[Any]]
Scores = NDArray[np.floating[Any]]

CALIBRATED_ROWS = 100
"""The calibration error of fewer rows, in ten groups, would be that of single rows."""


@dataclass(frozen=True)
class Summary:
    """The figures of scores on labelled `rows`. `log_loss` is in nats; `auc` is None if only one class is present: the area is then not
    defined.
    """

    rows: int
    positive_rate: float
    mean_score: float
    auc: float | None
    log_loss: float
    brier: float
    calibration_error: float

    @property
    def quality(self) -> float | None:
        """The figure that any task has: more is better."""
        return self.auc

    @property
    def quality_name(self) -> str:
        """The name of the quality."""
        return "AUC"

    @property
    def loss(self) -> float:
        """The figure that a comparison takes the difference of: less is better."""
        return self.log_loss

    @property
    def mean_label(self) -> float:
        """The mean outcome, by the name that any task has."""
        return self.positive_rate


def summary(labels: Labels, scores: Scores) -> Summary:
    """Measure `scores` against `labels`. Raises `ValueError` for a score outside [0, 1]."""
    from sklearn.metrics import brier_score_loss, log_loss

    double = _probabilities(scores)
    return Summary(
        rows=len(labels),
        positive_rate=round(float(labels.mean()), 6),
        mean_score=round(float(double.mean()), 6),
        auc=area(labels, scores),
        log_loss=round(float(log_loss(labels, double, labels=[0, 1])), 6),
        brier=round(float(brier_score_loss(labels, double)), 6),
        calibration_error=round(expected_calibration_error(calibration(labels, scores)), 6),
    )


def area(labels: Labels, scores: Scores) -> float | None:
    """Return the AUC alone, as `summary` has it, in a third of its time. None if only one class is present."""
    from sklearn.metrics import roc_auc_score

    return round(float(roc_auc_score(labels, _probabilities(scores))), 6) if 0 < labels.sum() < len(labels) else None


def _probabilities(scores: Scores) -> NDArray[np.float64]:
    """Return `scores` as float64. The votes of a forest are summed in float32, so a score of 1 may come out as 1.0000001; it is 1.

    Nothing is done to a score further outside, which `summary` refuses.
    """
    double: NDArray[np.float64] = np.where((scores > 1) & (scores < 1 + 1e-5), 1.0, scores.astype(np.float64))
    return double


def realised(labels: Labels, scores: Scores) -> dict[str, float | int | None]:
    """Return `summary` with the ends of the AUC's interval, for as few rows as a night or a slice may have: None if a figure is not
    defined.
    """
    if len(labels) == 0:
        return {"rows": 0} | dict.fromkeys(
            ("positive_rate", "mean_score", "auc", "log_loss", "brier", "calibration_error", "auc_low", "auc_high")
        )
    found = summary(labels, scores)
    _, low, high = auc_interval(labels, scores) or (None, None, None)
    error = found.calibration_error if len(labels) >= CALIBRATED_ROWS else None
    return asdict(found) | {"calibration_error": error, "auc_low": low, "auc_high": high}


def six_decimals(value: float) -> float:
    """Return `value` as figures between 0 and 1 are kept."""
    return round(value, 6)


def log_losses(labels: Labels, scores: Scores) -> NDArray[np.float64]:
    """Return the log loss of each row in nats, float64 [n]; scores are kept as far from 0 and 1 as scikit-learn's `log_loss` keeps them."""
    precision = np.finfo(scores.dtype).eps if np.issubdtype(scores.dtype, np.floating) else np.finfo(float).eps
    probability = np.clip(scores.astype(np.float64), precision, 1 - precision)
    losses: NDArray[np.float64] = -np.log(np.where(labels.astype(bool), probability, 1 - probability))
    return losses


def calibration(
    labels: NDArray[Any], scores: Scores, bins: int = 10, rounded: Callable[[float], float] = six_decimals
) -> list[dict[str, float]]:
    """Return mean score, observed rate (of a number, its mean) and share of rows in at most `bins` groups of about equal size, in order of score.

    Rows of one score stay in one group, the one that holds the middle of them: the order of rows then changes nothing.
    """
    order = np.lexsort((labels, scores))
    starts = np.cumsum([0, *(len(part) for part in np.array_split(order, bins))])[1:-1]
    _, tie, ties = np.unique(scores[order], return_inverse=True, return_counts=True)
    ends = np.cumsum(ties)
    middles = (2 * ends - ties - 1) // 2
    group_of = np.searchsorted(starts, middles, side="right")[tie]
    groups = [group for number in range(bins) if len(group := order[group_of == number])]
    return [
        {
            "mean_score": rounded(float(scores[group].mean(dtype=np.float64))),
            "observed_rate": rounded(float(labels[group].mean())),
            "share": round(len(group) / len(labels), 6),
        }
        for group in groups
    ]


def auc_interval(labels: Labels, scores: Scores, confidence: float = 0.95) -> tuple[float, float, float] | None:
    """Return the AUC and the ends of its two-sided interval (DeLong's variance, normal), None if only one class is present.

    Of fewer than two rows of a class nothing is sure: [0, 1]. Where all pairs are in order (or all are not) the variance is 0, and
    the free end is that of k successes in k trials (Clopper-Pearson), k the rows of the smaller class.
    """
    from pipelines.lib.measures.delong import delong

    if not 0 < labels.sum() < len(labels):
        return None
    areas, covariance = delong(labels, scores)
    auc, variance, fewer = float(areas[0]), float(covariance[0, 0]), int(min(labels.sum(), (1 - labels).sum()))
    half = NormalDist().inv_cdf((1 + confidence) / 2) * variance**0.5
    low, high = max(0.0, auc - half), min(1.0, auc + half)
    if fewer < 2:
        low, high = 0.0, 1.0
    elif auc in (0.0, 1.0):
        bound = ((1 - confidence) / 2) ** (1 / fewer)
        low, high = (bound, 1.0) if auc else (0.0, 1 - bound)
    return round(auc, 6), round(low, 6), round(high, 6)


def roc(labels: Labels, scores: Scores, points: int = 101) -> list[dict[str, float]]:
    """Return the ROC curve at `points` evenly spaced false positive rates."""
    from sklearn.metrics import roc_curve

    false_positives, true_positives, _ = roc_curve(labels, scores)
    grid = np.linspace(0, 1, points)
    return [
        {"false_positive_rate": round(float(x), 6), "true_positive_rate": round(float(y), 6)}
        for x, y in zip(grid, np.interp(grid, false_positives, true_positives), strict=True)
    ]


def expected_calibration_error(points: list[dict[str, float]]) -> float:
    """Return the mean distance of score and observed rate, weighted by rows (Naeini et al. 2015, here with equal-mass bins)."""
    return sum(point["share"] * abs(point["mean_score"] - point["observed_rate"]) for point in points)
