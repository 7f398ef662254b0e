"""How right forecasts of a number are, for labels [n] and scores [n], both in the unit of the label.

Figures are rounded to nine significant digits, since the last bits of a sum differ between machines and reports are versioned.
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.measures import metrics

Values = NDArray[Any]


@dataclass(frozen=True)
class ForecastSummary:
    """The figures of forecasts on `rows` with outcomes. All are in the unit of the label but `r2`.

    `r2` is the share of the variance of the labels that the forecasts explain: 1 is perfect, 0 is as good as their mean, and less is worse. It is None if the
    labels are all alike. `spread` is the standard deviation of the labels. `calibration_error` is the mean distance between forecast and outcome in ten groups of about equal size.
    """

    rows: int
    mean_label: float
    spread: float
    mean_score: float
    r2: float | None
    mean_absolute_error: float
    root_mean_squared_error: float
    calibration_error: float

    @property
    def quality(self) -> float | None:
        """The figure that any task has: more is better."""
        return self.r2

    @property
    def quality_name(self) -> str:
        """The name of the quality."""
        return "R²"

    @property
    def loss(self) -> float:
        """The figure that a comparison takes the difference of: the mean squared error, as a share of the variance of the labels."""
        return self.root_mean_squared_error**2 / self.spread**2 if self.spread else 0.0


def summary(labels: Values, scores: Values) -> ForecastSummary:
    """Measure `scores` against `labels`. Raises `ValueError` for a score or label that is not finite."""
    from sklearn.metrics import mean_absolute_error, root_mean_squared_error

    double = scores.astype(np.float64)
    points = metrics.calibration(labels, scores, rounded=significant)
    return ForecastSummary(
        rows=len(labels),
        mean_label=significant(float(labels.mean(dtype=np.float64))),
        spread=significant(float(labels.std(dtype=np.float64))),
        mean_score=significant(float(double.mean())),
        r2=explained(labels, scores),
        mean_absolute_error=significant(float(mean_absolute_error(labels, double))),
        root_mean_squared_error=significant(float(root_mean_squared_error(labels, double))),
        calibration_error=significant(metrics.expected_calibration_error(points)),
    )


def explained(labels: Values, scores: Values) -> float | None:
    """Return R², rounded to six decimals; None if the labels are all alike."""
    whole = float(np.square(labels - labels.mean(dtype=np.float64)).sum()) if len(labels) else 0.0
    return round(1 - float(squared_errors(labels, scores).sum()) / whole, 6) if whole > 0 else None


def squared_errors(labels: Values, scores: Values) -> NDArray[np.float64]:
    """Return the squared error of each row, float64 [n]."""
    errors: NDArray[np.float64] = np.square(scores.astype(np.float64) - labels.astype(np.float64))
    return errors


def explained_interval(labels: Values, scores: Values, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the ends of the two-sided interval of R²; None if it is not defined.

    R² is one less the ratio of two means, mean squared error and variance. Its interval is that of a ratio (delta method, normal): the variance of a row's
    influence divided by n.
    """
    r2 = explained(labels, scores)
    if r2 is None:
        return None
    losses, spread = squared_errors(labels, scores), np.square(labels - labels.mean(dtype=np.float64))
    influence = (losses - (1 - r2) * spread) / spread.mean()
    half = NormalDist().inv_cdf((1 + confidence) / 2) * float(np.sqrt(np.square(influence - influence.mean()).sum())) / len(labels)
    return round(r2 - half, 6), round(min(1.0, r2 + half), 6)


def significant(value: float) -> float:
    """Return `value` with nine significant digits."""
    return float(f"{value:.9g}")
