"""The gate before publishing: a believable score for every row, in the row of its key."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.gates import Report
from pipelines.scoring.validate_scores import ValidateScores, validate_scores
from tests.gate_data import NIGHT, ORDERS, orders

PARAMS = ValidateScores(minimum_mean_score=0.1, maximum_mean_score=0.9)


def scored(rows: int = 100) -> pd.DataFrame:
    score = np.linspace(0.0, 1.0, rows, dtype=np.float32)
    return orders(NIGHT, rows)[["shop", "order_id"]].assign(score=score, decision=score >= 0.5)


def judged(
    directory: Path,
    change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame,
    *,
    rows: int = 100,
    params: ValidateScores = PARAMS,
) -> Report:
    features, scores = directory / "features.parquet", directory / "scores.parquet"
    orders(NIGHT, rows).to_parquet(features, index=False)
    pq.write_table(pa.Table.from_pandas(change(scored(rows)), preserve_index=False), scores)
    return validate_scores(ORDERS, params, partition=str(NIGHT), features=features, scores=scores)


def put(value: float, rows: int = 1) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(score=frame["score"].where(np.arange(len(frame)) >= rows, np.float32(value)))


def test_ordinary_scores_pass(tmp_path: Path) -> None:
    report = judged(tmp_path)
    assert report.passed, report.failures


def test_a_night_of_one_row_need_not_differ(tmp_path: Path) -> None:
    assert judged(tmp_path, rows=1, params=ValidateScores()).passed


KEYS = ("column_values_to_be_in_set", "same_key")
CASES = {
    "NaN": (put(np.nan), {("column_values_to_not_be_null", "score")}),
    "above one": (put(1.001), {("column_values_to_be_between", "score")}),
    "infinity": (put(np.inf), {("column_values_to_be_between", "score"), ("column_mean_to_be_between", "score")}),
    "all alike": (put(0.5, 100), {("column_unique_value_count_to_be_between", "score")}),
    "all low": (lambda frame: frame.assign(score=frame["score"] / 10), {("column_mean_to_be_between", "score")}),
    "a row lost": (lambda frame: frame.head(99), {("table_row_count_to_equal", None), KEYS}),
    "a row doubled": (lambda frame: pd.concat([frame, frame.tail(1)]), {("table_row_count_to_equal", None), KEYS}),
    "rows in another order": (lambda frame: frame.iloc[::-1], {KEYS}),
    "another type": (lambda frame: frame.astype({"score": np.float64}), {("column_type_to_be", "score")}),
}


@pytest.mark.costly
@pytest.mark.parametrize("case", CASES)
def test_bad_scores_are_stopped(case: str, tmp_path: Path) -> None:
    change, expected = CASES[case]
    assert {(finding.type.removeprefix("expect_"), finding.column) for finding in judged(tmp_path, change).failures} == expected


FORECAST = ORDERS.model_copy(update={"label": ORDERS.label.model_copy(update={"task": "regression", "expression": "days_late"})})
OF_FORECASTS = {
    "usual": (lambda scores: scores, set()),
    "below zero": (lambda scores: scores - 5, set()),
    "NaN": (lambda scores: np.where(np.arange(100) == 7, np.nan, scores), {"column_values_to_not_be_null"}),
    "infinity": (
        lambda scores: np.where(np.arange(100) == 7, np.inf, scores),
        {"column_values_to_be_between", "column_mean_to_be_between"},
    ),
    "one of 1e12": (lambda scores: np.where(np.arange(100) == 7, 1e12, scores), {"column_mean_to_be_between"}),
    "both infinities": (
        lambda scores: np.where(np.arange(100) == 7, np.inf, np.where(np.arange(100) == 8, -np.inf, scores)),
        {"column_values_to_be_between", "column_mean_to_be_between"},
    ),
    "all alike": (lambda scores: np.full(100, 20.0), {"column_unique_value_count_to_be_between"}),
}


@pytest.mark.parametrize("case", OF_FORECASTS)
def test_bad_forecasts_are_stopped(case: str, tmp_path: Path) -> None:
    change, expected = OF_FORECASTS[case]
    features, path = tmp_path / "features.parquet", tmp_path / "scores.parquet"
    orders(NIGHT).to_parquet(features, index=False)
    scores = change(np.linspace(1, 40, 100)).astype(np.float32)  # type: ignore[no-untyped-call]
    pq.write_table(pa.Table.from_pandas(orders(NIGHT)[["shop", "order_id"]].assign(score=scores), preserve_index=False), path)
    params = ValidateScores(minimum_mean_score=5, maximum_mean_score=40)
    report = validate_scores(FORECAST, params, partition=str(NIGHT), features=features, scores=path)
    assert {finding.type.removeprefix("expect_") for finding in report.failures} == expected


def test_the_first_wrong_key_is_shown(tmp_path: Path) -> None:
    def swapped(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.iloc[[*range(40), 41, 40, *range(42, 100)]]

    keys = next(finding for finding in judged(tmp_path, swapped).findings if finding.column == "same_key")
    assert keys.unexpected_count == 2
    assert keys.sample_rows[0] == {"shop": "south", "order_id": 149041, "same_key": False}
