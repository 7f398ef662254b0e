"""Every supported estimator of a label that is a number: the same bytes each time, no pickle, and an ONNX file that gives the same forecasts."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.lib.core.errors import DataError, ModelError
from pipelines.lib.features.signature import Signature
from pipelines.lib.measures.tasks import REGRESSION
from pipelines.lib.models import skops_file
from pipelines.lib.models.estimators import DEFAULT, Fitting, Refused, make, not_reproducible, supported
from pipelines.lib.models.golden import relative_difference
from pipelines.lib.models.inference import load_model, require_task
from pipelines.lib.models.trial import faults
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import train
from tests.models_of_every_kind import KINDS, NAMES, NUMBER_KINDS, numbers, params_for_numbers

SIGNATURE = Signature(NAMES, "0" * 64)


@cache
def fitted(kind: str) -> Any:
    return train(numbers(), params_for_numbers(kind))


@cache
def exported(kind: str) -> bytes:
    return export_onnx(fitted(kind), SIGNATURE, ExportOnnx(opset=22), task="regression")


@pytest.mark.costly
@pytest.mark.parametrize("kind", NUMBER_KINDS)
def test_a_second_training_gives_the_same_bytes(kind: str, tmp_path: Path) -> None:
    again = train(numbers(), params_for_numbers(kind))
    for name, model in (("first", fitted(kind)), ("second", again)):
        skops_file.dump(model, tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert export_onnx(again, SIGNATURE, ExportOnnx(opset=22), task="regression") == exported(kind)
    assert not_reproducible(again) is None


@pytest.mark.parametrize("kind", NUMBER_KINDS)
def test_onnx_gives_the_forecasts_of_the_model_that_was_trained(kind: str, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(exported(kind))
    model, rows = load_model(tmp_path / "m.onnx"), numbers(20_000, seed=1)
    wanted, found = np.asarray(fitted(kind).predict(rows.features)).reshape(-1), model.score(rows.features)
    assert model.task is REGRESSION
    assert (found.dtype, found.shape) == (np.float32, (len(rows.labels),))
    assert relative_difference(wanted, found) <= 1e-5
    if kind != "network":  # eight epochs do not reach a label of 500
        assert 0.3 < (REGRESSION.quality(rows.labels, found) or 0) < 0.8  # half of the variance is noise
    skops_file.dump(fitted(kind), tmp_path / "m.skops")
    np.testing.assert_allclose(np.asarray(skops_file.load(tmp_path / "m.skops").predict(rows.features)).reshape(-1), wanted, rtol=1e-12)


@pytest.mark.costly
@pytest.mark.parametrize("kind", NUMBER_KINDS)
def test_a_trial_lets_every_supported_regressor_pass(kind: str) -> None:
    assert faults(Fitting(**NUMBER_KINDS[kind]), "regression") == []


def test_supported_estimators_are_told_apart_by_task() -> None:
    assert set(supported("regression")) == {declared["estimator"] for declared in NUMBER_KINDS.values()}
    assert set(supported("binary")) == {declared["estimator"] for declared in KINDS.values()}


def test_a_classifier_does_not_forecast_a_number() -> None:
    with pytest.raises(Refused, match=r"RandomForestClassifier.*does not forecast a number.*RandomForestRegressor"):
        make(Fitting(estimator=DEFAULT), 0, "regression")
    with pytest.raises(Refused, match=r"RandomForestRegressor.*no predict_proba"):
        make(Fitting(estimator="sklearn.ensemble.RandomForestRegressor"), 0)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (np.full(4_000, 7.0), "all 4000 labels before the holdout are 7; there is nothing to forecast"),
        (np.where(np.arange(4_000) == 5, np.inf, 1.0), "1 of 4000 labels before the holdout are not finite"),
    ],
)
def test_labels_that_teach_nothing_are_refused(labels: np.ndarray, said: str) -> None:
    from dataclasses import replace

    with pytest.raises(DataError, match=said):
        train(replace(numbers(), labels=labels), params_for_numbers("forest"))


def test_a_model_of_another_task_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(exported("linear"))
    with pytest.raises(ModelError, match=r"is for a label of task regression, but dataset.label.task is binary"):
        require_task(load_model(tmp_path / "m.onnx"), "binary", tmp_path / "m.onnx")
