"""The judge says of any table, in slices of any length, what Great Expectations says of it as one frame."""

import datetime as dt
import math
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from pipelines.lib.gates import Expectation, expect, judge, judgement
from pipelines.lib.gates.expectations import LARGEST_FLOAT64
from pipelines.lib.gates.great_expectations_import import import_great_expectations
from pipelines.lib.gates.report import FAILED, NOT_JUDGED, PASSED
from pipelines.lib.gates.suite import columns_of
from pipelines.lib.tables.engine import UTC

SLICE = 5
SCHEMA = pa.schema(
    {
        "key": pa.int64(),
        "whole": pa.int64(),
        "number": pa.float64(),
        "ratio": pa.float64(),
        "word": pa.string(),
        "other": pa.string(),
        "flag": pa.bool_(),
        "moment": pa.timestamp("us"),
    }
)
WORDS = ["a", "b", "", "EWR", "É"]
SOME: dict[str, Any] = {"max_value": 1.0, "min_value": -1.0}

EXPECTATIONS = [
    expect("table_row_count_to_be_between", min_value=1, max_value=9),
    expect("table_row_count_to_equal", value=3),
    expect("table_columns_to_match_ordered_list", column_list=SCHEMA.names),
    expect("column_to_exist", column="word"),
    expect("column_values_to_not_be_null", column="number"),
    expect("column_values_to_not_be_null", column="word", mostly=0.5),
    expect("column_values_to_be_null", column="flag"),
    expect("column_values_to_be_between", column="number", **SOME),
    expect("column_values_to_be_between", column="number", min_value=-LARGEST_FLOAT64, max_value=LARGEST_FLOAT64, mostly=0.75),
    expect("column_values_to_be_between", column="whole", min_value=0, max_value=3, strict_max=True),
    expect(
        "column_values_to_be_between", column="moment", min_value="2024-01-01T00:00:00", max_value="2024-01-02T00:00:00", strict_max=True
    ),
    expect("column_values_to_be_in_set", column="word", value_set=["a", "b"], mostly=0.5),
    expect("column_values_to_be_in_set", column="flag", value_set=[True]),
    expect("column_values_to_not_be_in_set", column="whole", value_set=[0, 2]),
    expect("column_values_to_not_be_in_set", column="number", value_set=[-1.0], mostly=0.9),
    expect("column_values_to_match_regex", column="word", regex="^[A-Z]{3}$", mostly=0.25),
    expect("column_pair_values_a_to_be_greater_than_b", column_A="whole", column_B="key", or_equal=True),
    expect("select_column_values_to_be_unique_within_record", column_list=["word", "other"]),
    expect("column_values_to_be_unique", column="key"),
    expect("column_values_to_be_unique", column="number", mostly=0.5),
    expect("column_values_to_be_unique", column="word"),
    expect("compound_columns_to_be_unique", column_list=["key", "word"]),
    expect("compound_columns_to_be_unique", column_list=["word", "flag"], ignore_row_if="any_value_is_missing"),
    expect("compound_columns_to_be_unique", column_list=["key", "whole"], ignore_row_if="never"),
    expect("column_mean_to_be_between", column="ratio", **SOME),
    expect("column_sum_to_be_between", column="key", min_value=0, max_value=6),
    expect("column_min_to_be_between", column="number", **SOME),
    expect("column_max_to_be_between", column="number", **SOME),
    expect("column_max_to_be_between", column="whole", max_value=2),
    expect("column_median_to_be_between", column="number", **SOME),
    expect("column_distinct_values_to_contain_set", column="word", value_set=["a"]),
    expect("column_distinct_values_to_be_in_set", column="word", value_set=WORDS),
    expect("column_distinct_values_to_equal_set", column="flag", value_set=[True, False]),
    expect("column_unique_value_count_to_be_between", column="whole", min_value=2, max_value=3),
]
"""Every expectation that a stage generates, a suite has or a page of the documentation shows, and more of each kind of judging."""

numbers = st.sampled_from([0.0, -0.0, 0.5, -1.0, 1.0, math.nan, math.inf, -math.inf, LARGEST_FLOAT64, -LARGEST_FLOAT64, 5e-324])
ratios = st.sampled_from([0.5, -1.0, 1.0, math.nan, math.inf, -math.inf])
"""Numbers whose sum does not depend on their order: in another order, sums of larger ones are rounded differently."""
moments = st.sampled_from(
    list(map(dt.datetime.fromisoformat, ("0001-01-01", "2024-01-01", "2024-01-01T23:59:59.999999", "2024-01-02", "9999-12-31")))
)
rows = st.tuples(
    st.integers(0, 6),
    st.none() | st.sampled_from([0, 1, 2, 3, 2**53, -(2**53)]),
    st.none() | numbers,
    st.none() | ratios,
    st.none() | st.sampled_from(WORDS),
    st.none() | st.sampled_from(WORDS),
    st.none() | st.booleans(),
    st.none() | moments,
)


def table_of(content: list[tuple[Any, ...]]) -> pa.Table:
    """Return the rows `content` as a table of `SCHEMA`; none of them is an empty table."""
    return pa.Table.from_pylist([dict(zip(SCHEMA.names, row, strict=True)) for row in content], SCHEMA)


@cache
def validator() -> Callable[[pd.DataFrame], list[Any]]:
    """Return a function that gives Great Expectations' own results on a frame, one for each of `EXPECTATIONS`."""
    great_expectations = import_great_expectations()
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = great_expectations.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    batches = context.data_sources.add_pandas("whole").add_dataframe_asset("whole").add_batch_definition_whole_dataframe("whole")
    built = [judgement._impl(one)(**one.kwargs, meta={"number": number}) for number, one in enumerate(EXPECTATIONS)]

    def validate(frame: pd.DataFrame) -> list[Any]:
        suite = great_expectations.ExpectationSuite(name="whole", expectations=built)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # numpy warns of means of infinities
            found = batches.get_batch({"dataframe": frame}).validate(suite, result_format={"result_format": "BASIC"})
        return sorted(found.results, key=lambda one: one.expectation_config.meta["number"])

    return validate


def without_values(expectation: Expectation, result: Mapping[str, Any], frame: pd.DataFrame) -> bool:
    """Return whether there was nothing to judge: no row that counts, or no value."""
    if "element_count" in result:
        return bool(result["element_count"] == result.get("missing_count", 0))
    columns = columns_of(expectation)
    return bool(columns) and not frame[columns].notna().to_numpy().any()


@pytest.mark.slow
@settings(
    derandomize=True,
    max_examples=5,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@example([])
@example([(0, *[None] * 7)] * 7)
@example([(6, 2**53, -math.inf, None, None, "EWR", None, None), (4, -(2**53), math.nan, None, "EWR", None, None, None)])
@example([(0, 1, 1.0, 1.0, "a", "b", True, dt.datetime.fromisoformat("2024-01-01"))] * 11)
@given(st.lists(rows, max_size=3 * SLICE + 2))
def test_the_verdict_and_the_counts_are_those_of_one_frame(
    tmp_path_factory: pytest.TempPathFactory, content: list[tuple[Any, ...]]
) -> None:
    path = Path(tmp_path_factory.getbasetemp()) / "property.parquet"
    table = table_of(content)
    pq.write_table(table, path)
    frame = table.to_pandas()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(judgement, "SLICE", SLICE)
        counted, findings = judge(f"SELECT * FROM read_parquet('{path}')", EXPECTATIONS, identity=["key"], time_zone=UTC)
    assert counted == len(content)
    for expectation, finding, whole in zip(EXPECTATIONS, findings, validator()(frame), strict=True):
        said = (expectation.type, expectation.kwargs, finding, whole.result, whole.exception_info)
        if not whole.success:
            assert finding.verdict == FAILED, said
        elif without_values(expectation, whole.result, frame):
            assert finding.verdict == NOT_JUDGED, said
        else:
            assert finding.verdict == PASSED, said
        if finding.verdict != NOT_JUDGED and "element_count" in whole.result:  # counts rows
            assert finding.unexpected_count == whole.result["unexpected_count"], said
