"""The reports of `evaluate` and `shadow`, made from labels and scores: whole evaluations for tests of what reads them."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from pipelines.lib.challengers import comparison
from pipelines.lib.challengers.agreement import Agreement, Shadow, ShadowedNight
from pipelines.lib.challengers.comparison import Comparison, Difference, Opponent, SliceComparison
from pipelines.lib.challengers.decisions import decide_nights
from pipelines.lib.challengers.evaluation import CLASSES, Evaluation
from pipelines.lib.encoders.evaluation import EncoderMetrics
from pipelines.lib.measures import metrics
from pipelines.lib.measures.tasks import BINARY, Task
from pipelines.lib.models.decision_rule import DecisionRule
from pipelines.lib.models.forest_sample import ForestSample

SINCE = "2013-03-17"
SOUND = metrics.Summary(rows=6_000, positive_rate=0.2, mean_score=0.2, auc=0.7, log_loss=0.5, brier=0.15, calibration_error=0.02)
"""The figures of a model that passes every limit of params.yaml."""
SOUND_ENCODER = EncoderMetrics(**vars(SOUND), neighbour_auc=0.7, norm_error=0.0, least_spread=0.1, dimension=8, parity_max_difference=0.0)


def evaluated(
    labels: np.ndarray,
    scores: np.ndarray,
    nights: np.ndarray,
    *,
    name: str,
    sha256: str,
    sides: np.ndarray | None = None,
    task: Task = BINARY,
    **changes: Any,
) -> Evaluation:
    """Return the evaluation of a model without faults, of the slices of a column ``side`` [n] if there is one; `changes` by name of
    field.
    """
    whole, part = CLASSES[task.name]
    low, high = task.score_range(scores)
    slices = () if sides is None else tuple(
        part(column="side", value=str(side), **vars(task.summary(labels[sides == side], scores[sides == side])))
        for side in np.unique(sides)
    )  # fmt: skip
    found = Evaluation(
        name=name,
        partition="2013-04-01",
        training={"holdout_days": 14, "parameters": {"max_depth": 8}},
        comparison=None,
        sha256=sha256,
        since=SINCE,
        metrics=whole(**vars(task.summary(labels, scores)), parity_max_difference=0.0),
        quality_interval=comparison.quality_interval(labels, scores, nights, task),
        slices=slices,
        calibration=tuple(metrics.calibration(labels, scores)),
        roc=tuple(metrics.roc(labels, scores)) if task.decides else (),
        scores=tuple(np.histogram(scores, np.linspace(low, high, 41))[0].tolist()),
        decisions=decide_nights(labels, scores, nights, DecisionRule(at=0.5)) if task.decides else None,
        score_range=(low, high),
        task=task.name,
        importances={"a": 0.7, "b": 0.3},
        golden=(),
        faults=(),
        trained_on=ForestSample(rows=6_000, rows_per_tree=6_000),
    )
    return replace(found, **changes)


def opponent(version: str, sha256: str) -> Opponent:
    """Return the champion, whose file is whole."""
    return Opponent(version=version, degraded=False, instead_of=None, sha256=sha256, since=SINCE)


def compared(
    labels: np.ndarray,
    champion: np.ndarray,
    challenger: np.ndarray,
    nights: np.ndarray,
    *,
    against: Opponent,
    task: Task = BINARY,
    **slices: np.ndarray,
) -> Comparison:
    """Return the comparison of two models' scores [n]."""
    figures = comparison.compare(labels, champion, challenger, nights, slices=slices, minimum_rows=100, task=task)
    return Comparison(**vars(against), **vars(figures))


def difference(value: float, p: float | None) -> Difference:
    """Return a difference with its interval; without one if `p` is None."""
    return Difference(value, None, None, None) if p is None else Difference(value, value - 0.01, value + 0.01, p)


def part(value: str, auc: float, p: float) -> SliceComparison:
    """Return a slice on which the AUC differs by `auc`."""
    side = replace(SOUND, rows=1_000)
    changes = {"quality_difference": difference(auc, p), "loss_difference": difference(0.0, 1.0)}
    return SliceComparison(column="carrier", value=value, champion=side, challenger=side, **changes)


def better(against: Opponent, *, slices: tuple[SliceComparison, ...] = ()) -> Comparison:
    """Return the comparison of a challenger that is clearly better."""
    theirs = replace(SOUND, rows=12_000)
    curve: Mapping[str, Any] = {"champion": (), "challenger": ()}
    return Comparison(
        **vars(against),
        champion=theirs,
        challenger=replace(theirs, auc=0.72),
        quality_difference=difference(0.02, 0.001),
        loss_difference=difference(-0.01, 0.01),
        nights=14,
        nights_won=12,
        slices=slices,
        calibration=curve,
        roc=curve,
    )


def shadowed(champion: str, challenger: str, *, partition: str, **changes: Any) -> Shadow:
    """Return the shadow of a challenger that decides nearly as the champion does."""
    overall = Agreement(rows=6_000, correlation=0.95, champion_mean=0.2, challenger_mean=0.21, disagreement=0.03, psi=0.01, ks=0.02)
    night = ShadowedNight(partition=partition, run_ref="refs/runs/night", scored_by=champion, **vars(overall))
    found = Shadow(partition, champion, challenger, fault=None, nights=(night,), overall=overall, note="shadowed 1 of 1 nights")
    return replace(found, **changes)


def any_evaluation(name: str, sha256: str, **changes: Any) -> Evaluation:
    """Return the evaluation of a model whose figures do not matter."""
    rng = np.random.default_rng(0)
    return evaluated(rng.integers(0, 2, 2_000), rng.random(2_000), np.arange(2_000) // 100, name=name, sha256=sha256, **changes)
