"""Compute the features of the night, by the same function as those of the history.

*Reads* a raw directory and the report of its gate. *Writes* a features file (see `pipelines.lib.features.compute`) without a label.
*Fails when* the night has no rows, the declaration cannot be computed or would use what is known only later, or a side table's key repeats.
"""

import logging
import sys
from datetime import date, timedelta
from pathlib import Path

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.features.compute import Features, featurize, load_features
from pipelines.lib.tables.dataset import Dataset, load_dataset

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
    partition = load_run().date
    rows = featurize_batch(load_dataset(), declared, raw=raw, partition=partition, target=features)
    if not rows:
        raise DataError(
            f"{partition} has no rows, so there is nothing to score; choose a night with rows, or run it again when they have come"
        )
    log.info("%d rows of %d features", rows, len(declared.names))


if __name__ == "__main__":
    sys.exit(main())
