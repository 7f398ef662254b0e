"""Categories without a declared list, from the table to the scores: each model reads the text of a night with the list that it carries."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipelines.data.validate_features import ValidateFeatures, validate_features
from pipelines.lib.core.errors import ModelError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import PinnedModel
from pipelines.lib.encoders.encoder import encode_features, load_encoder
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import read_history
from pipelines.lib.measures.histogram import count_parquet
from pipelines.lib.models import skops_file
from pipelines.lib.models.inference import load_model, score_parquet
from pipelines.lib.tables.dataset import Dataset
from pipelines.training import evaluate, evaluate_encoder, export_onnx, quantize, train, train_encoder
from tests import merchants

pytestmark = pytest.mark.costly

EARLY, LATE = merchants.MOVED, merchants.FIRST + dt.timedelta(days=58)


class Workspace:
    """Two models: of the merchants before they moved, and of all."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dataset, self.features = merchants.prepare(root)
        self.histories = {date: merchants.features_of(self.dataset, self.features, root, date) for date in (EARLY, LATE)}

    def run(self, stage: Any, **paths: Path) -> None:
        assert stage.main([word for name, path in paths.items() for word in (f"--{name}", str(path))]) == 0, (
            self.root / "failure.json"
        ).read_text(encoding="utf-8")

    def train(self, date: dt.date) -> Path:
        merchants.write_run(self.root, date)
        model = self.root / f"model-{date}.onnx"
        files = {"features": self.histories[date], "model": model.with_suffix(".skops"), "profile": model.with_suffix(".json")}
        self.run(train, **files)
        self.run(export_onnx, **files, onnx=model)
        return model


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("merchants")
        patch.chdir(root)
        patch.setenv("NIGHTSHIFT_LEDGER_URL", f"sqlite:///{root / 'ledger.db'}")
        made = Workspace(root)
        for date in (EARLY, LATE):
            made.train(date)
        yield made


def model_of(workspace: Workspace, date: dt.date) -> Path:
    return workspace.root / f"model-{date}.onnx"


def counted(path: Path, until: dt.date) -> list[str]:
    """Return the merchants of the rows before `until`, the most frequent first, equally frequent ones by name."""
    table = pq.read_table(path, columns=["merchant", "partition"])
    seen = table.filter(pc.less(table["partition"], until.isoformat()))["merchant"].drop_null().value_counts().to_pylist()
    return [entry["values"] for entry in sorted(seen, key=lambda entry: (-entry["counts"], entry["values"].encode()))]


def expected_matrix(table: pa.Table, known: tuple[str, ...]) -> np.ndarray:
    """Return the features of `table` as a model with the list `known` sees them."""
    places = {word: float(place) for place, word in enumerate(known)}
    merchant = [-2.0 if word is None else places.get(word, -1.0) for word in table["merchant"].to_pylist()]
    return np.column_stack([table["amount"].to_numpy(), merchant, table["online"].to_numpy(), table["kind"].to_numpy()]).astype(np.float32)


@pytest.mark.parametrize("date", [EARLY, LATE])
def test_a_model_carries_the_most_frequent_categories_of_its_training(workspace: Workspace, date: dt.date) -> None:
    model = load_model(model_of(workspace, date))
    wanted = counted(workspace.histories[date], date - dt.timedelta(days=1 + 5))
    assert len(wanted) > merchants.MOST
    assert model.categories == {"merchant": tuple(wanted[: merchants.MOST])}
    assert model.profile is not None
    assert model.profile.column("merchant").binning.values == model.categories["merchant"]


def test_a_night_is_scored_by_each_model_with_its_own_list(workspace: Workspace, tmp_path: Path) -> None:
    night = merchants.features_of(workspace.dataset, workspace.features, tmp_path, LATE, night=True)
    table = pq.read_table(night)
    lists, scores = [], []
    for date in (EARLY, LATE):
        model = load_model(model_of(workspace, date))
        forest = skops_file.load(model_of(workspace, date).with_suffix(".skops"))
        score_parquet(model, night, tmp_path / "scores.parquet", key=("id",), threshold=0.5, threads=1)
        found = pq.read_table(tmp_path / "scores.parquet")["score"].to_numpy()
        wanted = forest.predict_proba(expected_matrix(table, model.categories["merchant"]))[:, 1]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-6)
        lists.append(model.categories["merchant"])
        scores.append(found)
    assert not set(lists[0]) <= set(lists[1])
    assert np.abs(scores[0] - scores[1]).max() > 0.1


def test_the_same_history_gives_the_same_model_and_history_has_the_text_of_its_night(workspace: Workspace, tmp_path: Path) -> None:
    before = model_of(workspace, EARLY).read_bytes()
    assert workspace.train(EARLY).read_bytes() == before
    date = EARLY - dt.timedelta(days=5)
    night = pq.read_table(merchants.features_of(workspace.dataset, workspace.features, tmp_path, date, night=True))
    history = pq.read_table(workspace.histories[LATE])
    same = history.filter(pc.equal(history["partition"], date.isoformat())).select(night.column_names)
    assert night.num_rows == merchants.NIGHTLY
    assert night.equals(same)
    assert night["merchant"].null_count > 0


def test_the_champion_of_another_list_is_compared_on_the_same_rows_with_its_own_codes(workspace: Workspace) -> None:
    merchants.write_run(workspace.root, LATE)
    champion = workspace.root / "champion"
    champion.mkdir(exist_ok=True)
    (champion / "model.onnx").write_bytes(model_of(workspace, EARLY).read_bytes())
    challenger = model_of(workspace, LATE)
    workspace.run(
        evaluate,
        features=workspace.histories[LATE], model=challenger.with_suffix(".skops"), onnx=challenger, champion=champion,
        report=workspace.root / "reports" / "evaluate",
    )  # fmt: skip
    found = json.loads((workspace.root / "reports" / "evaluate" / "evaluation.json").read_text(encoding="utf-8"))
    assert found["metrics"]["parity_max_difference"] < 1e-5
    rows = pq.read_table(workspace.histories[LATE])
    rows = rows.filter(pc.greater_equal(rows["partition"], found["since"]))
    early = load_model(champion / "model.onnx")
    scores = early.score(expected_matrix(rows, early.categories["merchant"]))
    assert found["comparison"]["champion"]["mean_score"] == pytest.approx(float(scores.mean()), abs=1e-6)
    named = {part["value"]: part["rows"] for part in found["slices"]}
    assert named
    assert all(str(name).startswith("Händler ") for name in named)
    assert named == {name: pc.sum(pc.equal(rows["merchant"], name)).as_py() for name in named}


def test_drift_is_counted_in_the_categories_of_the_model_and_the_rest_is_other(workspace: Workspace, tmp_path: Path) -> None:
    night = merchants.features_of(workspace.dataset, workspace.features, tmp_path, LATE, night=True)
    profile = load_model(model_of(workspace, EARLY)).profile
    assert profile is not None
    binning = profile.column("merchant").binning
    counts = count_parquet(night, [binning]).counts["merchant"]
    words = pq.read_table(night)["merchant"].to_pylist()
    known = binning.values or ()
    assert dict(zip(binning.labels, counts, strict=True)) == {
        **{word: words.count(word) for word in known},
        "unseen": sum(word is not None and word not in known for word in words),
        "missing": words.count(None),
    }
    assert counts[-2] > 200  # the merchants have moved


def test_the_gate_compares_other_categories_with_those_of_training(workspace: Workspace, tmp_path: Path) -> None:
    def other(date: dt.date, model: dt.date | None) -> tuple[str, str]:
        directory = tmp_path / f"{date}-{model}"
        directory.mkdir()
        night = merchants.features_of(workspace.dataset, workspace.features, directory, date, night=True)
        path = tmp_path / "none.onnx" if model is None else model_of(workspace, model)
        report = validate_features(
            workspace.dataset,
            workspace.features,
            ValidateFeatures(maximum_unseen_share=0.3),
            partition=date,
            path=night,
            model=PinnedModel(path=str(path), name="n"),
        )
        [found] = [one for one in report.findings if one.column == "merchant" and one.type == "expect_column_values_to_be_in_set"]
        assert report.passed == (found.verdict != "failed"), report.failures
        return found.verdict, str(found.observed)

    assert other(EARLY - dt.timedelta(days=1), EARLY)[0] == "passed"
    verdict, observed = other(LATE, EARLY)
    assert verdict == "failed"
    assert "have a category that is not among the 20 of the model" in observed
    assert other(LATE, None)[0] == "not judged"


def test_vectors_are_made_with_the_list_of_the_encoder(workspace: Workspace, tmp_path: Path) -> None:
    merchants.write_run(workspace.root, LATE)
    history, fp32, fitted = workspace.histories[LATE], tmp_path / "fp32.onnx", tmp_path / "fitted.skops"
    workspace.run(train_encoder, features=history, fitted=fitted, onnx=fp32)
    workspace.run(quantize, features=history, model=fp32, encoder=tmp_path / "encoder.onnx", report=tmp_path / "quantize")
    workspace.run(
        evaluate_encoder,
        features=history, fitted=fitted, model=fp32, encoder=tmp_path / "encoder.onnx", quantized=tmp_path / "quantize" / "report.json",
        report=tmp_path / "evaluate_encoder",
    )  # fmt: skip
    encoder = load_encoder(tmp_path / "encoder.onnx")
    assert encoder.categories == load_encoder(fp32).categories == load_model(model_of(workspace, LATE)).categories
    night = merchants.features_of(workspace.dataset, workspace.features, tmp_path, EARLY, night=True)
    [(batch, vectors)] = list(encode_features(encoder, night, ["id"]))
    np.testing.assert_array_equal(vectors, encoder.encode(expected_matrix(pq.read_table(night), encoder.categories["merchant"])))
    assert batch.num_rows == merchants.NIGHTLY


def test_a_model_without_a_list_is_not_given_text(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no list of categories for merchant"):
        read_history(workspace.histories[EARLY], load_section("dataset", Dataset))
    forest, profile = (model_of(workspace, EARLY).with_suffix(suffix) for suffix in (".skops", ".json"))
    assert forest.exists()
    assert profile.exists()
    content = export_onnx.export_onnx(
        skops_file.load(forest), load_model(model_of(workspace, EARLY)).signature, export_onnx.ExportOnnx(opset=22)
    )
    (tmp_path / "bare.onnx").write_bytes(content)
    night = merchants.features_of(workspace.dataset, workspace.features, tmp_path, LATE, night=True)
    with pytest.raises(ModelError, match=r"no list of categories for merchant, which is text in .*train and export it again"):
        score_parquet(load_model(tmp_path / "bare.onnx"), night, tmp_path / "s.parquet", key=("id",), threshold=0.5)


def test_declared_values_of_integers_and_booleans_are_categories_from_the_table_to_the_profile(
    workspace: Workspace, tmp_path: Path
) -> None:
    night = pq.read_table(merchants.features_of(workspace.dataset, workspace.features, tmp_path, LATE, night=True))
    source = merchants.payments()
    for row in night.slice(0, 12).to_pylist():
        online, kind = source["online"][row["id"]].as_py(), source["kind"][row["id"]].as_py()
        assert (row["online"], row["kind"]) == (float(online), {7: 0.0, 6: 1.0, 5: 2.0, 8: -1.0}[kind])
    profile = load_model(model_of(workspace, LATE)).profile
    assert profile is not None
    online, kind = profile.column("online"), profile.column("kind")
    assert dict(zip(online.binning.labels, online.counts, strict=True)) == {
        "false": profile.rows * 2 // 3, "true": profile.rows // 3, "unseen": 0, "missing": 0,
    }  # fmt: skip
    assert dict(zip(kind.binning.labels, kind.counts, strict=True)) == {
        **dict.fromkeys(("7", "6", "5", "unseen"), profile.rows // 4), "missing": 0,
    }  # fmt: skip


def test_the_number_of_categories_changes_no_signature(workspace: Workspace) -> None:
    from pipelines.lib.features.compute import identity

    found = {
        identity(workspace.dataset, Features.model_validate({"categorical": {"merchant": {"most": most}}}))["sha256"] for most in (5, 50)
    }
    assert len(found) == 1
