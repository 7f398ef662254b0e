"""The encoder as ONNX gives what scikit-learn gives, layer by layer, and the same bytes each time."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.encoders.encoder import Encoder, load_encoder
from pipelines.lib.encoders.graph import Fitted, encoder_graph
from pipelines.lib.features.signature import Signature
from pipelines.lib.models import skops_file
from tests.trained_encoder import SIGNATURE, START, fitted, history

ACTIVATE = {"tanh": np.tanh, "relu": lambda x: np.maximum(x, 0), "logistic": lambda x: 1 / (1 + np.exp(-x))}


def exported(given: Fitted, directory: Path) -> Encoder:
    (directory / "encoder.onnx").write_bytes(encoder_graph(given, SIGNATURE, START))
    return load_encoder(directory / "encoder.onnx")


def last_hidden(given: Fitted, features: np.ndarray) -> np.ndarray:
    """Return the last hidden layer [n, d] of scikit-learn's network, in float64."""
    layer = given.scaled(features).astype(np.float64)
    for weights, biases in list(zip(given.network.coefs_, given.network.intercepts_, strict=True))[:-1]:
        layer = ACTIVATE[given.network.activation](layer @ weights + biases)
    return layer


@pytest.mark.costly
@pytest.mark.parametrize("activation", ["tanh", "relu", "logistic"])
def test_onnx_gives_what_scikit_learn_gives(tmp_path: Path, activation: str) -> None:
    given, features = fitted(activation), history(seed=1).features
    encoder = exported(given, tmp_path)
    np.testing.assert_allclose(encoder.probability(features), given.network.predict_proba(given.scaled(features))[:, 1], atol=1e-5)
    hidden = last_hidden(given, features)
    there = np.linalg.norm(hidden, axis=1) > 1e-3
    assert there.mean() > 0.9
    wanted = hidden[there] / np.linalg.norm(hidden[there], axis=1, keepdims=True)
    np.testing.assert_allclose(encoder.encode(features)[there], wanted, atol=1e-4)


@pytest.mark.costly
def test_a_row_that_nothing_responds_to_has_the_vector_0(tmp_path: Path) -> None:
    """All units of a rectified layer may be silent; that is a vector without a norm, which the gate of the vectors sees, and no NaN."""
    given = fitted("relu")
    network = skops_file_copy(given, tmp_path).network
    network.intercepts_[-2] = network.intercepts_[-2] * 0 - 1000
    vectors = exported(Fitted(given.scaler, given.clip, network), tmp_path).encode(history().features[:5])
    assert vectors.tolist() == np.zeros((5, 8)).tolist()


def skops_file_copy(given: Fitted, directory: Path) -> Fitted:
    skops_file.dump(vars(given), directory / "fitted.skops")
    return Fitted(**skops_file.load(directory / "fitted.skops"))


def test_what_was_fitted_comes_back_from_its_file(tmp_path: Path) -> None:
    features = history(seed=1).features
    assert skops_file_copy(fitted(), tmp_path).probability(features).tobytes() == fitted().probability(features).tobytes()


def test_the_same_network_gives_the_same_bytes() -> None:
    assert encoder_graph(fitted(), SIGNATURE, START) == encoder_graph(fitted(), SIGNATURE, START)
    assert encoder_graph(fitted(), SIGNATURE, START) != encoder_graph(fitted(), SIGNATURE, "2013-03-18")


def test_other_features_than_it_was_trained_on_are_refused() -> None:
    with pytest.raises(ConfigError, match="trained on 4 features, but the features file has 3"):
        encoder_graph(fitted(), Signature(("a", "b", "c"), "0" * 64), START)
