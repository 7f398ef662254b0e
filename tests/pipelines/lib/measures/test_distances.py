"""Distances: published figures come out, and equals are at no distance."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lib.core.errors import DataError
from pipelines.lib.measures import distances
from pipelines.lib.measures.binning import Binning
from pipelines.lib.measures.histogram import count

CASES: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "drift_cases.json").read_text(encoding="utf-8"))
FLOOR = 0.0001


def tally(values: list[float], of: list[float]) -> list[int]:
    return [int(np.sum(np.asarray(of) == value)) for value in values]


@pytest.mark.parametrize("case", CASES["psi_from_counts"], ids=lambda case: case["source"])
def test_psi_of_published_counts(case: dict[str, Any]) -> None:
    if "expected_values" in case:
        values = sorted({*case["expected_values"], *case["actual_values"]})
        expected, actual = (tally(values, case[side]) for side in ("expected_values", "actual_values"))
    else:
        expected, actual = case["expected"], case["actual"]
    assert distances.psi(expected, actual, case["floor"]) == pytest.approx(case["psi"], rel=0, abs=case["tolerance"])


def psi_of_halves(values: np.ndarray) -> float:
    """Compute the PSI as feature_engine does: bins of the first half, floor for empty bins."""
    first, second = np.split(values, 2)
    binning = Binning("x", tuple(np.quantile(first, np.linspace(0, 1, 11)[1:-1]).tolist()))
    return compare_psi(binning, first, second)


def compare_psi(binning: Binning, first: np.ndarray, second: np.ndarray) -> float:
    sides = [count({"x": side}, [binning]).counts["x"] for side in (first, second)]
    return distances.psi(*sides, floor=FLOOR)


def test_psi_of_published_samples() -> None:
    from sklearn.datasets import make_classification

    many, one = CASES["psi_from_samples"]
    matrix, _ = make_classification(
        n_samples=1000, n_features=6, n_redundant=2, n_clusters_per_class=1, weights=[0.50], class_sep=2, random_state=1
    )
    found = [psi_of_halves(column) for column in matrix.T]
    np.testing.assert_allclose(found, many["psi"], rtol=0, atol=many["tolerance"])
    assert psi_of_halves(np.arange(1000.0)) == pytest.approx(one["psi"][0], abs=one["tolerance"])


@pytest.mark.parametrize(("shift", "case"), [(20.1, CASES["ks"][0]), (19.9, CASES["ks"][1])])
def test_ks_of_published_samples(shift: float, case: dict[str, Any]) -> None:
    first, second = np.linspace(1, 100, 100), np.linspace(1, 100, 110) + shift
    values = np.unique([*first, *second])
    assert distances.ks(tally(values, first), tally(values, second)) == pytest.approx(case["statistic"], rel=1e-12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_ks_is_that_of_scipy(first: list[int], second: list[int]) -> None:
    from scipy.stats import ks_2samp

    with np.errstate(divide="ignore"):  # scipy divides by zero for some p-values, which nobody asks for here
        expected = ks_2samp(first, second, method="asymp").statistic
    assert distances.ks(np.bincount(first, minlength=31), np.bincount(second, minlength=31)) == pytest.approx(expected, abs=1e-12)


def test_jensen_shannon_is_that_of_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    assert distances.jensen_shannon([20, 30, 0, 50], [10, 30, 40, 5]) == pytest.approx(
        jensenshannon([20, 30, 0, 50], [10, 30, 40, 5], base=2)
    )
    assert distances.jensen_shannon([1, 0], [0, 1]) == 1


counts = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=20).filter(
    lambda pairs: all(any(side) for side in zip(*pairs, strict=True))
)


@given(counts, st.none() | st.sampled_from([FLOOR, 0.01]))
def test_a_distance_is_symmetric_and_zero_for_equals(pairs: list[tuple[int, int]], floor: float | None) -> None:
    e, a = zip(*pairs, strict=True)
    assert distances.psi(e, a, floor) >= 0
    assert distances.psi(e, a, floor) == pytest.approx(distances.psi(a, e, floor))
    assert distances.psi(e, e, floor) == 0 == distances.psi(a, [10 * number for number in a], floor)
    assert 0 <= distances.jensen_shannon(e, a) <= 1
    assert distances.jensen_shannon(e, a) == pytest.approx(distances.jensen_shannon(a, e))
    assert distances.jensen_shannon(e, e) == pytest.approx(0, abs=1e-7)


def test_without_a_floor_a_bin_that_is_empty_on_one_side_is_infinitely_far() -> None:
    assert distances.psi([1, 0], [1, 1]) == math.inf
    assert distances.psi([1, 0, 1], [1, 0, 1]) == 0


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows on one side"):
        distances.ks([0, 0], [1, 0])
