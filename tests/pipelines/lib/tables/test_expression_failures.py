"""An expression that fails on a value is reported with its place, the row and the remedy, and is not tried again."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.errors import DataError
from tests.pipelines.lib.features.test_compute import FIRST, World, at

ROWS: list[dict[str, Any]] = [{"id": 1, "k": "12", "x": 1.0}, {"id": 2, "k": "x", "x": 2.0}, {"id": 2**62, "k": None, "x": 3.0}]


@pytest.mark.costly
@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"numeric": {"v": {"expression": "k::INTEGER", "missing": 0}}}, r"features\.numeric\.v is 'k::INTEGER', .*id '2' \(and k 'x'\).*Could not convert.*TRY"),
        ({"numeric": {"v": {"expression": "id * 4", "missing": 0}}}, r"features\.numeric\.v .*id '4611686018427387904'.*Overflow.*HUGEINT"),
        ({"categorical": {"v": {"expression": "k::INTEGER", "values": ["12"]}}}, r"features\.categorical\.v .*id '2'"),
        ({"same_day": {"v": {"by": ["k::INTEGER"]}}}, r"features\.same_day\.v\.by .*id '2'"),
        ({"lagged": {"v": {"by": ["k::INTEGER"], "window_days": 2}}}, r"features\.lagged\.v\.by .*id '2'"),
        ({"lagged": {"v": {"value": "k::INTEGER", "window_days": 2}}}, r"features\.lagged\.v\.value .*id '2'"),
        ({"joins": {"side": {"key": {"k": "k::INTEGER::VARCHAR"}}}, "numeric": {"v": {"expression": "side_v", "missing": 0}}}, r"joins\.side\.key\.k .*id '2'"),
        ({"numeric": {"v": {"expression": "length(concat(k, id))", "missing": 0}, "w": {"expression": "chr((0 - x)::INTEGER) = 'a'", "missing": 0}}}, r"features\.numeric\.w "),
    ],
)  # fmt: skip
def test_a_failure_names_expression_row_value_and_remedy(tmp_path: Path, features: dict[str, Any], message: str) -> None:
    rows = [row if "concat" not in str(features) or row["id"] < 9 else {**row, "id": 3} for row in ROWS]
    with pytest.raises(DataError, match=message) as caught:
        World(tmp_path, rows, **features).night(FIRST)
    assert not caught.value.retryable


@pytest.mark.costly
def test_a_failure_in_the_later_batch_is_reported_too(tmp_path: Path) -> None:
    rows = [{"k": str(number), "t": at(0)} for number in range(70_000)]
    rows[66_000]["k"] = "x"
    with pytest.raises(DataError, match="id '66000'"):
        World(tmp_path, rows, numeric={"v": {"expression": "k::INTEGER", "missing": 0}}).night(FIRST)


@pytest.mark.costly
def test_the_remedy_that_is_named_works(tmp_path: Path) -> None:
    features: dict[str, Any] = {
        "numeric": {
            "v": {"expression": "TRY(k::INTEGER) -- a word is missing", "missing": -1},
            "w": {"expression": "id::HUGEINT * 4", "missing": 0},
        }
    }
    night = World(tmp_path, ROWS, **features).night(FIRST).sort_by("id")
    assert night["v"].to_pylist() == [12, -1, -1]
    assert night["w"].to_pylist() == [4, 8, 2.0**64]
