"""Importances of models of every kind are shares of the same meaning: the feature that matters comes first."""

from typing import Any

import numpy as np
import pytest

from pipelines.lib.features.compute import Features, Numeric
from pipelines.lib.features.signature import Signature
from pipelines.lib.models.importances import COEFFICIENT, GAIN, IMPURITY, PERMUTATION, importances_of, importances_shown, kind_of
from pipelines.lib.models.inference import load_model
from pipelines.lib.models.profile import ProfileParams
from pipelines.lib.tables.dataset import load_dataset
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import profile_of, train
from tests.models_of_every_kind import KINDS, NAMES, history, params

WANTED = {
    "forest": IMPURITY, "extra_trees": IMPURITY, "gradient_boosting": IMPURITY, "histograms": PERMUTATION, "logistic": COEFFICIENT,
    "network": PERMUTATION, "calibrated": PERMUTATION, "lightgbm": GAIN, "lightgbm_scaled": GAIN, "xgboost": GAIN,
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_importances_are_shares_and_the_profile_the_report_and_the_card_agree(kind: str, tmp_path: Any) -> None:
    rows = history()
    model = train(rows, params(kind))
    assert kind_of(model) == WANTED[kind]
    features = Features(numeric={name: Numeric(missing=-9) for name in NAMES})
    described = profile_of(
        model,
        rows,
        history(1_000, seed=5),
        fit=lambda part: train(part, params(kind)),
        seed=0,
        dataset=load_dataset(),
        features=features,
        params=ProfileParams(bins=10, window_nights=7, floor=0.0001),
    )
    found = {column.binning.name: column.importance for column in described.features}
    assert sum(found.values()) == pytest.approx(1, abs=1e-5)
    assert min(found.values()) >= 0
    assert max(found, key=lambda name: found[name]) in ("number", "near")
    (tmp_path / "m.onnx").write_bytes(export_onnx(model, Signature(NAMES, "0" * 64), ExportOnnx(opset=22), described))
    assert importances_shown(load_model(tmp_path / "m.onnx"), model, history(500, seed=6)) == found


def test_a_coefficient_counts_by_the_scale_of_its_feature() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2_000, 2)).astype(np.float32)
    labels = rows.sum(axis=1) > 0
    from sklearn.linear_model import LogisticRegression

    rows[:, 1] *= 1_000
    found = importances_of(LogisticRegression().fit(rows, labels), rows, ("a", "b"), dict)
    assert found == pytest.approx([0.5, 0.5], abs=0.05)


def test_a_pipeline_that_makes_other_features_is_permuted() -> None:
    from sklearn.decomposition import PCA
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import make_pipeline

    rows = history(300)
    model = make_pipeline(PCA(2), RandomForestClassifier(3, random_state=0)).fit(rows.features, rows.labels)
    assert kind_of(model) == PERMUTATION
    found = importances_of(model, rows.features, NAMES, lambda: {"code": 0.3, "missing": -0.1, "number": 0.1})
    assert found.tolist() == pytest.approx([0.75, 0, 0.25, 0])
