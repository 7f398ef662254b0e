"""The encoder as ONNX, from what scikit-learn has fitted: a scaler and a network whose last hidden layer is the vector.

    features [n, f] -> (x - mean) / scale -> clip -> MatMul, Add, activation for each hidden layer -> / its norm -> embedding [n, d]
                                                                        the output layer -> sigmoid -> probability [n, 1]

Written out operator by operator: a converter would name nodes after addresses, and hide the layer that is wanted. Features are clipped after they were
scaled, in training as here: one flight with an impossible value would else take all the range that eight bits have.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.encoders.encoder import TRAINED_UNTIL
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.measures import categories
from pipelines.lib.measures.categories import Categories

OPSET = 22
IR_VERSION = 10
"""Of the file format; pinned like the operator set, so that a new library does not change the bytes unasked."""

ACTIVATIONS = {"tanh": "Tanh", "relu": "Relu", "logistic": "Sigmoid"}

FIRST_LAYER = "layer_0"
"""Its node: where the scaled features come in."""


@dataclass(frozen=True)
class Fitted:
    """A fitted StandardScaler, the `clip` that follows it (in standard deviations), and a fitted binary MLPClassifier."""

    scaler: Any
    clip: float
    network: Any

    def scaled(self, features: NDArray[Any]) -> NDArray[np.float32]:
        """Return what the network is given for `features` [n, f]: float32 [n, f] within -clip and clip."""
        scaled = self.scaler.transform(np.asarray(features, dtype=np.float32))
        clipped: NDArray[np.float32] = np.clip(scaled, -self.clip, self.clip).astype(np.float32, copy=False)
        return clipped

    def probability(self, features: NDArray[Any]) -> NDArray[Any]:
        """Return what scikit-learn says: the probability [n] of the positive class."""
        found: NDArray[Any] = self.network.predict_proba(self.scaled(features))[:, 1]
        return found


def encoder_graph(fitted: Fitted, signature: Signature, trained_until: str, known: Categories | None = None) -> bytes:
    """Return `fitted` as ONNX, with the signature of its features, the categories that are `known` to it and the first date that it has not trained on:
    the same bytes for the same weights.

    Raises `ConfigError` for an activation that has no operator here, or another number of features than the signature names.
    """
    import onnx
    from onnx import TensorProto, helper

    scaler, network = fitted.scaler, fitted.network
    layers = len(network.coefs_)
    if network.activation not in ACTIVATIONS:
        raise ConfigError(f"train_encoder.activation is {network.activation!r}; it must be one of {', '.join(ACTIVATIONS)}")
    if network.coefs_[0].shape[0] != len(signature.names):
        raise ConfigError(
            f"the encoder was trained on {network.coefs_[0].shape[0]} features, but the features file has {len(signature.names)}; run train_encoder again"
        )
    constants = {"mean": scaler.mean_, "scale": scaler.scale_, "low": -fitted.clip, "high": fitted.clip}
    nodes = [
        helper.make_node("Sub", ["features", "mean"], ["centred"], name="centre"),
        helper.make_node("Div", ["centred", "scale"], ["scaled"], name="scale"),
        helper.make_node("Clip", ["scaled", "low", "high"], ["hidden_0"], name="clip"),
    ]
    for index, (weights, biases) in enumerate(zip(network.coefs_, network.intercepts_, strict=True)):
        constants |= {f"weights_{index}": weights, f"biases_{index}": biases}
        nodes += [
            helper.make_node("MatMul", [f"hidden_{index}", f"weights_{index}"], [f"product_{index}"], name=f"layer_{index}"),
            helper.make_node("Add", [f"product_{index}", f"biases_{index}"], [f"sum_{index}"], name=f"add_{index}"),
        ]
        if index < layers - 1:
            nodes.append(
                helper.make_node(ACTIVATIONS[network.activation], [f"sum_{index}"], [f"hidden_{index + 1}"], name=f"activation_{index}")
            )
    nodes += [
        helper.make_node("LpNormalization", [f"hidden_{layers - 1}"], ["embedding"], name="normalise", axis=1, p=2),
        helper.make_node("Sigmoid", [f"sum_{layers - 1}"], ["probability"], name="sigmoid"),
    ]
    values = {
        name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("features", len(signature.names)), ("embedding", network.coefs_[-1].shape[0]), ("probability", 1))
    }
    initializers = [onnx.numpy_helper.from_array(np.asarray(value, dtype=np.float32), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "encoder", [values["features"]], [values["embedding"], values["probability"]], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="nightshift")
    onnx.checker.check_model(model)
    lists = {categories.KEY: categories.to_json(known)} if known else {}
    return serialized(model, {KEY: signature.to_json(), TRAINED_UNTIL: trained_until, **lists})


def serialized(model: Any, metadata: dict[str, str]) -> bytes:
    """Return `model`, an ``onnx.ModelProto``, as bytes that depend on its content alone, with `metadata` in the place of what it has."""
    from onnx import helper

    del model.metadata_props[:]
    helper.set_model_props(model, metadata)
    content: bytes = model.SerializeToString(deterministic=True)
    return content
