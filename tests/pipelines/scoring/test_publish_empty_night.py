"""The stage `publish_empty_night` from its command line, and what `publish_scores` does when the rows come late."""

import json
import shutil
from pathlib import Path

import pytest

from pipelines.lib.core.reports import write_verdict
from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.core.stage import FAILURE_FILE
from pipelines.lib.published.delta_tables import lineage_of, read_scores
from pipelines.lib.published.empty_nights import empty_nights, record_empty_night
from pipelines.scoring import publish_scores
from pipelines.scoring.publish_empty_night import main
from tests import scored_night as night

ROOT = Path(__file__).parents[3]
REASON = "night 1 in a row without rows, of at most 2"
RUN = RunFile(
    partition=night.PARTITION,
    model=PinnedModel(path="model.onnx", name="Core", version="4", sha256="b" * 64),
    dag_id="d",
    run_id="nightly-1",
    run_ref="refs/runs/d/nightly-1",
    git_commit="c" * 40,
    opened_at="2013-04-01T02:00:00+00:00",
)


@pytest.fixture(autouse=True)
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(tmp_path / "published"))
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    save_run(RUN)
    verdict(0)


def verdict(rows: int, *, passed: bool = True, empty: str = REASON) -> None:
    Path("gate").mkdir(exist_ok=True)
    write_verdict(Path("gate"), "validate_batch", RUN.partition, rows, passed=passed)
    Path("gate/report.json").write_text(json.dumps({"empty": empty} if empty else {}))


def note(stage: str) -> str:
    return str(json.loads(Path(f"data/reports/{stage}/report.json").read_text())["note"])


def raw(**rows: int) -> None:
    Path("data/raw/batch").mkdir(parents=True, exist_ok=True)
    Path("data/raw/batch/source.json").write_text(json.dumps({"rows_per_date": rows}))


def test_the_night_is_recorded_and_the_note_says_why() -> None:
    assert main(["--gate", "gate"]) == 0
    assert empty_nights() == [night.PARTITION]
    assert note("publish_empty_night") == REASON
    assert main(["--gate", "gate"]) == 0


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"rows": 7}, "has 7 rows; clear validate_batch"),
        ({"rows": 0, "passed": False}, "did not pass"),
        ({"rows": 0, "empty": ""}, "does not say why"),
    ],
)
def test_a_night_that_the_gate_did_not_find_empty_is_refused(content: dict[str, object], message: str) -> None:
    verdict(**content)  # type: ignore[arg-type]
    assert main(["--gate", "gate"]) == 1
    assert message in json.loads(FAILURE_FILE.read_text())["message"]
    assert empty_nights() == []


def test_the_note_of_a_later_night_names_rows_that_came_late() -> None:
    record_empty_night(REASON, lineage_of(RUN.model_copy(update={"partition": "2013-03-30"})), attempts=3)
    raw(**{"2013-03-30": 12, "2013-03-31": 40})
    assert main(["--gate", "gate"]) == 0
    assert note("publish_empty_night") == f"{REASON}; LATE ROWS, not scored: 2013-03-30 (12 rows); trigger these nights again"


def test_scores_of_a_night_that_was_empty_replace_its_record() -> None:
    assert main(["--gate", "gate"]) == 0
    night.write_scores(Path("scores.parquet"), 10)
    write_verdict(Path("gate"), "validate_scores", RUN.partition, 10, passed=True)
    assert publish_scores.main(["--scores", "scores.parquet", "--gate", "gate"]) == 0
    assert (empty_nights(), read_scores(night.PARTITION).num_rows) == ([], 10)
    assert "LATE" not in note("publish_scores")
