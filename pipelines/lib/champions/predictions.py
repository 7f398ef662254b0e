"""Compare the predictions of a rebuilt model with those of the registered one, if its card says that its training is not reproducible to the byte."""

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.lib.core.errors import DataError, ModelError
from pipelines.lib.models import golden
from pipelines.lib.models.golden import Golden
from pipelines.lib.storage.rebuild import ComparedPredictions

if TYPE_CHECKING:
    from mlflow import MlflowClient

METRIC_TOLERANCE = 1e-4
"""Largest difference of a metric between two models whose predictions are equal within `golden.TOLERANCE`."""


@dataclass(frozen=True)
class Recorded:
    """The golden set of a registered version, and the `reason` why another training may give other bytes."""

    reason: str
    golden: Golden


def recorded_predictions(client: "MlflowClient", run_id: str) -> Recorded | None:
    """Return what `evaluate` recorded in the MLflow run `run_id`; None if the bytes of the version must be the same.

    The bytes must also be the same if the run has no such record.
    """
    names = {one.path for one in client.list_artifacts(run_id, "evaluation")}
    if not {"evaluation/evaluation.json", "evaluation/golden.json"} <= names:
        return None
    with tempfile.TemporaryDirectory() as scratch:
        evaluation = _text(client, run_id, "evaluation/evaluation.json", scratch)
        try:
            reason = json.loads(evaluation).get("not_reproducible")
        except (ValueError, AttributeError) as error:
            raise DataError(
                f"evaluation/evaluation.json of the MLflow run {run_id} is not an evaluation ({error}); restore it from the backup of MLflow"
            ) from None
        return Recorded(str(reason), Golden.from_json(_text(client, run_id, "evaluation/golden.json", scratch))) if reason else None


def compare(recorded: Recorded, path: Path) -> ComparedPredictions:
    """Compare the scores that the rebuilt model at `path` gives the golden rows with the `recorded` ones."""
    from pipelines.lib.models.inference import load_model

    found = ComparedPredictions(
        reason=recorded.reason, rows=len(recorded.golden.scores), tolerance=golden.TOLERANCE, difference=None, fault=None, equal=False
    )
    try:
        difference = golden.largest_difference(load_model(path), recorded.golden)
    except ModelError as error:
        return {**found, "fault": str(error)}
    return {**found, "difference": difference, "equal": difference <= golden.TOLERANCE}


def difference_of(predictions: ComparedPredictions) -> str:
    """Return the difference of compared scores in words, with the allowed one."""
    return (
        f"largest difference {predictions['difference']:.2g} in {predictions['rows']} golden rows, {predictions['tolerance']:g} is allowed"
    )


def _text(client: "MlflowClient", run_id: str, name: str, scratch: str) -> str:
    return Path(client.download_artifacts(run_id, name, scratch)).read_text(encoding="utf-8")
