"""The gate before scoring: what is declared, in its order, as finite float32."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.data.validate_features import ValidateFeatures, validate_features
from pipelines.lib.features import Features
from pipelines.lib.gates import Report
from pipelines.lib.params import parse_section
from tests.gate_data import NIGHT, ORDERS, orders

FEATURES = parse_section(
    {"numeric": {"amount": {"missing": -1}}, "categorical": {"country": {}}, "calendar": ["weekday"]}, Features, "features"
)
PARAMS = ValidateFeatures(unseen=0.05, missing=0.05)


def night() -> pd.DataFrame:
    events = orders(NIGHT)
    keys = events[["shop", "order_id", "placed_at"]].assign(partition=str(NIGHT))
    values = {"amount": events["amount"], "country": np.arange(len(events)) % 3, "weekday": 3}
    return keys.assign(**values).astype(dict.fromkeys(values, np.float32))


def judged(directory: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> Report:
    table = pa.Table.from_pandas(change(night()), preserve_index=False)
    pq.write_table(table, directory / "features.parquet")
    return validate_features(ORDERS, FEATURES, PARAMS, partition=NIGHT, path=directory / "features.parquet")


def put(column: str, value: float, rows: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**{column: frame[column].where(np.arange(len(frame)) >= rows, np.float32(value))})


def test_ordinary_features_pass(tmp_path: Path) -> None:
    report = judged(tmp_path)
    assert report.passed, report.failures


ORDER = "table_columns_to_match_ordered_list"
CASES = {
    "NaN": (put("amount", np.nan, 1), {("column_values_to_not_be_null", "amount")}),
    "infinity": (put("amount", np.inf, 1), {("column_values_to_be_between", "amount")}),
    "too many undeclared": (put("country", -1, 6), {("column_values_to_not_be_in_set", "country")}),
    "too many missing": (put("country", -2, 6), {("column_values_to_not_be_in_set", "country")}),
    "no such weekday": (put("weekday", 8, 1), {("column_values_to_be_between", "weekday")}),
    "no such code": (put("country", -3, 1), {("column_values_to_be_between", "country")}),
    "float64": (lambda frame: frame.astype({"amount": np.float64}), {("column_type_to_be", "amount")}),
    "another order": (lambda frame: frame[["shop", "order_id", "placed_at", "partition", "country", "amount", "weekday"]], {(ORDER, None)}),
    "another night's rows": (
        lambda frame: frame.assign(placed_at=frame["placed_at"] + dt.timedelta(days=1)),
        {("column_values_to_be_between", "placed_at")},
    ),
    "another night's name": (lambda frame: frame.assign(partition="2024-05-30"), {("column_values_to_be_in_set", "partition")}),
    "a key twice": (lambda frame: pd.concat([frame, frame.head(1)]), {("compound_columns_to_be_unique", "shop, order_id")}),
    "no rows": (lambda frame: frame.head(0), {("table_row_count_to_be_between", None)}),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_features_are_stopped(case: str, tmp_path: Path) -> None:
    change, expected = CASES[case]
    assert {(finding.type.removeprefix("expect_"), finding.column) for finding in judged(tmp_path, change).failures} == expected


def test_a_missing_feature_is_named(tmp_path: Path) -> None:
    failures = judged(tmp_path, lambda frame: frame.drop(columns="weekday")).failures
    assert any(finding.column == "weekday" and "there is no column 'weekday'" in finding.observed for finding in failures)
