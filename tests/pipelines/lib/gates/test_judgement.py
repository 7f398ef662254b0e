"""Judging: the same verdict however a table is sliced, and nothing passes because it could not be evaluated."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.gates import Expectation, Gate, expect, judge, judgement
from pipelines.lib.gates.expectations import of_columns
from pipelines.lib.gates.report import FAILED, NOT_JUDGED, PASSED
from pipelines.lib.sources.casts import ARROW_TYPES
from pipelines.lib.tables.dataset import Column

ROWS = 1_000

KEY_ABOVE_0 = {"type": "comparison", "column": {"name": "key"}, "operator": ">", "parameter": 0}
KEY_NOT_5 = {"type": "comparison", "column": {"name": "key"}, "operator": "!=", "parameter": 5}


@pytest.fixture
def table(tmp_path: Path) -> str:
    """A query over rows with a key, a key with two doubles, a value with nulls at the start and large values at the end, a word."""
    number = np.arange(ROWS)
    frame = pd.DataFrame(
        {
            "key": number,
            "doubled": np.where(number == ROWS - 1, 0, number),
            "value": np.where(number < 50, np.nan, np.where(number >= 980, 99.0, 1.0)).astype(np.float32),
            "word": np.where(number % 10 == 0, "", "a"),
        }
    )
    frame.to_parquet(tmp_path / "table.parquet", index=False)
    return f"SELECT * FROM read_parquet('{tmp_path / 'table.parquet'}')"


EXPECTATIONS = [
    expect("table_row_count_to_equal", value=ROWS),
    expect("column_values_to_not_be_null", column="value"),
    expect("column_values_to_not_be_null", column="value", mostly=0.95),
    expect("column_values_to_be_between", column="value", max_value=1, mostly=0.95),
    expect("column_values_to_be_between", column="value", max_value=1, mostly=0.98),
    expect("column_values_to_be_in_set", column="word", value_set=["a"], mostly=0.9),
    expect("column_values_to_be_unique", column="key"),
    expect("compound_columns_to_be_unique", column_list=["doubled", "word"]),
    expect("column_values_to_be_unique", column="doubled"),
    expect("column_values_to_be_increasing", column="key"),
    expect("column_mean_to_be_between", column="value", min_value=3.06, max_value=3.07),
    expect("column_max_to_be_between", column="value", max_value=98),
    expect("column_sum_to_be_between", column="key", min_value=499_500, max_value=499_500),
    expect("column_unique_value_count_to_be_between", column="value", min_value=2, max_value=2),
    expect("column_stdev_to_be_between", column="value", min_value=14, max_value=15),
    expect("column_distinct_values_to_equal_set", column="word", value_set=["", "a"]),
    expect("column_type_to_be", column="value", type_="float[pyarrow]"),
    expect("column_to_exist", column="nowhere"),
]
VERDICTS = [True, False, True, True, False, True, True, True, False, True, True, False, True, True, True, True, True, False]


@pytest.mark.costly
@pytest.mark.parametrize("rows", [ROWS, 64])
def test_slices_do_not_change_a_verdict_or_a_count(table: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = judge(table, EXPECTATIONS, identity=["key"], time_zone="UTC")
    monkeypatch.setattr(judgement, "SLICE", rows)
    counted, findings = judge(table, EXPECTATIONS, identity=["key"], time_zone="UTC")
    assert counted == ROWS
    assert [finding.passed for finding in findings] == VERDICTS
    assert findings == whole[1]


def test_counts_and_sample_rows_are_those_of_the_data(table: str) -> None:
    _, (nulls, large, doubled) = judge(table, [EXPECTATIONS[1], EXPECTATIONS[4], EXPECTATIONS[8]], identity=["key"], time_zone="UTC")
    assert (nulls.unexpected_count, nulls.unexpected_share) == (50, 0.05)
    assert nulls.sample_rows[0] == {"key": 0, "value": None}
    assert (large.unexpected_count, large.unexpected_share) == (20, round(20 / 950, 6))
    assert large.sample_rows[0] == {"key": 980, "value": 99.0}
    assert doubled.unexpected_count == 2
    assert [row["key"] for row in doubled.sample_rows] == [0, 999]


@pytest.mark.costly
@pytest.mark.parametrize("rows", [ROWS, 64])
def test_unique_is_a_share_of_all_rows_and_may_be_asked_of_some(table: str, rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "SLICE", rows)
    many = f"SELECT *, CASE WHEN key >= 100 THEN key // 2 END AS half FROM ({table})"  # 900 rows in pairs, 100 without a value
    wanted = [
        expect("column_values_to_be_unique", column="doubled", mostly=0.99),
        expect("column_values_to_be_unique", column="doubled", mostly=0.999),
        expect("compound_columns_to_be_unique", column_list=["doubled", "value"], ignore_row_if="any_value_is_missing"),
        expect("column_values_to_be_unique", column="doubled", row_condition=KEY_ABOVE_0),
        expect("column_values_to_be_unique", column="doubled", row_condition=KEY_NOT_5),
        expect("column_values_to_be_unique", column="half", mostly=0.01),
        expect("compound_columns_to_be_unique", column_list=["half", "word"]),
        expect("compound_columns_to_be_unique", column_list=["half", "word"], ignore_row_if="any_value_is_missing"),
        expect("compound_columns_to_be_unique", column_list=["half", "word"], ignore_row_if="never", mostly=0.1),
    ]
    counts = [(one.passed, one.unexpected_count, one.unexpected_share) for one in judge(many, wanted, identity=["key"], time_zone="UTC")[1]]
    assert counts == [
        (True, 2, 0.002), (False, 2, 0.002), (True, 0, 0.0), (True, 0, 0.0), (False, 2, round(2 / 999, 6)), (False, 900, 1.0),
        (False, 820, 0.82), (False, 720, 0.8), (True, 820, 0.82),
    ]  # fmt: skip


def test_what_cannot_be_evaluated_does_not_hold(table: str) -> None:
    _, (missing, mixed) = judge(
        table, [expect("column_values_to_be_between", column="nowhere", max_value=1), expect("column_values_to_be_between", column="word", max_value=1)],
        identity=["key"], time_zone="UTC",
    )  # fmt: skip
    assert not missing.passed
    assert missing.observed.startswith("there is no column 'nowhere'; there are key, doubled")
    assert not mixed.passed
    assert mixed.observed.startswith("could not be evaluated: ")


@pytest.mark.parametrize("wrong", [Expectation(type="expect_the_best"), expect("column_values_to_be_between", colum="value", max_value=1)])
def test_an_expectation_that_cannot_be_built_is_a_config_error(table: str, wrong: Expectation) -> None:
    with pytest.raises(ConfigError, match=wrong.type):
        judge(table, [wrong], identity=["key"], time_zone="UTC")


@pytest.mark.parametrize("suite", sorted(Path("pipelines/suites").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_suites_of_the_repository_can_be_built(suite: Path) -> None:
    for expectation in Gate(suite=str(suite)).custom_expectations():
        judgement._impl(expectation)


@pytest.mark.costly
@pytest.mark.parametrize(
    ("expectation", "verdict"),
    [
        (expect("column_distinct_values_to_contain_set", column="word", value_set=["a"]), PASSED),
        (expect("column_distinct_values_to_be_in_set", column="nothing", value_set=["a"]), NOT_JUDGED),
        (expect("column_distinct_values_to_equal_set", column="nothing", value_set=[1.0]), FAILED),
        (expect("column_max_to_be_between", column="nothing", max_value=1), FAILED),
        (expect("column_to_exist", column="nothing"), PASSED),
    ],
)
def test_an_expectation_that_holds_is_not_judged_only_where_there_is_no_value(table: str, expectation: Expectation, verdict: str) -> None:
    """Great Expectations does not report what it observed for every type: a missing observation says nothing about the values."""
    _, [finding] = judge(f"SELECT *, NULL::DOUBLE AS nothing FROM ({table})", [expectation], identity=["key"], time_zone="UTC")
    assert finding.verdict == verdict


@pytest.mark.parametrize(("kind", "values"), [("integer", [1, 2]), ("boolean", [True])])
def test_the_values_of_an_integer_or_boolean_column_can_pass(kind: str, values: list[object], tmp_path: Path) -> None:
    column = parse_section({"type": kind, "nulls": 0.5, "values": values}, Column, "columns.kind")
    numbers = pa.table({"key": list(range(len(values) + 1)), "kind": pa.array([*values, None], ARROW_TYPES[kind])})
    pq.write_table(numbers, tmp_path / "numbers.parquet")
    _, findings = judge(
        f"SELECT * FROM read_parquet('{tmp_path / 'numbers.parquet'}')", of_columns({"kind": column}), identity=["key"], time_zone="UTC"
    )
    assert [finding.verdict for finding in findings] == [PASSED, PASSED]
