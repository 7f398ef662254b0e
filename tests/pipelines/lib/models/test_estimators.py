"""Estimators are made by name, from a closed set of names, and each gets its seed."""

import sys
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.models.estimators import (
    DEFAULT,
    SUPPORTED,
    Fitting,
    Refused,
    bound_rows,
    libraries_of,
    make,
    not_reproducible,
    public_name,
    single_threaded,
)  # fmt: skip
from pipelines.training.train import train
from tests.models_of_every_kind import KINDS, NUMBER_KINDS, SCALED, history, params


def fitting(estimator: str, **others: Any) -> Fitting:
    return Fitting(estimator=estimator, **others)


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "evil.Classifier", "sklearn.ensemble._forest.BaseForest", "subprocess.Popen"]
)
def test_no_module_is_imported_by_another_name(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(Refused, match=r"train\.estimator: is .*, which is not a classifier that Nightshift knows; "):
        make(fitting(name), 0)
    assert "evil" not in sys.modules


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        ({"estimator": "sklearn.ensemble.RandomForrestClassifier"}, r"did you mean sklearn\.ensemble\.RandomForestClassifier\?"),
        ({"estimator": "LGBMClassifier"}, r"did you mean lightgbm\.LGBMClassifier\?"),
        ({"estimator": "sklearn.trees.ExtraTreesClassifier"}, r"did you mean sklearn\.ensemble\.ExtraTreesClassifier\?"),
        ({"estimator": "sklearn.preprocessing.StandardScaler"}, "which is not a classifier that Nightshift knows"),
        ({"estimator": "sklearn.ensemble.RandomForestRegressor"}, "has no predict_proba|not a classifier"),
        ({"estimator": "sklearn.svm.LinearSVC"}, r"has no predict_proba.*CalibratedClassifierCV"),
        ({"estimator": "xgboost.XGBClasifier"}, r"did you mean xgboost\.XGBClassifier\?"),
        ({"estimator": DEFAULT, "parameters": {"max_depht": 3}}, r"train\.parameters\.max_depht: is not a parameter of .*; did you mean max_depth\?"),
        ({"estimator": "lightgbm.LGBMClassifier", "parameters": {"num_leafs": 3}}, r"train\.parameters\.num_leafs: .*; did you mean num_leaf"),
        ({"estimator": "xgboost.XGBClassifier", "parameters": {"max_dept": 3}}, r"train\.parameters\.max_dept: .*; did you mean max_depth\?"),
        ({"estimator": DEFAULT, "parameters": {"random_state": 3}}, r"train\.parameters\.random_state: is a key of section train itself"),
        ({"estimator": DEFAULT, "steps": ("sklearn.preprocessing.StandardScalar",)}, r"train\.steps\.0: .*did you mean sklearn\.preprocessing\.StandardScaler\?"),
        ({"estimator": DEFAULT, "steps": ({"sklearn.preprocessing.StandardScaler": {"mean": 1}},)}, r"train\.steps\.0\.sklearn\.preprocessing\.StandardScaler\.mean"),
        ({"estimator": "sklearn.calibration.CalibratedClassifierCV", "parameters": {"estimator": {"estimator": "os.system"}}}, r"train\.parameters\.estimator\.estimator: is 'os\.system'"),
    ],
)  # fmt: skip
def test_a_wrong_name_is_refused_with_the_closest_one(declared: dict[str, Any], said: str) -> None:
    with pytest.raises(Refused, match=said):
        make(Fitting(**declared), 0)


@pytest.mark.parametrize("kind", KINDS)
def test_every_part_that_draws_gets_the_seed(kind: str) -> None:
    seeds = {name: value for name, value in make(params(kind), 7).get_params().items() if name.rpartition("__")[2] == "random_state"}
    assert seeds
    assert set(seeds.values()) == {7}


def test_a_step_and_an_estimator_within_an_estimator_get_their_arguments() -> None:
    quantiles = {"sklearn.preprocessing.QuantileTransformer": {"n_quantiles": 50}}
    inner = {"estimator": "sklearn.linear_model.LogisticRegression", "parameters": {"C": 0.5, "class_weight": {"0": 1, "1": 9}}}
    model = make(fitting("sklearn.calibration.CalibratedClassifierCV", steps=(*SCALED, quantiles), parameters={"estimator": inner}), 0)
    assert [type(step).__name__ for _, step in model.steps] == ["StandardScaler", "QuantileTransformer", "CalibratedClassifierCV"]
    assert model.steps[1][1].n_quantiles == 50
    assert (model.steps[2][1].estimator.C, model.steps[2][1].estimator.class_weight) == (0.5, {0: 1, 1: 9})


def test_a_forest_draws_fewer_rows_and_others_learn_from_all() -> None:
    for kind, drawn in (("forest", 300), ("extra_trees", None), ("lightgbm", None), ("logistic", None)):
        model = make(params(kind), 0)
        bound_rows(model, 4_000, 300)
        assert model.get_params().get("max_samples") == drawn
    whole = make(fitting(DEFAULT, steps=SCALED), 0)
    bound_rows(whole, 4_000, 300)
    assert whole.get_params()["randomforestclassifier__max_samples"] == 300
    kept = make(fitting(DEFAULT, parameters={"max_samples": 0.5}), 0)
    bound_rows(kept, 4_000, 300)
    assert kept.max_samples == 0.5


def test_a_forest_scores_in_one_thread_and_keeps_its_own_number() -> None:
    for declared in (fitting(DEFAULT), fitting(DEFAULT, steps=SCALED)):
        model = make(declared, 0)
        alone = single_threaded(model)
        assert [value for name, value in alone.get_params().items() if name.endswith("n_jobs")] == [1]
        assert [value for name, value in model.get_params().items() if name.endswith("n_jobs")] == [-1]


@pytest.mark.parametrize(
    ("declared", "reason"),
    [
        ({"estimator": "lightgbm.LGBMClassifier", "parameters": {"n_jobs": -1}}, "n_jobs of lightgbm.LGBMClassifier is -1"),
        (
            {"estimator": "lightgbm.LGBMClassifier", "parameters": {"deterministic": False}},
            "deterministic of lightgbm.LGBMClassifier is False",
        ),
        ({"estimator": "sklearn.ensemble.BaggingClassifier"}, "nobody has tested it for sklearn.ensemble.BaggingClassifier"),
        (
            {"estimator": DEFAULT, "steps": ("sklearn.preprocessing.MaxAbsScaler",)},
            "nobody has tested it for sklearn.preprocessing.MaxAbsScaler",
        ),
    ],
)
def test_a_model_that_is_not_tested_to_be_reproducible_says_so(declared: dict[str, Any], reason: str) -> None:
    assert str(not_reproducible(make(Fitting(**declared), 0))).startswith(reason)


def test_every_supported_estimator_is_one_of_the_kinds_that_are_tested() -> None:
    assert {declared["estimator"] for declared in (*KINDS.values(), *NUMBER_KINDS.values())} == set(SUPPORTED)
    for kind in KINDS:
        assert {public_name(type(make(params(kind), 0)))} <= {*SUPPORTED, "sklearn.pipeline.Pipeline"}


@pytest.mark.costly
def test_a_model_names_the_packages_that_it_needs() -> None:
    found = {kind: libraries_of(train(history(200), params(kind))) for kind in ("forest", "lightgbm_scaled", "xgboost")}
    assert found == {"forest": [], "lightgbm_scaled": ["lightgbm"], "xgboost": ["xgboost-cpu"]}
