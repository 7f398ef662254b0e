"""Compute the features of the history, with its labels.

*Reads* a raw directory and the report of its gate. *Writes* a features file (see `pipelines.lib.features.compute`). *Fails when* the declaration
cannot be computed, would use what is known only later, or a side table's key repeats.
"""

import json
import logging
import sys
from datetime import date
from pathlib import Path

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.features.compute import Features, featurize, load_features
from pipelines.lib.tables.dataset import Dataset, load_dataset

log = logging.getLogger("nightshift")


class FeaturizeHistory(Section):
    """Nothing to tune: what is computed is section `features`."""


def featurize_history(dataset: Dataset, features: Features, *, raw: Path, partition: date, target: Path) -> int:
    """Write the labelled features of all rows of `raw` before `partition`, those that only warm up excepted; returns their number."""
    start = json.loads((raw / "source.json").read_text(encoding="utf-8"))["start"]
    first = None if start is None else parse_partition(start)
    with replacing(target) as temporary:
        rows = featurize(dataset, features, raw=raw, first=first, end=partition, labelled=True, target=temporary)
        if rows == 0:
            raise DataError(
                f"no row before {partition} has a label; choose a later partition, an earlier ingest_history.start, or correct dataset.label"
            )
    return rows


@stage("featurize_history")  # the gate is an argument so that DVC orders the stages
def main(*, raw: Path, gate: Path, features: Path) -> None:
    """Featurize as `run.yaml` and `params.yaml` say."""
    load_section("featurize_history", FeaturizeHistory)
    declared = load_features()
    rows = featurize_history(load_dataset(), declared, raw=raw, partition=load_run().date, target=features)
    log.info("%d rows of %d features", rows, len(declared.names))


if __name__ == "__main__":
    sys.exit(main())
