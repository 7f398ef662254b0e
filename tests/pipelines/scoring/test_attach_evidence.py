"""The stage `attach_evidence` from its command line: what it writes with a generation, without one, and with one that does not fit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.run import PinnedIndex, PinnedModel, RunFile, save_run
from pipelines.lib.features.signature import Signature
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index.evidence import schema_of
from pipelines.scoring.attach_evidence import main
from tests import indexed_nights
from tests import scored_night as night
from tests.page_rules import broken_rules

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


@pytest.mark.costly
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
    attached = report()
    assert (attached["rows"], attached["note"]) == (500, f"evidence for 50 rows from generation {pinned.generation}")
    page = (REPORT / "report.html").read_text()
    assert "Evidence for the riskiest rows of 2013-04-01" in page
    assert page.count("<details") == 50
    assert "not late" in page
    assert '<header class="plain">' in page
    assert attached["base_rate"] == pytest.approx(float((indexed_nights.past(300)[1][:, 0] > 0).mean()), abs=1e-6)
    assert f"Base rate: {attached['base_rate']:.1%} of all past rows" in page
    assert not broken_rules(page)


@pytest.mark.costly
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
    assert report()["note"] == "no evidence: no vector index that could be used was published when the run opened"
    assert "No evidence: no vector index" in (page := (REPORT / "report.html").read_text())
    assert '<header class="unjudged">' in page
    assert not broken_rules(page)


def test_a_generation_of_other_features_is_passed_over_loudly(workspace: Path) -> None:
    pinned_to(indexed_nights.publish(workspace / "built", *indexed_nights.past(300), Signature(night.NAMES, "6" * 64)))
    assert main(ARGUMENTS) == 0
    assert empty()
    assert report()["note"].startswith("NO EVIDENCE: generation 2013-04-01-")
    assert report()["faults"] == [report()["note"]]
    assert '<header class="bad">' in (REPORT / "report.html").read_text()


def test_a_degraded_index_is_used_and_told_of(workspace: Path) -> None:
    pinned_to(indexed_nights.publish(workspace / "built", *indexed_nights.past(300)), degraded=True, fault="lists.ivfdata is torn")
    assert main(ARGUMENTS) == 0
    assert pq.read_metadata(EVIDENCE).num_rows == 500
    assert report()["note"].startswith("DEGRADED INDEX: the generation before is used, since lists.ivfdata is torn; evidence for 50 rows")
    assert '<header class="bad">' in (REPORT / "report.html").read_text()


def break_index(directory: Path) -> None:
    content = bytearray((directory / "index.faiss").read_bytes())
    content[len(content) // 2] ^= 1
    (directory / "index.faiss").write_bytes(content)


@pytest.mark.parametrize("fault", [break_index, shutil.rmtree], ids=["a flipped bit", "gone"])
def test_where_the_pinned_generation_is_broken_the_one_before_it_is_asked(workspace: Path, fault: Any) -> None:
    first = indexed_nights.publish(workspace / "built", *indexed_nights.past(300))
    pinned = indexed_nights.publish(workspace / "again", *indexed_nights.past(200))
    pinned_to(pinned)
    fault(generations.locate(pinned.name, pinned.generation))
    assert main(ARGUMENTS) == 0
    assert set(pq.read_table(EVIDENCE)["index_generation"].to_pylist()) == {first.generation}
    attached = report()
    assert (attached["rows"], attached["generation"], attached["index"]["generation"]) == (500, first.generation, pinned.generation)
    assert attached["note"].startswith(f"DEGRADED INDEX: the generation before is used, since generation {pinned.generation}")
    assert attached["note"].endswith(f"evidence for 50 rows from generation {first.generation}")
    page = (REPORT / "report.html").read_text()
    assert '<header class="bad">' in page
    assert "DEGRADED INDEX" in page
    assert f"generation {first.generation}</" in page.split("attach_evidence")[-1]


def test_where_no_generation_is_whole_the_night_goes_on_without_evidence(workspace: Path) -> None:
    pinned = indexed_nights.publish(workspace / "built", *indexed_nights.past(300))
    pinned_to(pinned)
    break_index(generations.locate(pinned.name, pinned.generation))
    assert main(ARGUMENTS) == 0
    assert empty()
    assert report()["note"].startswith("NO EVIDENCE: neither generation")
    assert "index.faiss has sha256" in report()["note"]
    assert '<header class="bad">' in (REPORT / "report.html").read_text()


def test_where_the_pinned_generation_was_collected_the_night_goes_on_without_evidence(workspace: Path) -> None:
    """A rerun would not find again the rows of another generation."""
    pinned = indexed_nights.publish(workspace / "built0", *indexed_nights.past(300))
    for number in range(1, 4):
        indexed_nights.publish(workspace / f"built{number}", *indexed_nights.past(200 + number))
    assert not generations.locate(pinned.name, pinned.generation).exists()
    pinned_to(pinned)
    assert main(ARGUMENTS) == 0
    assert empty()
    assert report()["note"].startswith("NO EVIDENCE: generation")
    assert "was collected since" in report()["note"]
    assert '<header class="bad">' in (REPORT / "report.html").read_text()


def test_an_encoder_that_has_learned_from_later_nights_is_reported(workspace: Path) -> None:
    index = indexed_nights.publish(workspace / "built", *indexed_nights.past(300, "2013-01-15"))
    save_run(RUN.model_copy(update={"index": index, "partition": "2013-02-01"}))
    assert main(ARGUMENTS) == 0
    attached = report()
    assert attached["rows"] == 500
    assert "learned from nights up to 2013-02-28, when this one began those before 2013-01-31 were known" in attached["hindsight"]
    assert attached["note"].endswith(attached["hindsight"])
    page = (REPORT / "report.html").read_text()
    assert attached["hindsight"] in page
    assert '<header class="plain">' in page


@pytest.mark.costly
def test_a_night_is_not_kept_waiting_for_pandas(workspace: Path) -> None:
    """It takes the better part of a second to import, and nothing here needs it."""
    pinned_to(indexed_nights.publish(workspace / "built", *indexed_nights.past(300)))
    code = (
        f"import sys; from pipelines.scoring.attach_evidence import main; assert main({ARGUMENTS}) == 0; assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert report()["rows"] == 500
