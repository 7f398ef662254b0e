"""The task of a label, and the measures of an answer to it: one object for each task, so that no stage has to ask which one it is.

A *binary* label is answered by a probability. A *regression* label is a number, and is answered by a forecast of its mean.
Three measures serve both: the *loss* of a row, which is paired between two models; the *quality* of many rows, of which more is better and chance is known;
and a `Summary` or a `ForecastSummary` for people.

======================  =========================  ==========================================
task                    binary                     regression
======================  =========================  ==========================================
loss of a row           log loss, nats             squared error, in the label's unit squared
quality of many rows    AUC, 0.5 without skill     R², 0 without skill
======================  =========================  ==========================================
"""

from abc import ABC, abstractmethod
from dataclasses import asdict
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.measures import forecasts, metrics
from pipelines.lib.measures.forecasts import ForecastSummary
from pipelines.lib.measures.metrics import Summary
from pipelines.lib.tables.dataset import TaskName

Values = NDArray[Any]

KEY = "nightshift.task"
"""Of the entry in the ONNX file's metadata. A model without it is binary."""


class Task(ABC):
    """A task: which labels it has, and how right scores [n] are for labels [n]."""

    name: ClassVar[TaskName]
    output: ClassVar[str]
    """The name of the output of its ONNX models."""
    columns: ClassVar[int]
    """How many columns the output has."""
    decides: ClassVar[bool]
    """Whether a score comes with a decision."""
    quality_key: ClassVar[str]
    """The key of the quality in figures, as in `Summary.auc`."""
    quality_name: ClassVar[str]
    no_skill: ClassVar[float]
    """The quality of a model without information."""
    loss_name: ClassVar[str]

    @abstractmethod
    def fault(self, labels: Values) -> str | None:
        """Return why nothing can be learned from `labels`; None if something can."""

    @abstractmethod
    def judges(self, labels: Values) -> bool:
        """Return whether a quality is defined for `labels`."""

    @abstractmethod
    def summary(self, labels: Values, scores: Values) -> Summary | ForecastSummary:
        """Return the figures of `scores`."""

    @abstractmethod
    def quality(self, labels: Values, scores: Values) -> float | None:
        """Return the quality of `scores`, rounded; None if it is not defined."""

    @abstractmethod
    def qualities(self, labels: Values, columns: Values) -> NDArray[np.float64]:
        """Return the quality of each of the `columns` [k, n] of scores, float64 [k]; it must be defined."""

    @abstractmethod
    def losses(self, labels: Values, scores: Values) -> NDArray[np.float64]:
        """Return the loss of each row, float64 [n]; less is better."""

    @abstractmethod
    def loss_unit(self, labels: Values) -> float:
        """Return what a loss is divided by before it is compared with a limit, so that one limit serves any unit of the label."""

    @abstractmethod
    def loss_units(self, labels: Values) -> NDArray[np.float64]:
        """Return what each row [n] adds to the loss unit, as a multiple of it: 1 on average. The unit of a sample is as uncertain as its losses."""

    @abstractmethod
    def realised(self, labels: Values, scores: Values) -> dict[str, float | int | None]:
        """Return `summary` with the ends of the quality's 95 % interval, for as few rows as a night or a slice may have."""

    @abstractmethod
    def score_range(self, scores: Values) -> tuple[float, float]:
        """Return the range in which `scores` are drawn."""

    @abstractmethod
    def judged_rows(self, labels: Values) -> NDArray[np.bool_]:
        """Return the rows [n] whose number decides whether a difference can be judged."""

    @abstractmethod
    def quality_difference(self, labels: Values, champion: Values, challenger: Values) -> tuple[float, NDArray[np.float64]]:
        """Return how much more the quality of the `challenger` is, and the influence [n] of each row on it. The quality must be defined."""


class _Binary(Task):
    name = "binary"
    output = "probabilities"
    columns = 2
    decides = True
    quality_key = "auc"
    quality_name = "AUC"
    no_skill = 0.5
    loss_name = "log loss"

    def fault(self, labels: Values) -> str | None:
        positives = int(labels.sum())
        if positives in (0, len(labels)):
            return f"all {len(labels)} labels before the holdout are {int(labels[0])}; a classifier needs both"
        return None

    def judges(self, labels: Values) -> bool:
        return bool(0 < labels.sum() < len(labels))

    def summary(self, labels: Values, scores: Values) -> Summary:
        return metrics.summary(labels, scores)

    def quality(self, labels: Values, scores: Values) -> float | None:
        return metrics.area(labels, scores)

    def qualities(self, labels: Values, columns: Values) -> NDArray[np.float64]:
        from pipelines.lib.measures.delong import delong

        return delong(labels, *columns)[0]

    def losses(self, labels: Values, scores: Values) -> NDArray[np.float64]:
        return metrics.log_losses(labels, scores)

    def loss_unit(self, labels: Values) -> float:
        return 1.0

    def loss_units(self, labels: Values) -> NDArray[np.float64]:
        return np.ones(len(labels))

    def score_range(self, scores: Values) -> tuple[float, float]:
        return 0.0, 1.0

    def judged_rows(self, labels: Values) -> NDArray[np.bool_]:
        rarer: NDArray[np.bool_] = labels == (labels.mean() < 0.5)
        return rarer

    def quality_difference(self, labels: Values, champion: Values, challenger: Values) -> tuple[float, NDArray[np.float64]]:
        from pipelines.lib.measures.delong import placements

        above, below = placements(labels, champion, challenger)
        value = float((above[1] - above[0]).mean())
        influence = np.empty(len(labels))
        influence[labels == 1] = (above[1] - above[0] - value) / above.shape[1]
        influence[labels != 1] = (below[1] - below[0] - value) / below.shape[1]
        return value, influence

    def realised(self, labels: Values, scores: Values) -> dict[str, float | int | None]:
        return metrics.realised(labels, scores)


class _Regression(Task):
    name = "regression"
    output = "forecast"
    columns = 1
    decides = False
    quality_key = "r2"
    quality_name = "R²"
    no_skill = 0.0
    loss_name = "squared error"

    def fault(self, labels: Values) -> str | None:
        if not np.isfinite(labels).all():
            return f"{int((~np.isfinite(labels)).sum())} of {len(labels)} labels before the holdout are not finite numbers"
        if len(labels) and labels.min() == labels.max():
            return f"all {len(labels)} labels before the holdout are {labels[0]:g}; there is nothing to forecast"
        return None

    def judges(self, labels: Values) -> bool:
        return len(labels) > 1 and bool(labels.min() < labels.max())

    def summary(self, labels: Values, scores: Values) -> ForecastSummary:
        return forecasts.summary(labels, scores)

    def quality(self, labels: Values, scores: Values) -> float | None:
        return forecasts.explained(labels, scores)

    def qualities(self, labels: Values, columns: Values) -> NDArray[np.float64]:
        found = [forecasts.explained(labels, column) for column in columns]
        return np.array([np.nan if value is None else value for value in found])

    def losses(self, labels: Values, scores: Values) -> NDArray[np.float64]:
        return forecasts.squared_errors(labels, scores)

    def loss_unit(self, labels: Values) -> float:
        return float(labels.var(dtype=np.float64)) or 1.0

    def loss_units(self, labels: Values) -> NDArray[np.float64]:
        spread: NDArray[np.float64] = np.square(labels - labels.mean(dtype=np.float64))
        return spread / spread.mean() if spread.any() else np.ones(len(labels))

    def score_range(self, scores: Values) -> tuple[float, float]:
        low, high = float(scores.min()), float(scores.max())
        return (low, high) if low < high else (low - 0.5, high + 0.5)

    def judged_rows(self, labels: Values) -> NDArray[np.bool_]:
        return np.ones(len(labels), dtype=bool)

    def quality_difference(self, labels: Values, champion: Values, challenger: Values) -> tuple[float, NDArray[np.float64]]:
        change = (self.losses(labels, champion) - self.losses(labels, challenger)) / self.loss_unit(labels)
        value = float(change.mean())
        return value, (change - value) / len(change)

    def realised(self, labels: Values, scores: Values) -> dict[str, float | int | None]:
        if len(labels) == 0:
            return {"rows": 0} | dict.fromkeys(
                (
                    "mean_label",
                    "spread",
                    "mean_score",
                    "r2",
                    "mean_absolute_error",
                    "root_mean_squared_error",
                    "calibration_error",
                    "r2_low",
                    "r2_high",
                )
            )
        found = forecasts.summary(labels, scores)
        low, high = forecasts.explained_interval(labels, scores) or (None, None)
        error = found.calibration_error if len(labels) >= metrics.CALIBRATED_ROWS else None
        return asdict(found) | {"calibration_error": error, "r2_low": low, "r2_high": high}


BINARY: Task = _Binary()
REGRESSION: Task = _Regression()

TASKS: dict[str, Task] = {task.name: task for task in (BINARY, REGRESSION)}
