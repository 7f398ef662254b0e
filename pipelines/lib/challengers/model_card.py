"""The page that a person reads before trusting a model: its evaluation and, once it is registered, its lineage."""

from collections.abc import Iterable, Mapping

import numpy as np

from pipelines.lib.challengers.comparison import Comparison
from pipelines.lib.challengers.evaluation import Evaluation, Unscored


def render(
    evaluation: Evaluation | Unscored, *, lineage: Mapping[str, str] | None = None, facts: Mapping[str, object] | None = None
) -> str:
    """Return the card as self-contained HTML.

    `lineage` has the facts that rebuild a registered version, and `facts` others, such as version and costs. Both map names to values, and
    both are None before registration.
    """
    from pipelines.lib.pages import figures
    from pipelines.lib.pages import html as pages

    shown: dict[str, object] = {"scored": False, "plots": [], "importances": "", "both": [], "limits": []}
    if isinstance(evaluation, Evaluation):
        shown = {
            "scored": True,
            "plots": _plots(evaluation),
            "importances": figures.bars(_descending(evaluation.importances), label=f"importance ({evaluation.importance_kind})"),
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
    """Yield the limits of the model as sentences: those of every model first, then those that its own figures show."""
    metrics = evaluation.metrics
    yield (
        f"The figures hold for rows like those of the holdout, {metrics.rows:,} rows from {evaluation.since} on. They get worse if the inputs "
        "or the outcome drift: see the reports of the nights."
    )
    yield (
        f"The model has not learned from the last {evaluation.training['holdout_days']} days before {evaluation.partition}, nor from later rows. It has "
        "never seen anything that is new since then, such as a new category."
    )
    if (sample := evaluation.trained_on).is_part:
        yield (
            f"Each of its trees has learned from {sample.rows_per_tree:,} rows that were drawn from all {sample.rows:,} (params.yaml: train.rows_per_tree), "
            "so it knows rare cases less well than all rows would teach them."
        )
    if evaluation.not_reproducible:
        yield (
            f"It is not reproducible to the byte: {evaluation.not_reproducible}. A second training may give a model with slightly different scores."
        )
    yield "A score says how likely the outcome is, not what causes it. Do not act on a single feature because of a score."
    gap = metrics.mean_score - metrics.positive_rate
    if abs(gap) > 0.02:
        yield (
            f"Its scores are too {'high' if gap > 0 else 'low'}: their mean is {metrics.mean_score:.3f}, and the observed rate is "
            f"{metrics.positive_rate:.3f}. Use them to rank rows, not as probabilities."
        )
    areas = sorted((part.auc, part.label) for part in evaluation.slices if part.auc is not None)
    if metrics.auc and (weak := [f"{name} ({auc:.3f})" for auc, name in areas if auc < metrics.auc - 0.05]):
        yield f"It is weak, more than 0.05 below its AUC of {metrics.auc:.3f}, on {', '.join(weak)}."
    if unknown := sorted({s.column for s in evaluation.slices}):
        yield f"Values of {', '.join(unknown)} that are not in the table were not judged: the holdout has too few rows of them."


def _descending(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))
