"""Ingest the night: the rows of the partition, and the earlier days that its features look back on.

*Reads* the source of section ``dataset``. *Writes* a raw directory (see `pipelines.lib.sources.raw`). *Fails when* the source is missing or torn, or is not that
with which the run was opened, lacks a declared column, or holds a value of another type than declared.
"""

import sys
from datetime import date, timedelta
from pathlib import Path

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.features.compute import load_features, lookback_days
from pipelines.lib.sources.delta_source import at_versions
from pipelines.lib.sources.pinned_files import at_files
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset, load_dataset


class IngestBatch(Section):
    """`history_days` earlier days are read even if no feature needs them: the gate compares the night with them."""

    history_days: int = 0


def ingest_batch(dataset: Dataset, params: IngestBatch, *, partition: date, lookback: int, raw: Path) -> None:
    """Write the rows of `partition` and of the days before it to the directory `raw`. A night without rows is written as it is: the gate judges it."""
    days = max(lookback, params.history_days, dataset.calendar.days_back)
    with replacing(raw) as target:
        extract(dataset, partition=partition, start=partition, end=partition + timedelta(days=1), lookback_days=days, target=target)


@stage("ingest_batch")
def main(*, raw: Path) -> None:
    """Ingest as `run.yaml` and `params.yaml` say."""
    run = load_run()
    dataset = at_files(at_versions(load_dataset(), run.delta), run.files)
    params = load_section("ingest_batch", IngestBatch)
    ingest_batch(dataset, params, partition=run.date, lookback=lookback_days(dataset, load_features()), raw=raw)


if __name__ == "__main__":
    sys.exit(main())
