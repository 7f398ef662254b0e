"""Integers that a float64 cannot hold, and the bounds on them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.gates import expect, judge
from pipelines.lib.gates.report import FAILED, PASSED


@pytest.mark.parametrize("other", [7, None])
def test_integers_that_a_float_cannot_hold_are_compared_exactly(other: int | None, tmp_path: Path) -> None:
    """2^53 + 1 is 2^53 to a float64, which pandas makes of integers next to a null and Great Expectations of every bound."""
    limit = 2**53
    numbers = pa.table({"key": ["a", "b", "c"], "number": pa.array([limit, limit + 1, other], pa.int64())})
    pq.write_table(numbers, tmp_path / "numbers.parquet")
    wanted = [
        expect("column_values_to_be_between", column="number", max_value=limit),
        expect("column_values_to_be_between", column="number", max_value=limit + 1),
        expect("column_values_to_be_in_set", column="number", value_set=[limit + 1, 7]),
        expect("column_max_to_be_between", column="number", max_value=limit),
    ]
    _, findings = judge(f"SELECT * FROM read_parquet('{tmp_path / 'numbers.parquet'}')", wanted, identity=["key"], time_zone="UTC")
    assert [finding.verdict for finding in findings] == [FAILED, PASSED, FAILED, FAILED]
    assert findings[0].sample_rows == [{"key": "b", "number": limit + 1}]
    assert findings[2].sample_rows == [{"key": "a", "number": limit}]
