"""Is the challenger better? Two models on the same rows, with what the difference may owe to chance.

Everything here is *challenger minus champion* on rows that neither has trained on. The rows of one night share its weather, so they are
no independent witnesses: a difference is judged by how it varies from night to night, not from row to row.

* **AUC**: the structural components of the areas (`pipelines.lib.measures.delong`), summed by night: the clustered variance of Obuchowski 1997,
  *Nonparametric Analysis of Clustered ROC Curve Data*, Biometrics 53. Where every row is a night of its own it is DeLong's.
* **Log loss**: the mean of a paired difference, with the cluster-robust variance of Liang and Zeger 1986.

Both have the form Var = G / (G - 1) * sum over the G nights of (the night's sum of influences) squared, and both are compared with
Student's t of G - 1 degrees of freedom, as Cameron and Miller 2015, *A Practitioner's Guide to Cluster-Robust Inference*, advise for few clusters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.lib.core.errors import ModelError
from pipelines.lib.features.history import History
from pipelines.lib.measures import metrics
from pipelines.lib.measures.delong import placements
from pipelines.lib.measures.slices import slices_of
from pipelines.lib.models.inference import Model, check_fit

LEVEL = 0.95

WITNESSES, NIGHTS = 20, 5
"""Rows of the rarer class, and nights that have one, below which no interval is given: the clustered variance is then far too small. Of equal
models with one positive row among 300, three in four differ at p <= .1, with five one in five, with twenty one in nine; it should be one in ten.
"""

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

    Raises `DataError` where only one class is there: the area is then not defined.
    """
    above, below = placements(labels, champion, challenger)
    value = float((above[1] - above[0]).mean())
    influence = np.empty(len(labels))
    influence[labels == 1] = (above[1] - above[0] - value) / above.shape[1]
    influence[labels != 1] = (below[1] - below[0] - value) / below.shape[1]
    return _judge(value, influence, labels, nights)


def auc_interval(labels: Values, scores: Values, nights: Values) -> list[float | None]:
    """The ends of the 95 % interval of one model's AUC: its difference to a model that tells nothing, whose area is one half."""
    found = auc_difference(labels, np.zeros(len(scores)), scores, nights)
    return [round(min(max(0.5 + end, 0.0), 1.0), 6) if np.isfinite(end) else None for end in (found.low, found.high)]


def log_loss_difference(labels: Values, champion: Values, challenger: Values, nights: Values) -> Difference:
    """Difference of the mean log losses in nats; less is better. Shapes as for `auc_difference`."""
    change = _log_losses(labels, challenger) - _log_losses(labels, champion)
    return _judge(float(change.mean()), (change - change.mean()) / len(change), labels, nights)


def compare(
    labels: Values,
    champion: Values,
    challenger: Values,
    nights: Values,
    *,
    slices: "Mapping[str, Values | pa.ChunkedArray]",
    minimum_rows: int,
) -> dict[str, Any]:
    """Everything that sets the two apart on the same n rows, as JSON.

    `slices` names columns [n]; a value of a column with at least `minimum_rows` rows of both classes is a slice, compared by itself.
    """
    found = []
    for column, values in slices.items():
        for value, mask in slices_of(values, minimum_rows):
            if 0 < labels[mask].sum() < mask.sum():
                found.append({"column": column, "value": value} | _figures(labels[mask], champion[mask], challenger[mask], nights[mask]))
    both = {"champion": champion, "challenger": challenger}
    return _figures(labels, champion, challenger, nights) | {
        "nights": len(np.unique(nights)),
        "nights_won": _nights_won(labels, champion, challenger, nights),
        "slices": found,
        "calibration": {name: metrics.calibration(labels, scores) for name, scores in both.items()},
        "roc": {name: metrics.roc(labels, scores) for name, scores in both.items()},
    }


def compare_models(
    challenger: Model, champion: Model, history: History, *, since: str, slices: Iterable[str], minimum_rows: int
) -> dict[str, Any]:
    """`compare` on the rows of `history` from partition `since` on, which neither model has trained on.

    Where the two cannot be compared the result holds a `fault`, the reason, instead of figures.
    """
    if champion.profile is None:
        return {"fault": "the champion carries no profile: nobody knows which rows it has trained on, so there are none to compare on"}
    rows = history.since(since)
    if not 0 < rows.labels.sum() < len(rows.labels):
        return {
            "fault": f"the {len(rows.labels)} labelled rows from {since} on, which neither model has trained on, are of one class at most"
        }
    try:
        check_fit(champion, challenger.signature)
        mine, theirs = finite_scores(challenger, rows.features), finite_scores(champion, rows.features)
    except ModelError as error:
        return {"fault": f"the champion cannot be compared with: {error}"}
    columns = {column: rows.exact(column) for column in slices}
    return compare(rows.labels, theirs, mine, rows.nights, slices=columns, minimum_rows=minimum_rows)


def finite_scores(model: Model, features: Values) -> Values:
    """The scores [n] of `features` [n, f]. Raises `ModelError` where one of them is no finite number."""
    scores = model.score(features)
    if wrong := np.flatnonzero(~np.isfinite(scores)).tolist():
        raise ModelError(f"{len(wrong)} of {len(scores)} scores are not finite, the first is {scores[wrong[0]]}; do not promote this model")
    return scores


def trained_until(model: Model, otherwise: str) -> str:
    """The first date that `model` has not trained on: its profile tells, and `otherwise` where it has none."""
    profile = getattr(model, "profile", None)
    return str(profile.trained_until) if profile else otherwise


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


def _log_losses(labels: Values, scores: Values) -> Values:
    """Of each row, in nats; scores are kept as far from 0 and 1 as scikit-learn's `log_loss` keeps them."""
    precision = np.finfo(scores.dtype).eps if np.issubdtype(scores.dtype, np.floating) else np.finfo(float).eps
    probability = np.clip(scores.astype(np.float64), precision, 1 - precision)
    losses: Values = -np.log(np.where(labels.astype(bool), probability, 1 - probability))
    return losses


def _judge(value: float, influence: Values, labels: Values, nights: Values) -> Difference:
    """`value` with the interval and p that its rows' influences [n], summed by night, give it; without them where too few rows are witnesses."""
    from scipy.stats import t

    rarer = labels == (labels.mean() < 0.5)
    if rarer.sum() < WITNESSES or len(np.unique(nights[rarer])) < NIGHTS:
        return Difference(value, np.nan, np.nan, np.nan)
    _, which = np.unique(nights, return_inverse=True)
    sums = np.bincount(which, influence)
    clusters = len(sums)
    error = float(np.sqrt(clusters / (clusters - 1) * np.square(sums).sum()))
    if error == 0:  # the two models give the same scores
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    reach = float(t.ppf((1 + LEVEL) / 2, clusters - 1)) * error
    return Difference(value, value - reach, value + reach, float(2 * t.sf(abs(value) / error, clusters - 1)))
