"""How an encoder turns features into vectors: ONNX only, verified by digest, and from Parquet in a stream.

An encoder takes the features of its own signature and gives a vector of norm 1 and the probability of the positive class. A row has one
vector in every batch: otherwise rows could not be appended to an index, and a single flight could not be found in it. The encoder holds the
first date that it has not trained on, so that two encoders are only compared on rows that neither has seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipelines.lib.core.errors import ModelError
from pipelines.lib.features.signature import Signature, signature_of_features
from pipelines.lib.measures import categories
from pipelines.lib.measures.categories import Categories
from pipelines.lib.models.inference import RUN_ROWS, check_columns, check_fit, feature_columns, open_features, open_session, read_batches

if TYPE_CHECKING:
    import onnxruntime

TRAINED_UNTIL = "nightshift.trained_until"
"""Key of the ONNX metadata: the first date that the encoder has not trained on."""

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Encoder:
    """A verified encoder, ready to run in any number of threads at once (the session itself uses the caller's alone)."""

    session: "onnxruntime.InferenceSession"
    signature: Signature
    sha256: str
    dimension: int
    trained_until: str
    categories: Categories = field(default_factory=dict)
    """The categories of each feature that is text in a features file, in the order of their codes."""

    def encode(self, matrix: NDArray[np.float32]) -> Vectors:
        """Return the vector of each row: float32 [n, f] -> float32 [n, dimension], of norm 1. Raises `ModelError` for rows of another
        width.
        """
        return self._run("embedding", matrix, self.dimension)

    def probability(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of the positive class for each row: float32 [n, f] -> float32 [n]."""
        return self._run("probability", matrix, 1)[:, 0]

    def _run(self, output: str, matrix: NDArray[np.float32], width: int) -> NDArray[np.float32]:
        wanted = len(self.signature.names)
        if matrix.ndim != 2 or matrix.shape[1] != wanted:
            raise ModelError(
                f"the encoder takes rows of {wanted} features, it was given an array of shape {matrix.shape}; encode its own features"
            )
        found = np.empty((len(matrix), width), dtype=np.float32)
        for start in range(0, len(matrix), RUN_ROWS):  # a block stays in a core's cache, and memory flat
            block = np.ascontiguousarray(matrix[start : start + RUN_ROWS], dtype=np.float32)
            found[start : start + RUN_ROWS] = self.session.run([output], {"features": block})[0]
        return found


def load_encoder(path: Path, sha256: str | None = None) -> Encoder:
    """Return the encoder at `path`, whose digest must be `sha256` unless that is None (a laptop's own).

    Raises `ModelError` when the file is missing, altered or torn, or is not an encoder.
    """
    session, signature, found, _ = open_session(path, sha256)
    outputs = {value.name: (value.type, value.shape[-1]) for value in session.get_outputs()}
    kind, dimension = outputs.get("embedding", ("", None))
    if kind != "tensor(float)" or not isinstance(dimension, int) or outputs.get("probability") != ("tensor(float)", 1):
        raise ModelError(
            f"the model {path} gives {outputs}; an encoder must give 'embedding', float [n, d], and 'probability', float [n, 1]: make one with train_encoder"
        )
    metadata = session.get_modelmeta().custom_metadata_map
    recorded_until = metadata.get(TRAINED_UNTIL)
    if recorded_until is None:
        raise ModelError(
            f"the encoder {path} does not say until when it has trained (no {TRAINED_UNTIL!r} in its metadata); train it again"
        )
    return Encoder(session, signature, found, dimension, recorded_until, categories.from_json(metadata.get(categories.KEY)))


def encode_features(encoder: Encoder, path: Path, columns: Sequence[str]) -> Iterator[tuple[pa.RecordBatch, Vectors]]:
    """Stream the features file at `path`: batches of its `columns`, and the vectors [rows of the batch, dimension] of each.

    Raises `ModelError` when the encoder was made for other features, `DataError` when the file is torn, or a column is missing, of the wrong
    type or has nulls.
    """
    names = encoder.signature.names
    with open_features(path) as file:
        check_fit(encoder, signature_of_features(path))
        check_columns(file.schema_arrow, names, columns, path, encoder.categories)
        for batch in read_batches(file, list(dict.fromkeys([*columns, *names])), path):
            matrix = np.empty((batch.num_rows, len(names)), dtype=np.float32)
            for index, column in enumerate(feature_columns(batch, names, encoder.categories)):
                matrix[:, index] = column
            yield batch.select(list(columns)), encoder.encode(matrix)
