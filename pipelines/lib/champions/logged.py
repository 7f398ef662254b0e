"""Facts that MLflow shows with a logged model: its inputs and outputs, and the data that it comes from."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.data.dataset import Dataset
    from mlflow.models import ModelSignature
    from mlflow.types import Schema
    from onnx import ModelProto, ValueInfoProto


def signature_of(model: "ModelProto") -> "ModelSignature":
    """Return the inputs and outputs of `model` in MLflow's form: the type and shape of each tensor, -1 for any number of rows."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec
    from onnx.helper import tensor_dtype_to_np_dtype

    def schema(values: "Iterable[ValueInfoProto]") -> "Schema":
        tensors = [(value.name, value.type.tensor_type) for value in values]
        return Schema(
            [
                TensorSpec(
                    np.dtype(tensor_dtype_to_np_dtype(tensor.elem_type)),
                    tuple(one.dim_value if one.HasField("dim_value") else -1 for one in tensor.shape.dim),
                    name,
                )
                for name, tensor in tensors
            ]
        )

    return ModelSignature(schema(model.graph.input), schema(model.graph.output))


def history_of(tags: Mapping[str, str]) -> "Dataset":
    """Return the history that the model was trained and evaluated on, as MLflow lists the inputs of a run: its digest is the data revision."""
    from mlflow.data.code_dataset_source import CodeDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    source = CodeDatasetSource({name: tags[name] for name in ("run_ref", "git_commit", "partition")})
    return MetaDataset(source, name="history", digest=tags["data_revision"])  # type: ignore[abstract]  # MLflow makes it so itself
