"""The stage `attach_evidence` from its command line: what it writes with a generation, without one, and with one that does not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.lib import generations
from pipelines.lib.evidence import schema_of
from pipelines.lib.run import PinnedIndex, PinnedModel, RunFile, save_run
from pipelines.lib.signature import Signature
from pipelines.scoring.attach_evidence import main
from tests import indexed_nights
from tests import scored_night as night

ROOT = Path(__file__).parents[3]
EVIDENCE, REPORT = Path("data/evidence/evidence.parquet"), Path("data/reports/attach_evidence")
ARGUMENTS = ["--features", "features.parquet", "--scores", "scores.parquet", f"--evidence={EVIDENCE}", f"--report={REPORT}"]
RUN = RunFile(partition=night.PARTITION, model=PinnedModel(path="model.onnx", name="Core_RF_Classifier"))
ROWS = 80


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    night.write_features(tmp_path / "features.parquet", ROWS)
    night.write_scores(tmp_path / "scores.parquet", ROWS)
    save_run(RUN)
    return tmp_path


def pinned_to(index: PinnedIndex, **changes: Any) -> None:
    save_run(RUN.model_copy(update={"index": index.model_copy(update=changes)}))


def report() -> dict[str, Any]:
    return dict(json.loads((REPORT / "report.json").read_text()))


def empty() -> bool:
    return pq.read_table(EVIDENCE).equals(schema_of(pq.read_schema("scores.parquet"), night.ORDER).empty_table())


def test_the_riskiest_are_given_their_neighbours(workspace: Path) -> None:
    pinned = indexed_nights.publish(workspace / "built", *indexed_nights.past(300))
    pinned_to(pinned)
    assert main(ARGUMENTS) == 0
    evidence = pq.read_table(EVIDENCE)
    assert evidence.num_rows == 50 * 10
    assert evidence.schema.names == [
        *night.ORDER,
        *("score", "rank", "distance", "outcome", "neighbour_rate"),
        *(f"neighbour_{column}" for column in night.ORDER),
        *("neighbour_partition", "index_generation", "encoder_version"),
    ]
    told = report()
    assert (told["rows"], told["note"]) == (500, f"evidence for 50 rows from generation {pinned.generation}")
    page = (REPORT / "report.html").read_text()
    assert "Evidence for the riskiest of 2013-04-01" in page
    assert page.count("<details") == 50
    assert "not late" in page
    assert '<header class="plain">' in page


def test_the_same_night_gives_the_same_bytes(workspace: Path) -> None:
    pinned_to(indexed_nights.publish(workspace / "built", *indexed_nights.past(300)))
    assert main(ARGUMENTS) == 0
    before = {path: path.read_bytes() for path in (EVIDENCE, *REPORT.iterdir())}
    assert main(ARGUMENTS) == 0
    assert {path: path.read_bytes() for path in before} == before


def test_the_generation_that_was_pinned_is_asked_not_a_later_one(workspace: Path) -> None:
    first = indexed_nights.publish(workspace / "built", *indexed_nights.past(300))
    second = indexed_nights.publish(workspace / "again", *indexed_nights.past(200))
    assert first.generation != second.generation
    pinned_to(first)
    assert main(ARGUMENTS) == 0
    assert set(pq.read_table(EVIDENCE)["index_generation"].to_pylist()) == {first.generation}


def test_a_night_without_a_generation_goes_on_and_says_so(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    assert empty()
    assert report()["note"] == "no evidence: no vector index was published when the run opened"
    assert "no evidence" in (REPORT / "report.html").read_text()


def test_a_generation_of_other_features_is_passed_over_loudly(workspace: Path) -> None:
    pinned_to(indexed_nights.publish(workspace / "built", *indexed_nights.past(300), Signature(night.NAMES, "6" * 64)))
    assert main(ARGUMENTS) == 0
    assert empty()
    assert report()["note"].startswith("NO EVIDENCE: generation 2013-04-01-")
    assert '<header class="bad">' in (REPORT / "report.html").read_text()


def test_a_degraded_index_is_used_and_told_of(workspace: Path) -> None:
    pinned_to(indexed_nights.publish(workspace / "built", *indexed_nights.past(300)), degraded=True, fault="lists.ivfdata is torn")
    assert main(ARGUMENTS) == 0
    assert pq.read_metadata(EVIDENCE).num_rows == 500
    assert report()["note"].endswith("INDEX DEGRADED: not the newest generation (lists.ivfdata is torn)")
    assert '<header class="bad">' in (REPORT / "report.html").read_text()


def break_index(directory: Path) -> None:
    content = bytearray((directory / "index.faiss").read_bytes())
    content[len(content) // 2] ^= 1
    (directory / "index.faiss").write_bytes(content)


@pytest.mark.parametrize(
    ("fault", "told"), [(break_index, "index.faiss has sha256"), (shutil.rmtree, "roll back or rebuild")], ids=["a flipped bit", "gone"]
)
def test_a_pinned_generation_that_cannot_be_read_fails_and_leaves_nothing(workspace: Path, fault: Any, told: str) -> None:
    pinned = indexed_nights.publish(workspace / "built", *indexed_nights.past(300))
    pinned_to(pinned)
    fault(generations.locate(pinned.name, pinned.generation))
    assert main(ARGUMENTS) == 1
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["stage"], failure["error"], failure["retryable"]) == ("attach_evidence", "ModelError", False)
    assert told in failure["message"]
    assert not EVIDENCE.exists()
    assert not REPORT.exists()
