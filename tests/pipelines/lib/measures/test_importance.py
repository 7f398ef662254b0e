"""The features that a model relies on are found by shuffling, and a ranking that moves is seen the sooner the more its features matter."""

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from pipelines.lib.measures.importance import importance_drift, ndcg, permutation_importance, ranking
from pipelines.lib.models.inference import Model, load_model
from tests import scored_night

REFERENCE = {"a": 0.5, "b": 0.3, "c": 0.15, "d": 0.05, "e": 0.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(scored_night.onnx_bytes())
    return load_model(path)


def measured(model: Model, features: np.ndarray, labels: np.ndarray, nights: np.ndarray | None = None) -> dict[str, float]:
    nights = np.full(len(labels), "2013-06-01") if nights is None else nights
    return permutation_importance(model.score, features, labels, nights, model.signature.names)


@pytest.mark.costly
def test_the_feature_that_decides_is_the_one_that_matters(model: Model) -> None:
    features = scored_night.values(3_000)
    labels = (features[:, 0] > 0).astype(np.int8)
    found = measured(model, features, labels)
    assert found["a"] == pytest.approx(0.5, abs=0.03)  # without it the model guesses
    assert all(abs(found[name]) < 0.02 for name in "bcde")
    assert measured(model, features, labels) == found
    assert measured(model, features, labels, np.full(3_000, "2013-06-02")) != found  # shuffled in another way


def test_nights_together_are_the_mean_of_each_alone_by_rows(model: Model) -> None:
    features = scored_night.values(1_200)
    labels = ((features[:, 0] + np.random.default_rng(1).normal(size=1_200)) > 0).astype(np.int8)
    nights = np.where(np.arange(1_200) < 900, "2013-06-01", "2013-06-02")
    together = measured(model, features, labels, nights)
    alone = [measured(model, features[nights == night], labels[nights == night], nights[nights == night]) for night in np.unique(nights)]
    assert together["a"] == pytest.approx(0.75 * alone[0]["a"] + 0.25 * alone[1]["a"], abs=1e-6)


def test_a_feature_that_is_the_same_all_night_is_worth_nothing(model: Model) -> None:
    features = scored_night.values(800)
    nights = np.where(np.arange(800) < 400, "2013-06-01", "2013-06-02")
    features[:, 0] = np.where(nights == "2013-06-01", -1.0, 1.0)
    labels = np.random.default_rng(2).integers(0, 2, 800).astype(np.int8)
    assert measured(model, features, labels, nights)["a"] == 0.0


def test_of_very_many_rows_some_are_drawn(model: Model) -> None:
    features = scored_night.values(30_000)
    labels = (features[:, 0] > 0).astype(np.int8)
    assert measured(model, features, labels)["a"] == pytest.approx(0.5, abs=0.02)


def test_nights_of_one_class_do_not_count(model: Model) -> None:
    features = scored_night.values(600)
    labels = (features[:, 0] > 0).astype(np.int8)
    assert measured(model, features[:9], np.zeros(9, dtype=np.int8)) == {}
    nights = np.where(np.arange(600) < 500, "2013-06-01", "2013-06-02")
    labels[500:] = 0
    assert measured(model, features, labels, nights) == measured(model, features[:500], labels[:500], nights[:500])


def test_ndcg_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    for _ in range(20):
        current = dict(zip(REFERENCE, random.normal(size=5), strict=True))
        expected = ndcg_score([list(REFERENCE.values())], [list(current.values())], ignore_ties=True)
        assert ndcg(REFERENCE, current) == pytest.approx(expected, abs=1e-6)


def test_a_ranking_that_holds_is_1_and_one_upside_down_is_a_violation() -> None:
    assert ndcg(REFERENCE, {name: 3 * value - 1 for name, value in REFERENCE.items()}) == 1.0
    upside_down = ndcg(REFERENCE, {name: -value for name, value in REFERENCE.items()})
    assert upside_down
    assert upside_down < 0.9
    assert ndcg(REFERENCE, REFERENCE | {"d": 0.001, "e": 0.002}) == pytest.approx(1, abs=0.01)  # the last two do not matter
    assert ndcg(dict.fromkeys("abc", -0.1), dict.fromkeys("abc", 0.2)) is None


def test_drift_of_importance_is_over_all_nights_by_rows() -> None:
    nights = [(100, {"a": 0.1, "b": 0.3}), (300, {"a": 0.5, "b": 0.1}), (50, None), (0, {})]
    found = importance_drift(nights, {"a": 0.6, "b": 0.4})
    assert (found["nights"], found["rows"], found["ndcg"]) == (2, 400, 1.0)
    assert found["features"][0] == {"name": "a", "reference": 0.6, "reference_rank": 1, "current": 0.4, "rank": 1}
    assert importance_drift([(50, None)], {"a": 1.0}) == {"nights": 0, "rows": 0, "ndcg": None, "features": []}
    assert ranking({"b": 0.1, "a": 0.1, "c": 0.2}) == ["c", "a", "b"]
