"""One declaration of each kind of estimator that Nightshift supports, and rows to fit it on."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.dummy import DummyClassifier

from pipelines.lib.features.history import History
from pipelines.lib.measures.tasks import REGRESSION
from pipelines.lib.models.estimators import DEFAULT
from pipelines.training.train import Train

NAMES = ("code", "missing", "number", "near")
SCALED = ("sklearn.preprocessing.StandardScaler",)

KINDS: dict[str, dict[str, Any]] = {
    "forest": {"estimator": DEFAULT, "parameters": {"n_estimators": 10, "max_depth": 8}},
    "extra_trees": {"estimator": "sklearn.ensemble.ExtraTreesClassifier", "parameters": {"n_estimators": 10, "max_depth": 8}},
    "gradient_boosting": {"estimator": "sklearn.ensemble.GradientBoostingClassifier", "parameters": {"n_estimators": 10}},
    "histograms": {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "parameters": {"max_iter": 20}},
    "logistic": {"estimator": "sklearn.linear_model.LogisticRegression", "steps": SCALED},
    "network": {
        "estimator": "sklearn.neural_network.MLPClassifier", "steps": SCALED,
        "parameters": {"hidden_layer_sizes": [16, 8], "max_iter": 8, "early_stopping": True},
    },
    "calibrated": {
        "estimator": "sklearn.calibration.CalibratedClassifierCV",
        "parameters": {"method": "sigmoid", "cv": 3, "estimator": {"estimator": DEFAULT, "parameters": {"n_estimators": 5, "max_depth": 5}}},
    },
    "lightgbm": {"estimator": "lightgbm.LGBMClassifier", "parameters": {"n_estimators": 30, "num_leaves": 15, "min_data_in_leaf": 20}},
    "lightgbm_scaled": {"estimator": "lightgbm.LGBMClassifier", "steps": SCALED, "parameters": {"n_estimators": 10, "num_leaves": 7}},
    "xgboost": {"estimator": "xgboost.XGBClassifier", "parameters": {"n_estimators": 30, "max_depth": 4}},
}  # fmt: skip
"""By name; each is what section ``train`` says."""

NUMBER_KINDS: dict[str, dict[str, Any]] = {
    "forest": {"estimator": "sklearn.ensemble.RandomForestRegressor", "parameters": {"n_estimators": 10, "max_depth": 8}},
    "extra_trees": {"estimator": "sklearn.ensemble.ExtraTreesRegressor", "parameters": {"n_estimators": 10, "max_depth": 8}},
    "gradient_boosting": {"estimator": "sklearn.ensemble.GradientBoostingRegressor", "parameters": {"n_estimators": 10}},
    "histograms": {"estimator": "sklearn.ensemble.HistGradientBoostingRegressor", "parameters": {"max_iter": 20}},
    "linear": {"estimator": "sklearn.linear_model.LinearRegression", "steps": SCALED},
    "ridge": {"estimator": "sklearn.linear_model.Ridge", "steps": SCALED},
    "network": {
        "estimator": "sklearn.neural_network.MLPRegressor", "steps": SCALED, "parameters": {"hidden_layer_sizes": [16, 8], "max_iter": 8},
    },
    "lightgbm": {"estimator": "lightgbm.LGBMRegressor", "parameters": {"n_estimators": 30, "num_leaves": 15, "min_data_in_leaf": 20}},
    "xgboost": {"estimator": "xgboost.XGBRegressor", "parameters": {"n_estimators": 30, "max_depth": 4}},
}  # fmt: skip
"""The same for a label that is a number."""


WITHOUT_A_CONVERTER: dict[str, Any] = {"estimator": "sklearn.dummy.DummyClassifier", "steps": [], "parameters": {"strategy": "prior"}}
"""A declaration that only a trial refuses: its names and values are right, it can be fitted, and it has no ONNX form."""


def counted_fits(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let every fit of `WITHOUT_A_CONVERTER` add its number of rows to the list that is returned."""
    rows: list[int] = []
    fit = DummyClassifier.fit

    def counting(model: DummyClassifier, features: np.ndarray, *others: Any, **named: Any) -> DummyClassifier:
        rows.append(len(features))
        return fit(model, features, *others, **named)

    monkeypatch.setattr(DummyClassifier, "fit", counting)
    return rows


def params(kind: str, **others: Any) -> Train:
    """Return section ``train`` for an estimator of `kind`."""
    return Train(**KINDS[kind], **{"random_state": 42, "holdout_days": 14, "minimum_rows": 100, **others})


def params_for_numbers(kind: str, **others: Any) -> Train:
    """Return section ``train`` for a regressor of `kind`."""
    return Train(**NUMBER_KINDS[kind], **{"random_state": 42, "holdout_days": 14, "minimum_rows": 100, **others})


def numbers(rows: int = 4_000, seed: int = 0) -> History:
    """Return the rows of `history` with a label that is a number, 500 on average."""
    found = history(rows, seed)
    noise = np.random.default_rng(seed + 1).normal(size=rows)
    labels = 500 + 100 * (found.features[:, 2] + (found.features[:, 0] == -1) + noise).astype(np.float64)
    return replace(found, labels=labels, task=REGRESSION)


def history(rows: int = 4_000, seed: int = 0) -> History:
    """Return rows with codes of missing and unseen categories, fillers, and values that are as close to each other as float32 can."""
    rng = np.random.default_rng(seed)
    code = rng.integers(-2, 6, rows).astype(np.float32)
    missing = np.where(rng.random(rows) < 0.3, -999, rng.exponential(3, rows)).astype(np.float32)
    number = rng.normal(size=rows).astype(np.float32)
    near = np.float32(1) + rng.integers(0, 4, rows).astype(np.float32) * np.finfo(np.float32).eps
    chance = 1 / (1 + np.exp(-(number + (code == -1) + (missing < 0) - 2 * (near > 1.0000001))))
    labels = (rng.random(rows) < chance).astype(np.int8)
    days = np.datetime64("2013-01-01") + np.arange(rows) // 100
    features = np.column_stack([code, missing, number, near]).astype(np.float32)
    return History(features, labels, pa.table({"partition": pa.array(days.astype(str).tolist())}), NAMES)
