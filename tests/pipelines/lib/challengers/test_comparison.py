"""Two models on the same rows: the intervals compared with DeLong's, with a bootstrap of nights, and with the level that they promise."""

import numpy as np
import pytest
from sklearn.metrics import log_loss, r2_score, roc_auc_score

from pipelines.lib.challengers.comparison import Difference, SliceName, compare, loss_difference, quality_difference, quality_interval
from pipelines.lib.core.errors import DataError
from pipelines.lib.measures.delong import delong
from pipelines.lib.measures.tasks import REGRESSION

NIGHTS, ROWS = 14, 60


def draw(seed: int, *, better: float = 0.0, shared: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels, scores of two models and nights [840]; `better` helps the challenger, `shared` is the effect of each night on the errors."""
    rng = np.random.default_rng(seed)
    nights = np.repeat(np.arange(NIGHTS), ROWS)
    truth = rng.normal(size=NIGHTS * ROWS)
    labels = (truth + rng.normal(size=len(truth)) > 1).astype(np.int8)

    def scores(skill: float) -> np.ndarray:
        noise = rng.normal(size=len(truth)) + shared * rng.normal(size=NIGHTS)[nights]
        return (1 / (1 + np.exp(1 - skill * truth - 0.7 * noise))).astype(np.float32)

    return labels, scores(0.8), scores(0.8 + better), nights


def test_the_values_are_those_of_scikit_learn() -> None:
    labels, champion, challenger, nights = draw(0, better=0.5)
    assert quality_difference(labels, champion, challenger, nights).value == pytest.approx(
        roc_auc_score(labels, challenger) - roc_auc_score(labels, champion), abs=1e-12
    )
    assert loss_difference(labels, champion, challenger, nights).value == pytest.approx(
        log_loss(labels, challenger.astype(float)) - log_loss(labels, champion.astype(float)), abs=1e-9
    )


def test_with_a_night_for_each_row_the_interval_is_that_of_delong() -> None:
    labels, champion, challenger, _ = draw(1, better=0.2)
    found = quality_difference(labels, champion, challenger, np.arange(len(labels)))
    _, covariance = delong(labels, champion, challenger)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert (found.high - found.value) / 1.96 == pytest.approx(error, rel=0.01)


@pytest.mark.costly
def test_the_intervals_are_those_of_a_bootstrap_of_nights() -> None:
    labels, champion, challenger, nights = draw(2, better=0.2, shared=1.0)
    rng = np.random.default_rng(0)
    where = [np.flatnonzero(nights == night) for night in range(NIGHTS)]
    drawn = []
    for _ in range(300):
        rows = np.concatenate([where[night] for night in rng.integers(NIGHTS, size=NIGHTS)])
        drawn.append(
            [difference(labels[rows], champion[rows], challenger[rows], rows).value for difference in (quality_difference, loss_difference)]
        )
    for found, spread in zip(
        (quality_difference(labels, champion, challenger, nights), loss_difference(labels, champion, challenger, nights)),
        np.std(drawn, axis=0),
        strict=True,
    ):
        assert (found.high - found.value) / 2.16 == pytest.approx(spread, rel=0.15)  # Student's t of 13 degrees of freedom


@pytest.mark.parametrize("difference", [quality_difference, loss_difference])
def test_equal_models_differ_as_rarely_as_the_level_promises(difference: object) -> None:
    """Each night shifts both models' errors: judged row by row, most of these pairs would differ clearly."""
    p = np.array([difference(*draw(seed, shared=1.0)).p for seed in range(200)])  # type: ignore[operator]
    assert 0.02 <= (p < 0.05).mean() <= 0.09
    assert 0.06 <= (p < 0.10).mean() <= 0.15


def test_the_sign_follows_the_challenger() -> None:
    labels, champion, challenger, nights = draw(3, better=1.0)
    there, back = quality_difference(labels, champion, challenger, nights), quality_difference(labels, challenger, champion, nights)
    assert there.low > 0
    assert (back.value, back.low, back.high, back.p) == pytest.approx((-there.value, -there.high, -there.low, there.p))


def test_the_same_scores_have_no_difference() -> None:
    labels, champion, _, nights = draw(4)
    for difference in (quality_difference, loss_difference):
        assert difference(labels, champion, champion, nights) == Difference(0.0, 0.0, 0.0, 1.0)


def test_one_night_gives_a_value_and_no_interval() -> None:
    labels, champion, challenger, _ = draw(5)
    found = quality_difference(labels, champion, challenger, np.zeros(len(labels)))
    assert found.value > 0
    assert found.low is found.high is found.p is None


def test_one_class_has_no_area() -> None:
    labels, champion, challenger, nights = draw(6)
    with pytest.raises(DataError, match="needs both"):
        quality_difference(np.ones_like(labels), champion, challenger, nights)


def test_the_interval_of_one_auc_holds_it() -> None:
    labels, scores, _, nights = draw(7)
    low, high = quality_interval(labels, scores, nights)
    assert low is not None
    assert high is not None
    assert 0.5 < low < roc_auc_score(labels, scores) < high < 1


@pytest.mark.parametrize(("positives", "on_nights"), [(1, 1), (19, 14), (40, 4)])
def test_few_rows_or_nights_give_a_difference_without_an_interval(positives: int, on_nights: int) -> None:
    nights = np.repeat(np.arange(14), 30)
    labels = np.zeros(len(nights), dtype=np.int8)
    labels[np.flatnonzero(nights < on_nights)[:: max(1, 30 * on_nights // positives)][:positives]] = 1
    one, other = np.random.default_rng(0).uniform(0.1, 0.9, (2, len(nights)))
    for found in (quality_difference(labels, one, other, nights), loss_difference(labels, one, other, nights)):
        assert np.isfinite(found.value)
        assert found.rounded() == Difference(round(found.value, 6), None, None, None)


def test_two_models_are_compared_by_slice() -> None:
    labels, champion, challenger, nights = draw(8, better=1.0)
    parity = np.where(np.arange(len(labels)) % 2, "odd", "even")
    rare = np.where(np.arange(len(labels)) < 50, "few", "many")
    found = compare(labels, champion, challenger, nights, slices={"side": parity, "rare": rare}, minimum_rows=200)
    assert [(part.column, part.value) for part in found.slices] == [("side", "even"), ("side", "odd"), ("rare", "many")]
    assert found.nights == NIGHTS
    losses = [
        [log_loss(labels[nights == night], side[nights == night].astype(float)) for side in (champion, challenger)]
        for night in range(NIGHTS)
    ]
    assert found.nights_won == sum(theirs > mine for theirs, mine in losses)
    assert set(found.roc) == set(found.calibration) == {"champion", "challenger"}


@pytest.mark.parametrize(
    ("value", "label"),
    [("web", "of = web"), (2.0, "of = 2"), (0.5, "of = 0.5"), (None, "of = no value"), (True, "of = True"), (7, "of = 7")],
)
def test_a_slice_is_named_in_words(value: str | float | bool | None, label: str) -> None:
    """Pages showed ``of = None``, and ``of = 2.0`` for a number of items."""
    assert SliceName("of", value).label == label


def numbers(seed: int, *, better: float = 0.0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw labels that are numbers, forecasts of two models and nights [840]; `better` is the share of the champion's error that the challenger lacks."""
    rng = np.random.default_rng(seed)
    labels = rng.normal(500, 100, NIGHTS * ROWS)
    errors = rng.normal(0, 50, (2, len(labels)))
    return labels, labels + errors[0], labels + (1 - better) * errors[1], np.repeat(np.arange(NIGHTS), ROWS)


def test_forecasts_are_compared_by_squared_errors_as_a_share_of_the_variance() -> None:
    labels, champion, challenger, nights = numbers(0, better=0.3)
    loss = loss_difference(labels, champion, challenger, nights, REGRESSION)
    assert loss.value == pytest.approx(r2_score(labels, champion) - r2_score(labels, challenger), abs=1e-12)
    quality = quality_difference(labels, champion, challenger, nights, REGRESSION)
    assert (quality.value, quality.p) == (pytest.approx(-loss.value), pytest.approx(loss.p))
    assert quality.p is not None
    assert quality.p < 0.001


def test_the_unit_of_the_label_changes_nothing() -> None:
    labels, champion, challenger, nights = numbers(1, better=0.1)
    once = compare(labels, champion, challenger, nights, slices={}, minimum_rows=1, task=REGRESSION)
    thousand = compare(1000 * labels, 1000 * champion, 1000 * challenger, nights, slices={}, minimum_rows=1, task=REGRESSION)
    assert (thousand.loss_difference, thousand.nights_won) == (once.loss_difference, once.nights_won)
    assert thousand.challenger.mean_label == pytest.approx(1000 * once.challenger.mean_label)


@pytest.mark.costly
def test_equal_forecasts_differ_clearly_as_often_as_the_level_says() -> None:
    found = [loss_difference(*numbers(seed), REGRESSION).p or 1.0 for seed in range(300)]
    assert 0.06 <= np.mean([p <= 0.1 for p in found]) <= 0.14


def test_one_outlier_of_1e12_makes_no_difference_clear() -> None:
    labels, champion, challenger, nights = numbers(2, better=0.3)
    labels[17] = 1e12
    found = loss_difference(labels, champion, challenger, nights, REGRESSION)
    assert found.p is not None
    assert found.p > 0.1


def test_the_interval_of_r2_is_that_of_a_bootstrap_of_nights() -> None:
    """The variance was taken as given, so a few nights of large sales made an interval of 0.51 to 1.00 around an R² of 0.95."""
    rng = np.random.default_rng(9)
    nights = np.repeat(np.arange(NIGHTS), ROWS)
    labels = rng.gamma(1.0, 20.0, NIGHTS * ROWS) * rng.lognormal(0, 0.4, NIGHTS)[nights]
    scores = labels + rng.normal(0, 5, len(labels))
    rows = np.arange(len(labels)).reshape(NIGHTS, ROWS)
    drawn = [rows[rng.integers(NIGHTS, size=NIGHTS)].ravel() for _ in range(400)]
    error = np.std([r2_score(labels[one], scores[one]) for one in drawn])
    low, high = quality_interval(labels, scores, nights, REGRESSION)
    assert low is not None
    assert high is not None
    assert low < r2_score(labels, scores) < high < 1
    assert (high - low) / 2 / 2.16 == pytest.approx(error, rel=0.35)
