"""Registering, promoting and pinning against a real MLflow and a real ledger."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import onnx
import pytest
import yaml

from pipelines.lib.challengers import model_card
from pipelines.lib.champions.pins import pin_model
from pipelines.lib.champions.registry import Registered, Registry, connect, project_aliases
from pipelines.lib.core import contract
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, DataError, GateFailed, LedgerConflict, ModelError
from pipelines.lib.core.run import PinnedModel, RunFile
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.features.signature import Signature
from pipelines.lib.models import costs, skops_file
from pipelines.lib.models.costs import Costs
from pipelines.lib.models.golden import Finding
from pipelines.lib.published.delta_tables import lineage_of, publish, read_scores
from pipelines.lib.records.ledger import Ledger
from pipelines.registry.promote import promote
from pipelines.registry.register import challenge, latency, lineage, register, show_card
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import train as fit
from tests import models_of_every_kind, scored_night
from tests.evaluations import any_evaluation, compared, evaluated, opponent

pytestmark = pytest.mark.costly

NAME = "Core_RF_Classifier"
LINEAGE = {
    "git_commit": "0" * 40,
    "snapshot": "false",
    "run_ref": "refs/runs/test/1",
    "partition": "2013-04-01",
    "data_revision": "d" * 32,
    "dvc_lock_sha256": "1" * 64,
    "suite_hash": "2" * 64,
    "requirements_sha256": "3" * 64,
}
"""The tags that a rebuild of a version needs."""

TAGS = LINEAGE | {
    "history_start": "2013-01-01",
    "window_days": "all",
    "trained_from": "2013-01-01",
    "trained_until": "2013-03-17",
    "trained_rows": "64177",
}
"""Every tag of a version but its digest."""

MEASURED = {"latency_p50_us": 20.0, "latency_p99_us": 45.0, "memory_mib": 30.0, "size_mib": 0.5}
REGISTRY = Registry(experiment="Scalable_Inference_Suite", name=NAME)
REPOSITORY = Path(__file__).parents[3]


def train(files: Path, trees: int) -> Path:
    """Write a small model and its report to the directory `files`, as `evaluate` does, with a measured latency."""
    from sklearn.ensemble import RandomForestClassifier

    (files / "report").mkdir(parents=True)
    features = np.random.default_rng(0).normal(size=(500, 2)).astype(np.float32)
    model = RandomForestClassifier(n_estimators=trees, random_state=0).fit(features, features[:, 0] > 0)
    skops_file.dump(model, files / "model.skops")
    (files / "model.onnx").write_bytes(export_onnx(model, Signature(("a", "b"), "0" * 64), ExportOnnx(opset=22)))
    (files / "report" / "metrics.json").write_text(json.dumps({"auc": 0.7, "rows": 500}))
    digest = sha256_of(files / "model.onnx")
    (files / "report" / "evaluation.json").write_text(contract.to_json(any_evaluation(NAME, digest)))
    measured = Costs(digest, p50_us=20.0, p99_us=45.0, memory_mib=30.0, size_mib=0.5)
    costs.write(files / "latency.json", {"challenger": measured, "champion": None})
    return files


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Register two versions in a home of its own."""
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        patch.setenv("NIGHTSHIFT_HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = connect()
        for trees in (5, 6):
            files = train(home / "trained" / str(trees), trees)
            for _ in range(2):  # the second time, the version is known
                found = register(client, files / "model.skops", files / "model.onnx", files / "report", TAGS, REGISTRY)
            (files / "registered.json").write_text(found.model_dump_json())
    return home


@pytest.fixture
def versions(installation: Path, monkeypatch: pytest.MonkeyPatch) -> list[Registered]:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(installation))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return [Registered.model_validate_json((installation / "trained" / trees / "registered.json").read_text()) for trees in ("5", "6")]


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}")


def _promote(ledger: Ledger, version: Registered, expect: str) -> int:
    return promote(ledger, version, expect=expect, live_from="2013-04-01", actor="test", reason="test").sequence


def test_the_same_model_is_one_version_and_another_is_another(versions: list[Registered], installation: Path) -> None:
    assert [version.version for version in versions] == ["1", "2"]
    for version, trees in zip(versions, ("5", "6"), strict=True):
        assert version.sha256 == sha256_of(installation / "trained" / trees / "model.onnx") == sha256_of(Path(version.model_uri))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read .*; run evaluate first"),
        ("{", "is not a whole evaluation"),
        ("[]", "is not a whole evaluation"),
        ('{"sha256": "%s"}', "is not a whole evaluation .*name: Field required"),
        ({"faults": ("the AUC on the holdout is 0.4, below 0.6",)}, "did not pass evaluate .the AUC on the holdout is 0.4"),
        ({"sha256": "abc"}, "judges the model abc, the file has sha256"),
    ],
)
def test_a_model_that_was_not_evaluated_or_did_not_pass_is_not_registered(
    versions: list[Registered], tmp_path: Path, content: str | dict[str, Any] | None, message: str
) -> None:
    files = train(tmp_path / "other", 7)
    evaluation, digest = files / "report" / "evaluation.json", sha256_of(files / "model.onnx")
    if content is None:
        evaluation.unlink()
    elif isinstance(content, str):
        evaluation.write_text(content.replace("%s", digest))
    else:
        evaluation.write_text(contract.to_json(any_evaluation(NAME, **{"sha256": digest, **content})))
    client = connect()
    with pytest.raises((DataError, GateFailed), match=message):
        register(client, files / "model.skops", files / "model.onnx", files / "report", TAGS, REGISTRY)
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2


def test_a_lightgbm_is_registered_with_its_own_library_and_its_parameters_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    files, history = train(tmp_path / "files", 5), models_of_every_kind.history()
    model = fit(history, models_of_every_kind.params("lightgbm"))
    skops_file.dump(model, files / "model.skops")
    (files / "model.onnx").write_bytes(export_onnx(model, Signature(history.names, "0" * 64), ExportOnnx(opset=22)))
    (files / "report" / "evaluation.json").write_text(contract.to_json(any_evaluation(NAME, sha256_of(files / "model.onnx"))))
    monkeypatch.chdir(REPOSITORY)
    client = connect()
    found = register(client, files / "model.skops", files / "model.onnx", files / "report", TAGS, REGISTRY)
    run = client.get_run(client.get_model_version(NAME, found.version).run_id)
    assert run.data.params["parameters.max_depth"] == "8"  # of params.yaml, which this test does not change
    [needed] = [path.read_text() for path in (tmp_path / "home").rglob("requirements.txt") if "skops" in path.read_text()]
    assert "lightgbm" in needed


def test_a_model_with_tensors_outside_its_file_is_not_registered(versions: list[Registered], tmp_path: Path) -> None:
    files = train(tmp_path / "other", 7)
    proto = onnx.load(files / "model.onnx")
    proto.graph.initializer.append(onnx.numpy_helper.from_array(np.zeros(2, dtype=np.float32), "weights"))
    onnx.external_data_helper.convert_model_to_external_data(proto, location="weights.bin", size_threshold=0)
    onnx.save(proto, files / "model.onnx")
    assert (files / "weights.bin").exists()
    (files / "report" / "evaluation.json").write_text(contract.to_json(any_evaluation(NAME, sha256_of(files / "model.onnx"))))
    client = connect()
    with pytest.raises(ModelError, match=r"weights in weights\.bin"):
        register(client, files / "model.skops", files / "model.onnx", files / "report", TAGS, REGISTRY)
    assert len(client.search_model_versions(f"name = '{NAME}'")) == 2


def test_a_version_carries_its_tags_and_no_pickle(versions: list[Registered], installation: Path) -> None:
    assert connect().get_model_version(NAME, "1").tags == TAGS | {"sha256": versions[0].sha256}
    names = {path.name for path in (installation / "mlflow" / "artifacts").rglob("*") if path.is_file()}
    assert {"model.onnx", "model.skops", "metrics.json"} <= names
    assert not [name for name in names if name.endswith((".pkl", ".pickle", ".joblib"))]


def test_mlflow_has_the_models_signature_figures_and_data(versions: list[Registered]) -> None:
    client = connect()
    version = client.get_model_version(NAME, versions[0].version)
    signature = mlflow.models.get_model_info(f"models:/{NAME}/{versions[0].version}").signature
    assert [(one.name, one.type, one.shape) for one in signature.inputs] == [("features", np.dtype("float32"), (-1, 2))]
    assert ("probabilities", np.dtype("float32"), (-1, 2)) in [(one.name, one.type, one.shape) for one in signature.outputs]
    logged = client.get_logged_model(version.source.removeprefix("models:/"))
    assert (logged.name, {metric.key: metric.value for metric in logged.metrics}) == ("onnx", {"auc": 0.7, "rows": 500} | MEASURED)
    [given] = client.get_run(version.run_id).inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("history", TAGS["data_revision"])
    assert json.loads(given.dataset.source)["tags"]["run_ref"] == TAGS["run_ref"]
    assert [(tag.key, tag.value) for tag in given.tags] == [("mlflow.data.context", "training")]


def test_the_latency_is_logged_if_this_model_was_measured(versions: list[Registered], tmp_path: Path) -> None:
    client = connect()
    version = client.get_model_version(NAME, versions[0].version)
    assert client.get_run(version.run_id).data.metrics == {"auc": 0.7, "rows": 500} | MEASURED
    measured = train(tmp_path / "other", 7) / "report"
    assert latency(measured, versions[0].sha256) == {}
    measured.with_name("latency.json").unlink()  # as after DVC has restored the report
    assert latency(measured, versions[0].sha256) == {}


def test_a_version_is_challenger_only_of_another_champion(versions: list[Registered], ledger: Ledger) -> None:
    client = connect()

    def challenger() -> str | None:
        found = client.get_registered_model(NAME).aliases.get("challenger")
        return None if found is None else str(found)

    challenge(client, ledger, versions[0])
    assert challenger() is None  # there is no champion
    _promote(ledger, versions[0], "none")
    challenge(client, ledger, versions[0])
    assert challenger() is None
    challenge(client, ledger, versions[1])
    assert challenger() == "2"
    client.delete_registered_model_alias(NAME, "challenger")


def test_a_version_has_its_card_in_mlflow_and_among_the_pages(versions: list[Registered], installation: Path) -> None:
    client, report = connect(), installation / "trained" / "6" / "report"
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 400), rng.random(400, dtype=np.float32)
    nights, side = np.arange(400) // 40, np.where(np.arange(400) % 2, "left", "right")
    found = compared(labels, scores, scores[::-1], nights, against=opponent("1", versions[0].sha256), side=side)
    golden = (Finding({"a": 1.0}, "higher", 0.2, 0.3, passed=True),)
    evaluation = evaluated(labels, scores, nights, name=NAME, sha256=versions[1].sha256, sides=side, comparison=found, golden=golden)
    (report / "evaluation.json").write_text(contract.to_json(evaluation), encoding="utf-8")
    show_card(client, versions[1], report)
    card = (installation / "reports" / "models" / NAME / "2" / "model_card.html").read_text(encoding="utf-8")
    for words in (
        TAGS["git_commit"],
        TAGS["dvc_lock_sha256"],
        TAGS["suite_hash"],
        TAGS["run_ref"],
        "trained_until",
        "Against the champion of the time",
    ):
        assert words in card
    assert card.count("<svg") == 6  # roc, calibration and scores; roc and calibration of both models; importances
    for limit in model_card.limits(evaluation):
        assert limit.split(",")[0] in card
    run_id = client.get_model_version(NAME, "2").run_id
    assert "model_card.html" in {file.path for file in client.list_artifacts(run_id)}
    later = replace(evaluation, partition="2013-05-01")  # registered again, compared with another champion
    (report / "evaluation.json").write_text(contract.to_json(later), encoding="utf-8")
    show_card(client, versions[1], report)
    assert (installation / "reports" / "models" / NAME / "2" / "model_card.html").read_text(encoding="utf-8") == card


def test_promotion_is_fenced_and_repeats_harmlessly(versions: list[Registered], ledger: Ledger) -> None:
    assert _promote(ledger, versions[0], "none") == 1
    assert _promote(ledger, versions[0], "none") == 1
    with pytest.raises(LedgerConflict, match="version 1, not none"):
        _promote(ledger, versions[1], "none")
    assert _promote(ledger, versions[1], "1") == 2
    assert [entry.version for entry in ledger.history(NAME)] == ["1", "2"]


def test_aliases_follow_the_ledger_and_are_repaired_from_it(versions: list[Registered], ledger: Ledger) -> None:
    client = connect()
    _promote(ledger, versions[0], "none")
    project_aliases(client, ledger, NAME)
    assert client.get_registered_model(NAME).aliases == {"champion": 1}
    _promote(ledger, versions[1], "1")
    client.set_registered_model_alias(NAME, "champion", "1")  # as after a crash between ledger and alias
    project_aliases(client, ledger, NAME)
    assert client.get_registered_model(NAME).aliases == {"champion": 2, "previous": 1}


def test_a_run_is_pinned_to_the_champion(versions: list[Registered], ledger: Ledger, tmp_path: Path) -> None:
    _promote(ledger, versions[0], "none")
    pinned = pin_model(ledger, NAME, tmp_path / "model.onnx")
    assert pinned == PinnedModel(path=str(tmp_path / "model.onnx"), name=NAME, version="1", sha256=versions[0].sha256, ledger_sequence=1)
    assert sha256_of(tmp_path / "model.onnx") == versions[0].sha256


@pytest.mark.parametrize("fault", ["missing", "altered", "torn", "empty"])
def test_a_broken_champion_degrades_to_the_previous_version(versions: list[Registered], ledger: Ledger, tmp_path: Path, fault: str) -> None:
    _promote(ledger, versions[0], "none")
    _break(versions[1], tmp_path / "broken.onnx", fault)
    broken = versions[1].model_copy(update={"model_uri": str(tmp_path / "broken.onnx")})
    _promote(ledger, broken, "1")
    pinned = pin_model(ledger, NAME, tmp_path / "model.onnx")
    assert (pinned.version, pinned.degraded, pinned.sha256) == ("1", True, versions[0].sha256)
    assert (pinned.champion, pinned.ledger_sequence) == ("2", 2), "the champion stays what the run is pinned to"
    assert sha256_of(tmp_path / "model.onnx") == versions[0].sha256


def test_the_rows_of_a_degraded_run_say_so(
    versions: list[Registered], ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(tmp_path / "published"))
    _promote(ledger, versions[0], "none")
    _promote(ledger, versions[1].model_copy(update={"model_uri": str(tmp_path / "gone.onnx")}), "1")
    opened = {"run_id": "nightly-1", "run_ref": "refs/runs/nightly/1", "git_commit": "0" * 40, "opened_at": "2013-04-01T02:00:00+00:00"}
    run = RunFile(partition=scored_night.PARTITION, model=pin_model(ledger, NAME, tmp_path / "model.onnx"), **opened)
    scored_night.write_scores(tmp_path / "scores.parquet", 10)
    publish(tmp_path / "scores.parquet", lineage_of(run), expected_rows=10, attempts=12)
    rows = read_scores(scored_night.PARTITION).select(["degraded", "model_version", "model_sha256"]).to_pylist()
    assert rows == [{"degraded": True, "model_version": "1", "model_sha256": versions[0].sha256}] * 10


def _break(version: Registered, target: Path, fault: str) -> None:
    content = Path(version.model_uri).read_bytes()
    if fault == "altered":
        target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif fault == "torn":
        target.write_bytes(content[: len(content) // 2])
    elif fault == "empty":
        target.write_bytes(b"")


def test_without_a_previous_version_the_run_fails_clearly(versions: list[Registered], ledger: Ledger, tmp_path: Path) -> None:
    _promote(ledger, versions[0].model_copy(update={"model_uri": str(tmp_path / "gone.onnx")}), "none")
    with pytest.raises(ModelError, match=r"can be used: .*gone\.onnx.*runbooks/champion-broken"):
        pin_model(ledger, NAME, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()


def test_without_a_champion_the_run_says_so(ledger: Ledger, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="has no champion"):
        pin_model(ledger, NAME, tmp_path / "model.onnx")


@pytest.mark.slow
def test_pinning_a_run_twice_keeps_the_first_pin(versions: list[Registered], installation: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    environment = {
        **os.environ,
        "NIGHTSHIFT_HOME": str(installation),
        "NIGHTSHIFT_LEDGER_URL": f"sqlite:///{tmp_path / 'ledger.db'}",
        "PYTHONPATH": str(REPOSITORY),
    }
    workspace.mkdir()
    subprocess.run(["git", "init", "-q", str(workspace)], check=True)
    for name in ("params.yaml", "run.yaml", ".gitignore", ".dvcignore"):
        (workspace / name).write_bytes((REPOSITORY / name).read_bytes())
    shutil.copytree(REPOSITORY / "pipelines" / "suites", workspace / "pipelines" / "suites")
    (workspace / ".dvc").mkdir()
    (workspace / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
    ledger = Ledger(environment["NIGHTSHIFT_LEDGER_URL"])
    _promote(ledger, versions[0], "none")
    command = [sys.executable, "-m", "pipelines.registry.pin_run", "--partition", "2013-04-02", "--dag-id", "nightly", "--run-id", "one"]
    command += ["--run-ref", "refs/runs/nightly/one", "--git-commit", "0" * 40, "--opened-at", "2026-01-01T02:00:00+00:00"]
    subprocess.run(command, cwd=workspace, env=environment, check=True)
    first = (workspace / "run.yaml").read_text()
    _promote(ledger, versions[1], "1")
    (workspace / "data" / "champion" / "model.onnx").unlink()
    subprocess.run(command, cwd=workspace, env=environment, check=True)
    assert (workspace / "run.yaml").read_text() == first
    assert parse_yaml(first)["model"]["version"] == "1"
    assert sha256_of(workspace / "data" / "champion" / "model.onnx") == versions[0].sha256
    assert (workspace / "data" / "champion" / "model.onnx.dvc").exists()


def test_lineage_refuses_a_tree_that_could_not_be_rebuilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    outs = {"outs": [{"md5": "d" * 32}]}
    (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"stages": {"ingest_history": outs}}))
    report = tmp_path / "data" / "reports" / "validate_history" / "report.json"
    report.parent.mkdir(parents=True)
    report.write_text(json.dumps({"expectations": [{"type": "expect_something", "kwargs": {}}]}))
    (tmp_path / "requirements.txt").write_text("")
    for command in (["init", "-q"], ["add", "."], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "t"]):
        subprocess.run(["git", *command], check=True)
    run = RunFile(partition="2013-04-01", model=PinnedModel(path="m", name=NAME))
    assert set(lineage(run)) == set(LINEAGE)
    assert lineage(run)["run_ref"] == lineage(run)["git_commit"]
    (tmp_path / "requirements.txt").write_text("changed")
    with pytest.raises(ConfigError, match=r"uncommitted changes.*\n.*requirements\.txt"):
        lineage(run)
