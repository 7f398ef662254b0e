"""Fit the encoder on all labelled history before the holdout: a small network whose last hidden layer becomes a row's vector.

Reads   data/features/history.parquet
Writes  data/encoder/fp32.onnx and data/encoder/fitted.skops, the network of scikit-learn (the same bytes for the same history and parameters)
Fails   if there is too little history before the holdout, or if it has only one class
"""

import sys
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ConfigDict, Field

from pipelines.lib.core import stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.encoders.graph import Fitted, encoder_graph
from pipelines.lib.features.categories import most_frequent
from pipelines.lib.features.history import History, Holdout, drawn, holdout_start, read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.tables.dataset import load_dataset


class TrainEncoder(Holdout):
    """The network's parameters, and the least and the largest number of rows that it is fitted on. Of a longer history, `maximum_rows` are drawn.

    `layers`: units of each hidden layer; the last number is the dimension of the vectors. `clip`: largest distance of a feature from its mean, in
    standard deviations; values further away are set to it.
    """

    model_config = ConfigDict(extra="forbid")

    layers: tuple[int, ...] = Field(min_length=1)
    activation: Literal["tanh", "relu", "logistic"]
    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    alpha: float = Field(ge=0)
    random_state: int
    minimum_rows: int = Field(ge=2)
    clip: float = Field(gt=0)
    maximum_rows: int = Field(default=1_000_000, ge=2)


def train_encoder(history: History, params: TrainEncoder) -> Fitted:
    """Fit a scaler and a network on `history` (features [n, f] float32, labels [n]), on one thread: the same rows give the same network."""
    import threadpoolctl
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
    from sklearn.preprocessing import StandardScaler

    rows, positives = len(history.labels), int(history.labels.sum())
    if rows < params.minimum_rows:
        raise DataError(
            f"there are only {rows} labelled rows before the holdout; train_encoder.minimum_rows asks for {params.minimum_rows}. "
            "Start ingest_history earlier, or choose a later partition"
        )
    if positives in (0, rows):
        raise DataError(
            f"all {rows} labels before the holdout are {int(history.labels[0])}; an encoder needs both. Check dataset.label.expression"
        )
    network = MLPClassifier(
        params.layers,
        activation=params.activation,
        max_iter=params.epochs,
        batch_size=min(params.batch_size, rows),
        learning_rate_init=params.learning_rate,
        alpha=params.alpha,
        random_state=params.random_state,
    )
    fitted = Fitted(StandardScaler().fit(history.features), params.clip, network)
    with threadpoolctl.threadpool_limits(1), warnings.catch_warnings():  # several threads add in any order, which changes the last bits
        warnings.simplefilter("ignore", ConvergenceWarning)  # the number of epochs is a parameter: convergence is not required
        network.fit(fitted.scaled(history.features), history.labels)
    del network._optimizer, network._random_state  # only further training needs them, and skops does not trust their types
    return fitted


@stage.stage("train_encoder")
def main(*, features: Path, fitted: Path, onnx: Path) -> None:
    from pipelines.lib.models import skops_file

    params, dataset = load_section("train_encoder", TrainEncoder), load_dataset()
    before = holdout_start(load_run().date, dataset.label.delay_days, params.holdout_days)
    whole = read_history(features, dataset, categories=most_frequent(features, until=before), until=before).as_question(before.isoformat())
    history = drawn(whole, params.maximum_rows)
    stage.log.info(
        "%d of %d rows before %s, %.3f positive, %d features",
        len(history.labels),
        len(whole.labels),
        before,
        np.mean(history.labels),
        len(history.names),
    )
    network = train_encoder(history, params)
    content = encoder_graph(network, signature_of_features(features), before.isoformat(), history.categories)
    skops_file.dump(vars(network), fitted)
    with replacing(onnx) as temporary:
        temporary.write_bytes(content)
    stage.log.info("%.2f MiB of ONNX, vectors of %d dimensions", len(content) / 2**20, params.layers[-1])


if __name__ == "__main__":
    sys.exit(main())
