"""Ingest the history: every row before the partition, as it was known at the start of the partition.

*Reads* the source of section ``dataset``. *Writes* a raw directory (see `pipelines.lib.raw`). *Fails when* the source is missing or torn,
lacks a declared column, or holds a value of another type than declared.
"""

import sys
from datetime import date
from pathlib import Path

from pipelines.lib.atomic import replacing
from pipelines.lib.dataset import Dataset, load_dataset
from pipelines.lib.delta_source import at_versions
from pipelines.lib.features import load_features, lookback_days
from pipelines.lib.params import Section, load_section
from pipelines.lib.partition import parse_partition
from pipelines.lib.raw import extract
from pipelines.lib.run import load_run
from pipelines.lib.stage import Paths, stage


class IngestHistory(Section):
    """`start` is the first date to learn from; null takes all there is."""

    start: str | None = None


def ingest_history(dataset: Dataset, params: IngestHistory, *, partition: date, lookback: int, raw: Path) -> None:
    """Write the rows of [`params.start` - `lookback` days, `partition`) to the directory `raw`."""
    start = None if params.start is None else parse_partition(params.start)
    with replacing(raw) as target:
        extract(dataset, partition=partition, start=start, end=partition, lookback_days=lookback, target=target)


@stage("ingest_history", "raw")
def main(paths: Paths) -> None:
    """Ingest as `run.yaml` and `params.yaml` say."""
    run = load_run()
    dataset = at_versions(load_dataset(), run.delta)
    params = load_section("ingest_history", IngestHistory)
    ingest_history(dataset, params, partition=run.date, lookback=lookback_days(dataset, load_features()), raw=paths.raw)


if __name__ == "__main__":
    sys.exit(main())
