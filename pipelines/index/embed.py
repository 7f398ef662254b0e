"""Make the vectors of one month.

*Reads* the features of the month and the encoder that `run.yaml` pins. *Writes* a shard (see `pipelines.lib.encoders.vectors`): vectors, and the key, partition
and outcome of their rows. *Fails when* the encoder's digest is not the pinned one, or it takes other features.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import log, stage
from pipelines.lib.encoders.encoder import Encoder, encode_features, load_encoder
from pipelines.lib.encoders.vectors import OUTCOME, PARTITION, write_shard
from pipelines.lib.measures.neighbours import Vectors
from pipelines.lib.tables.dataset import Dataset, load_dataset
from pipelines.lib.tables.engine import open_parquet


class Embed(Section):
    """Nothing to tune: what a row becomes is the encoder's business."""


def embed(dataset: Dataset, encoder: Encoder, features: Path, target: Path) -> int:
    """Write the shard `target`, whole or not at all, from the labelled features file at `features`; returns its rows. Streams."""
    source = open_parquet(features)
    kept = [*dataset.key, PARTITION]
    number = dataset.label.task == "regression"
    schema = pa.schema([*(source.schema_arrow.field(name) for name in kept), pa.field(OUTCOME, pa.float64() if number else pa.int8())])

    def encoded() -> Iterator[tuple[pa.RecordBatch, Vectors]]:
        for batch, vectors in encode_features(encoder, features, [*kept, dataset.label.name]):
            outcome = np.asarray(batch.column(dataset.label.name), dtype=np.float64 if number else np.int8)
            yield pa.RecordBatch.from_arrays([*(batch.column(name) for name in kept), pa.array(outcome)], schema=schema), vectors

    rows: int = source.metadata.num_rows
    with replacing(target) as temporary:
        write_shard(temporary, (rows, encoder.dimension), encoded(), schema, encoder.sha256)
    return rows


@stage("embed")
def main(*, shard: Path, encoder: Path, vectors: Path) -> None:
    """Embed as `run.yaml` says."""
    load_section("embed", Embed)
    loaded = load_encoder(encoder, load_run().encoder.sha256)
    log.info("%d vectors of %d values", embed(load_dataset(), loaded, shard, vectors), loaded.dimension)


if __name__ == "__main__":
    sys.exit(main())
