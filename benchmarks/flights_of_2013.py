"""The flights of 2013 with their features and outcomes, and the shipped parameters: what several benchmarks begin with."""

import datetime as dt
from functools import cache
from pathlib import Path
from typing import Any

from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import load_section
from pipelines.lib.features.compute import Features, featurize, lookback_days
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset


@cache
def section(name: str, model: Any) -> Any:
    """Return section `name` of the repository's own parameters."""
    return load_section(name, model, REPOSITORY / "params.yaml")


def features_of_2013(dataset: Dataset, features: Features, directory: Path) -> Path:
    """Compute the features of all labelled flights of 2013, as the stages do, into a file in `directory`."""
    return labelled_features(dataset, features, dt.date(2013, 1, 1), dt.date(2014, 1, 1), directory)


def labelled_features(dataset: Dataset, features: Features, first: dt.date, end: dt.date, directory: Path) -> Path:
    """Compute the features of all labelled rows with `first` <= date < `end`, as the stages do, into a file in `directory`."""
    raw, target = directory / "raw", directory / "features.parquet"
    extract(dataset, partition=end, start=first, end=end, lookback_days=lookback_days(dataset, features), target=raw)
    featurize(dataset, features, raw=raw, first=first, end=end, labelled=True, target=target)
    return target
