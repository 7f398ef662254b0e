"""The expectations: suite files, and shares that are tolerated to the last row."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.gates import Gate, expect
from pipelines.lib.gates.suite import mostly


def test_a_suite_file_and_inline_expectations_add_up(tmp_path: Path) -> None:
    suite = {"name": "more", "expectations": [{"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "meta": {"notes": "why"}}]}
    (tmp_path / "more.yaml").write_text(json.dumps(suite))
    both = Gate(suite=str(tmp_path / "more.yaml"), expectations=(expect("column_to_exist", column="b"),)).custom_expectations()
    assert [one.kwargs["column"] for one in both] == ["a", "b"]
    with pytest.raises(ConfigError, match="does not exist"):
        Gate(suite=str(tmp_path / "gone.yaml")).custom_expectations()


@pytest.mark.parametrize("tolerated", [1e-12, 1e-6, 0.003, 0.02, 0.05, 0.07, 0.1, 0.29, 1 / 3, 0.5, 0.9])
def test_a_tolerated_share_is_exact_to_the_row_for_any_size(tolerated: float) -> None:
    """Great Expectations asks for (n - k) / n >= mostly; the largest k that passes is the largest with k <= tolerated * n, exactly."""
    asked = mostly(tolerated)["mostly"]
    exact = Fraction(repr(tolerated))
    for rows in [*range(1, 5_000), 336_776, 10_000_019]:
        allowed = int(exact * rows)
        assert (rows - allowed) / rows >= asked, (rows, allowed)
        assert (rows - allowed - 1) / rows < asked, (rows, allowed + 1)


def test_without_a_tolerance_all_rows_must_hold() -> None:
    assert mostly(0.0) == {}
