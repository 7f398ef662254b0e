"""Small builds of a vector index, each of whose answers tells which build gave it; written as `pipelines.lib.index_build` writes them."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

DIMENSION = 8
ENCODER_SHA256 = hashlib.sha256(b"encoder").hexdigest()


def vectors_of(count: int, seed: int = 0, dimension: int = DIMENSION) -> np.ndarray:
    """`count` seeded vectors of norm 1, float32 [count, dimension]."""
    vectors = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def make_encoder(path: Path, content: bytes = b"encoder") -> Path:
    """A file that stands for an encoder: publishing looks at nothing but its digest."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def make_build(directory: Path, count: int = 50, *, seed: int = 0, mark: int = 0, encoder_sha256: str = ENCODER_SHA256) -> Path:
    """An HNSW build of `count` rows; `mark` stands in every row's key, so that it tells whose row it is."""
    import faiss

    directory.mkdir(parents=True, exist_ok=True)
    vectors = vectors_of(count, seed)
    index = faiss.IndexHNSWFlat(DIMENSION, 8)
    index.add(vectors)
    faiss.write_index(index, str(directory / "index.faiss"))
    rows = pa.table(
        {
            "carrier": pa.array([f"build {mark}"] * count, pa.string()),
            "flight": pa.array(np.arange(count), pa.int64()),
            "partition": pa.array(["2013-01-01"] * count, pa.string()),
            "outcome": pa.array(np.arange(count) % 2, pa.int8()),
        }
    )
    with pa.OSFile(str(directory / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        writer.write_table(rows)
    built: dict[str, Any] = {
        "kind": "hnsw",
        "dimension": DIMENSION,
        "count": count,
        "search": {"ef": 64},
        "parameters": {"m": 8},
        "mode": "full",
        "reason": "a test",
        "base": None,
        "appended_since_full": 0,
        "sweep": [],
        "encoder_sha256": encoder_sha256,
        "faiss": faiss.__version__,
    }
    (directory / "built.json").write_text(json.dumps(built))
    return directory
