"""The stage `publish_scores` from its command line: what it publishes and records, and what it refuses to touch the table for."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.published.delta_tables import read_scores
from pipelines.scoring.publish_scores import main
from tests import scored_night as night

ROOT = Path(__file__).parents[3]
ARGUMENTS = ["--scores", "scores.parquet", "--gate", "gate"]
MODEL = PinnedModel(path="model.onnx", name="Core_RF_Classifier", version="4", sha256="b" * 64, degraded=True)
RUN = RunFile(
    partition=night.PARTITION,
    model=MODEL,
    dag_id="d",
    run_id="nightly-1",
    run_ref="refs/runs/d/nightly-1",
    git_commit="c" * 40,
    opened_at="2013-04-01T02:00:00+00:00",
)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(tmp_path / "published"))
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    night.write_scores(tmp_path / "scores.parquet", 100)
    _gate()
    save_run(RUN)
    return tmp_path


def _gate(**changes: object) -> None:
    Path("gate").mkdir(exist_ok=True)
    report = {"gate": "validate_scores", "partition": night.PARTITION, "rows": 100, "passed": True}
    Path("gate/verdict.json").write_text(json.dumps(report | changes))


def _refused(error: str, message: str) -> None:
    assert main(ARGUMENTS) == 1
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == (error, False)
    assert message in failure["message"]
    assert not Path("published").exists()
    assert not Path("data").exists()


def test_a_night_is_published_and_recorded(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="nightshift"):
        assert main(ARGUMENTS) == 0
    assert "100 rows of 2013-04-01 published" in caplog.text
    table = read_scores(night.PARTITION)
    assert len(table) == 100
    assert set(table["run_id"].to_pylist()) == {"nightly-1"}
    assert set(table["degraded"].to_pylist()) == {True}
    record = json.loads(Path("data/reports/publish_scores/report.json").read_text())
    assert record.pop("mean_score") == pytest.approx(sum(table["score"].to_pylist()) / 100, abs=1e-6)
    assert record.pop("note") == "100 rows, Core_RF_Classifier version 4, expected rate 0.250, DEGRADED: not the champion"
    assert record == {"rows": 100, "model": "Core_RF_Classifier version 4", "degraded": True, "table_version": 1}


def test_publishing_again_changes_nothing_and_says_so(workspace: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert main(ARGUMENTS) == 0
    record = Path("data/reports/publish_scores/report.json").read_text()
    with caplog.at_level("INFO", logger="nightshift"):
        assert main(ARGUMENTS) == 0
    assert "were there already" in caplog.text
    assert Path("data/reports/publish_scores/report.json").read_text() == record


def test_what_its_gate_did_not_pass_is_not_published(workspace: Path) -> None:
    _gate(passed=False)
    _refused("GateFailed", "validate_scores did not pass 2013-04-01")


def test_a_gate_of_another_night_does_not_count(workspace: Path) -> None:
    _gate(partition="2013-03-31")
    _refused("DataError", "on 2013-03-31")


def test_a_night_without_a_gate_is_not_published(workspace: Path) -> None:
    shutil.rmtree("gate")
    _refused("DataError", "run validate_scores first")


def test_other_rows_than_the_gate_saw_are_not_published(workspace: Path) -> None:
    _gate(rows=101)
    _refused("DataError", "has 100 rows, its report says 101")


def test_a_torn_file_is_not_published(workspace: Path) -> None:
    content = Path("scores.parquet").read_bytes()
    Path("scores.parquet").write_bytes(content[:-20])
    _refused("DataError", "is not a whole Parquet file")


@pytest.mark.parametrize(
    "changes",
    [
        {"opened_at": None},
        {"git_commit": None},
        {"run_ref": None},
        {"model": PinnedModel(path="m", name="n")},
        {"opened_at": "yesterday"},
        {"opened_at": "2013-04-01T02:00:00"},
    ],
)
def test_a_run_that_is_not_pinned_does_not_publish(workspace: Path, changes: dict[str, Any]) -> None:
    save_run(RUN.model_copy(update=changes))
    _refused("ConfigError", "scored_at" if changes.get("opened_at") == "2013-04-01T02:00:00" else "run.yaml")


def test_a_partition_that_is_not_a_date_goes_nowhere(workspace: Path) -> None:
    save_run(RUN.model_copy(update={"partition": "../../etc"}))
    _refused("ConfigError", "partition is '../../etc'")
