"""Lagged sums are exact for any size and order of the values, and for any window."""

import datetime as dt
import math
import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.features.lagged import aggregate, summable
from pipelines.lib.tables.engine import UTC, connect
from tests.pipelines.lib.features.test_compute import DAY, FIRST, World, at, bits


def mean_of(directory: Path, values: list[float], value: str = "out") -> float:
    rows = [{"t": at(0), "k": "a", "out": number} for number in values]
    lagged = {"mean": {"by": ["k"], "value": value, "window_days": 9, "nothing_seen": -1.0}}
    world = World(directory, [*rows, {"t": at(5), "k": "a"}], lagged=lagged)
    return float(world.night(FIRST + 5 * DAY)["mean"].to_pylist()[0])


@pytest.mark.costly
@pytest.mark.parametrize(
    "values",
    [[1e13, 10, 20], [1e13, 2e13], [1e-9, 8e-9], [1e20, 1, -1e20], [2.9e38, 1e-40], [1e-40, 3e-40], [0.1] * 10, [-1e-7, 5e-8], [2.0**53, 1, 1]],
)  # fmt: skip
def test_a_mean_is_the_exact_one_as_float32(tmp_path: Path, values: list[float]) -> None:
    exact = sum(map(Fraction, values)) / len(values)
    assert mean_of(tmp_path, values) == float(np.float32(float(exact)))


def test_nan_and_infinity_are_not_outcomes(tmp_path: Path) -> None:
    assert mean_of(tmp_path, [math.inf, 4, math.nan, -math.inf, 2]) == 3


@pytest.mark.costly
def test_whole_numbers_of_any_size_are_summed_as_they_are(tmp_path: Path) -> None:
    assert mean_of(tmp_path, [3, 5], "(out * 1e12)::BIGINT * 1000000") == float(np.float32(4e18))
    assert mean_of(tmp_path / "..", [1, 2], "(out * 1e30)::HUGEINT") == float(np.float32(1.5e30))


def test_a_decimal_is_summed_as_it_is(tmp_path: Path) -> None:
    assert mean_of(tmp_path, [3, 4], "out::DECIMAL(18, 9) / 1000000000 * 2") == pytest.approx(7e-9)


def test_a_value_that_no_feature_can_hold_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"features\.lagged\.mean\.value \(out\) is 1e\+300 in the row with id 1; .*at most 3e\+38"):
        mean_of(tmp_path, [1, 1e300])


@pytest.mark.costly
@pytest.mark.parametrize(
    ("values", "value", "mean"),
    [
        ([1, 1], "(out * 1.2e38)::HUGEINT", 1.2e38),
        ([1, 1, -1], "(out * 1.6e38)::HUGEINT", 1.6e38 / 3),
        ([9, 9], "out::DECIMAL(38, 37)", 9.0),
        ([-9, -9, 0.25], "out::DECIMAL(38, 37)", -17.75 / 3),
        ([0.5, -0.25], "out::DECIMAL(29, 3)", 0.125),
    ],
)
def test_a_sum_beyond_the_type_of_its_values_is_exact(tmp_path: Path, values: list[float], value: str, mean: float) -> None:
    assert mean_of(tmp_path, values, value) == float(np.float32(mean))


def test_the_order_of_rows_changes_no_bit() -> None:
    generator = random.Random(7)
    values = [generator.choice([1, -1]) * generator.random() * 10.0 ** generator.randint(-40, 37) for _ in range(400)]
    expected = float(sum(map(Fraction, values)))
    sums = set()
    with connect(UTC) as (connection, _):
        for _ in range(5):
            generator.shuffle(values)
            rows = ", ".join(f"(DATE '2024-01-0{1 + number % 5}', {value!r}::DOUBLE)" for number, value in enumerate(values))
            connection.execute(
                f"CREATE OR REPLACE TEMP TABLE r AS SELECT day AS __date, {summable('x', 'DOUBLE')} AS v FROM (VALUES {rows}) t(day, x)"
            )
            connection.execute("INSERT INTO r VALUES (DATE '2024-01-09', NULL)")
            query = aggregate("r", [], "v", kind="DOUBLE", windows=[30], delay=1, dates="__date = DATE '2024-01-09'")
            [(_, total, count)] = connection.sql(query).fetchall()
            assert count == 400
            sums.add(total)
    assert len(sums) == 1
    assert sums.pop() == pytest.approx(expected, rel=1e-15)


@pytest.mark.costly
def test_history_and_night_agree_over_the_whole_range(tmp_path: Path) -> None:
    """I6 with values of every size: a history that holds larger and smaller ones than the night gives it the same bits."""
    generator = random.Random(3)
    rows: list[dict[str, Any]] = [
        {"t": at(number % 10), "k": "ab"[number % 2], "out": generator.uniform(-1, 1) * 10.0 ** generator.randint(-60, 38)}
        for number in range(200)
    ]
    lagged = {"mean": {"by": ["k"], "value": "out", "window_days": 3, "prior_weight": 2}}
    world = World(tmp_path, rows, lagged=lagged)
    history = bits(world.history(FIRST + 11 * DAY), ["mean"])
    for day in range(10):
        night = bits(world.night(FIRST + dt.timedelta(days=day)), ["mean"])
        assert {key: history[key] for key in night} == night
