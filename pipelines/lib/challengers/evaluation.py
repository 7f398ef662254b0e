"""The evaluation of a model by `evaluate`: the contract that `register`, `decide` and the model card read."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from pipelines.lib.challengers.comparison import Comparison, Incomparable, SliceName
from pipelines.lib.challengers.decisions import Decisions
from pipelines.lib.challengers.search import Found
from pipelines.lib.core import contract
from pipelines.lib.core.contract import STRICT
from pipelines.lib.measures.forecasts import ForecastSummary
from pipelines.lib.measures.metrics import Summary
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.models.forest_sample import ForestSample
from pipelines.lib.models.forms import Form
from pipelines.lib.models.golden import Finding
from pipelines.lib.models.importances import IMPURITY
from pipelines.lib.tables.dataset import TaskName


@dataclass(frozen=True)
class Metrics(Summary):
    """The figures on the holdout, and the largest difference of a score between ONNX and scikit-learn."""

    parity_max_difference: float


@dataclass(frozen=True)
class ForecastMetrics(ForecastSummary):
    """The same of forecasts."""

    parity_max_difference: float


@dataclass(frozen=True)
class SliceSummary(Summary, SliceName):
    """The figures on the rows of the holdout that have one value in a column."""


@dataclass(frozen=True)
class SliceForecast(ForecastSummary, SliceName):
    """The same of forecasts."""


CLASSES: Mapping[TaskName, tuple[type[Metrics] | type[ForecastMetrics], type[SliceSummary] | type[SliceForecast]]] = {
    "binary": (Metrics, SliceSummary),
    "regression": (ForecastMetrics, SliceForecast),
}
"""The classes of the figures on the holdout and on a slice of it, by task."""


@dataclass(frozen=True)
class Figures:
    """The quality of scores on the holdout: the fields of `Evaluation` that depend on labels and scores alone."""

    metrics: Metrics | ForecastMetrics
    quality_interval: tuple[float | None, ...] | None
    slices: tuple[SliceSummary | SliceForecast, ...]
    calibration: tuple[Mapping[str, float], ...]
    roc: tuple[Mapping[str, float], ...]
    scores: tuple[int, ...]
    decisions: Decisions | None
    score_range: tuple[float, float]
    task: TaskName


@dataclass(frozen=True)
class Unscored:
    """A model that could not be judged, since it gives no scores: `faults` says why. `sha256` is None if the file could not even be loaded.

    `name` is that of the registered model, `partition` that of the run, `training` the section ``train`` of params.yaml.
    """

    __pydantic_config__ = STRICT

    name: str
    partition: str
    training: Mapping[str, Any]
    sha256: str | None
    faults: Annotated[tuple[str, ...], Field(min_length=1)]

    @property
    def note(self) -> str:
        """The result in a line, for the run's note."""
        return f"the model does not pass: {'; '.join(self.faults)}"


@dataclass(frozen=True)
class Evaluation:
    """A model's figures on the holdout, the nights from `since` on, which training has not seen.

    `comparison` is None if there was no champion. `quality_interval` is None if the holdout has one class only, and holds None if it has too few
    nights. `scores` counts the scores in 40 equal bins of `score_range`; `decisions` is None for forecasts; `importances` is by feature and measures `importance_kind`; `calibration` and
    `roc` are points of charts. `faults` are the limits that the model misses: it must not be registered if there are any. `trained_on` are the rows that
    the model, and each tree of a forest, learned from. `not_reproducible` is why another training may give other bytes, None if it does not. `form` is None
    unless smaller forms of the model were tried, `search` unless candidates competed. `scored_as` is that of the profile.
    """

    __pydantic_config__ = STRICT

    name: str
    partition: str
    training: Mapping[str, Any]
    comparison: Comparison | Incomparable | None
    sha256: str
    since: str
    metrics: Metrics | ForecastMetrics
    quality_interval: tuple[float | None, ...] | None
    slices: tuple[SliceSummary | SliceForecast, ...]
    calibration: tuple[Mapping[str, float], ...]
    roc: tuple[Mapping[str, float], ...]
    scores: tuple[int, ...]
    decisions: Decisions | None
    importances: Mapping[str, float]
    golden: tuple[Finding, ...]
    faults: tuple[str, ...]
    trained_on: ForestSample
    importance_kind: str = IMPURITY
    score_range: tuple[float, float] = (0.0, 1.0)
    task: TaskName = "binary"
    not_reproducible: str | None = None
    form: Form | None = None
    scored_as: str | None = None
    search: Found | None = None

    @property
    def note(self) -> str:
        """The result in a line, for the run's note."""
        if self.faults:
            return f"the model does not pass: {'; '.join(self.faults)}"
        note = f"challenger's {TASKS[self.task].quality_name} {self.metrics.quality:.3f}"
        if isinstance(self.comparison, Comparison):
            note += f", {self.comparison.quality_difference.value:+.3f} to the champion's"
        return note


def read_evaluation(path: Path) -> Evaluation | Unscored:
    """Read the evaluation that `evaluate` has written to `path`. Raises `DataError` if it is not a whole one."""
    return contract.read(TypeAdapter[Evaluation | Unscored](Evaluation | Unscored), path, "evaluation", "evaluate")


def tags_of_training(report: Path) -> dict[str, str]:
    """Return the tags that say how `train` came to the model that the folder `report` judges: its form, and the candidate that was chosen.

    There is no tag of a choice that was not made.
    """
    evaluation = read_evaluation(report / "evaluation.json")
    if isinstance(evaluation, Unscored):
        return {}
    form, search = evaluation.form, evaluation.search
    return ({"form": form.note} if form else {}) | ({"search": search.chosen} if search else {})


def as_trained(params: Mapping[str, Any], section: str, chosen: str | None) -> dict[str, Any]:
    """Return `section` of `params`, as a model was trained: with the estimator of the candidate that was `chosen`, if candidates competed."""
    declared = next((one for one in (params.get("search") or {}).get("candidates", ()) if one["name"] == chosen), None)
    if declared is None:
        return dict(params[section])
    return {**params[section], "steps": [], "parameters": {}, **{key: value for key, value in declared.items() if key != "name"}}


def evidence_of(evaluation: Evaluation | Unscored) -> str:
    """Return the comparison as the ledger keeps it: JSON without the points of charts, null if nothing was compared."""
    if isinstance(evaluation, Unscored) or evaluation.comparison is None:
        return "null"
    return json.dumps(
        {name: value for name, value in asdict(evaluation.comparison).items() if name not in ("calibration", "roc")}, indent=2
    )
