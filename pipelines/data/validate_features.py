"""Validate the night's features before they are scored.

*Reads* a features file (see `pipelines.lib.features`). *Writes* ``report.json`` and ``report.html``. *Fails when* an expectation does not hold:
the declared features in their order as finite float32, known categories, one partition, a unique key, and those written by hand.
"""

import datetime as dt
import sys
from pathlib import Path

from pydantic import Field

from pipelines.lib import expectations
from pipelines.lib.dataset import Dataset, load_dataset
from pipelines.lib.engine import text
from pipelines.lib.features import MISSING, UNSEEN, Features, load_features
from pipelines.lib.gates import Expectation, Gate, Report, deliver, expect, judge
from pipelines.lib.gates.suite import mostly
from pipelines.lib.params import load_section
from pipelines.lib.run import load_run
from pipelines.lib.stage import Paths, stage

_LARGEST_FLOAT32 = 3.4028234663852886e38
"""The largest finite float32."""

_CALENDAR = {
    "hour": (0, 23),
    "minute_of_day": (0, 1439),
    "weekday": (1, 7),
    "day_of_month": (1, 31),
    "day_of_year": (1, 366),
    "month": (1, 12),
}


class ValidateFeatures(Gate):
    """`unseen` and `missing` are the shares of rows, for each category, with a value that is not declared or with none, that are still normal."""

    unseen: float = Field(default=0.05, ge=0, le=1)
    missing: float = Field(default=0.05, ge=0, le=1)


def validate_features(dataset: Dataset, features: Features, params: ValidateFeatures, *, partition: dt.date, path: Path) -> Report:
    """The verdict on the features file at `path`, which holds `partition` and nothing else."""
    head = list(dict.fromkeys([*dataset.key, dataset.event_time, "partition"]))
    wanted = [
        expect(
            "table_columns_to_match_ordered_list", column_list=[*head, *features.names], notes="key, time, partition, declared features"
        ),
        expect("table_row_count_to_be_between", min_value=1),
        *expectations.of_dates(dataset.event_time, partition, partition + dt.timedelta(days=1), notes="the partition's own date"),
        expect("column_values_to_be_in_set", column="partition", value_set=[str(partition)]),
        *expectations.of_key(dataset.key),
        *(expectation for feature in features.names for expectation in _of_feature(feature, features, params)),
        *params.by_hand(),
    ]
    rows, findings = judge(f"SELECT * FROM read_parquet({text(path)})", wanted, identity=[*dataset.key, dataset.event_time])
    return Report("validate_features", str(partition), rows, findings)


def _of_feature(feature: str, features: Features, params: ValidateFeatures) -> list[Expectation]:
    low, high = _range(feature, features)
    wanted = [
        expect("column_type_to_be", column=feature, type_="float[pyarrow]"),
        expect("column_values_to_not_be_null", column=feature),
        expect("column_values_to_be_between", column=feature, min_value=low, max_value=high, notes="finite, and what it can be"),
    ]
    if feature in features.categorical:
        for code, share, what in ((UNSEEN, params.unseen, "not declared"), (MISSING, params.missing, "missing")):
            notes = f"share of rows whose category is {what}"
            wanted.append(expect("column_values_to_not_be_in_set", column=feature, value_set=[code], notes=notes, **mostly(share)))
    return wanted


def _range(feature: str, features: Features) -> tuple[float, float]:
    """What the declaration of `feature` lets it be."""
    if feature in features.categorical:
        return MISSING, _LARGEST_FLOAT32
    if feature in features.calendar:
        return _CALENDAR[feature]
    if feature in features.same_day:
        return 0, _LARGEST_FLOAT32
    if (lagged := features.lagged.get(feature)) and lagged.statistic == "count":
        return 0, _LARGEST_FLOAT32
    if lagged and lagged.value is None:  # a share of labels
        return min(0.0, lagged.nothing_seen), max(1.0, lagged.nothing_seen)
    return -_LARGEST_FLOAT32, _LARGEST_FLOAT32


@stage("validate_features", "features", "report")
def main(paths: Paths) -> None:
    """Validate as `run.yaml` and `params.yaml` say."""
    params = load_section("validate_features", ValidateFeatures)
    report = validate_features(load_dataset(), load_features(), params, partition=load_run().date, path=paths.features)
    deliver(report, paths.report)


if __name__ == "__main__":
    sys.exit(main())
