"""The stage `score` from its command line: what it writes, and what makes it stop without writing."""

import hashlib
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.scoring.score import main
from tests import scored_night as night

ROOT = Path(__file__).parents[3]
ARGUMENTS = ["--features", "features.parquet", "--gate", "gate", "--model", "model.onnx", "--scores", "scores/scores.parquet"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    params = parse_yaml((ROOT / "params.yaml").read_text())
    params["score"]["order_by"] = None  # these features are others
    Path("params.yaml").write_text(yaml.safe_dump(params))
    night.write_features(tmp_path / "features.parquet", 100)
    (tmp_path / "model.onnx").write_bytes(night.onnx_bytes())
    _gate(passed=True)
    _pin(hashlib.sha256(night.onnx_bytes()).hexdigest())
    return tmp_path


def _gate(**changes: object) -> None:
    Path("gate").mkdir(exist_ok=True)
    Path("gate/verdict.json").write_text(json.dumps({"gate": "validate_features", "partition": night.PARTITION, "rows": 100} | changes))


def _pin(sha256: str | None) -> None:
    save_run(RunFile(partition=night.PARTITION, model=PinnedModel(path="model.onnx", name="Core_RF_Classifier", sha256=sha256)))


def _failure() -> tuple[str, str, bool]:
    failure = json.loads(Path("failure.json").read_text())
    return failure["error"], failure["message"], failure["retryable"]


@pytest.mark.costly
@pytest.mark.parametrize("pinned", [True, False])
def test_a_night_is_scored_with_the_pinned_model_or_the_workspace_s_own(workspace: Path, pinned: bool) -> None:
    if not pinned:
        _pin(None)
    assert main(ARGUMENTS) == 0
    scores = pq.read_table("scores/scores.parquet")
    assert scores.schema.names == [*night.ORDER, "score", "decision"]
    assert scores["flight"].to_pylist() == list(range(100))
    assert any(scores["decision"].to_pylist())


def test_the_threshold_is_a_parameter(workspace: Path) -> None:
    params = parse_yaml(Path("params.yaml").read_text())
    params["score"] = {"threshold": 0.0, "threads": 1}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    assert main(ARGUMENTS) == 0
    assert all(pq.read_table("scores/scores.parquet")["decision"].to_pylist())


def test_the_same_night_gives_the_same_bytes(workspace: Path) -> None:
    digests = set()
    for _ in range(2):
        assert main(ARGUMENTS) == 0
        digests.add(hashlib.sha256(Path("scores/scores.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_model_that_was_altered_is_not_run(workspace: Path) -> None:
    with Path("model.onnx").open("ab") as file:
        file.write(b"\0")
    assert main(ARGUMENTS) == 1
    error, message, retryable = _failure()
    assert (error, retryable) == ("ModelError", False)
    assert "pinned was" in message
    assert not Path("scores").exists() or not any(Path("scores").iterdir())


def test_a_missing_model_is_reported(workspace: Path) -> None:
    Path("model.onnx").unlink()
    assert main(ARGUMENTS) == 1
    assert _failure()[0] == "ModelError"


@pytest.mark.parametrize(
    ("changes", "error", "expected"),
    [
        ({"passed": False}, "GateFailed", "validate_features did not pass 2013-04-01"),
        ({"passed": "yes"}, "GateFailed", "did not pass"),
        ({"passed": True, "partition": "2013-03-31"}, "DataError", "is the verdict of validate_features on 2013-03-31"),
        ({"passed": True, "gate": "validate_batch"}, "DataError", "is the verdict of validate_batch"),
        ({}, "DataError", "is not a verdict of the gate"),
    ],
)
def test_nothing_is_scored_that_its_gate_did_not_pass(workspace: Path, changes: dict[str, object], error: str, expected: str) -> None:
    _gate(**changes)
    assert main(ARGUMENTS) == 1
    found, message, retryable = _failure()
    assert (found, retryable) == (error, False)
    assert expected in message


def test_a_torn_night_leaves_the_scores_as_they_were(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    before = Path("scores/scores.parquet").read_bytes()
    content = Path("features.parquet").read_bytes()
    Path("features.parquet").write_bytes(content[: len(content) // 2])
    assert main(ARGUMENTS) == 1
    assert _failure()[0] == "DataError"
    assert Path("scores/scores.parquet").read_bytes() == before
    assert [path.name for path in Path("scores").iterdir()] == ["scores.parquet"]


def test_a_budget_of_alerts_takes_the_highest_scores_and_changes_no_score(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    plain = pq.read_table("scores/scores.parquet")
    params = parse_yaml(Path("params.yaml").read_text())
    params["score"] = {"threshold": {"alerts_per_night": 7}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    assert main(ARGUMENTS) == 0
    found = pq.read_table("scores/scores.parquet")
    assert found.schema == plain.schema
    assert found.drop_columns("decision") == plain.drop_columns("decision")
    ranked = sorted(plain["score"].to_pylist(), reverse=True)
    alerts = [score for score, decision in zip(found["score"].to_pylist(), found["decision"].to_pylist(), strict=True) if decision]
    assert sorted(alerts, reverse=True) == [score for score in ranked if score > ranked[7]]
    assert 0 < len(alerts) <= 7
