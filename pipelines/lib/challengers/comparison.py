"""Is the challenger better? The difference between two models on the same rows, and how much of it may be chance.

Everything here is *challenger minus champion* on rows that neither has trained on. The rows of one night share its weather, so they are
not independent: a difference is judged by how it varies from night to night, not from row to row.

* **AUC**: the structural components of the areas (`pipelines.lib.measures.delong`), summed by night: the clustered variance of Obuchowski 1997,
  *Nonparametric Analysis of Clustered ROC Curve Data*, Biometrics 53. If every row is a night of its own, it is DeLong's variance.
* **Log loss**: the mean of a paired difference, with the cluster-robust variance of Liang and Zeger 1986.

Both have the form Var = G / (G - 1) * sum over the G nights of (the night's sum of influences) squared, and both are compared with
Student's t of G - 1 degrees of freedom, as Cameron and Miller 2015, *A Practitioner's Guide to Cluster-Robust Inference*, advise for few clusters.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.lib.core.contract import STRICT
from pipelines.lib.core.errors import ModelError
from pipelines.lib.features.history import History
from pipelines.lib.measures import metrics
from pipelines.lib.measures.forecasts import ForecastSummary
from pipelines.lib.measures.metrics import Summary
from pipelines.lib.measures.slices import JsonValue, slices_of
from pipelines.lib.measures.tasks import BINARY, Task
from pipelines.lib.models.inference import Model, check_fit
from pipelines.lib.tables.dataset import TaskName

LEVEL = 0.95

RARER_ROWS, RARER_NIGHTS = 20, 5
"""Rows of the rarer class, and nights that have one, below which no interval is given, since the clustered variance is then far too small.
Measured share of equal models that differ at p <= 0.1, which should be 0.10: 3 in 4 with one positive row among 300, 1 in 5 with five
positive rows, and 1 in 9 with twenty.
"""

Values = NDArray[Any]


@dataclass(frozen=True)
class Difference:
    """A difference `value`, its 95 % interval `low` to `high`, and the two-sided `p` of no difference.

    `low`, `high` and `p` are None if there are too few rows or nights for a judgement.
    """

    __pydantic_config__ = STRICT

    value: float
    low: float | None
    high: float | None
    p: float | None

    def rounded(self) -> "Difference":
        """Return the difference with six decimals, as all reports have them."""
        low, high, p = (None if end is None else round(end, 6) for end in (self.low, self.high, self.p))
        return Difference(round(self.value, 6), low, high, p)


@dataclass(frozen=True)
class Opponent:
    """The champion of a comparison, and `since`, the first night of its rows.

    `degraded`: version `instead_of` is champion, but its file is broken, so `version` scores in its place.
    """

    version: str | None
    degraded: bool
    instead_of: str | None
    sha256: str
    since: str


@dataclass(frozen=True)
class Incomparable(Opponent):
    """A champion that the challenger could not be compared with; `fault` is the reason."""

    __pydantic_config__ = STRICT

    fault: str


@dataclass(frozen=True)
class Sides:
    """Both models on the same rows, and how they differ."""

    champion: Summary | ForecastSummary
    challenger: Summary | ForecastSummary
    quality_difference: Difference
    loss_difference: Difference


@dataclass(frozen=True)
class SliceName:
    """The rows that have `value` in `column`; None means no value."""

    column: str
    value: JsonValue

    @property
    def label(self) -> str:
        """The slice in words, such as ``items = 2``; a feature that is a whole number is a float to the model."""
        value = int(self.value) if isinstance(self.value, float) and self.value.is_integer() else self.value
        return f"{self.column} = {'no value' if value is None else value}"


@dataclass(frozen=True)
class SliceComparison(Sides, SliceName):
    """`Sides` on the rows that have one value in a column."""

    __pydantic_config__ = STRICT


@dataclass(frozen=True)
class Figures(Sides):
    """All differences between two models on the same rows of some `nights`; on `nights_won` of them the challenger's loss is lower."""

    nights: int
    nights_won: int
    slices: tuple[SliceComparison, ...]
    calibration: Mapping[str, tuple[Mapping[str, float], ...]]
    roc: Mapping[str, tuple[Mapping[str, float], ...]]
    task: TaskName = "binary"


@dataclass(frozen=True)
class Comparison(Figures, Opponent):
    """The challenger against the champion on the rows that neither has trained on."""

    __pydantic_config__ = STRICT


def quality_difference(labels: Values, champion: Values, challenger: Values, nights: Values, task: Task = BINARY) -> Difference:
    """Return the difference of the qualities of two models; labels [n], scores [n], `nights` [n] the cluster of each row.

    Of a binary label it is that of the areas under the ROC curves. Raises `DataError` if it is not defined, since there is only one class.
    """
    value, influence = task.quality_difference(labels, champion, challenger)
    return _judge(value, influence, task.judged_rows(labels), nights)


def quality_interval(labels: Values, scores: Values, nights: Values, task: Task = BINARY) -> tuple[float | None, ...]:
    """Return the ends of the 95 % interval of one model's quality: of its difference to a model without information, which gives all rows one score."""
    value, influence = task.quality_difference(labels, np.full(len(scores), labels.mean(dtype=np.float64)), scores)
    # A quality that is a share of a unit is a ratio of two means, so its error is that of the delta method. A difference of two models takes the unit as
    # given: that changes little, since the difference is small, and keeps one outlier from making it clear.
    influence = influence + value * (1 - task.loss_units(labels)) / len(labels)
    found = _judge(value, influence, task.judged_rows(labels), nights)
    least = 0.0 if task is BINARY else -np.inf
    return tuple(None if end is None else round(min(max(task.no_skill + end, least), 1.0), 6) for end in (found.low, found.high))


def loss_difference(labels: Values, champion: Values, challenger: Values, nights: Values, task: Task = BINARY) -> Difference:
    """Return the difference of the mean losses; less is better. Shapes as for `quality_difference`.

    A log loss is in nats. A squared error is a share of the variance of the `labels`, so that a limit serves any unit.
    """
    change = (task.losses(labels, challenger) - task.losses(labels, champion)) / task.loss_unit(labels)
    return _judge(float(change.mean()), (change - change.mean()) / len(change), task.judged_rows(labels), nights)


def mean_loss(labels: Values, scores: Values, task: Task = BINARY) -> float:
    """Return the mean loss of the `scores` [n] per row; less is better."""
    return float(task.losses(labels, scores).mean())


def compare(
    labels: Values,
    champion: Values,
    challenger: Values,
    nights: Values,
    *,
    slices: "Mapping[str, Values | pa.Array | pa.ChunkedArray]",
    minimum_rows: int,
    task: Task = BINARY,
) -> Figures:
    """Compare the scores of two models on the same n rows.

    `slices` maps names to columns [n]. A value with at least `minimum_rows` rows, of which a quality is defined, is a slice, which is compared separately.
    """
    found = []
    for column, values in slices.items():
        for value, mask in slices_of(values, minimum_rows):
            if task.judges(labels[mask]):
                sides = _sides(labels[mask], champion[mask], challenger[mask], nights[mask], task)
                found.append(SliceComparison(column=column, value=value, **vars(sides)))
    both = {"champion": champion, "challenger": challenger}
    return Figures(
        **vars(_sides(labels, champion, challenger, nights, task)),
        nights=len(np.unique(nights)),
        nights_won=_nights_won(labels, champion, challenger, nights, task),
        slices=tuple(found),
        calibration={name: tuple(metrics.calibration(labels, scores)) for name, scores in both.items()},
        roc={name: tuple(metrics.roc(labels, scores)) for name, scores in both.items()} if task is BINARY else {},
        task=task.name,
    )


def compare_models(
    challenger: Model, champion: Model, history: History, opponent: Opponent, *, slices: Iterable[str], minimum_rows: int
) -> Comparison | Incomparable:
    """Compare two models on the rows of `history` from partition `opponent.since` on, which neither model has trained on."""
    identity, rows = vars(opponent), history.since(opponent.since)
    if champion.profile is None:
        return Incomparable(**identity, fault="the champion carries no profile, so the rows that it has trained on are not known")
    if not rows.task.judges(rows.labels):
        unseen = f"the {len(rows.labels)} labelled rows from {opponent.since} on, which neither model has trained on"
        return Incomparable(
            **identity, fault=f"{unseen}, {'are of one class at most' if rows.task is BINARY else 'have one outcome at most'}"
        )
    if champion.task is not rows.task:
        return Incomparable(**identity, fault=f"the champion is for a label of task {champion.task.name}")
    try:
        check_fit(champion, challenger.signature)
        mine, theirs = (finite_scores(model, rows.coded_for(model.categories).features) for model in (challenger, champion))
    except ModelError as error:
        return Incomparable(**identity, fault=f"the champion cannot be compared with: {error}")
    columns = {column: rows.exact(column) for column in slices}
    figures = compare(rows.labels, theirs, mine, rows.nights, slices=columns, minimum_rows=minimum_rows, task=rows.task)
    return Comparison(**identity, **vars(figures))


def finite_scores(model: Model, features: Values) -> Values:
    """Return the scores [n] of `features` [n, f]. Raises `ModelError` if one of them is not a finite number."""
    scores = model.score(features)
    if wrong := np.flatnonzero(~np.isfinite(scores)).tolist():
        raise ModelError(f"{len(wrong)} of {len(scores)} scores are not finite, the first is {scores[wrong[0]]}; do not promote this model")
    return scores


def trained_until(model: Model, otherwise: str) -> str:
    """Return the first date that `model` has not trained on, from its profile; return `otherwise` if it has no profile."""
    profile = getattr(model, "profile", None)
    return str(profile.trained_until) if profile else otherwise


def _sides(labels: Values, champion: Values, challenger: Values, nights: Values, task: Task) -> Sides:
    return Sides(
        champion=task.summary(labels, champion),
        challenger=task.summary(labels, challenger),
        quality_difference=quality_difference(labels, champion, challenger, nights, task).rounded(),
        loss_difference=loss_difference(labels, champion, challenger, nights, task).rounded(),
    )


def _nights_won(labels: Values, champion: Values, challenger: Values, nights: Values, task: Task) -> int:
    """Count the nights on which the challenger's mean loss is lower than the champion's."""
    _, which = np.unique(nights, return_inverse=True)
    return int((np.bincount(which, task.losses(labels, challenger) - task.losses(labels, champion)) < 0).sum())


def _judge(value: float, influence: Values, rarer: Values, nights: Values) -> Difference:
    """Return `value` with its interval and p, from the influences [n] of its rows, summed by night; without both if too few rows or nights are `rarer` [n]."""
    from scipy.stats import t

    if rarer.sum() < RARER_ROWS or len(np.unique(nights[rarer])) < RARER_NIGHTS:
        return Difference(value, None, None, None)
    _, which = np.unique(nights, return_inverse=True)
    sums = np.bincount(which, influence)
    clusters = len(sums)
    error = float(np.sqrt(clusters / (clusters - 1) * np.square(sums).sum()))
    if error == 0:  # the two models give the same scores
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    reach = float(t.ppf((1 + LEVEL) / 2, clusters - 1)) * error
    return Difference(value, value - reach, value + reach, float(2 * t.sf(abs(value) / error, clusters - 1)))
