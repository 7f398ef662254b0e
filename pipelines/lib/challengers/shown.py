"""The figures of a summary as people read them: the names, the values, and what a model without information would have."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pipelines.lib.challengers.comparison import Comparison, SliceComparison
from pipelines.lib.challengers.evaluation import Evaluation
from pipelines.lib.measures.forecasts import ForecastSummary
from pipelines.lib.measures.metrics import Summary
from pipelines.lib.measures.tasks import BINARY, TASKS

Cell = float | int | None


@dataclass(frozen=True)
class Measure:
    """One figure of a model: its `name`, its `value`, and the value of a model that gives every row the mean outcome (None: none to compare with)."""

    name: str
    value: Cell
    base: Cell


def measures(summary: Summary | ForecastSummary) -> list[Measure]:
    """Return the figures of `summary`: first the quality, then the loss, and last the mean score."""
    if isinstance(summary, Summary):
        rate = summary.positive_rate
        return [
            Measure("AUC, higher is better", summary.auc, 0.5),
            Measure("log loss, lower is better", summary.log_loss, -sum(share * math.log(share) for share in (rate, 1 - rate) if share)),
            Measure("Brier score, lower is better", summary.brier, rate * (1 - rate)),
            Measure("calibration error, lower is better", summary.calibration_error, 0),
            Measure("mean score", summary.mean_score, rate),
        ]
    return [
        Measure("R², share of the variance explained, higher is better", summary.r2, 0),
        Measure("root mean squared error, lower is better", summary.root_mean_squared_error, summary.spread),
        Measure("mean absolute error, lower is better", summary.mean_absolute_error, None),
        Measure("calibration error, lower is better", summary.calibration_error, 0),
        Measure("mean forecast", summary.mean_score, summary.mean_label),
    ]


def slices(evaluation: Evaluation) -> tuple[list[str], list[tuple[str, list[Cell]]]]:
    """Return the columns of the table of slices, and for each slice its name and cells."""
    if evaluation.task == BINARY.name:
        names = ["rows", "observed rate", "mean score", "AUC", "log loss", "log loss of the base rate"]
    else:
        names = ["rows", "mean outcome", "mean forecast", "R²", "root mean squared error", "spread of the outcomes"]
    rows = []
    for part in evaluation.slices:
        quality, loss = measures(part)[:2]
        rows.append((part.label, [part.rows, part.mean_label, part.mean_score, quality.value, loss.value, loss.base]))
    return names, rows


@dataclass(frozen=True)
class Row:
    """One line of the comparison: the value of a model without information, those of both models, and their difference with its interval and p."""

    name: str
    base: Cell
    champion: Cell
    challenger: Cell
    difference: Cell
    judged: bool = False
    low: float | None = None
    high: float | None = None
    p: float | None = None


def rows_of(comparison: Comparison) -> Iterator[Row]:
    """Yield the lines of the comparison `comparison`. The first two differences have intervals."""
    judged = (comparison.quality_difference, comparison.loss_difference)
    for place, (theirs, mine) in enumerate(zip(measures(comparison.champion), measures(comparison.challenger), strict=True)):
        if place == 0 or (place == 1 and comparison.task == BINARY.name):
            of = judged[place]
            yield Row(mine.name, mine.base, theirs.value, mine.value, of.value, True, of.low, of.high, of.p)
        else:
            change = None if theirs.value is None or mine.value is None else mine.value - theirs.value
            yield Row(mine.name, mine.base, theirs.value, mine.value, change)


def slice_rows(comparison: Comparison) -> list[SliceComparison]:
    """Return the slices of the comparison, the worst difference first."""
    return sorted(comparison.slices, key=lambda part: part.quality_difference.value)


def words(task: str) -> dict[str, str]:
    """Return the words of a `task`: for its quality, its loss, its outcome and its score."""
    of = TASKS[task]
    binary = of is BINARY
    return {
        "quality": of.quality_name,
        "loss": of.loss_name,
        "outcome": "observed rate" if binary else "mean outcome",
        "score": "mean score" if binary else "mean forecast",
    }
