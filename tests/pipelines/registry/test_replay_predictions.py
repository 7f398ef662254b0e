"""A version whose card says that it is not reproducible to the byte is rebuilt with the same predictions, or refused with their difference."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from pipelines.lib.champions.registry import connect
from pipelines.lib.models import golden
from pipelines.lib.models.inference import load_model
from pipelines.registry.replay import MODEL, main
from tests.page_rules import broken_rules
from tests.training_line import Trained, make_line

pytestmark = pytest.mark.costly  # all run DVC

NAME = "Core_RF_Classifier"
REASON = "n_jobs of lightgbm.LGBMClassifier is -1, so the number of threads depends on the machine"

STAGE = """
import json, os, pathlib, sys
name, source, target = sys.argv[1:]
nudge = float(os.environ.get("NUDGE", "0"))  # an input that is not recorded, such as the number of processors
path = pathlib.Path(target)
path.parent.mkdir(parents=True, exist_ok=True)
if name == "evaluate":
    path.mkdir()
    (path / "metrics.json").write_text(json.dumps({"auc": 0.8 + nudge, "rows": 40}))
elif name == "export_onnx":
    from onnx import TensorProto, helper
    tensor = helper.make_tensor
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["features", "weights"], ["sum"]),
            helper.make_node("Sigmoid", ["sum"], ["chance"]),
            helper.make_node("Add", ["chance", "nudge"], ["nudged"]),
            helper.make_node("Sub", ["one", "nudged"], ["rest"]),
            helper.make_node("Concat", ["rest", "nudged"], ["probabilities"], axis=1),
        ],
        "line",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, 2])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2])],
        [
            tensor("weights", TensorProto.FLOAT, [2, 1], [0.5, -0.25]),
            tensor("nudge", TensorProto.FLOAT, [1], [nudge]),
            tensor("one", TensorProto.FLOAT, [1], [1.0]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    entry = model.metadata_props.add()
    entry.key, entry.value = "nightshift.features", json.dumps({"names": ["a", "b"], "sha256": "0" * 64})
    path.write_bytes(model.SerializeToString())
else:
    path.write_text(name)
"""


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return make_line(tmp_path_factory.mktemp("line") / "repository", STAGE)


@pytest.fixture
def trained(pristine: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Version 1 is registered with its metrics, but without a report. The working directory is a workspace of its own."""
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(pristine.path))
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    for name in ("NIGHTSHIFT_DVC_CACHE", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    shutil.copy(Path(__file__).parents[3] / "params.yaml", tmp_path)
    client = connect()
    client.create_registered_model(NAME)
    run = client.create_run(client.create_experiment("test", artifact_location=str(tmp_path / "artifacts")))
    for name, value in pristine.metrics.items():
        client.log_metric(run.info.run_id, name, value)
    client.create_model_version(NAME, "/model", run.info.run_id, tags=pristine.tags)
    return pristine


def record(trained: Trained, reason: str | None, names: tuple[str, ...] = ("a", "b")) -> None:
    """Log the report of `evaluate` as `register` does: the model is not reproducible for `reason`."""
    model = load_model(trained.path / MODEL)
    rows = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    written = golden.choose(names, rows, model.score(rows), model.sha256, 40)
    report = Path("report")
    report.mkdir()
    (report / "golden.json").write_text(written.to_json())
    (report / "evaluation.json").write_text(json.dumps({"not_reproducible": reason}))
    client = connect()
    run = client.get_model_version(NAME, "1").run_id
    client.log_artifacts(run, str(report), "evaluation")


def replayed() -> tuple[int, dict, str]:
    done = main(["--version", "1"])
    return done, json.loads(Path("data/reports/replay/report.json").read_text()), Path("data/reports/replay/report.html").read_text()


def test_equal_bytes_need_no_look_at_the_predictions(trained: Trained) -> None:
    record(trained, REASON)
    done, report, _ = replayed()
    assert (done, report["equal"], report["predictions"]) == (0, True, None)
    assert "was rebuilt byte for byte" in report["note"]


def test_other_bytes_with_equal_predictions_are_the_same_model(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    record(trained, REASON)
    monkeypatch.setenv("NUDGE", "3e-7")
    done, report, page = replayed()
    assert done == 0, report["note"]
    assert report["sha256"]["recorded"] != report["sha256"]["rebuilt"]
    assert 2e-7 < report["predictions"]["difference"] < 4e-7
    assert report["metrics"][0]["recorded"] != report["metrics"][0]["rebuilt"]
    assert "with equal predictions, largest difference 3" in report["note"]
    assert f"its bytes may differ: {REASON}" in report["note"]
    assert "gives the same predictions" in page
    assert '<header class="good">' in page
    assert "largest difference" in page
    assert not broken_rules(page)


@pytest.mark.parametrize(("nudge", "sameness"), [("3e-7", "gives the same predictions"), ("0", "is the same, byte for byte")])
def test_an_input_that_differs_is_in_the_note_and_the_page_is_not_green(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, nudge: str, sameness: str
) -> None:
    record(trained, REASON)
    client = connect()
    client.set_model_version_tag(NAME, "1", "run_ref", trained.changed(pipelines__line_py=STAGE + "\n# another line")["run_ref"])
    monkeypatch.setenv("NUDGE", nudge)
    done, report, page = replayed()
    assert done == 0, report["note"]
    assert [one["name"] for one in report["inputs"] if not one["equal"]] == ["code commit", "code of the stages"]
    assert "although these inputs differ: code commit (now " in report["note"]
    assert sameness in page
    assert '<header class="warned">' in page


def test_other_predictions_are_refused_with_their_difference_and_the_remedy(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    record(trained, REASON)
    monkeypatch.setenv("NUDGE", "5e-5")
    done, report, page = replayed()
    assert (done, report["equal"], report["predictions"]["equal"]) == (1, False, False)
    message = json.loads(Path("failure.json").read_text())["message"]
    assert "NOT rebuilt the same: the predictions (largest difference 5e-05 in 40 golden rows, 1e-05 is allowed)" in message
    assert f"every recorded input is the same, and a training may give another model ({REASON})" in message
    assert "rebuild it on the machine that trained it" in message
    assert "was NOT rebuilt the same" in page


def test_a_metric_that_differs_clearly_is_refused_although_the_golden_rows_agree(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    record(trained, REASON)
    client = connect()
    client.log_metric(client.get_model_version(NAME, "1").run_id, "auc", 0.81)
    monkeypatch.setenv("NUDGE", "3e-7")
    done, report, _ = replayed()
    assert (done, report["equal"], report["predictions"]["equal"]) == (1, False, True)
    assert "was NOT rebuilt the same: auc" in report["note"]


def test_a_model_that_cannot_be_compared_is_refused_with_the_reason(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    record(trained, REASON, names=("a", "c"))
    monkeypatch.setenv("NUDGE", "3e-7")
    done, report, page = replayed()
    assert (done, report["predictions"]["difference"]) == (1, None)
    assert "the predictions (the model takes a, b; the golden set holds a, c)" in report["note"]
    assert "the golden set holds a, c" in page


@pytest.mark.parametrize("recorded", [True, False])
def test_a_reproducible_model_must_have_the_same_bytes(trained: Trained, monkeypatch: pytest.MonkeyPatch, recorded: bool) -> None:
    if recorded:
        record(trained, None)
    monkeypatch.setenv("NUDGE", "3e-7")
    done, report, _ = replayed()
    assert (done, report["predictions"]) == (1, None)
    assert "was NOT rebuilt the same: the model, auc" in report["note"]
