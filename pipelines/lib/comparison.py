"""Is the challenger better? Two models on the same rows, with what the difference may owe to chance.

Everything here is *challenger minus champion* on rows that neither has trained on. The rows of one night share its weather, so they are
no independent witnesses: a difference is judged by how it varies from night to night, not from row to row.

* **AUC**: the area's structural components (for a positive row the share of negatives below it, for a negative row the share of
  positives above it; DeLong et al. 1988), summed by night: the clustered variance of Obuchowski 1997, *Nonparametric Analysis of
  Clustered ROC Curve Data*, Biometrics 53. Where every row is a night of its own it is DeLong's.
* **Log loss**: the mean of a paired difference, with the cluster-robust variance of Liang and Zeger 1986.

Both have the form Var = G / (G - 1) * sum over the G nights of (the night's sum of influences) squared, and both are compared with
Student's t of G - 1 degrees of freedom, as Cameron and Miller 2015, *A Practitioner's Guide to Cluster-Robust Inference*, advise for few clusters.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib import metrics

LEVEL = 0.95

Values = NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """`value`, its 95 % interval `low` to `high`, and the two-sided `p` of there being none. NaN where too few nights allow a judgement."""

    value: float
    low: float
    high: float
    p: float

    def to_json(self) -> dict[str, float | None]:
        """Rounded to six decimals, as all reports; None for what is not known."""
        return {name: round(value, 6) if np.isfinite(value) else None for name, value in asdict(self).items()}


def auc_difference(labels: Values, champion: Values, challenger: Values, nights: Values) -> Difference:
    """Difference of the areas under the ROC curves; labels {0, 1} [n], scores [n], `nights` [n] the cluster of each row.

    Raises `ValueError` where only one class is there: the area is then not defined.
    """
    positive = labels.astype(bool)
    m, n = int(positive.sum()), int((~positive).sum())
    if not m or not n:
        raise ValueError(f"{m} positive and {n} negative rows have no ROC curve")
    change = _placements(positive, challenger) - _placements(positive, champion)
    value = float(change[positive].mean())
    influence = (change - value) / np.where(positive, m, n)
    return _judge(value, influence, nights)


def log_loss_difference(labels: Values, champion: Values, challenger: Values, nights: Values) -> Difference:
    """Difference of the mean log losses in nats; less is better. Shapes as for `auc_difference`."""
    change = _log_losses(labels, challenger) - _log_losses(labels, champion)
    return _judge(float(change.mean()), (change - change.mean()) / len(change), nights)


def compare(
    labels: Values, champion: Values, challenger: Values, nights: Values, *, slices: Mapping[str, Values], minimum_rows: int
) -> dict[str, Any]:
    """Everything that sets the two apart on the same n rows, as JSON.

    `slices` names columns [n]; a value of one with at least `minimum_rows` rows of both classes is a slice, compared by itself.
    """
    found = []
    for column, values in slices.items():
        for value in sorted(set(values.tolist())):
            mask = values == value
            if mask.sum() >= minimum_rows and 0 < labels[mask].sum() < mask.sum():
                found.append({"column": column, "value": value} | _figures(labels[mask], champion[mask], challenger[mask], nights[mask]))
    both = {"champion": champion, "challenger": challenger}
    return _figures(labels, champion, challenger, nights) | {
        "nights": len(np.unique(nights)),
        "nights_won": _nights_won(labels, champion, challenger, nights),
        "slices": found,
        "calibration": {name: metrics.calibration(labels, scores) for name, scores in both.items()},
        "roc": {name: metrics.roc(labels, scores) for name, scores in both.items()},
    }


def _figures(labels: Values, champion: Values, challenger: Values, nights: Values) -> dict[str, Any]:
    return {
        "champion": metrics.summary(labels, champion),
        "challenger": metrics.summary(labels, challenger),
        "auc_difference": auc_difference(labels, champion, challenger, nights).to_json(),
        "log_loss_difference": log_loss_difference(labels, champion, challenger, nights).to_json(),
    }


def _nights_won(labels: Values, champion: Values, challenger: Values, nights: Values) -> int:
    """On how many nights the challenger's mean log loss is the lower one."""
    _, which = np.unique(nights, return_inverse=True)
    return int((np.bincount(which, _log_losses(labels, challenger) - _log_losses(labels, champion)) < 0).sum())


def _placements(positive: Values, scores: Values) -> Values:
    """For each row [n] the share of the other class that it is on the right side of; ties count half. Their mean is the AUC."""
    from scipy.stats import rankdata

    among_all, own = rankdata(scores), np.empty(len(scores))
    for mask in (positive, ~positive):
        own[mask] = rankdata(scores[mask])
    m, n = positive.sum(), (~positive).sum()
    below = among_all - own  # rows of the other class with a lower score
    share: Values = np.where(positive, below / n, 1 - below / m)
    return share


def _log_losses(labels: Values, scores: Values) -> Values:
    """Of each row, in nats; scores are kept as far from 0 and 1 as scikit-learn's `log_loss` keeps them."""
    precision = np.finfo(scores.dtype).eps if np.issubdtype(scores.dtype, np.floating) else np.finfo(float).eps
    probability = np.clip(scores.astype(np.float64), precision, 1 - precision)
    losses: Values = -np.log(np.where(labels.astype(bool), probability, 1 - probability))
    return losses


def _judge(value: float, influence: Values, nights: Values) -> Difference:
    """`value` with the interval and p that its rows' influences [n], summed by night, give it."""
    from scipy.stats import t

    _, which = np.unique(nights, return_inverse=True)
    sums = np.bincount(which, influence)
    clusters = len(sums)
    if clusters < 2:
        return Difference(value, np.nan, np.nan, np.nan)
    error = float(np.sqrt(clusters / (clusters - 1) * np.square(sums).sum()))
    if error == 0:  # the two models give the same scores
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    reach = float(t.ppf((1 + LEVEL) / 2, clusters - 1)) * error
    return Difference(value, value - reach, value + reach, float(2 * t.sf(abs(value) / error, clusters - 1)))
