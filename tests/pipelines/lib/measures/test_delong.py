"""DeLong's areas and covariances: by midranks the same as by comparing every pair, and as wide as resampling says."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from pipelines.lib.core.errors import DataError
from pipelines.lib.measures.delong import delong


def _by_every_pair(labels: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the definition: psi(x, y) = 1, 1/2 or 0 for each positive x and negative y, O(count × others)."""
    kernels = [(np.sign(scores[labels == 1][:, None] - scores[labels == 0][None, :]) + 1) / 2 for scores in columns]
    above = np.array([kernel.mean(axis=1) for kernel in kernels])
    below = np.array([kernel.mean(axis=0) for kernel in kernels])
    spread = np.atleast_2d(np.cov(above)) / above.shape[1] + np.atleast_2d(np.cov(below)) / below.shape[1]
    return above.mean(axis=1), spread


@pytest.mark.costly
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(4, 80), levels=st.integers(1, 30), columns=st.integers(1, 3))
def test_midranks_give_what_every_pair_gives_ties_included(seed: int, rows: int, levels: int, columns: int) -> None:
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(rows) < random.integers(2, rows - 1)).astype(np.int8)
    scores = [random.integers(0, levels, rows) / levels for _ in range(columns)]
    areas, covariance = delong(labels, *scores)
    expected_areas, expected_covariance = _by_every_pair(labels, *scores)
    np.testing.assert_allclose(areas, expected_areas, atol=1e-12)
    np.testing.assert_allclose(covariance, expected_covariance, atol=1e-12)
    np.testing.assert_allclose(areas, [roc_auc_score(labels, column) for column in scores], atol=1e-12)


def _sample(random: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels = (random.random(rows) < 0.2).astype(np.int8)
    shared = labels * 0.8 + random.normal(size=rows)
    return labels, shared + random.normal(size=rows) * 0.5, shared + random.normal(size=rows) * 0.5


@pytest.mark.costly
def test_the_covariance_is_that_of_repeated_samples() -> None:
    random = np.random.default_rng(5)
    found = np.array([delong(*_sample(random, 500))[0] for _ in range(2_000)])
    areas, covariance = delong(*_sample(random, 200_000))
    np.testing.assert_allclose(found.mean(axis=0), areas, atol=0.01)
    np.testing.assert_allclose(np.cov(found.T), covariance * 200_000 / 500, rtol=0.1)


def test_single_precision_scores_rank_as_they_are() -> None:
    labels = np.array([0, 1, 0, 1], dtype=np.int8)
    scores = np.array([0.1, 0.4, 0.35, 0.8], dtype=np.float32)
    assert delong(labels, scores)[0] == delong(labels, scores.astype(np.float64))[0] == 1.0


def test_one_class_has_no_area_and_one_row_of_a_class_no_covariance() -> None:
    with pytest.raises(DataError, match="0 positive and 3 negative"):
        delong(np.zeros(3, dtype=np.int8), np.arange(3.0))
    areas, covariance = delong(np.array([0, 0, 1], dtype=np.int8), np.array([0.1, 0.9, 0.5]))
    assert areas.tolist() == [0.5]
    assert np.isnan(covariance).all()
