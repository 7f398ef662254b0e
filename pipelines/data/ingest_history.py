"""Ingest the history: every row before the partition, as it was known at the start of the partition.

*Reads* the source of section ``dataset``. *Writes* a raw directory (see `pipelines.lib.sources.raw`). *Fails when* the source is missing or torn, or is not that
with which the run was opened, lacks a declared column, or holds a value of another type than declared.
"""

import sys
from datetime import date
from pathlib import Path

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.features.compute import load_features, lookback_days
from pipelines.lib.sources.delta_source import at_versions
from pipelines.lib.sources.pinned_files import at_files
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset, load_dataset


class IngestHistory(Section):
    """`start` is the first date to learn from; null takes all there is."""

    start: str | None = None


def ingest_history(dataset: Dataset, params: IngestHistory, *, partition: date, lookback: int, raw: Path) -> None:
    """Write the rows of [`params.start` - `lookback` days, `partition`) to the directory `raw`."""
    start = None if params.start is None else parse_partition(params.start)
    with replacing(raw) as target:
        extract(dataset, partition=partition, start=start, end=partition, lookback_days=lookback, target=target)


@stage("ingest_history")
def main(*, raw: Path) -> None:
    """Ingest as `run.yaml` and `params.yaml` say."""
    run = load_run()
    dataset = at_files(at_versions(load_dataset(), run.delta), run.files)
    params = load_section("ingest_history", IngestHistory)
    ingest_history(dataset, params, partition=run.date, lookback=lookback_days(dataset, load_features()), raw=raw)


if __name__ == "__main__":
    sys.exit(main())
