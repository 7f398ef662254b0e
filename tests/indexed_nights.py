"""A past that is indexed: earlier nights of the kind of `scored_night`, their outcomes, the encoder that knows them, and published
generations.
"""

import json
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.run import PinnedIndex
from pipelines.lib.encoders.encoder import Encoder, load_encoder
from pipelines.lib.encoders.graph import encoder_graph
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import Signature
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index import publication as index_publication
from pipelines.training.train_encoder import train_encoder
from tests import scored_night as night
from tests.trained_encoder import PARAMS

NAME = "test_encoder"


@cache
def encoder_bytes(signature: Signature = night.SIGNATURE) -> bytes:
    """Return an encoder of five features that has learnt that `a` matters."""
    features = night.values(2_000, seed=1)
    history = History(features, (features[:, 0] > 0).astype(np.int8), pa.table({}), night.NAMES)
    return encoder_graph(train_encoder(history, PARAMS), signature, "2013-03-01")


def encoder_at(path: Path, signature: Signature = night.SIGNATURE) -> Encoder:
    """Return the encoder, written to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encoder_bytes(signature))
    return load_encoder(path)


def past(rows: int, partition: str = "2013-03-01", seed: int = 100) -> tuple[pa.Table, np.ndarray]:
    """Return what an index says of `rows` rows of `partition` (key, partition, outcome), and their features [rows, 5]; they ended badly
    where `a` is positive.
    """
    start = datetime.fromisoformat(partition)
    matrix = night.values(rows, seed)
    columns = {
        "carrier": pa.array(["UA"] * rows, pa.string()),
        "flight": pa.array(range(rows), pa.int64()),
        "origin": pa.array(["EWR"] * rows, pa.string()),
        "scheduled_departure": pa.array([start + timedelta(seconds=row) for row in range(rows)], pa.timestamp("us")),
        "partition": pa.array([partition] * rows, pa.string()),
        "outcome": pa.array((matrix[:, 0] > 0).astype(np.int8)),
    }
    return pa.table(columns), matrix


def build(directory: Path, encoder: Encoder, rows: pa.Table, matrix: np.ndarray) -> Path:
    """Return an HNSW build of `rows`, whose features are `matrix`, in the files of `pipelines.lib.vector_index.build`; it looks at all of
    them.
    """
    import faiss

    directory.mkdir(parents=True, exist_ok=True)
    index = faiss.IndexHNSWFlat(encoder.dimension, 16)
    index.add(encoder.encode(matrix))
    faiss.write_index(index, str(directory / "index.faiss"))
    with pa.OSFile(str(directory / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    size = {"kind": "hnsw", "dimension": encoder.dimension, "count": rows.num_rows, "search": {"ef": max(rows.num_rows, 16)}}
    (directory / "built.json").write_text(json.dumps({**size, "encoder_sha256": encoder.sha256}))
    return directory


def publish(directory: Path, rows: pa.Table, matrix: np.ndarray, signature: Signature = night.SIGNATURE, name: str = NAME) -> PinnedIndex:
    """Make `rows` the current generation of index `name` under the index root, and pin it; `directory` is scratch."""
    encoder = encoder_at(directory / "encoder.onnx", signature)
    manifest = {"partition": "2013-04-01", "encoder_name": name, "encoder_version": "3", "encoder_sha256": encoder.sha256}
    before = generations.current(name)
    pointer = index_publication.publish(
        name,
        build(directory / "build", encoder, rows, matrix),
        directory / "encoder.onnx",
        manifest,
        expected_sequence=before.sequence if before else 0,
        retain=3,
    )
    pinned = {field: getattr(pointer, field) for field in ("generation", "manifest_sha256", "partition", "encoder_version", "sequence")}
    return PinnedIndex(name=name, encoder_sha256=sha256_of(directory / "encoder.onnx"), **pinned)
