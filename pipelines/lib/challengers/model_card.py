"""The page that a person reads before trusting a model, from what `evaluate` found and, once it is registered, where it comes from."""

from collections.abc import Iterable, Mapping

import numpy as np

from pipelines.lib.challengers.comparison import Comparison
from pipelines.lib.challengers.evaluation import Evaluation, Unscored


def render(
    evaluation: Evaluation | Unscored, *, lineage: Mapping[str, str] | None = None, facts: Mapping[str, object] | None = None
) -> str:
    """The card as self-contained HTML.

    `lineage` is what it takes to
    rebuild a registered version, `facts` what is known about it beside (version, costs); both by name, both None before registration.
    """
    from pipelines.lib.pages import figures
    from pipelines.lib.pages import html as pages

    shown: dict[str, object] = {"scored": False, "plots": [], "importances": "", "both": [], "limits": []}
    if isinstance(evaluation, Evaluation):
        shown = {
            "scored": True,
            "plots": _plots(evaluation),
            "importances": figures.bars(_descending(evaluation.importances), label="importance (mean decrease in impurity)"),
            "both": _plots_of_both(evaluation.comparison) if isinstance(evaluation.comparison, Comparison) else [],
            "limits": list(limits(evaluation)),
        }
    return pages.render("model_card.html", card=evaluation, **shown, lineage=lineage or {}, facts=facts or {})


def _plots(evaluation: Evaluation) -> list[tuple[str, str]]:
    from pipelines.lib.pages import figures

    bins = len(evaluation.scores)
    scores = np.repeat((np.arange(bins) + 0.5) / bins, evaluation.scores)
    auc = evaluation.metrics.auc
    curve = [] if auc is None else [("ROC curve", figures.roc({"holdout": (evaluation.roc, auc)}))]
    return [
        *curve,
        ("Calibration", figures.calibration({"holdout": evaluation.calibration})),
        ("Distribution of scores", figures.distribution({"holdout": scores}, label="score")),
    ]


def _plots_of_both(compared: Comparison) -> list[tuple[str, str]]:
    from pipelines.lib.pages import figures

    areas = {"champion": compared.champion.auc, "challenger": compared.challenger.auc}
    return [
        ("ROC curves", figures.roc({side: (compared.roc[side], auc) for side, auc in areas.items() if auc is not None})),
        ("Calibration", figures.calibration(compared.calibration)),
    ]


def limits(evaluation: Evaluation) -> Iterable[str]:
    """What the model must not be trusted with, in sentences: what holds for every model, and what this one's figures show."""
    metrics = evaluation.metrics
    yield (
        f"The figures hold for rows like those of the holdout, {metrics.rows:,} rows from {evaluation.since} on. Where the inputs or the "
        "outcome drift, they fall: see the reports of the nights."
    )
    yield (
        f"It has not learned from the last {evaluation.training['holdout_days']} days before {evaluation.partition}, nor from anything after: what is new "
        "since then, a category above all, it has never seen."
    )
    yield "It tells what is likely to happen, not what would change it: a score is no ground to act on a single feature."
    gap = metrics.mean_score - metrics.positive_rate
    if abs(gap) > 0.02:
        yield (
            f"Its scores are too {'high' if gap > 0 else 'low'}: {metrics.mean_score:.3f} in the mean where {metrics.positive_rate:.3f} were "
            "observed. Rank by them rather than read them as probabilities."
        )
    areas = sorted((part.auc, f"{part.column} = {part.value}") for part in evaluation.slices if part.auc is not None)
    if metrics.auc and (weak := [f"{name} ({auc:.3f})" for auc, name in areas if auc < metrics.auc - 0.05]):
        yield f"It is weak, more than 0.05 below its AUC of {metrics.auc:.3f}, on {', '.join(weak)}."
    if unknown := sorted({s.column for s in evaluation.slices}):
        yield f"Nothing is said about values of {', '.join(unknown)} that do not stand in the table: the holdout has too few rows of them."


def _descending(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))
