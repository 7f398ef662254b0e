"""An ONNX file that holds all that it runs: no weights in other files, no code of another library.

A digest covers the bytes of one file. A tensor whose values are in another file (external data) is outside it, and ONNX Runtime looks for that
file in the working directory. An operator of a domain that ONNX Runtime does not ship needs a library that nobody pinned. Both are refused.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.lib.core.errors import ModelError

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from onnx import ModelProto

DOMAINS = frozenset({"", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "com.ms.internal.nhwc"})
"""The domains of the operators that ONNX Runtime ships; the last two are what its optimiser writes."""

_FROM_FILES = frozenset({"EPContext"})
"""Operators of these domains that read another file."""


def parse_model(content: bytes, path: Path) -> "ModelProto":
    """Return the model whose bytes are `content`, read from `path`. Raises `ModelError` if it is not a whole ONNX model, or not
    self-contained.
    """
    from google.protobuf.message import DecodeError
    from onnx.onnx_pb import ModelProto  # 0.2 s

    try:
        model: ModelProto = ModelProto.FromString(content)
    except DecodeError as error:
        raise _torn(path, content, error) from None
    if not model.HasField("graph"):  # no bytes at all are a valid message too
        raise _torn(path, content, "it has no graph")
    if found := external_tensors(model):
        named = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if len(found) > 3 else "")
        raise ModelError(
            f"the model {path} keeps values outside its file ({named}), where its sha256 does not reach; export it with all its tensors inside "
            "(onnx.save_model with save_as_external_data=False) and register that file"
        )
    if foreign := custom_operators(model):
        raise ModelError(
            f"the model {path} uses operators that ONNX Runtime does not ship: {', '.join(foreign[:5])}; export it with operators of "
            "ai.onnx, ai.onnx.ml or com.microsoft alone"
        )
    return model


def read_metadata(path: Path, sha256: str | None = None) -> dict[str, str]:
    """Return the metadata of the model at `path`, without running it. Raises `ModelError` as `read_verified` and `parse_model` do."""
    return {entry.key: entry.value for entry in parse_model(read_verified(path, sha256)[0], path).metadata_props}


def read_verified(path: Path, sha256: str | None = None) -> tuple[bytes, str]:
    """Return the bytes of the model at `path`, and their digest, which must be `sha256` unless that is None (a laptop's own model, not registered).

    Raises `ModelError` when the file is missing or altered.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"the model {path} cannot be read ({error.strerror}); restore it with `dvc pull`, or pin another version"
        ) from None
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise ModelError(f"the model {path} has sha256 {found}, pinned was {sha256}; it was altered or torn: restore it from the registry")
    return content, found


def external_tensors(model: "ModelProto") -> list[str]:
    """Return the tensors of `model` whose values are in another file, each with that file, wherever in the model they are."""
    from onnx.onnx_pb import TensorProto

    found = []
    for message in _messages(model):
        if isinstance(message, TensorProto) and (message.data_location == TensorProto.EXTERNAL or message.external_data):
            location = next((entry.value for entry in message.external_data if entry.key == "location"), "a file without a name")
            found.append(f"{message.name or 'a tensor without a name'} in {location[:80]}")
    return found


def custom_operators(model: "ModelProto") -> list[str]:
    """Return the operators of `model` that neither ONNX Runtime ships nor the model itself defines as a function; sorted, each
    ``domain.type``.
    """
    from onnx.onnx_pb import NodeProto

    own = {(function.domain, function.name) for function in model.functions}
    nodes = {(message.domain, message.op_type) for message in _messages(model) if isinstance(message, NodeProto)}
    foreign = {(domain, kind) for domain, kind in nodes - own if domain not in DOMAINS or kind in _FROM_FILES}
    return sorted(f"{domain}.{kind}" for domain, kind in foreign)


def has_trees(model: "ModelProto") -> bool:
    """Return whether `model` has trees, wherever in it they are."""
    from onnx.onnx_pb import NodeProto

    return any(isinstance(message, NodeProto) and message.op_type.startswith("TreeEnsemble") for message in _messages(model))


def _messages(root: "Message") -> Iterator["Message"]:
    """Yield `root` and every message within it, however deep: graphs of If, Loop and Scan, functions, sparse tensors, attributes."""
    waiting = [root]
    while waiting:
        message = waiting.pop()
        yield message
        for field, value in message.ListFields():
            if field.message_type is not None:
                waiting.extend([value] if not field.is_repeated else value)


def _torn(path: Path, content: bytes, why: object) -> ModelError:
    return ModelError(f"the model {path} ({len(content)} bytes) is not a whole ONNX model: {why}; export it again")
