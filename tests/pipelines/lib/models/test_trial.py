"""A trial refuses a model that no training could make, at its key, and lets every supported estimator pass."""

from typing import Any

import pytest

from pipelines.lib.models.estimators import DEFAULT, Fitting
from pipelines.lib.models.trial import faults
from tests.models_of_every_kind import KINDS


@pytest.mark.costly
@pytest.mark.parametrize("kind", KINDS)
def test_every_supported_estimator_passes(kind: str) -> None:
    assert faults(Fitting(**KINDS[kind])) == []


@pytest.mark.parametrize(
    ("declared", "key", "said"),
    [
        ({"estimator": DEFAULT, "parameters": {"max_depth": 0}}, "parameters.max_depth", "is 0. It must be an int in the range [1, inf) or None"),
        ({"estimator": DEFAULT, "parameters": {"n_estimators": "ten"}}, "parameters.n_estimators", "is 'ten'. It must be an int in the range [1, inf)"),
        ({"estimator": "lightgbm.LGBMClassifier", "parameters": {"num_leaves": 1}}, "parameters.num_leaves", "cannot be fitted (LightGBMError: "),
        ({"estimator": "xgboost.XGBClassifier", "parameters": {"tree_method": "grow"}}, "parameters.tree_method", "cannot be fitted ("),
        ({"estimator": "sklearn.semi_supervised.LabelSpreading"}, "estimator", "cannot be converted to ONNX"),
        ({"estimator": "sklearn.dummy.DummyClassifier"}, "estimator", "cannot be converted to ONNX"),
        ({"estimator": "sklearn.calibration.CalibratedClassifierCV", "parameters": {"method": "isotonic", "cv": 3}}, "estimator", "its ONNX form gives probabilities that differ by"),
        ({"estimator": "sklearn.svm.LinearSVC"}, "estimator", "has no predict_proba"),
        ({"estimator": "sklearn.linear_model.LogisticRegression", "steps": ("sklearn.preprocessing.SplineTransformer",)}, "estimator", "cannot be converted to ONNX"),
    ],
)  # fmt: skip
def test_a_model_that_cannot_be_made_is_refused_at_its_key(declared: dict[str, Any], key: str, said: str) -> None:
    [found] = faults(Fitting(**declared))
    assert (found.key, said in f"{found.fact}; {found.remedy}") == (key, True), str(found)


def test_the_default_forest_needs_no_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.lib.models.trial.make", None)
    assert faults(Fitting(estimator=DEFAULT, parameters={"n_estimators": 100, "max_depth": 8})) == []
