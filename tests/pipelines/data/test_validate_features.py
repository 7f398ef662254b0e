"""The gate before scoring: what is declared, in its order, as finite float32."""

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from onnx import TensorProto, helper

from pipelines.data.validate_features import ValidateFeatures, validate_features
from pipelines.lib.core.errors import ConfigError, ModelError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.run import PinnedModel
from pipelines.lib.features.compute import Features
from pipelines.lib.gates import FAILED, NOT_JUDGED, PASSED, WARNING, Finding, Report
from pipelines.lib.measures.binning import Binning
from pipelines.lib.models.profile import KEY, Noise, Profile, Reference
from tests.gate_data import COUNTRIES, NIGHT, ORDERS, orders

FEATURES = parse_section(
    {"numeric": {"amount": {"missing": -1}}, "categorical": {"country": {}}, "calendar": ["weekday"]}, Features, "features"
)
PARAMS = ValidateFeatures(maximum_unseen_share=0.05, maximum_missing_share=0.05)


def night() -> pd.DataFrame:
    events = orders(NIGHT)
    keys = events[["shop", "order_id", "placed_at"]].assign(partition=str(NIGHT))
    values: dict[str, Any] = {"amount": events["amount"], "country": np.arange(len(events)) % 3, "weekday": 3}
    return keys.assign(**values).astype(dict.fromkeys(values, np.float32))


def judged(directory: Path, change: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame) -> Report:
    table = pa.Table.from_pandas(change(night()), preserve_index=False)
    pq.write_table(table, directory / "features.parquet")
    return validate_features(ORDERS, FEATURES, PARAMS, partition=NIGHT, path=directory / "features.parquet", model=pinned(directory))


def pinned(directory: Path, *, missing: int = 10, profile: bool = True) -> PinnedModel:
    """Return a model whose training had 100 rows, of which `missing` have no amount; or one without a profile."""
    noise = Noise(mean=0.0, p95=0.0, consecutive_p95=0.0)
    columns = [
        Reference(Binning("amount", edges=(50.0,), filler=-1.0), (90 - missing, 10, missing), 1.0, noise),
        Reference(Binning("country", values=COUNTRIES), (40, 30, 30, 0, 0), 0.0, noise),
        Reference(Binning("weekday", edges=(3.0,)), (50, 50, 0), 0.0, noise),
        Reference(Binning("score", edges=(0.5,)), (50, 50, 0), 0.0, noise),
    ]
    reference = Profile("2024-01-01", "2024-05-01", 100, 7, 0.0001, tuple(columns[:3]), columns[3], None)
    given = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", 3])
    model = helper.make_model(helper.make_graph([], "g", [given], [given]))
    helper.set_model_props(model, {KEY: reference.to_json()} if profile else {})
    onnx.save_model(model, directory / "model.onnx")
    return PinnedModel(path=str(directory / "model.onnx"), name="orders")


def fillers_of_night(directory: Path, rows: int, model: PinnedModel | None, partition: dt.date = NIGHT, **params: Any) -> Report:
    pq.write_table(pa.Table.from_pandas(put("amount", -1, rows)(night()), preserve_index=False), directory / "features.parquet")
    declared = parse_section(params, ValidateFeatures, "validate_features")
    return validate_features(ORDERS, FEATURES, declared, partition=partition, path=directory / "features.parquet", model=model)


def of_amount(report: Report) -> Finding:
    [found] = [one for one in report.findings if one.column == "amount" and one.type == "expect_column_values_to_not_be_in_set"]
    return found


def put(column: str, value: float, rows: int) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda frame: frame.assign(**{column: frame[column].where(np.arange(len(frame)) >= rows, np.float32(value))})


@pytest.mark.costly
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


@pytest.mark.costly
@pytest.mark.parametrize("case", CASES)
def test_bad_features_are_stopped(case: str, tmp_path: Path) -> None:
    change, expected = CASES[case]
    assert {(finding.type.removeprefix("expect_"), finding.column) for finding in judged(tmp_path, change).failures} == expected


def test_a_missing_feature_is_named(tmp_path: Path) -> None:
    failures = judged(tmp_path, lambda frame: frame.drop(columns="weekday")).failures
    assert any(finding.column == "weekday" and "there is no column 'weekday'" in finding.observed for finding in failures)


@pytest.mark.costly
@pytest.mark.parametrize(
    ("rows", "params", "verdict"),
    [
        (60, {}, PASSED),  # a tenth in training, and half of the rows more
        (61, {}, FAILED),
        (100, {}, FAILED),
        (31, {"maximum_filler_excess": 0.2}, FAILED),
        (31, {"maximum_filler_excess": 0.2, "maximum_filler_excess_by_feature": {"amount": 0.3}}, PASSED),
        (100, {"quiet_dates": [str(NIGHT)]}, WARNING),
    ],
)
def test_a_night_may_not_have_far_more_fillers_than_training(rows: int, params: dict[str, Any], verdict: str, tmp_path: Path) -> None:
    report = fillers_of_night(tmp_path, rows, pinned(tmp_path), **params)
    assert of_amount(report).verdict == verdict
    assert report.passed == (verdict != FAILED)
    assert of_amount(report).observed == f"{rows} of 100 rows ({rows}.00%) have -1"
    assert ("WARNING" in report.note) == (verdict == WARNING)


@pytest.mark.costly
def test_what_training_cannot_tell_is_not_judged(tmp_path: Path) -> None:
    often = of_amount(fillers_of_night(tmp_path, 100, pinned(tmp_path, missing=60)))
    assert (often.verdict, often.observed) == (
        NOT_JUDGED,
        "not judged: 60.0% of the training rows have -1, so no share stands out; set maximum_filler_excess_by_feature.amount to 1 if that is right",
    )
    declared = fillers_of_night(tmp_path, 100, pinned(tmp_path, missing=60), maximum_filler_excess_by_feature={"amount": 1})
    assert [finding.column for finding in declared.findings if finding.type == "expect_column_values_to_not_be_in_set"] == [
        "country",
        "country",
    ]
    assert not declared.note
    for model, reason in (
        (pinned(tmp_path, profile=False), "carries no reference profile; train and export it again"),
        (PinnedModel(path=str(tmp_path / "nowhere.onnx"), name="orders"), "there is no model yet"),
        (None, "there is no model yet"),
    ):
        report = fillers_of_night(tmp_path, 100, model)
        assert [finding.observed.endswith(reason) for finding in report.unjudged] == [True]
        assert "not judged" in report.note


@pytest.mark.costly
def test_a_model_that_is_not_the_pinned_one_is_not_a_reference(tmp_path: Path) -> None:
    for path in ("model.onnx", "nowhere.onnx"):
        altered = pinned(tmp_path).model_copy(update={"path": str(tmp_path / path), "sha256": "0" * 64})
        with pytest.raises(ModelError):
            fillers_of_night(tmp_path, 0, altered)


def test_a_limit_of_no_feature_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="maximum_filler_excess_by_feature names price, not among the features"):
        fillers_of_night(tmp_path, 0, pinned(tmp_path), maximum_filler_excess_by_feature={"price": 0.1})
