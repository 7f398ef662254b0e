"""The plan as a stage: it looks at the generation that the run is pinned to, and says why where that cannot be appended to."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from pipelines.index.plan_index import main, plan_index
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.run import PinnedIndex, PinnedModel, RunFile, save_run
from pipelines.lib.encoders.vectors import Shards, write_shard
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index.params import PlanIndex
from pipelines.lib.vector_index.plan import Plan, read_plan
from tests.small_index import ENCODER_SHA256, INDEX, Published, build_from_arrays, rows_of, vectors_of

PARAMS = PlanIndex(queries=100, appended_limit=0.2)
ROWS = 230


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFile:
    """A workspace with two shards, of which the first 200 rows are published, and a run that is pinned to that."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))
    build_from_arrays(vectors_of(200), rows_of(200), Path("before"), plan_index=PARAMS, encoder_sha256=ENCODER_SHA256)
    pointer = Published(tmp_path).publish(1, build=Path("before"))
    Path("vectors").mkdir()
    for name, start, end in (("2013-01", 0, 150), ("2013-02", 150, ROWS)):
        rows, vectors = rows_of(ROWS).slice(start, end - start).combine_chunks(), vectors_of(ROWS)[start:end]
        write_shard(Path("vectors") / name, vectors.shape, iter([(rows.to_batches()[0], vectors)]), rows.schema, ENCODER_SHA256)
    pinned = {
        name: getattr(pointer, name)
        for name in ("generation", "manifest_sha256", "partition", "encoder_version", "encoder_sha256", "sequence")
    }
    model = PinnedModel(path="model.onnx", name="core")
    return RunFile(partition="2013-03-01", model=model, shards=("2013-01", "2013-02"), index=PinnedIndex(name=INDEX, **pinned))


def planned(run: RunFile, **changed: Any) -> Plan:
    made = plan_index(Shards.open(Path("vectors"), run.shards), PARAMS, run.model_copy(update=changed), Path("plan"))
    assert read_plan(Path("plan")) == made
    return made


def test_what_is_published_is_appended_to(run: RunFile) -> None:
    made = planned(run)
    assert run.index is not None
    assert (made.mode, made.base, made.appended, made.fill) == ("incremental", run.index.generation, 30, ())


def test_without_a_generation_all_is_built(run: RunFile) -> None:
    made = planned(run, index=None)
    assert (made.mode, made.reason) == ("full", "nothing that can be used is published")
    with pytest.raises(ConfigError, match="nothing that can be used is published"):
        planned(run, index=None, rebuild="incremental")


def test_a_full_rebuild_looks_at_nothing_that_is_published(run: RunFile) -> None:
    shutil.rmtree("index")
    assert planned(run, rebuild="full").reason == "a full rebuild was asked for"


def test_a_broken_generation_is_rebuilt(run: RunFile) -> None:
    assert run.index is not None
    path = generations.locate(INDEX, run.index.generation) / "index.faiss"
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    made = planned(run)
    assert made.mode == "full"
    assert "what is published cannot be used: generation" in made.reason
    shutil.rmtree("index")
    assert "what is published cannot be used" in planned(run).reason


def test_the_stage_plans_as_run_and_params_say(run: RunFile) -> None:
    Path("params.yaml").write_text("plan_index: {queries: 100, appended_limit: 0.1}\n")
    arguments = ["--vectors", "vectors", "--gate", "gate", "--plan", "plan"]
    save_run(run)
    assert main(arguments) == 0
    assert "more than 10.0%" in read_plan(Path("plan")).reason
    save_run(run.model_copy(update={"rebuild": "incremental"}))
    assert main(arguments) == 1
    assert "ask for auto or full" in Path("failure.json").read_text()
