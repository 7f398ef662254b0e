"""Drift: a change is measured, and no change is not, in a column of any kind."""

import math

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import kl_div
from scipy.stats import ks_2samp

from pipelines.lib.core.errors import DataError
from pipelines.lib.measures import drift
from pipelines.lib.measures.binning import Binning, categorical_binning, numeric_binning
from pipelines.lib.measures.drift import compare
from pipelines.lib.measures.histogram import count

FLOOR = 0.0001


def measured(binning: Binning, reference: np.ndarray, current: np.ndarray) -> drift.Measures:
    sides = [count({"x": np.asarray(side, np.float32)}, [binning]) for side in (reference, current)]
    return compare([binning], *sides, floor=FLOOR)["x"]


def test_a_constant_that_stays_does_not_drift_and_one_that_changes_does() -> None:
    constant = np.full(1_000, 7, np.float32)
    binning = numeric_binning("x", constant, bins=10)
    assert measured(binning, constant, constant[:50]).psi == 0
    for other in (6.5, 7.5):
        assert measured(binning, constant, np.full(50, other)).psi > 5


def test_a_column_that_goes_missing_drifts() -> None:
    reference = np.random.default_rng(0).normal(size=1_000).astype(np.float32)
    binning = numeric_binning("x", reference, bins=10, filler=-1.0)
    for gone in (math.nan, -1.0):
        found = measured(binning, reference, np.full(500, gone))
        assert (found.missing, found.ks) == (1, None)
        assert found.psi > 5
        assert found.jensen_shannon == 1


def test_a_column_that_was_always_missing_is_measured() -> None:
    nothing = np.full(100, np.nan, np.float32)
    binning = numeric_binning("x", nothing, bins=10)
    assert measured(binning, nothing, nothing[:5]).psi == 0
    assert measured(binning, nothing, np.arange(5)).psi > 5


def test_a_new_category_is_reported() -> None:
    binning = categorical_binning("x", ["a", "b"])
    found = measured(binning, np.array([0, 1] * 500), np.array([0, 1] * 20 + [-1] * 60))
    assert found.unseen == pytest.approx(0.6)
    assert found.psi > 0.25
    assert found.ks is None


def test_three_rows_are_measured() -> None:
    reference = np.arange(1_000, dtype=np.float32)
    found = measured(numeric_binning("x", reference, bins=10), reference, np.array([1, 500, 999]))
    assert found.rows == 3
    assert found.psi > 1


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows on one side"):
        measured(Binning("x", (1.0,)), np.zeros(3), np.zeros(0))


U = np.random.default_rng(0).random(20_000)
V = np.random.default_rng(1).random(20_000)
RARE = np.random.default_rng(2).integers(1, 30, 20_000)


@pytest.mark.parametrize(
    ("before", "now", "psi", "ks"),
    [
        # The share of the cap falls from 0.95 to 0.30: (0.95 - 0.30) ln(0.95 / 0.30) + (0.70 - 0.05) ln(0.70 / 0.05) = 2.46, and a little for the gap below it
        (np.where(U < 0.95, 1, V), np.where(U < 0.30, 1, V), (2.4, 2.6), 0.65),
        # The tail of 0.08 moves beyond the largest value: 0.08 ln(0.08 / 0.0001) + 0.08 ln(0.08 / 9 / 0.0001) = 0.89
        (np.where(U < 0.92, 0, RARE), np.where(U < 0.92, 0, 100 * RARE), (0.8, 1.0), 0.08),
        # Nothing stays where it was: 0.95 ln(0.95 / 0.0001) for each of the two heavy scores, and the tail
        (np.where(U < 0.95, 0.01, 0.1 + 0.2 * V), np.where(U < 0.95, 0.001, 0.8 + 0.19 * V), (17.5, 18.5), 0.95),
        # A fee of 100 that becomes 90: 0.5 ln(0.5 / 0.0001) twice
        (np.where(U < 0.5, 0, 100), np.where(U < 0.5, 0, 90), (8.4, 8.6), 0.5),
        # A heavy value in the middle moves by less than its neighbours are away
        (np.where(U < 0.5, 50, 100 * V), np.where(U < 0.5, 51, 100 * V), (3.0, 9.0), 0.45),
    ],
    ids=["capped", "counts", "scores of a rare event", "two values", "in the middle"],
)  # fmt: skip
def test_what_happens_around_a_heavy_value_is_seen(before: np.ndarray, now: np.ndarray, psi: tuple[float, float], ks: float) -> None:
    before, now = before.astype(np.float32), now.astype(np.float32)
    binning = numeric_binning("x", before, bins=10)
    found = measured(binning, before, now)
    assert psi[0] < found.psi < psi[1]
    assert found.ks is not None
    assert found.ks >= ks - 0.01
    assert measured(binning, before, before[::2]).psi < 0.01


@pytest.mark.parametrize("decimals", [None, 6])
@pytest.mark.parametrize("side", [1, -1])
def test_a_tail_that_moves_away_is_seen_where_no_value_is_heavy(side: int, decimals: int | None) -> None:
    """95 % are close together; the other 5 % were beyond nine tenths of the rows before and after: 0.05 ln(0.05 / 0.0001) = 0.31 for the
    bin above all.
    """
    before, now = (np.where(U < 0.95, 0.01 + 0.00001 * V, tail) for tail in (0.1 + 0.2 * V, 0.8 + 0.19 * V))
    before, now = (side * before).astype(np.float32), (side * now).astype(np.float32)
    binning = numeric_binning("x", before, bins=10, decimals=decimals)
    found = measured(binning, before, now)
    assert 0.31 < found.psi < 0.36
    assert found.ks == pytest.approx(0.05, abs=0.002)
    assert measured(binning, before, before[::2]).psi < 0.01


def test_a_few_outliers_of_the_reference_do_not_hide_a_tail_that_moves_away() -> None:
    """One row in two thousand reached 0.99 before as well: 0.05 ln(0.05 / 0.001) = 0.19 for the bin above 99.9 % of the rows."""
    before, now = (np.where(U < 0.95, 0.01 + 0.00001 * V, tail) for tail in (0.1 + 0.2 * V, 0.8 + 0.19 * V))
    before = np.where(U > 0.9995, 0.99, before).astype(np.float32)
    found = measured(numeric_binning("x", before, bins=10), before, now.astype(np.float32))
    assert 0.15 < found.psi < 0.3


def test_the_drift_of_forecasts_is_that_of_scipy_in_any_unit() -> None:
    rng = np.random.default_rng(2)
    learned, tonight = (rng.gamma(2.0, 20.0 * scale, rows).astype(np.float32) for scale, rows in ((1.0, 20_000), (1.5, 2_000)))
    binning = numeric_binning("x", learned, bins=10)
    found = measured(binning, learned, tonight)
    places = [
        np.bincount(np.searchsorted(np.float32(binning.edges), side, side="left"), minlength=len(binning.edges) + 1)
        for side in (learned, tonight)
    ]
    expected, actual = (np.maximum(side / side.sum(), FLOOR) for side in places)
    assert found.psi == pytest.approx(np.sum(kl_div(actual, expected) + kl_div(expected, actual)), abs=1e-6)
    assert found.jensen_shannon == pytest.approx(jensenshannon(*places, base=2), abs=1e-6)
    assert found.ks == pytest.approx(ks_2samp(learned, tonight).statistic, abs=0.06)
    tons = numeric_binning("x", learned / 1000, bins=10)
    assert measured(tons, learned / 1000, tonight / 1000).psi == pytest.approx(found.psi, abs=0.005)
