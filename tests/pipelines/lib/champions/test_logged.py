"""MLflow shows the inputs and outputs of the model as they are, and the data revision of its history."""

import json

import onnx
from onnx import TensorProto, helper

from pipelines.lib.champions.logged import history_of, signature_of


def test_the_signature_has_the_type_and_shape_of_each_tensor() -> None:
    given = helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 4])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, [None])
    identity = helper.make_node("Identity", ["features"], ["label"])
    model: onnx.ModelProto = helper.make_model(helper.make_graph([identity], "model", [given], [label]))
    signature = signature_of(model)
    assert [(one.name, str(one.type), one.shape) for one in signature.inputs] == [("features", "float32", (-1, 4))]
    assert [(one.name, str(one.type), one.shape) for one in signature.outputs] == [("label", "int64", (-1,))]


def test_the_history_is_named_by_its_data_revision_and_the_run() -> None:
    tags = {"run_ref": "refs/runs/a", "git_commit": "c" * 40, "partition": "2013-04-01", "data_revision": "d" * 32, "sha256": "e" * 64}
    history = history_of(tags)
    assert (history.name, history.digest) == ("history", "d" * 32)
    source = json.loads(history.source.to_json())
    assert source["tags"] == {name: tags[name] for name in ("run_ref", "git_commit", "partition")}
