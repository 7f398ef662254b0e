"""Metrics against values that can be worked out by hand."""

import numpy as np
import pytest

from pipelines.lib.measures import forecasts, metrics

LABELS = np.array([0, 0, 1, 1], dtype=np.int8)
SCORES = np.array([0.1, 0.4, 0.35, 0.8], dtype=np.float32)


def test_the_textbook_case() -> None:
    found = metrics.summary(LABELS, SCORES)
    assert found.auc == 0.75  # three of the four pairs are in order
    assert found.brier == pytest.approx((0.1**2 + 0.4**2 + 0.65**2 + 0.2**2) / 4, abs=1e-6)
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.35, 0.8]).mean(), abs=1e-6)
    assert found.positive_rate == 0.5


def test_one_class_has_no_auc() -> None:
    found = metrics.summary(np.ones(3, dtype=np.int8), np.array([0.2, 0.5, 0.9], dtype=np.float32))
    assert found.auc is None
    assert found.log_loss is not None


def test_the_area_alone_is_that_of_the_summary() -> None:
    rng = np.random.default_rng(0)
    for labels, scores in (
        (LABELS, SCORES),
        (np.ones(3, dtype=np.int8), np.array([0.2, 0.5, 0.9], dtype=np.float32)),
        (rng.integers(0, 2, 999).astype(np.int8), np.append(rng.random(998), 1.000001).astype(np.float32)),
    ):
        assert metrics.area(labels, scores) == metrics.summary(labels, scores).auc


def test_calibration_groups_hold_every_row_once() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(1_003).astype(np.float32)
    labels = (rng.random(1_003) < scores).astype(np.int8)
    points = metrics.calibration(labels, scores)
    assert sum(point["share"] for point in points) == pytest.approx(1, abs=1e-5)
    assert [point["mean_score"] for point in points] == sorted(point["mean_score"] for point in points)
    assert sum(point["share"] * point["observed_rate"] for point in points) == pytest.approx(labels.mean(), abs=1e-5)


def test_rows_of_one_score_stay_in_one_group_in_any_order() -> None:
    labels = np.repeat(np.array([0, 1], dtype=np.int8), [580, 420])
    constant = np.full(1_000, 0.42, dtype=np.float32)
    shuffled = np.random.default_rng(0).permutation(1_000)
    for order in (np.arange(1_000), shuffled):
        assert metrics.calibration(labels[order], constant[order]) == [{"mean_score": 0.42, "observed_rate": 0.42, "share": 1.0}]
        assert metrics.summary(labels[order], constant[order]).calibration_error == 0


def test_the_order_of_rows_changes_no_metric_where_scores_tie() -> None:
    rng = np.random.default_rng(0)
    scores = rng.choice(np.array([0.01, 0.05, 0.2, 0.6], dtype=np.float32), 997, p=[0.7, 0.2, 0.06, 0.04])
    labels = (rng.random(997) < scores).astype(np.int8)
    found = metrics.realised(labels, scores), metrics.calibration(labels, scores), metrics.roc(labels, scores)
    rarest = scores >= np.float32(0.2)  # both are in the last tenth
    assert [round(point["share"] * 997) for point in found[1]] == [
        (scores == np.float32(0.01)).sum(),
        (scores == np.float32(0.05)).sum(),
        rarest.sum(),
    ]
    for order in (np.argsort(labels), np.argsort(-labels), rng.permutation(997)):
        again = labels[order], scores[order]
        assert (metrics.realised(*again), metrics.calibration(*again), metrics.roc(*again)) == found


def test_without_ties_groups_are_of_equal_size() -> None:
    scores = np.random.default_rng(0).permutation(103).astype(np.float32) / 200
    shares = [round(point["share"] * 103) for point in metrics.calibration((scores > 0.2).astype(np.int8), scores)]
    assert shares == [11, 11, 11, 10, 10, 10, 10, 10, 10, 10]


def test_scores_that_are_the_rates_are_calibrated_and_others_are_not() -> None:
    rng = np.random.default_rng(1)
    scores = rng.random(50_000).astype(np.float32)
    labels = (rng.random(50_000) < scores).astype(np.int8)
    assert metrics.summary(labels, scores).calibration_error < 0.01
    assert metrics.summary(labels, np.sqrt(scores)).calibration_error > 0.1


def test_roc_runs_from_corner_to_corner() -> None:
    points = metrics.roc(LABELS, SCORES)
    assert points[-1] == {"false_positive_rate": 1.0, "true_positive_rate": 1.0}
    assert [point["true_positive_rate"] for point in points] == sorted(point["true_positive_rate"] for point in points)


@pytest.mark.costly
def test_an_interval_holds_the_true_area_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random(1_000_000) < 0.2).astype(np.int8)
    scores = labels * 0.7 + rng.normal(size=len(labels))
    true = metrics.auc_interval(labels, scores)
    assert true
    found = [metrics.auc_interval(labels[start : start + 500], scores[start : start + 500], 0.9) for start in range(0, 500_000, 500)]
    assert np.mean([low <= true[0] <= high for _, low, high in filter(None, found)]) == pytest.approx(0.9, abs=0.025)


def test_an_interval_of_next_to_nothing_is_wide() -> None:
    one = np.array([0, 0, 1], dtype=np.int8)
    assert metrics.auc_interval(np.ones(3, dtype=np.int8), np.arange(3.0)) is None
    assert metrics.auc_interval(one, np.arange(3.0)) == (1.0, 0.0, 1.0)
    perfect = np.repeat(np.array([0, 1], dtype=np.int8), 4)
    assert metrics.auc_interval(perfect, np.arange(8.0)) == (1.0, pytest.approx(0.025**0.25, abs=1e-6), 1.0)
    assert metrics.auc_interval(perfect, -np.arange(8.0)) == (0.0, 0.0, pytest.approx(1 - 0.025**0.25, abs=1e-6))
    assert metrics.auc_interval(perfect, np.zeros(8)) == (0.5, 0.5, 0.5)  # a score that never differs is 0.5 for any rows


def test_what_few_rows_cannot_say_is_none() -> None:
    nothing = metrics.realised(np.array([], dtype=np.int8), np.array([], dtype=np.float32))
    assert nothing.pop("rows") == 0
    assert set(nothing.values()) == {None}
    three = metrics.realised(np.array([0, 1, 0], dtype=np.int8), np.array([0.2, 0.7, 0.3], dtype=np.float32))
    assert (three["auc"], three["auc_low"], three["auc_high"], three["calibration_error"]) == (1.0, 0.0, 1.0, None)
    assert three["log_loss"] is not None
    late = metrics.realised(np.ones(3, dtype=np.int8), np.array([0.2, 0.7, 0.3], dtype=np.float32))
    assert (late["auc"], late["auc_low"], late["positive_rate"]) == (None, None, 1.0)
    assert set(metrics.realised(LABELS, SCORES)) == {"rows", *nothing}


def test_a_sure_forest_exceeds_1_by_rounding_and_nothing_else_may() -> None:
    sure = np.array([0.1, 0.4, 0.35, np.nextafter(np.float32(1), np.float32(2))], dtype=np.float32)
    assert metrics.summary(LABELS, sure) == metrics.summary(LABELS, np.minimum(sure, np.float32(1)))
    with pytest.raises(ValueError, match="greater than 1"):
        metrics.summary(LABELS, np.array([0.1, 0.4, 0.35, 1.1], dtype=np.float32))


def test_calibration_of_forecasts_is_the_mean_of_each_tenth() -> None:
    rng = np.random.default_rng(4)
    scores = rng.gamma(2.0, 20.0, 1_003).astype(np.float32)
    labels = scores * 1.1 + rng.normal(0, 5, 1_003)
    points = metrics.calibration(labels, scores, rounded=forecasts.significant)
    groups = np.array_split(np.argsort(scores), 10)
    assert [point["mean_score"] for point in points] == pytest.approx([scores[group].astype(float).mean() for group in groups], rel=1e-8)
    assert [point["observed_rate"] for point in points] == pytest.approx([labels[group].mean() for group in groups], rel=1e-8)
    error = sum(abs(scores[group].astype(float).mean() - labels[group].mean()) * len(group) for group in groups) / 1_003
    assert forecasts.summary(labels, scores).calibration_error == pytest.approx(error, rel=1e-5)
