"""Figures of forecasts: those of scikit-learn, and an interval that holds the truth as often as it says."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from pipelines.lib.measures import forecasts


def test_figures_are_those_of_scikit_learn_in_the_unit_of_the_label() -> None:
    rng = np.random.default_rng(0)
    labels = rng.normal(500, 100, 2_000)
    scores = (labels + rng.normal(0, 50, 2_000)).astype(np.float32)
    found = forecasts.summary(labels, scores)
    assert found.r2 == pytest.approx(r2_score(labels, scores.astype(float)), abs=1e-6)
    assert found.mean_absolute_error == pytest.approx(mean_absolute_error(labels, scores.astype(float)), rel=1e-8)
    assert found.spread == pytest.approx(labels.std(), rel=1e-8)
    assert found.loss == pytest.approx(1 - r2_score(labels, scores.astype(float)), abs=1e-6)


def test_a_forecast_of_the_mean_explains_nothing_and_equal_labels_have_no_quality() -> None:
    labels = np.array([1.0, 2.0, 6.0])
    assert forecasts.explained(labels, np.full(3, 3.0)) == 0
    assert forecasts.explained(np.full(3, 2.0), labels) is None
    assert forecasts.explained_interval(np.full(3, 2.0), labels) is None


def test_the_interval_of_r2_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    truth, held = 0.5, 0
    for _ in range(200):
        scores = rng.normal(size=400)
        low, high = forecasts.explained_interval(scores + rng.normal(size=400), scores) or (1, 0)
        held += low <= truth <= high
    assert 180 <= held <= 198


def test_a_label_of_1e12_does_not_hide_the_error_of_another() -> None:
    labels = np.array([1.0, 2.0, 1e12])
    assert forecasts.squared_errors(labels, np.array([1.5, 2.0, 1e12])).tolist() == [0.25, 0, 0]
