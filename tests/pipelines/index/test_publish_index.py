"""A build becomes a generation only as what its gate has judged, by the run that was pinned to what is published."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.index.publish_index import main
from pipelines.lib.core.run import PinnedIndex, PinnedModel, RunFile, save_run
from pipelines.lib.vector_index import publication as index_publication
from pipelines.lib.vector_index.generations import current, locate
from tests.small_index import ENCODER_SHA256, INDEX, make_build, make_encoder

ARGUMENTS = ["--build", "data/index/build", "--report", "data/reports/evaluate_index"]
RUN = {"partition": "2013-06-01", "dag_id": "vector_index_rebuild", "run_ref": "refs/runs/vector_index_rebuild/one"}
ENCODER = PinnedModel(path="data/champion/encoder.onnx", name=INDEX, version="4", sha256=ENCODER_SHA256)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose build was judged and passed."""
    place = tmp_path / "workspace"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))
    params = {"registry": {"experiment": "e", "name": "model", "encoder": INDEX}, "publish_index": {"retained_generations": 2}}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    make_encoder(Path(ENCODER.path))
    opened()
    built(1)
    return place


def opened(**expected: Any) -> None:
    """Be the run that `expected` describes."""
    run = {**RUN, "model": ENCODER, "encoder": ENCODER, "source_revision": "r1", "run_id": "one", **expected}
    save_run(RunFile(**run))


def built(mark: int, **expected: Any) -> None:
    """Build generation `mark`, and have it judged."""
    build = make_build(Path("data/index/build"), seed=mark, mark=mark)
    report = {
        "gate": "evaluate_index",
        "partition": "2013-06-01",
        "passed": True,
        "rows": 50,
        "files": index_publication.built_files(build),
    }
    report |= {"leave_one_out": {"queries": 50, "recall_1": 1.0, "recall_10": 0.99, "recall_100": 0.98}, **expected}
    directory = Path("data/reports/evaluate_index")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "report.json").write_text(json.dumps(report))


def failure() -> tuple[str, str, bool]:
    expected = json.loads(Path("failure.json").read_text())
    return expected["error"], expected["message"], expected["retryable"]


def pinned(**expected: Any) -> PinnedIndex:
    pointer = current(INDEX)
    assert pointer is not None
    identity = {
        name: getattr(pointer, name) for name in ("generation", "manifest_sha256", "partition", "encoder_version", "encoder_sha256")
    }
    return PinnedIndex(name=INDEX, **identity, **{"sequence": pointer.sequence, **expected})


def test_what_was_judged_is_published_and_says_where_it_comes_from(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    pointer = current(INDEX)
    assert pointer is not None
    manifest = json.loads((locate(INDEX, pointer.generation) / "manifest.json").read_text())
    expected = {
        "encoder_name": INDEX,
        "encoder_version": "4",
        "encoder_sha256": ENCODER_SHA256,
        "partition": "2013-06-01",
        "data_revision": "r1",
    }
    expected |= {
        "run_ref": RUN["run_ref"],
        "leave_one_out": {"queries": 50, "recall_1": 1.0, "recall_10": 0.99, "recall_100": 0.98},
        "held_out": None,
        "kind": "hnsw",
        "count": 50,
    }
    assert {name: manifest[name] for name in expected} == expected
    assert set(manifest["files"]) == {"built.json", "encoder.onnx", "index.faiss", "rows.arrow"}
    assert pointer.history[0].actor == "vector_index_rebuild/one"
    report = json.loads(Path("data/reports/publish_index/report.json").read_text())
    assert report["note"] == f"generation {pointer.generation}, hnsw, 50 rows, encoder version 4"


def test_the_task_can_be_run_again(workspace: Path) -> None:
    assert [main(ARGUMENTS), main(ARGUMENTS)] == [0, 0]
    pointer = current(INDEX)
    assert pointer and pointer.sequence == 1


def test_a_build_that_did_not_pass_is_not_published(workspace: Path) -> None:
    built(2, passed=False)
    assert main(ARGUMENTS) == 1
    assert (failure()[0], failure()[2]) == ("GateFailed", False)
    assert current(INDEX) is None


@pytest.mark.parametrize("change", ["altered", "missing", "added"])
def test_only_the_very_files_that_were_judged_are_published(workspace: Path, change: str) -> None:
    file = Path("data/index/build/index.faiss")
    if change == "altered":
        file.write_bytes(file.read_bytes()[:-1] + b"\1")
    elif change == "missing":
        file.unlink()
    else:
        Path("data/index/build/vectors.npy").touch()
    assert main(ARGUMENTS) == 1
    assert failure()[0] == "DataError"
    name = "vectors.npy" if change == "added" else "index.faiss"
    assert failure()[1] == f"{name} in data/index/build are not what evaluate_index has judged; run evaluate_index again"
    assert current(INDEX) is None


def test_a_verdict_on_another_night_is_none(workspace: Path) -> None:
    built(1, partition="2013-05-31")
    assert main(ARGUMENTS) == 1
    assert failure()[0] == "DataError" and "2013-05-31" in failure()[1]


def test_a_laptop_publishes_nothing(workspace: Path) -> None:
    opened(encoder=PinnedModel(path=ENCODER.path, name=INDEX))
    assert main(ARGUMENTS) == 1
    assert failure()[0] == "ConfigError" and "run.yaml is not pinned" in failure()[1]


def test_another_encoder_than_the_one_that_built_it_is_refused(workspace: Path) -> None:
    make_encoder(Path(ENCODER.path), b"another encoder")
    assert main(ARGUMENTS) == 1
    assert failure()[0] == "ModelError" and "was built by another encoder" in failure()[1]
    assert current(INDEX) is None


def test_who_was_pinned_to_another_generation_comes_too_late(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    first = pinned()
    opened(run_ref="refs/runs/two", index=first)
    built(2)
    assert main(ARGUMENTS) == 0
    opened(run_ref="refs/runs/three", index=first)
    built(3)
    assert main(ARGUMENTS) == 1
    assert (failure()[0], failure()[2]) == ("LedgerConflict", False)
    assert "Start a new rebuild" in failure()[1]
    pointer = current(INDEX)
    assert pointer and pointer.sequence == 2


def test_a_run_that_was_pinned_to_the_one_before_the_broken_one_publishes(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    opened(run_ref="refs/runs/two", index=pinned(degraded=True, fault="the current one is broken"))
    built(2)
    assert main(ARGUMENTS) == 0
    pointer = current(INDEX)
    assert pointer and pointer.sequence == 2


def test_a_run_that_runs_again_after_a_later_publication_reports_its_own_generation(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    first = pinned()
    opened(run_ref="refs/runs/two", index=first)
    built(2)
    assert main(ARGUMENTS) == 0
    second = pinned()
    opened()
    built(1)
    assert main(ARGUMENTS) == 0
    report = json.loads(Path("data/reports/publish_index/report.json").read_text())
    assert (report["generation"], report["current"]) == (first.generation, second.generation)
    assert report["note"] == f"generation {first.generation}, hnsw, 50 rows, encoder version 4 ({second.generation} is current)"


@pytest.mark.parametrize("rebuild", ["auto", "incremental", "full"])
def test_an_older_partition_becomes_current_only_where_that_was_asked_for(workspace: Path, rebuild: str) -> None:
    assert main(ARGUMENTS) == 0
    first = pinned()
    opened(run_ref="refs/runs/two", index=first, partition="2013-05-01", rebuild=rebuild)
    built(2, partition="2013-05-01")
    assert main(ARGUMENTS) == (0 if rebuild == "full" else 1)
    if rebuild == "full":
        assert pinned().partition == "2013-05-01"
    else:
        assert failure()[0] == "ConfigError" and "index_rollback" in failure()[1] and "rebuild: full" in failure()[1]
        assert pinned() == first


def test_a_degraded_encoder_is_reported(workspace: Path) -> None:
    opened(encoder=ENCODER.model_copy(update={"degraded": True}))
    assert main(ARGUMENTS) == 0
    assert "DEGRADED" in json.loads(Path("data/reports/publish_index/report.json").read_text())["note"]
