"""Compute the features of the night, by the same function as those of the history.

*Reads* a raw directory and the report of its gate. *Writes* a features file (see `pipelines.lib.features.compute`) without a label.
*Fails when* the declaration cannot be computed, would use what is known only later, or a side table's key repeats.
"""

import logging
import sys
from datetime import date, timedelta
from pathlib import Path

from pipelines.lib.core.atomic import replacing
from pipelines.lib.tables.dataset import Dataset, load_dataset
from pipelines.lib.features.compute import Features, featurize, load_features
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage

log = logging.getLogger("nightshift")


class FeaturizeBatch(Section):
    """Nothing to tune: what is computed is section `features`."""


def featurize_batch(dataset: Dataset, features: Features, *, raw: Path, partition: date, target: Path) -> int:
    """Write the features of the rows of `partition`; returns their number, which may be 0."""
    with replacing(target) as temporary:
        end = partition + timedelta(days=1)
        return featurize(dataset, features, raw=raw, first=partition, end=end, labelled=False, target=temporary)


@stage("featurize_batch")  # the gate is an argument so that DVC orders the stages
def main(*, raw: Path, gate: Path, features: Path) -> None:
    """Featurize as `run.yaml` and `params.yaml` say."""
    load_section("featurize_batch", FeaturizeBatch)
    declared = load_features()
    rows = featurize_batch(load_dataset(), declared, raw=raw, partition=load_run().date, target=features)
    log.info("%d rows of %d features", rows, len(declared.names))


if __name__ == "__main__":
    sys.exit(main())
