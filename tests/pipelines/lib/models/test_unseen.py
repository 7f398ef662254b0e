"""The scores with which monitoring compares: those of rows that a model has not learned from, also for the rows of its training."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipelines.lib.core.errors import DataError
from pipelines.lib.features.history import History
from pipelines.lib.measures.binning import numeric_binning
from pipelines.lib.measures.distances import psi
from pipelines.lib.measures.histogram import count
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.models.estimators import answer
from pipelines.lib.models.forms import JudgedSlices, choose, form_of
from pipelines.lib.models.profile import NOT_TESTED, SEEN, UNSEEN, ProfileParams
from pipelines.lib.models.unseen import Fit, Reference, _out_of_bag, reference_scores

NIGHTS, ROWS = 20, 100


def history(seed: int, task: str = "binary", nights: int = NIGHTS) -> History:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(nights * ROWS, 4)).astype(np.float32)
    value = features[:, 0] + rng.normal(scale=2, size=len(features))
    labels = (value > 0).astype(np.int8) if task == "binary" else value
    dates = np.repeat([str(np.datetime64("2024-01-01") + night) for night in range(nights)], ROWS)
    return History(features, labels, pa.table({"partition": dates}), ("a", "b", "c", "d"), task=TASKS[task])


def never(rows: History) -> Any:
    raise AssertionError("it is fitted again")


def reference(model: Any, learned: History, fit: Fit) -> Reference:
    return reference_scores(model, learned, fit, 0, ProfileParams(bins=10, window_nights=7, floor=0.0001))


def deep(rows: History) -> RandomForestClassifier:
    return RandomForestClassifier(60, random_state=0).fit(rows.features, rows.labels)


def drift(reference: np.ndarray, later: np.ndarray) -> float:
    binning = numeric_binning("score", reference.astype(np.float32), bins=10)
    counted = [np.array(count({"score": scores.astype(np.float32)}, [binning]).counts["score"]) for scores in (reference, later)]
    return float(psi(*counted, 0.0001))


def test_a_deep_forest_sees_no_drift_where_there_is_none() -> None:
    learned, later = history(0), history(1)
    model = deep(learned)
    tonight, own = (model.predict_proba(rows.features)[:, 1] for rows in (later, learned))
    found = reference(model, learned, deep)
    assert found.scored_as == UNSEEN
    assert drift(found.scores, tonight) < 0.1 < 1 < drift(own, tonight)
    measured, expected = roc_auc_score(learned.labels, found.scores), roc_auc_score(later.labels, tonight)
    assert measured == pytest.approx(expected, abs=0.04)
    assert roc_auc_score(learned.labels, own) > 0.99


def test_a_shallow_forest_keeps_its_own_scores_and_is_not_fitted_again() -> None:
    """Many rows share a score of it. Those of another fit would be others, and look like drift."""
    learned = history(0)
    model = RandomForestClassifier(60, max_depth=3, random_state=0).fit(learned.features, learned.labels)
    found = reference(model, learned, never)
    assert found.scored_as == SEEN
    np.testing.assert_array_equal(found.scores, model.predict_proba(learned.features)[:, 1])


def test_a_shallow_forest_of_a_few_trees_is_fitted_again_and_keeps_its_own_scores() -> None:
    learned, asked = history(0), []

    def fit(rows: History) -> Any:
        asked.append(len(rows.labels))
        return RandomForestClassifier(5, max_depth=3, random_state=0).fit(rows.features, rows.labels)

    assert reference(fit(learned), learned, fit).scored_as == SEEN
    assert asked == [NIGHTS * ROWS, NIGHTS * ROWS / 2]


def test_out_of_bag_scores_are_those_of_scikit_learn() -> None:
    learned = history(0)
    model = RandomForestClassifier(60, random_state=0, oob_score=True).fit(learned.features, learned.labels)
    np.testing.assert_allclose(_out_of_bag(model, learned), model.oob_decision_function_[:, 1])
    within = make_pipeline(StandardScaler(), RandomForestClassifier(60, random_state=0, oob_score=True)).fit(
        learned.features, learned.labels
    )
    np.testing.assert_allclose(_out_of_bag(within, learned), within[-1].oob_decision_function_[:, 1])
    few = RandomForestClassifier(2, random_state=0).fit(learned.features, learned.labels)
    assert np.isnan(_out_of_bag(few, learned)).mean() == pytest.approx((1 - np.exp(-1)) ** 2, abs=0.03), "the rows that both have drawn"


def test_the_network_of_a_deep_forest_keeps_its_own_scores() -> None:
    learned = history(0)
    none = JudgedSlices(slices=(), slice_minimum_rows=1)
    network = choose(deep(learned), learned, history(1), none, limit=1.0, slice_limit=1.0, seed=0)
    form = form_of(network)
    assert form is not None
    assert form.name == "a network of 64 and 32"
    found = reference(network, learned, never)
    assert found.scored_as == SEEN
    assert drift(found.scores, network.predict_proba(history(1).features)[:, 1]) < 0.1


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_any_other_model_that_knows_its_rows_is_fitted_again_without_the_night_of_a_row(task: str) -> None:
    learned, asked = history(0, task), []

    def fit(rows: History) -> Any:
        asked.append(set(rows.nights))
        cls = ExtraTreesClassifier if task == "binary" else ExtraTreesRegressor
        return cls(30, random_state=0).fit(rows.features, rows.labels)

    model = fit(learned)
    first, second = (reference(model, learned, fit) for _ in range(2))
    assert first.scored_as == UNSEEN
    np.testing.assert_array_equal(first.scores, second.scores)
    assert [len(nights) for nights in asked[:7]] == [NIGHTS, NIGHTS // 2, *[NIGHTS - NIGHTS // 5] * 5]
    left_out = [set(learned.nights) - nights for nights in asked[2:7]]
    assert set.union(*left_out) == set(learned.nights)
    later = history(1, task)
    assert drift(first.scores, answer(model, later.features, TASKS[task].name)) < 0.1


def test_a_line_is_fitted_again_and_keeps_its_own_scores() -> None:
    learned, asked = history(0), []

    def fit(rows: History) -> Any:
        asked.append(len(rows.labels))
        return LogisticRegression().fit(rows.features, rows.labels)

    model = fit(learned)
    assert reference(model, learned, fit).scored_as == SEEN
    assert asked == [NIGHTS * ROWS, NIGHTS * ROWS / 2]


@pytest.mark.parametrize("fault", ["one night", "one class"])
def test_the_own_scores_count_where_there_are_no_others_and_the_name_says_so(fault: str) -> None:
    learned = history(0, nights=1 if fault == "one night" else NIGHTS)

    def fit(rows: History) -> Any:
        if fault == "one class" and len(rows.labels) < len(learned.labels):
            raise DataError("the labels are all alike")
        return ExtraTreesClassifier(10, random_state=0).fit(rows.features, rows.labels)

    model = fit(learned)
    found = reference(model, learned, fit)
    assert found.scored_as == NOT_TESTED
    np.testing.assert_allclose(found.scores, model.predict_proba(learned.features)[:, 1])
