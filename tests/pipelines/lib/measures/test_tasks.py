"""The measures of both tasks: each is that of scikit-learn or SciPy, and a difference of two models is the difference of both their values."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import log_loss, mean_squared_error, r2_score, roc_auc_score

from pipelines.lib.measures.tasks import BINARY, REGRESSION, Task

ROWS = 2_000


def draw(task: Task, spread: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and float64 scores [n] of `task`; the larger the `spread`, the worse the scores."""
    rng = np.random.default_rng(3)
    truth, noise = rng.normal(size=ROWS), np.random.default_rng(round(100 * spread)).normal(0, spread, ROWS)
    if task is BINARY:
        return (truth + rng.normal(size=ROWS) > 1).astype(np.int8), 1 / (1 + np.exp(1 - truth - noise))
    return 500 + 100 * (truth + rng.normal(size=ROWS)), 500 + 100 * (truth + noise)


CASES = [
    pytest.param(BINARY, roc_auc_score, log_loss, id="binary"),
    pytest.param(REGRESSION, r2_score, mean_squared_error, id="regression"),
]
Measure = Callable[[np.ndarray, np.ndarray], float]


@pytest.mark.parametrize(("task", "quality", "loss"), CASES)
def test_quality_and_loss_are_those_of_scikit_learn(task: Task, quality: Measure, loss: Measure) -> None:
    labels, scores = draw(task)
    assert task.quality(labels, scores) == pytest.approx(quality(labels, scores), abs=1e-6)
    assert task.losses(labels, scores).mean() == pytest.approx(loss(labels, scores), rel=1e-9)
    assert task.summary(labels, scores).quality == task.quality(labels, scores)
    columns = np.stack([scores, draw(task, 2.0)[1]])
    assert task.qualities(labels, columns) == pytest.approx([quality(labels, column) for column in columns], abs=1e-6)


@pytest.mark.parametrize(("task", "quality", "loss"), CASES)
def test_a_difference_of_qualities_is_that_of_both_values_and_its_influences_give_its_error(
    task: Task, quality: Measure, loss: Measure
) -> None:
    labels, champion = draw(task, 2.0)
    challenger = draw(task, 0.5)[1]
    value, influence = task.quality_difference(labels, champion, challenger)
    assert value == pytest.approx(quality(labels, challenger) - quality(labels, champion), abs=1e-9)
    assert influence.sum() == pytest.approx(0, abs=1e-9)
    drawn = bootstrap(
        (labels, champion, challenger),
        lambda own, theirs, mine: quality(own, mine) - quality(own, theirs),
        paired=True,
        vectorized=False,
        n_resamples=300,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    # The variance of the labels varies from sample to sample as well, which the difference of R² takes as given.
    assert np.sqrt(np.square(influence).sum()) == pytest.approx(drawn.standard_error, rel=0.25)


@pytest.mark.parametrize("task", [BINARY, REGRESSION], ids=lambda task: task.name)
def test_figures_of_a_night_without_outcomes_have_the_keys_of_any_other(task: Task) -> None:
    labels, scores = draw(task)
    none, some = task.realised(labels[:0], scores[:0]), task.realised(labels, scores)
    assert none.keys() == some.keys()
    assert none == {"rows": 0} | dict.fromkeys(none.keys() - {"rows"})
    low, value, high = (some[f"{task.quality_key}{end}"] for end in ("_low", "", "_high"))
    assert low < value < high


@pytest.mark.parametrize(
    ("task", "labels", "fault"),
    [
        (BINARY, [1, 1, 1], "are 1; a classifier needs both"),
        (REGRESSION, [2.5, 2.5, 2.5], "are 2.5; there is nothing to forecast"),
        (REGRESSION, [1.0, np.inf, np.nan], "2 of 3 labels before the holdout are not finite numbers"),
    ],
)
def test_labels_that_teach_nothing_are_refused_with_their_value(task: Task, labels: list[float], fault: str) -> None:
    assert fault in str(task.fault(np.array(labels)))
    assert not task.judges(np.array([labels[0]] * 3))


def test_the_loss_of_forecasts_is_a_share_of_the_variance_of_the_outcomes() -> None:
    labels, scores = draw(REGRESSION)
    assert REGRESSION.loss_unit(labels) == pytest.approx(np.var(labels))
    assert REGRESSION.loss_unit(np.full(5, 3.0)) == 1.0
    assert BINARY.loss_unit(labels) == 1.0
    assert REGRESSION.score_range(scores) == (scores.min(), scores.max())
    assert REGRESSION.score_range(np.full(3, 7.0)) == (6.5, 7.5)
