"""The page that a person reads before trusting a model: its evaluation and, once it is registered, its lineage."""

from collections.abc import Iterable, Mapping

import numpy as np

from pipelines.lib.challengers import shown as shown_figures
from pipelines.lib.challengers.comparison import Comparison, Incomparable
from pipelines.lib.challengers.evaluation import Evaluation, ForecastMetrics, Metrics, Unscored
from pipelines.lib.core.params import naming_the_declaration
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.models.profile import NOT_TESTED


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
            "measures": shown_figures.measures(evaluation.metrics),
            "sliced": shown_figures.slices(evaluation),
            "words": shown_figures.words(evaluation.task),
            **compared_of(evaluation.comparison),
        }
    return naming_the_declaration(pages.render("model_card.html", card=evaluation, **shown, lineage=lineage or {}, facts=facts or {}))


def compared_of(comparison: Comparison | Incomparable | None) -> dict[str, object]:
    """Return what the tables of the comparison `comparison` need; nothing if nothing was compared."""
    if not isinstance(comparison, Comparison):
        return {}
    return {"compared_rows": list(shown_figures.rows_of(comparison)), "words": shown_figures.words(comparison.task)}


def _plots(evaluation: Evaluation) -> list[tuple[str, str]]:
    from pipelines.lib.pages import alternatives, figures

    bins, (low, high) = len(evaluation.scores), evaluation.score_range
    scores = np.repeat(low + (high - low) * (np.arange(bins) + 0.5) / bins, evaluation.scores)
    curve = [("ROC curve", figures.roc({"holdout": (evaluation.roc, evaluation.metrics.quality or 0.0)}))] if evaluation.roc else []
    name = "score" if evaluation.task == "binary" else "forecast"
    return [
        *curve,
        ("Calibration", figures.calibration({"holdout": evaluation.calibration}, alternatives.OF_TASK[evaluation.task])),
        (f"Distribution of {name}s", figures.distribution({"holdout": scores}, label=name, span=(low, high))),
    ]


def _plots_of_both(compared: Comparison) -> list[tuple[str, str]]:
    from pipelines.lib.pages import alternatives, figures

    areas = {"champion": compared.champion.quality, "challenger": compared.challenger.quality}
    curves = {side: (compared.roc[side], auc) for side, auc in areas.items() if auc is not None and side in compared.roc}
    return [
        *([("ROC curves", figures.roc(curves))] if curves else []),
        ("Calibration", figures.calibration(compared.calibration, alternatives.OF_TASK[compared.task])),
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
    if evaluation.form:
        yield f"{evaluation.form.note} The form was chosen on the same holdout (params.yaml: train.maximum_form_loss)."
    if evaluation.scored_as == NOT_TESTED:
        yield (
            "Monitoring compares its scores with those of the rows that it has learned from, and there were too few nights to see whether it knows these by heart. "
            "If so, drift of the scores is seen where there is none."
        )
    if evaluation.not_reproducible:
        yield (
            f"It is not reproducible to the byte: {evaluation.not_reproducible}. A second training may give a model with slightly different scores."
        )
    binary = isinstance(metrics, Metrics)
    said = "how likely the outcome is" if binary else "which outcome is expected on average"
    score = "score" if binary else "forecast"
    yield f"A {score} says {said}, not what causes it. Do not act on a single feature because of a {score}."
    gap = metrics.mean_score - metrics.mean_label
    if isinstance(metrics, ForecastMetrics) and abs(gap) > 0.05 * metrics.spread:
        yield (
            f"Its forecasts are too {'high' if gap > 0 else 'low'}: their mean is {metrics.mean_score:g}, that of the outcomes is {metrics.mean_label:g}."
        )
    if binary and abs(gap) > 0.02:
        yield (
            f"Its scores are too {'high' if gap > 0 else 'low'}: their mean is {metrics.mean_score:.3f}, and the observed rate is "
            f"{metrics.mean_label:.3f}. Use them to rank rows, not as probabilities."
        )
    whole, name = metrics.quality, TASKS[evaluation.task].quality_name
    qualities = sorted((part.quality, part.label) for part in evaluation.slices if part.quality is not None)
    if whole and (weak := [f"{label} ({quality:.3f})" for quality, label in qualities if quality < whole - 0.05]):
        yield f"It is weak, more than 0.05 below its {name} of {whole:.3f}, on {', '.join(weak)}."
    if unknown := sorted({s.column for s in evaluation.slices}):
        yield f"Values of {', '.join(unknown)} that are not in the table were not judged: the holdout has too few rows of them."


def _descending(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))
