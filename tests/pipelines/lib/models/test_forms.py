"""Smaller forms of a model: the cheapest one within the limits is chosen, and its figures are those of scikit-learn."""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score

from pipelines.lib.features.history import History
from pipelines.lib.features.signature import Signature
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.models import forms, skops_file
from pipelines.lib.models.estimators import answer
from pipelines.lib.models.forms import ITSELF, NETWORK, JudgedSlices, choose, distil, form_of
from pipelines.lib.models.inference import load_model
from pipelines.training.export_onnx import ExportOnnx, export_onnx

pytestmark = pytest.mark.costly

NAMES = ("a", "b", "c")
JUDGED = JudgedSlices(slices=("side",), slice_minimum_rows=50)
GENEROUS = {"limit": 0.05, "slice_limit": 0.2, "seed": 1}


def history(seed: int, rows: int = 3_000, task: str = "binary") -> History:
    """Return rows of which one in ten lacks a feature, and whose right side has outcomes of its own."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, len(NAMES))).astype(np.float32)
    value = features[:, 0] + 0.5 * features[:, 1] + rng.normal(size=rows)
    features[rng.random(rows) < 0.1, 2] = np.nan
    labels = (value > 0).astype(np.int8) if task == "binary" else 1000 + 50 * value
    return History(features, labels, pa.table({"side": np.where(features[:, 1] > 0, "left", "right")}), NAMES, task=TASKS[task])


def forest(task: str = "binary") -> Any:
    rows = history(0, task=task)
    cls = RandomForestClassifier if task == "binary" else RandomForestRegressor
    return cls(n_estimators=80, max_depth=6, random_state=0).fit(rows.features, rows.labels)


@pytest.fixture(scope="module")
def model() -> Any:
    return forest()


def test_the_cheapest_form_is_chosen_with_the_figures_of_scikit_learn(model: Any) -> None:
    held_out = history(1)
    chosen = choose(model, history(0), held_out, JUDGED, **GENEROUS)
    form = form_of(chosen)
    assert form is not None
    assert (form.name, form.refused) == (NETWORK, ())
    before, after = (answer(one, held_out.features, "binary") for one in (forest(), chosen))
    assert form.quality_loss == pytest.approx(roc_auc_score(held_out.labels, before) - roc_auc_score(held_out.labels, after), abs=1e-9)
    assert form.loss_increase == pytest.approx(log_loss(held_out.labels, after) - log_loss(held_out.labels, before), abs=1e-6)
    assert form.operations == (3 + 1) * 64 + (64 + 1) * 32 + (32 + 1)
    assert f"{1000 * (form.model_operations - form.operations):,}" in form.note


def test_a_tree_costs_the_depth_of_its_leaves() -> None:
    rows = history(0)
    stumps = RandomForestClassifier(n_estimators=3, max_depth=1, random_state=0).fit(rows.features, rows.labels)
    assert forms.operations(stumps, len(NAMES), rows) == 3 * forms.VISIT


def test_two_runs_give_the_same_bytes(tmp_path: Path, model: Any) -> None:
    for name in ("first", "second"):
        skops_file.dump(choose(forest(), history(0), history(1), JUDGED, **GENEROUS), tmp_path / name)
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert form_of(skops_file.load(tmp_path / "first")).name == NETWORK  # type: ignore[union-attr]


@pytest.mark.parametrize("task", ["binary", "regression"])
def test_onnx_answers_as_the_form_does_also_without_values_and_far_outside(tmp_path: Path, task: str) -> None:
    rows = history(1, task=task)
    rows.features[:5] = 1e12
    rows.features[5:9] = np.nan
    form = distil(forest(task), history(0, task=task), 1)
    (tmp_path / "m.onnx").write_bytes(export_onnx(form, Signature(NAMES, "0" * 64), ExportOnnx(opset=22), task=TASKS[task].name))
    expected = answer(form, rows.features, TASKS[task].name)
    assert np.isfinite(expected).all()
    loaded = load_model(tmp_path / "m.onnx")
    np.testing.assert_allclose(loaded.score(rows.features), expected, rtol=1e-5, atol=1e-5)
    assert not loaded.has_trees, "so that no batch is sorted for it"


def test_a_forecast_has_a_form() -> None:
    chosen = choose(forest("regression"), history(0, task="regression"), history(1, task="regression"), JUDGED, **GENEROUS)
    form = form_of(chosen)
    assert form is not None
    assert form.name == NETWORK
    assert form.quality_loss == pytest.approx(form.loss_increase, abs=2e-6), "R² falls by the error as a share of the variance"


def striped(seed: int) -> History:
    """Return rows whose outcome follows the first feature, but for one in eight: theirs changes with every quarter of a unit, which a forest of deep trees learns."""
    rows = history(seed, rows=12_000)
    rare = np.random.default_rng(seed).random(len(rows.labels)) < 1 / 8
    rows.features[:, 2] = np.where(rare, 9.0, 0.0)
    rows.labels[rare] = np.floor(4 * rows.features[rare, 0]) % 2
    return replace(rows, rows=pa.table({"side": np.where(rare, "rare", "usual")}))


def test_a_form_that_passes_overall_and_fails_on_a_slice_is_refused() -> None:
    learned, held_out = striped(0), striped(1)
    deep = RandomForestClassifier(n_estimators=80, min_samples_leaf=2, random_state=0).fit(learned.features, learned.labels)
    limits = {"limit": 0.1, "slice_limit": 0.1, "seed": 1}
    overall = form_of(choose(deep, learned, held_out, JudgedSlices(slices=(), slice_minimum_rows=1), **limits))
    assert overall is not None
    assert overall.name == NETWORK
    by_slice = form_of(choose(deep, learned, held_out, JUDGED, **limits))
    assert by_slice is not None
    assert by_slice.name.endswith("of its trees")
    assert re.fullmatch(r"a network of 64 and 32 loses 0\.[1-9]\d+ of AUC on side=rare, more than 0\.1", by_slice.refused[0])


def test_a_slice_of_one_outcome_is_judged_by_its_loss_and_the_card_says_so(model: Any) -> None:
    held_out = history(1)
    held_out.labels[np.asarray(held_out.rows["side"]) == "left"] = 1
    form = form_of(choose(model, history(0), held_out, JUDGED, limit=0.05, slice_limit=0.2, seed=1))
    assert form is not None
    assert form.judged_by_loss == ("side=left",)
    assert form.note.endswith(" By their loss alone were judged: side=left.")


def test_the_model_goes_on_if_no_form_is_within_the_limit(model: Any) -> None:
    chosen = choose(model, history(0), history(1), JUDGED, limit=-1.0, slice_limit=0.2, seed=1)
    form = form_of(chosen)
    assert form is not None
    assert chosen is model
    assert (form.name, form.operations, len(form.refused)) == (ITSELF, form.model_operations, 3)


def test_half_of_a_forest_is_its_first_trees(model: Any) -> None:
    rows = history(1).features
    half = forms._with_trees(model, 40)
    np.testing.assert_allclose(half.predict_proba(rows), np.mean([tree.predict_proba(rows) for tree in model.estimators_[:40]], axis=0))
    assert len(model.estimators_) == 80


def test_a_linear_model_has_no_smaller_form_and_boosting_has_a_network() -> None:
    rows = history(0)
    rows.features[np.isnan(rows.features)] = 0
    linear = LogisticRegression().fit(rows.features, rows.labels)
    assert form_of(choose(linear, rows, rows, JUDGED, **GENEROUS)).name == ITSELF  # type: ignore[union-attr]
    boosted = GradientBoostingClassifier(n_estimators=60).fit(rows.features, rows.labels)
    assert form_of(choose(boosted, rows, rows, JUDGED, **GENEROUS)).name == NETWORK  # type: ignore[union-attr]


def test_a_holdout_of_one_outcome_compares_nothing(model: Any) -> None:
    held_out = history(1)
    form = form_of(choose(model, history(0), replace(held_out, labels=np.zeros_like(held_out.labels)), JUDGED, **GENEROUS))
    assert form is not None
    assert form.name == ITSELF
    assert form.refused == ("the holdout has too few outcomes to compare forms",)
