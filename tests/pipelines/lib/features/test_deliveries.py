"""A row that is delivered more than once counts once, and is refused where its deliveries contradict each other."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.features.compute import Features
from tests.pipelines.lib.features.test_compute import DAY, FIRST, World, at

NIGHT = {"id": 99, "t": at(5), "k": "a"}


def night_of(directory: Path, rows: list[dict[str, Any]], **lagged: Any) -> float:
    world = World(directory, [*rows, NIGHT], lagged={"f": {"by": ["k"], "window_days": 9, **lagged}})
    return float(world.night(FIRST + 5 * DAY)["f"].to_pylist()[0])


def row(number: int, **more: Any) -> dict[str, Any]:
    return {"id": number, "t": at(0), "k": "a", "out": 0.0, **more}


@pytest.mark.costly
@pytest.mark.parametrize(("statistic", "value", "expected"), [("mean", "out", 0.5), ("mean", None, 0.5), ("count", "out", 2.0)])
def test_a_row_counts_once_however_often_it_was_delivered(tmp_path: Path, statistic: str, value: str | None, expected: float) -> None:
    rows = [row(1, out=1.0)] * 9 + [row(2)]
    assert night_of(tmp_path, rows, statistic=statistic, value=value) == expected


@pytest.mark.costly
def test_an_outcome_that_came_with_a_later_delivery_counts_once(tmp_path: Path) -> None:
    rows = [row(1, out=None), row(1, out=1.0), row(2)]
    assert night_of(tmp_path, rows) == 0.5
    assert night_of(tmp_path, rows, statistic="count") == 2


def test_what_lagged_features_do_not_read_may_differ(tmp_path: Path) -> None:
    assert night_of(tmp_path, [row(1, x=1.0, out=1.0), row(1, x=2.0, out=1.0), row(2)]) == 0.5


@pytest.mark.costly
@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"out": 1.0}, r"\(bad: 0 and 1\)"),
        ({"k": "b"}, r"\(k: a and b\)"),
        ({"k": None}, r"\(k: a and missing\)"),
        ({"t": at(1)}, r"\(the date of t: 2024-01-01 and 2024-01-02\)"),
    ],
)
def test_deliveries_that_contradict_each_other_are_refused(tmp_path: Path, second: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=rf"the row with id 1 was delivered 2 times, .*{message}; deliver the row once"):
        night_of(tmp_path, [row(1), row(1, **second), row(2)])


def test_a_declaration_without_lagged_features_reads_no_earlier_row(tmp_path: Path) -> None:
    world = World(tmp_path, [row(1), row(1, out=1.0), NIGHT], numeric={"x": {"missing": 0}})
    assert world.night(FIRST + 5 * DAY)["x"].to_pylist() == [0]


@pytest.mark.costly
def test_history_counts_a_row_as_often_as_its_night_does(tmp_path: Path) -> None:
    world = World(tmp_path, [*[row(1, out=1.0)] * 9, row(2), {**NIGHT, "out": 1.0}])
    world.features = parse_section({"lagged": {"f": {"by": ["k"], "window_days": 9}}}, Features, "features")
    history = world.history(FIRST + 9 * DAY)
    of_night = history.filter(pa.compute.equal(history["id"], 99))
    assert of_night["f"].to_pylist() == world.night(FIRST + 5 * DAY)["f"].to_pylist() == [0.5]
    assert pq.read_table(tmp_path / "t.parquet").num_rows == 11
