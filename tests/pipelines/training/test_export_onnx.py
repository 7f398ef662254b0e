"""The ONNX of a forest: the same answers, the same bytes each time, and a refusal of features that it was not trained on."""

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.ensemble import RandomForestClassifier

from pipelines.lib.core.errors import ModelError
from pipelines.lib.features.signature import KEY, Signature
from pipelines.training.export_onnx import ExportOnnx, export_onnx

SIGNATURE = Signature(("a", "b", "c"), "0" * 64)
PARAMS = ExportOnnx(opset=22)


@pytest.fixture(scope="module")
def features() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(500, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def forest(features: np.ndarray) -> RandomForestClassifier:
    return RandomForestClassifier(n_estimators=10, max_depth=4, random_state=1).fit(features, features[:, 0] > 0)


def test_onnx_answers_as_the_forest_does(forest: RandomForestClassifier, features: np.ndarray) -> None:
    session = onnxruntime.InferenceSession(export_onnx(forest, SIGNATURE, PARAMS), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"features": features})
    np.testing.assert_allclose(probabilities, forest.predict_proba(features), rtol=0, atol=1e-5)


def test_the_same_forest_gives_the_same_bytes(forest: RandomForestClassifier) -> None:
    assert export_onnx(forest, SIGNATURE, PARAMS) == export_onnx(forest, SIGNATURE, PARAMS)


def test_the_operator_set_is_the_pinned_one_and_the_file_has_its_signature(forest: RandomForestClassifier) -> None:
    model = onnx.load_from_string(export_onnx(forest, SIGNATURE, ExportOnnx(opset=15)))
    assert {each.domain: each.version for each in model.opset_import}.get("", 15) == 15
    assert {each.key: each.value for each in model.metadata_props}[KEY] == SIGNATURE.to_json()


def test_another_number_of_features_is_refused(forest: RandomForestClassifier) -> None:
    with pytest.raises(ModelError, match="trained on 3 features, but the features file has 2; run train again"):
        export_onnx(forest, Signature(("a", "b"), "0" * 64), PARAMS)
