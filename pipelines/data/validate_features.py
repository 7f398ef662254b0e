"""Validate the night's features before they are scored.

*Reads* a features file (see `pipelines.lib.features.compute`) and the reference profile in the model that will score it. *Writes* ``report.json`` and
``report.html``. *Fails when* an expectation does not hold: the declared features in their order as finite float32, known categories, no more
fillers than in training, one partition, a unique key, and the custom ones of its suite.
"""

import datetime as dt
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import Field

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import PinnedModel, load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.features.compute import MISSING, UNSEEN, Features, load_features, text_categories
from pipelines.lib.gates import FAILED, Expectation, Finding, Gate, Report, deliver, expect, expectations, judge
from pipelines.lib.gates.suite import mostly
from pipelines.lib.models import fillers, other_categories
from pipelines.lib.models.reference_profile import profile_of_model
from pipelines.lib.tables.dataset import Dataset, TaskName, load_dataset
from pipelines.lib.tables.engine import text

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
    """`maximum_unseen_share` and `maximum_missing_share` are the shares of rows, for each category, with a value that is not declared or with none, that are still normal.

    `maximum_filler_excess` is the share of rows, more than in training, that may have the number that stands for a missing value; `maximum_filler_excess_by_feature` gives
    single features another, and with 1 they are not looked at. On the dates `quiet_dates`, known beforehand, more of them is a warning.
    """

    maximum_unseen_share: float = Field(default=0.05, ge=0, le=1)
    maximum_missing_share: float = Field(default=0.05, ge=0, le=1)
    maximum_filler_excess: float = Field(default=0.5, ge=0, le=1)
    maximum_filler_excess_by_feature: dict[str, Annotated[float, Field(ge=0, le=1)]] = Field(default_factory=dict)
    quiet_dates: tuple[str, ...] = ()


def validate_features(
    dataset: Dataset, features: Features, params: ValidateFeatures, *, partition: dt.date, path: Path, model: PinnedModel | None = None
) -> Report:
    """Return the verdict on the features file at `path`, which holds `partition` and nothing else, for `model` to score."""
    texts = text_categories(dataset, features)
    head = list(dict.fromkeys([*dataset.key, dataset.event_time, "partition"]))
    wanted = [
        expect(
            "table_columns_to_match_ordered_list", column_list=[*head, *features.names], notes="key, time, partition, declared features"
        ),
        expect("table_row_count_to_be_between", min_value=1),
        *expectations.of_dates(dataset.event_time, partition, partition + dt.timedelta(days=1), notes="the partition's own date"),
        expect("column_values_to_be_in_set", column="partition", value_set=[str(partition)]),
        *expectations.of_key(dataset.key),
        *(expectation for feature in features.names for expectation in _of_feature(feature, features, texts, params, dataset.label.task)),
        *params.custom_expectations(),
    ]
    identity = [*dataset.key, dataset.event_time]
    rows, findings = judge(f"SELECT * FROM read_parquet({text(path)})", wanted, identity=identity, time_zone=dataset.zone)
    compared = _against_training(features, list(texts), params, partition, path, model, findings)
    return Report("validate_features", str(partition), rows, [*findings, *compared])


def _against_training(
    features: Features,
    texts: Sequence[str],
    params: ValidateFeatures,
    partition: dt.date,
    path: Path,
    model: PinnedModel | None,
    findings: Sequence[Finding],
) -> list[Finding]:
    if undeclared := [feature for feature in params.maximum_filler_excess_by_feature if feature not in features.names]:
        raise ConfigError(
            f"validate_features.maximum_filler_excess_by_feature names {', '.join(undeclared)}, not among the features; correct it in params.yaml"
        )
    if model is None or (model.sha256 is None and not Path(model.path).exists()):
        reason = "there is no model yet"
        return [*fillers.unknown(reason), *other_categories.unknown(texts, reason)]
    profile = profile_of_model(Path(model.path), model.sha256)
    if profile is None:
        reason = f"{model.path} carries no reference profile; train and export it again"
        return [*fillers.unknown(reason), *other_categories.unknown(texts, reason)]
    training = fillers.fillers_of_training(profile)
    absent = {finding.column for finding in findings if finding.type == "expect_column_type_to_be" and finding.verdict == FAILED}
    known = {feature: filler for feature, filler in training.items() if feature in features.names and feature not in absent}
    allowed = {feature: params.maximum_filler_excess_by_feature.get(feature, params.maximum_filler_excess) for feature in known}
    quiet = str(partition) in params.quiet_dates
    there = [feature for feature in texts if feature not in absent]
    others = other_categories.judge_others(path, profile, there, params.maximum_unseen_share, quiet=quiet)
    return [*fillers.judge_fillers(path, known, allowed, quiet=quiet), *others]


def _of_feature(feature: str, features: Features, texts: Collection[str], params: ValidateFeatures, task: TaskName) -> list[Expectation]:
    if feature in texts:
        notes = "share of rows whose category is missing"
        return [
            expect("column_type_to_be", column=feature, type_=expectations.ARROW_NAMES["string"]),
            expect("column_values_to_not_be_null", column=feature, notes=notes, **mostly(params.maximum_missing_share)),
        ]
    low, high = _range(feature, features, task)
    wanted = [
        expect("column_type_to_be", column=feature, type_="float[pyarrow]"),
        expect("column_values_to_not_be_null", column=feature),
        expect("column_values_to_be_between", column=feature, min_value=low, max_value=high, notes="finite, and what it can be"),
    ]
    if feature in features.categorical:
        for code, share, what in (
            (UNSEEN, params.maximum_unseen_share, "not declared"),
            (MISSING, params.maximum_missing_share, "missing"),
        ):
            notes = f"share of rows whose category is {what}"
            wanted.append(expect("column_values_to_not_be_in_set", column=feature, value_set=[code], notes=notes, **mostly(share)))
    return wanted


def _range(feature: str, features: Features, task: TaskName) -> tuple[float, float]:
    """Return what the declaration of `feature` lets it be."""
    if feature in features.categorical:
        return MISSING, _LARGEST_FLOAT32
    if feature in features.calendar:
        return _CALENDAR[feature]
    if feature in features.same_day:
        return 0, _LARGEST_FLOAT32
    if (lagged := features.lagged.get(feature)) and lagged.statistic == "count":
        return 0, _LARGEST_FLOAT32
    if lagged and lagged.value is None and task == "binary":  # a share of labels
        return min(0.0, lagged.nothing_seen), max(1.0, lagged.nothing_seen)
    return -_LARGEST_FLOAT32, _LARGEST_FLOAT32


@stage("validate_features")
def main(*, features: Path, model: Path, report: Path) -> None:
    """Validate as `run.yaml` and `params.yaml` say."""
    params, run = load_section("validate_features", ValidateFeatures), load_run()
    pinned = run.model.model_copy(update={"path": str(model)})
    judged = validate_features(load_dataset(), load_features(), params, partition=run.date, path=features, model=pinned)
    deliver(judged, report)


if __name__ == "__main__":
    sys.exit(main())
