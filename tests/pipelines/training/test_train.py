"""The training line on a small history: the same input gives the same bytes every time, and bad histories are refused."""

import copy
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from sklearn.ensemble import RandomForestClassifier

from pipelines.lib.challengers.search import results_of
from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.features.compute import Features, Numeric
from pipelines.lib.features.history import History, holdout_start
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.models import skops_file
from pipelines.lib.models.estimators import DEFAULT
from pipelines.lib.models.forest_sample import ForestSample, sample_of
from pipelines.lib.models.inference import load_model
from pipelines.lib.models.profile import Profile, ProfileParams
from pipelines.lib.models.trained_profile import profile_of
from pipelines.lib.tables.dataset import load_dataset
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import Train, train
from pipelines.training.train import main as train_main
from tests.models_of_every_kind import WITHOUT_A_CONVERTER, counted_fits

NAMES = ("a", "b", "c", "d")
SIGNATURE = Signature(NAMES, "0" * 64)
PARAMS = Train(estimator=DEFAULT, parameters={"n_estimators": 20, "max_depth": 4}, random_state=42, holdout_days=14, minimum_rows=100)


def _history(rows: int = 2_000, seed: int = 0) -> History:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, len(NAMES))).astype(np.float32)
    labels = (features[:, 0] + rng.normal(size=rows) > 0).astype(np.int8)
    return History(features, labels, pa.table({"side": np.where(features[:, 1] > 0, "left", "right")}), NAMES)


@pytest.fixture(scope="module")
def forest() -> object:
    return train(_history(), PARAMS)


@pytest.mark.costly
def test_the_same_history_gives_the_same_files(tmp_path: Path) -> None:
    digests = set()
    for attempt in range(2):
        model = train(_history(), PARAMS)
        skops_file.dump(model, tmp_path / f"{attempt}.skops")
        onnx = export_onnx(model, SIGNATURE, ExportOnnx(opset=22))
        digests.add((hashlib.sha256((tmp_path / f"{attempt}.skops").read_bytes()).digest(), hashlib.sha256(onnx).digest()))
    assert len(digests) == 1


def test_a_skops_file_gives_the_forest_back(tmp_path: Path, forest: object) -> None:
    skops_file.dump(forest, tmp_path / "m.skops")
    features = _history(seed=1).features
    np.testing.assert_allclose(
        skops_file.load(tmp_path / "m.skops").predict_proba(features), forest.predict_proba(features), rtol=0, atol=1e-12
    )  # type: ignore[attr-defined]


@pytest.mark.parametrize("keep", [0, 100, 5_000])
def test_a_torn_skops_file_is_refused(tmp_path: Path, forest: object, keep: int) -> None:
    skops_file.dump(forest, tmp_path / "m.skops")
    (tmp_path / "torn.skops").write_bytes((tmp_path / "m.skops").read_bytes()[:keep])
    with pytest.raises(ModelError, match=r"torn\.skops is not a skops file"):
        skops_file.load(tmp_path / "torn.skops")


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="only 99 labelled rows"):
        train(_history(99), PARAMS)


@pytest.mark.costly
def test_train_makes_a_trial_before_it_fits_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = counted_fits(monkeypatch)
    with pytest.raises(
        ConfigError, match=r"params\.yaml: train\.estimator: is sklearn\.dummy\.DummyClassifier .* cannot be converted to ONNX"
    ):
        train(_history(), PARAMS.model_copy(update=WITHOUT_A_CONVERTER))
    assert len(fits) == 1
    assert fits[0] < 2_000, "the trial has made-up rows, and the history was not fitted"


def test_a_history_that_is_no_longer_than_a_trees_rows_gives_the_forest_of_all_rows() -> None:
    history = _history()
    whole = RandomForestClassifier(**PARAMS.parameters, random_state=PARAMS.random_state)
    wanted = whole.fit(history.features, history.labels).predict_proba(history.features)
    for most in (2_000, 400_000):
        found = train(history, PARAMS.model_copy(update={"rows_per_tree": most})).set_params(n_jobs=1)
        np.testing.assert_array_equal(found.predict_proba(history.features), wanted)


def test_the_trees_of_a_long_history_draw_as_many_rows_as_are_declared_the_same_each_time(tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"rows_per_tree": 300})
    forests = [train(_history(), params) for _ in range(2)]
    assert [sample_of(forest) for forest in forests] == [ForestSample(rows=2_000, rows_per_tree=300)] * 2
    assert {int(tree.tree_.weighted_n_node_samples[0]) for tree in forests[0].estimators_} == {300}
    for number, forest in enumerate(forests):
        skops_file.dump(forest, tmp_path / f"{number}.skops")
    assert (tmp_path / "0.skops").read_bytes() == (tmp_path / "1.skops").read_bytes()


@pytest.mark.costly
def test_trees_of_few_rows_give_probabilities_that_hold_where_positives_are_rare() -> None:
    rng = np.random.default_rng(5)
    features = rng.normal(size=(40_000, len(NAMES))).astype(np.float32)
    chance = 0.04 / (1 + np.exp(-3 * features[:, 0]))  # 0.02 in the mean
    labels = (rng.random(40_000) < chance).astype(np.int8)
    params = PARAMS.model_copy(update={"rows_per_tree": 4_000, "parameters": {"n_estimators": 100, "max_depth": 4}})
    scores = train(History(features[:20_000], labels[:20_000], pa.table({}), NAMES), params).predict_proba(features[20_000:])[:, 1]
    assert scores.mean() == pytest.approx(labels[:20_000].mean(), rel=0.05)
    above = features[20_000:, 0] > 0
    for side in (above, ~above):
        assert scores[side].mean() == pytest.approx(chance[20_000:][side].mean(), abs=0.004)


def _nights(rows: int, first: str = "2013-01-01") -> History:
    """Return a history with dates, a hundred rows each."""
    history = _history(rows)
    days = np.datetime64(first) + np.arange(rows) // 100
    return History(history.features, history.labels, history.rows.append_column("partition", pa.array(days.astype(str).tolist())), NAMES)


def _profile(forest: Any, history: History, holdout: History) -> Profile:
    features = Features(numeric={name: Numeric(missing=-9) for name in NAMES})
    return profile_of(
        forest,
        history,
        holdout,
        fit=lambda rows: train(rows, PARAMS),
        seed=PARAMS.random_state,
        dataset=load_dataset(),
        features=features,
        params=ProfileParams(bins=10, window_nights=7, floor=0.0001),
    )


def test_the_profile_is_of_the_training_rows(forest: Any) -> None:
    made = _profile(forest, _nights(2_000), _nights(500, "2013-01-21"))
    assert (made.rows, made.trained_from, made.trained_until) == (2_000, "2013-01-01", "2013-01-21")
    assert [column.binning.name for column in made.features] == list(NAMES)
    assert max(made.features, key=lambda column: column.importance).binning.name == "a"
    assert made.quality is not None
    assert made.quality.figures["auc"] > 0.7


@pytest.mark.costly
def test_threads_change_no_byte_of_a_profile(forest: Any) -> None:
    made = {_profile(copy.copy(forest).set_params(n_jobs=jobs), _nights(2_000), _nights(0)).to_json() for jobs in (1, 2, -1)}
    assert len(made) == 1


@pytest.mark.costly
def test_a_model_carries_its_profile(tmp_path: Path, forest: Any) -> None:
    made = _profile(forest, _nights(2_000), _nights(500))
    content = export_onnx(forest, SIGNATURE, ExportOnnx(opset=22), made)
    assert content == export_onnx(forest, SIGNATURE, ExportOnnx(opset=22), Profile.from_json(made.to_json()))
    (tmp_path / "m.onnx").write_bytes(content)
    assert load_model(tmp_path / "m.onnx").profile == made


def test_a_profile_of_other_features_is_not_exported(forest: Any) -> None:
    made = _profile(forest, _nights(2_000), _nights(0))
    with pytest.raises(ModelError, match="profile has other features"):
        export_onnx(forest, Signature(("a", "b", "d", "c"), "0" * 64), ExportOnnx(opset=22), made)


def test_one_class_is_refused() -> None:
    history = _history()
    with pytest.raises(DataError, match="needs both"):
        train(History(history.features, np.zeros_like(history.labels), history.rows, NAMES), PARAMS)


@pytest.mark.costly
def test_onnx_scores_as_scikit_learn_does(tmp_path: Path, forest: object) -> None:
    (tmp_path / "m.onnx").write_bytes(export_onnx(forest, SIGNATURE, ExportOnnx(opset=22)))
    features = _history(20_000, seed=2).features
    scores = load_model(tmp_path / "m.onnx").score(features)
    np.testing.assert_allclose(scores, forest.predict_proba(features)[:, 1], rtol=0, atol=1e-6)  # type: ignore[attr-defined]


def test_a_model_of_other_features_is_not_exported(forest: object) -> None:
    with pytest.raises(ModelError, match="trained on 4 features, but the features file has 3"):
        export_onnx(forest, Signature(("a", "b", "c"), "0" * 64), ExportOnnx(opset=22))


def test_the_holdout_ends_with_the_last_known_outcome() -> None:
    # As of 1 April with one day of delay, 30 March is the last date with outcomes; 14 days back from there is 17 March.
    assert holdout_start(parse_partition("2013-04-01"), 1, 14) == parse_partition("2013-03-17")


def _stage(rows: History, directory: Path, monkeypatch: pytest.MonkeyPatch, **sections: dict[str, Any]) -> int:
    """Run the stage on `rows` with the parameters of the repository, changed by `sections`; return its exit code."""
    params = parse_yaml(Path(__file__).parents[3].joinpath("params.yaml").read_text(encoding="utf-8"))
    table = rows.rows.append_column(params["dataset"]["label"]["name"], pa.array(rows.labels.astype(bool)))
    for index, name in enumerate(NAMES):
        table = table.append_column(name, pa.array(rows.features[:, index]))
    monkeypatch.chdir(directory)
    pq.write_table(table.replace_schema_metadata({KEY: SIGNATURE.to_json()}), "history.parquet")
    params["features"] = {"numeric": {name: {"expression": name, "missing": 0} for name in NAMES}}
    for section, values in sections.items():
        params[section] |= values
    Path("params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    Path("run.yaml").write_text(yaml.safe_dump({"partition": "2013-04-01", "model": {"path": "m", "name": "n"}}), encoding="utf-8")
    return train_main(["--features", "history.parquet", "--model", "model.skops", "--profile", "profile.json"])


def _run(rows: History, directory: Path, monkeypatch: pytest.MonkeyPatch, **sections: dict[str, Any]) -> Any:
    """Return the model that the stage writes."""
    assert _stage(rows, directory, monkeypatch, **sections) == 0
    return skops_file.load(Path("model.skops"))


@pytest.mark.costly
def test_only_the_last_days_are_learned_from_if_a_window_is_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(_nights(9_000), tmp_path, monkeypatch, train={"parameters": {"n_estimators": 2}, "window_days": 20, "minimum_rows": 100})
    made = json.loads(Path("profile.json").read_text(encoding="utf-8"))
    assert (made["trained_from"], made["trained_until"]) == ("2013-02-25", "2013-03-17")


LINEAR = {"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}
FOREST = {"name": "forest", "estimator": DEFAULT, "parameters": {"n_estimators": 10, "max_depth": 4}}
SMALL = {"parameters": {"n_estimators": 2}, "minimum_rows": 100}


@pytest.mark.costly
@pytest.mark.parametrize(("bent", "chosen", "kind"), [(True, "forest", "RandomForestClassifier"), (False, "linear", "LogisticRegression")])
def test_the_better_candidate_is_trained_on_all_history_before_the_holdout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bent: bool, chosen: str, kind: str
) -> None:
    rows = _nights(9_000)
    if bent:  # no line can follow it
        rows = replace(rows, labels=(np.abs(rows.features[:, 0]) > 0.7).astype(np.int8))
    model = _run(rows, tmp_path, monkeypatch, train=SMALL, search={"candidates": [LINEAR, FOREST], "folds": 2, "nights_per_fold": 10})
    found = results_of(model)
    assert found is not None
    assert (found.chosen, type(model).__name__) == (chosen, kind)
    assert [(one.name, one.fault, one.loss is not None) for one in found.results] == [("linear", None, True), ("forest", None, True)]
    assert sample_of(model).rows == int((rows.nights < "2013-03-17").sum())
    assert kind != "RandomForestClassifier" or len(model.estimators_) == 10
    written = Path("model.skops").read_bytes()
    _run(rows, tmp_path, monkeypatch, train=SMALL, search={"candidates": [LINEAR, FOREST], "folds": 2, "nights_per_fold": 10})
    assert Path("model.skops").read_bytes() == written


@pytest.mark.costly
def test_without_candidates_the_model_has_the_bytes_of_the_declared_estimator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = _nights(9_000)
    assert results_of(_run(rows, tmp_path, monkeypatch, train=SMALL)) is None
    skops_file.dump(train(rows.until("2013-03-17"), PARAMS.model_copy(update=SMALL)), Path("alone.skops"))
    assert Path("alone.skops").read_bytes() == Path("model.skops").read_bytes()


@pytest.mark.costly
def test_a_candidate_that_does_not_exist_stops_the_stage_before_any_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fits = counted_fits(monkeypatch)
    typo = {"name": "typo", "estimator": "sklearn.linear_model.LogisticRegresion"}
    assert _stage(_nights(9_000), tmp_path, monkeypatch, train=SMALL, search={"candidates": [LINEAR, typo]}) == 1
    assert "search.candidates.1.estimator (typo)" in capsys.readouterr().err
    assert fits == []
