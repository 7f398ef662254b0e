"""Validate the night's scores before they are published.

*Reads* a features file and the scores made of it. *Writes* ``report.json`` and ``report.html``. *Fails when* an expectation does not hold: one score
for each row of features with the same key in the same place, between 0 and 1, not all alike, with a mean in its band, and those
written by hand.
"""

import sys
from pathlib import Path
from typing import Any

from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.features.declaration import LARGEST
from pipelines.lib.gates import Finding, Gate, Report, deliver, expect, judge, not_judged
from pipelines.lib.tables.dataset import Dataset, load_dataset
from pipelines.lib.tables.engine import name, open_parquet, text

_PROBABILITY: dict[str, Any] = {"min_value": 0.0, "max_value": 1.0, "notes": "a probability"}
_FINITE: dict[str, Any] = {"min_value": -LARGEST, "max_value": LARGEST, "notes": "a finite number"}


class ValidateScores(Gate):
    """`minimum_mean_score` and `maximum_mean_score` bound the mean score of a night: a share, or a number in the unit of the label."""

    minimum_mean_score: float = 0.0
    maximum_mean_score: float = 1.0


def validate_scores(dataset: Dataset, params: ValidateScores, *, partition: str, features: Path, scores: Path) -> Report:
    """Return the verdict on the `scores` of the rows of `features`, both Parquet files."""
    expected, decides = open_parquet(features).metadata.num_rows, dataset.label.task == "binary"
    decision = [
        expect("column_type_to_be", column="decision", type_="bool[pyarrow]"),
        expect("column_values_to_not_be_null", column="decision"),
    ]
    wanted = [
        expect("table_columns_to_match_ordered_list", column_list=[*dataset.key, "score", *(["decision"] if decides else [])]),
        expect("column_type_to_be", column="score", type_="float[pyarrow]"),
        expect("table_row_count_to_equal", value=expected, notes="one score for each row of features"),
        expect("column_values_to_not_be_null", column="score", notes="no score is missing or NaN"),
        *(decision if decides else []),
        expect("column_values_to_be_between", column="score", **(_PROBABILITY if decides else _FINITE)),
        expect("column_mean_to_be_between", column="score", min_value=params.minimum_mean_score, max_value=params.maximum_mean_score),
        *([expect("column_unique_value_count_to_be_between", column="score", min_value=2, notes="not all alike")] if expected > 1 else []),
        *params.custom_expectations(),
    ]
    rows, findings = judge(f"SELECT * FROM read_parquet({text(scores)})", wanted, identity=dataset.key, time_zone=dataset.zone)
    if expected <= 1:
        reason = f"{expected} rows cannot differ"
        findings.append(not_judged("column_unique_value_count_to_be_between", "score", reason, min_value=2, notes="not all alike"))
    return Report("validate_scores", partition, rows, [*findings, *_same_keys(dataset, features, scores)])


def _same_keys(dataset: Dataset, features: Path, scores: Path) -> list[Finding]:
    """Return whether each score is in the row of its own key; the rows of the two files are laid side by side."""
    missing = [column for column in dataset.key if column not in open_parquet(scores).schema_arrow.names]
    if missing:
        return []  # told by the list of columns
    same = " AND ".join(f"f.{name(column)} IS NOT DISTINCT FROM s.{name(column)}" for column in dataset.key)
    shown = ", ".join(f"f.{name(column)}" for column in dataset.key)
    query = f"SELECT {shown}, {same} AS same_key FROM read_parquet({text(features)}) f POSITIONAL JOIN read_parquet({text(scores)}) s"
    wanted = [expect("column_values_to_be_in_set", column="same_key", value_set=[True], notes="the row of features with this key")]
    return judge(query, wanted, identity=dataset.key, time_zone=dataset.zone)[1]


@stage("validate_scores")
def main(*, features: Path, scores: Path, report: Path) -> None:
    """Validate as `run.yaml` and `params.yaml` say."""
    params = load_section("validate_scores", ValidateScores)
    judged = validate_scores(load_dataset(), params, partition=load_run().partition, features=features, scores=scores)
    deliver(judged, report)


if __name__ == "__main__":
    sys.exit(main())
