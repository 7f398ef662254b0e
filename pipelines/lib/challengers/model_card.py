"""The page that a person reads before trusting a model, from what `evaluate` found and, once it is registered, where it comes from."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np


def render(evaluation: Mapping[str, Any], *, lineage: Mapping[str, str] | None = None, facts: Mapping[str, Any] | None = None) -> str:
    """The card as self-contained HTML.

    `evaluation` is the content of ``evaluation.json``; one of a model that gave no scores has `faults` alone. `lineage` is what it takes to
    rebuild a registered version, `facts` what is known about it beside (version, costs); both by name, both None before registration.
    """
    from pipelines.lib.pages import figures
    from pipelines.lib.pages import html as pages

    scored = "metrics" in evaluation
    compared = evaluation.get("comparison") or {}
    plots = []
    if scored and evaluation["roc"]:
        plots.append(("ROC curve", figures.roc({"holdout": (evaluation["roc"], evaluation["metrics"]["auc"])})))
    if scored:
        bins = len(evaluation["scores"])
        scores = np.repeat((np.arange(bins) + 0.5) / bins, evaluation["scores"])
        plots += [
            ("Calibration", figures.calibration({"holdout": evaluation["calibration"]})),
            ("Distribution of scores", figures.distribution({"holdout": scores}, label="score")),
        ]
    return pages.render(
        "model_card.html",
        card=evaluation,
        scored=scored,
        plots=plots,
        importances=figures.bars(_descending(evaluation["importances"]), label="importance (mean decrease in impurity)") if scored else "",
        both=[
            ("ROC curves", figures.roc({side: (points, compared[side]["auc"]) for side, points in compared["roc"].items()})),
            ("Calibration", figures.calibration(compared["calibration"])),
        ]
        if "roc" in compared
        else [],
        limits=list(limits(evaluation)),
        lineage=lineage or {},
        facts=facts or {},
    )


def limits(evaluation: Mapping[str, Any]) -> Iterable[str]:
    """What the model must not be trusted with, in sentences: what holds for every model, and what this one's figures show."""
    if "metrics" not in evaluation:
        return
    metrics, training = evaluation["metrics"], evaluation["training"]
    yield (
        f"The figures hold for rows like those of the holdout, {metrics['rows']:,} rows from {evaluation['since']} on. Where the inputs or the "
        "outcome drift, they fall: see the reports of the nights."
    )
    yield (
        f"It has not learned from the last {training['holdout_days']} days before {evaluation['partition']}, nor from anything after: what is new "
        "since then, a category above all, it has never seen."
    )
    yield "It tells what is likely to happen, not what would change it: a score is no ground to act on a single feature."
    gap = metrics["mean_score"] - metrics["positive_rate"]
    if abs(gap) > 0.02:
        yield (
            f"Its scores are too {'high' if gap > 0 else 'low'}: {metrics['mean_score']:.3f} in the mean where {metrics['positive_rate']:.3f} were "
            "observed. Rank by them rather than read them as probabilities."
        )
    if weak := [s for s in evaluation["slices"] if s["auc"] is not None and metrics["auc"] and s["auc"] < metrics["auc"] - 0.05]:
        named = ", ".join(f"{s['column']} = {s['value']} ({s['auc']:.3f})" for s in sorted(weak, key=lambda s: s["auc"]))
        yield f"It is weak, more than .05 below its AUC of {metrics['auc']:.3f}, on {named}."
    if unknown := sorted({s["column"] for s in evaluation["slices"]}):
        yield f"Nothing is said about values of {', '.join(unknown)} that do not stand in the table: the holdout has too few rows of them."


def _descending(values: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(values.items(), key=lambda item: -item[1]))
