"""A small encoder and the history it learned from: what the tests of the encoder and of the index share."""

import datetime as dt
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib.encoders.graph import Fitted, encoder_graph
from pipelines.lib.features.history import History
from pipelines.lib.features.signature import KEY, Signature
from pipelines.training.train_encoder import TrainEncoder, train_encoder

NAMES = ("a", "b", "c", "d")
SIGNATURE = Signature(NAMES, "0" * 64)
PARTITION, START = "2013-04-01", "2013-03-17"
"""As of 1 April, with a day of delay and fourteen of holdout, training ends before 17 March."""

FIRST = dt.date(2013, 3, 1)
NIGHTLY = 200
PARAMS = TrainEncoder(
    layers=(16, 8),
    activation="tanh",
    epochs=8,
    batch_size=64,
    learning_rate=0.01,
    alpha=0.001,
    random_state=42,
    holdout_days=14,
    minimum_rows=100,
    clip=6.0,
)


@cache
def history(rows: int = 6_000, seed: int = 0) -> History:
    """Return a month of nights of `NIGHTLY` rows; the outcome follows `a` and, less so, `b`. `key` numbers the rows."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, len(NAMES))).astype(np.float32) * np.float32([1, 2, 30, 0.1]) + np.float32([0, 5, 1000, 0])
    labels = (features[:, 0] + 0.5 * (features[:, 1] - 5) / 2 + rng.normal(size=rows) > 0).astype(np.int8)
    nights = [(FIRST + dt.timedelta(days=row // NIGHTLY)).isoformat() for row in range(rows)]
    return History(features, labels, pa.table({"partition": nights, "key": np.arange(rows)}), NAMES)


@cache
def fitted(activation: str = "tanh", seed: int = 42, layers: tuple[int, ...] = (16, 8)) -> Fitted:
    """Return an encoder's network, fitted on what is before the holdout."""
    whole = history()
    before = whole.nights < START
    learned = History(whole.features[before], whole.labels[before], whole.rows, NAMES)
    return train_encoder(learned, PARAMS.model_copy(update={"activation": activation, "random_state": seed, "layers": layers}))


@cache
def encoder_bytes(seed: int = 42, signature: Signature = SIGNATURE, until: str = START, layers: tuple[int, ...] = (16, 8)) -> bytes:
    """Return the encoder as ONNX."""
    return encoder_graph(fitted(seed=seed, layers=layers), signature, until)


def write_history(path: Path, given: History | None = None, label: str = "late") -> None:
    """Write a features file of `given`, by default `history()`, with the outcome in the column `label`."""
    given = given or history()
    table = given.rows.append_column(label, pa.array(given.labels.astype(bool)))
    for index, name in enumerate(NAMES):
        table = table.append_column(name, pa.array(given.features[:, index]))
    pq.write_table(table.replace_schema_metadata({KEY: SIGNATURE.to_json()}), path)
