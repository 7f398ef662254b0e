"""A model is one file: what it keeps in others, or needs from another library, is refused wherever in the model it hides."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.message import Message
from onnx import ModelProto, TensorProto, helper, numpy_helper

from pipelines.lib.core.errors import ModelError
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.models.inference import open_session
from pipelines.lib.models.onnx_file import DOMAINS, has_trees, parse_model

WEIGHTS = np.array([[1, 2], [3, 4]], dtype=np.float32)
FLOATS = TensorProto.FLOAT


def model_of(
    *nodes: onnx.NodeProto, initializers: tuple[TensorProto, ...] = (), functions: tuple[onnx.FunctionProto, ...] = ()
) -> ModelProto:
    given, wanted = (helper.make_tensor_value_info(name, FLOATS, ["n", 2]) for name in ("features", "probabilities"))
    graph = helper.make_graph(list(nodes), "g", [given], [wanted], initializer=list(initializers))
    imports = [helper.make_opsetid(domain, 17 if not domain else 1) for domain in ("", "com.microsoft", "acme")]
    model = helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=8)
    helper.set_model_props(model, {KEY: Signature(("a", "b"), "1" * 64).to_json()})
    return model


def tensor(name: str = "weights") -> TensorProto:
    return numpy_helper.from_array(WEIGHTS, name)


def product() -> onnx.NodeProto:
    return helper.make_node("MatMul", ["features", "weights"], ["probabilities"])


def constant(**attributes: object) -> onnx.NodeProto:
    return helper.make_node("Constant", [], ["weights"], **attributes)


def body(*nodes: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph(
        list(nodes), "body", [], [helper.make_tensor_value_info("inner", FLOATS, [2, 2])], initializer=[tensor("inner")]
    )


def sparse() -> onnx.SparseTensorProto:
    values = numpy_helper.from_array(np.array([1, 2], dtype=np.float32), "weights")
    return helper.make_sparse_tensor(values, numpy_helper.from_array(np.array([0, 3]), "places"), [2, 2])


def with_sparse_initializer() -> ModelProto:
    model = model_of(product())
    model.graph.sparse_initializer.append(sparse())
    return model


def with_function() -> ModelProto:
    nodes = [helper.make_node("Constant", [], ["w"], value=tensor("w")), helper.make_node("MatMul", ["x", "w"], ["y"])]
    function = helper.make_function("acme", "Product", ["x"], ["y"], nodes, [helper.make_opsetid("", 17)])
    return model_of(helper.make_node("Product", ["features"], ["probabilities"], domain="acme"), functions=(function,))


def with_default_of_a_function() -> ModelProto:
    model = with_function()
    model.functions[0].attribute_proto.append(helper.make_attribute("start", tensor("start")))
    return model


def with_training() -> ModelProto:
    model = model_of(product(), initializers=(tensor(),))
    model.training_info.add().initialization.CopyFrom(body())
    return model


def with_a_loop_in_a_branch() -> ModelProto:
    loop = helper.make_node("Loop", ["", ""], ["inner"], body=body())
    branch = helper.make_node("If", ["features"], ["inner"], then_branch=body(loop), else_branch=body())
    return model_of(branch, product(), initializers=(tensor(),))


WHERE: dict[str, Callable[[], ModelProto]] = {
    "an initializer": lambda: model_of(product(), initializers=(tensor(),)),
    "a sparse initializer": with_sparse_initializer,
    "an attribute": lambda: model_of(constant(value=tensor()), product()),
    "a list in an attribute": lambda: model_of(helper.make_node("Any", [], [], domain="com.microsoft", values=[tensor(), tensor("more")])),
    "a sparse attribute": lambda: model_of(constant(sparse_value=sparse()), product()),
    "a branch": lambda: model_of(helper.make_node("If", ["c"], ["inner"], then_branch=body(), else_branch=body())),
    "a loop in a branch": with_a_loop_in_a_branch,
    "a scan": lambda: model_of(helper.make_node("Scan", ["features"], ["inner"], body=body(), num_scan_inputs=1)),
    "a function": with_function,
    "a default of a function": with_default_of_a_function,
    "training": with_training,
}


def tensors(message: Message) -> list[TensorProto]:
    """Return every tensor in `message`, found otherwise than the code under test finds them: by its fields' names."""
    if isinstance(message, TensorProto):
        return [message]
    found = []
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None:
            value = getattr(message, field.name)
            parts = value if field.is_repeated else [value] if message.HasField(field.name) else []
            found += [one for part in parts for one in tensors(part)]
    return found


def put_outside(one: TensorProto, location: str = "weights.bin") -> None:
    one.ClearField("raw_data")
    one.data_location = TensorProto.EXTERNAL
    entry = one.external_data.add()
    entry.key, entry.value = "location", location


@pytest.mark.parametrize("where", WHERE)
def test_a_model_whose_tensors_are_all_in_its_file_passes(where: str) -> None:
    model = WHERE[where]()
    assert parse_model(model.SerializeToString(), Path("m.onnx")) == model


@pytest.mark.parametrize(("where", "number"), [(where, number) for where in WHERE for number in range(len(tensors(WHERE[where]())))])
def test_a_single_tensor_outside_the_file_is_refused_wherever_it_is(where: str, number: int) -> None:
    model = WHERE[where]()
    put_outside(tensors(model)[number])
    with pytest.raises(
        ModelError, match=r"m\.onnx keeps values outside its file \(.* in weights\.bin\).*export it with all its tensors inside"
    ):
        parse_model(model.SerializeToString(), Path("m.onnx"))


def test_a_place_in_memory_is_outside_too() -> None:
    model = model_of(product(), initializers=(tensor(),))
    put_outside(model.graph.initializer[0], "*/_ORT_MEM_ADDR_/*")
    with pytest.raises(ModelError, match="outside its file"):
        parse_model(model.SerializeToString(), Path("m.onnx"))


def test_values_of_the_working_directory_are_never_run_under_a_pinned_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide, narrow = (
        numpy_helper.from_array(np.ones(shape, dtype=np.float32), name) for name, shape in (("wide", (2, 64)), ("narrow", (64, 2)))
    )
    hidden = helper.make_node("MatMul", ["features", "wide"], ["hidden"])
    model = model_of(hidden, helper.make_node("MatMul", ["hidden", "narrow"], ["probabilities"]), initializers=(wide, narrow))
    put_outside(model.graph.initializer[0])
    content = model.SerializeToString()
    (tmp_path / "m.onnx").write_bytes(content)
    np.full(128, 7, dtype=np.float32).tofile(tmp_path / "weights.bin")  # anybody's
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"wide in weights\.bin"):
        open_session(Path("m.onnx"), hashlib.sha256(content).hexdigest())


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("Oracle", ["features"], ["probabilities"], domain="acme"),
        helper.make_node("EPContext", ["features"], ["probabilities"], domain="com.microsoft", ep_cache_context="engine.bin", embed_mode=0),
    ],
)
@pytest.mark.parametrize("hidden", [False, True])
def test_an_operator_of_another_library_is_refused(node: onnx.NodeProto, hidden: bool) -> None:
    model = model_of(helper.make_node("If", ["c"], ["inner"], then_branch=body(node), else_branch=body()) if hidden else node)
    with pytest.raises(ModelError, match=rf"does not ship: {node.domain}\.{node.op_type}; export it with"):
        parse_model(model.SerializeToString(), Path("m.onnx"))


def test_an_operator_in_a_function_of_the_model_is_refused_too() -> None:
    model = with_function()
    model.functions[0].node[1].domain = "acme"
    with pytest.raises(ModelError, match=r"acme\.MatMul"):
        parse_model(model.SerializeToString(), Path("m.onnx"))


def test_the_domains_are_those_that_onnx_runtime_ships() -> None:
    from onnxruntime.capi.onnxruntime_pybind11_state import get_all_operator_schema

    shipped = {schema.domain for schema in get_all_operator_schema()}
    assert shipped | {"ai.onnx"} == DOMAINS  # which is another name of the empty one


@pytest.mark.parametrize("content", [b"", b"ORTM", b"\x1c\x00\x00\x00ORTM" + bytes(64), b"\x08\x08", b"\xff" * 100])
def test_a_file_that_is_not_onnx_is_refused_before_it_is_run(content: bytes) -> None:
    with pytest.raises(ModelError, match=r"is not a whole ONNX model.*export it again"):
        parse_model(content, Path("m.onnx"))


@pytest.mark.parametrize("kind", ["TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"])
def test_trees_are_seen_wherever_they_are(kind: str) -> None:
    tree = helper.make_node(kind, ["features"], ["trees"], domain="ai.onnx.ml")
    branches = helper.make_node("If", ["which"], ["y"], then_branch=body(tree), else_branch=body(product()))
    assert has_trees(model_of(tree))
    assert has_trees(model_of(branches))
    assert not has_trees(model_of(product()))
