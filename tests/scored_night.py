"""A small model, and nights for it to score: what the tests of scoring and publishing start from."""

from datetime import datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.ensemble import RandomForestClassifier

from pipelines.lib.features.signature import KEY, Signature
from pipelines.training.export_onnx import ExportOnnx, export_onnx

NAMES = ("a", "b", "c", "d", "e")
SIGNATURE = Signature(NAMES, "5" * 64)
ORDER = ("carrier", "flight", "origin", "scheduled_departure")
PARTITION = "2013-04-01"


def values(rows: int, seed: int = 0) -> np.ndarray:
    """Return features, float32 [rows, 5]."""
    return np.random.default_rng(seed).normal(size=(rows, len(NAMES))).astype(np.float32)


@cache
def forest() -> RandomForestClassifier:
    """Return a forest of twenty trees that has learnt that `a` matters."""
    features = values(2_000, seed=1)
    return RandomForestClassifier(20, max_depth=6, random_state=42).fit(features, (features[:, 0] > 0).astype(np.int8))


@cache
def onnx_bytes(signature: Signature = SIGNATURE) -> bytes:
    """Return the forest as production runs it."""
    return export_onnx(forest(), signature, ExportOnnx(opset=22))


def features_table(rows: int, seed: int = 0, signature: Signature = SIGNATURE) -> pa.Table:
    """Return a night's features file as a table: key, event time, partition, features."""
    start = datetime(2013, 4, 1, 5, 0)  # noqa: DTZ001 (local time, as the source has it)
    matrix = values(rows, seed)
    columns = {
        "carrier": pa.array(["UA" if row % 3 else "Ünïted" for row in range(rows)], pa.string()),
        "flight": pa.array(range(rows), pa.int64()),
        "origin": pa.array([("EWR", "JFK", "LGA")[row % 3] for row in range(rows)], pa.string()),
        "scheduled_departure": pa.array([start + timedelta(seconds=row) for row in range(rows)], pa.timestamp("us")),
        "partition": pa.array([PARTITION] * rows, pa.string()),
        **{name: pa.array(matrix[:, index]) for index, name in enumerate(NAMES)},
    }
    return pa.table(columns).replace_schema_metadata({KEY: signature.to_json()})


def write_features(path: Path, rows: int, *, row_group_size: int = 65_536, seed: int = 0) -> Path:
    """Return a features file of `rows` rows at `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(features_table(rows, seed), path, row_group_size=row_group_size, compression="zstd")
    return path


def write_scores(path: Path, rows: int, score: float = 0.25) -> Path:
    """Return a scores file of `rows` rows at `path`, each with the same `score`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = features_table(rows).select(ORDER).replace_schema_metadata()
    keys = keys.append_column("score", pa.array([score] * rows, pa.float32()))
    pq.write_table(
        keys.append_column("decision", pa.array([score >= 0.5] * rows, pa.bool_())), path, compression="zstd", write_page_checksum=True
    )
    return path
