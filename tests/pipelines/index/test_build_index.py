"""Filling and building as stages: what they make is what one call makes of the same rows, and nothing is made of half the shards."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from pipelines.index import build_index, fill_shard, plan_index
from pipelines.lib.core.errors import DataError, ModelError
from pipelines.lib.core.run import PinnedIndex, PinnedModel, RunFile, load_run, save_run
from pipelines.lib.encoders.vectors import Shards, write_shard
from pipelines.lib.vector_index.params import BuildIndex, IvfPq, PlanIndex
from pipelines.lib.vector_index.search import Searcher
from tests.small_index import ENCODER_SHA256, INDEX, Published, build_from_arrays, rows_of, vectors_of

ROWS = 900
CUTS = {"2013-01": (0, 400), "2013-02": (400, 400), "2013-03": (400, ROWS)}
SECTIONS: dict[str, Any] = {
    "plan_index": {"kind": "ivfpq", "queries": 100, "ivfpq": {"code_bytes": 2}},
    "fill_shard": {},
    "build_index": {},
}
RUN = RunFile(partition="2013-04-01", model=PinnedModel(path="model.onnx", name="core"), shards=tuple(CUTS))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))
    Path("vectors").mkdir()
    for name, (start, end) in CUTS.items():
        rows, vectors = rows_of(ROWS).slice(start, end - start).combine_chunks(), vectors_of(ROWS)[start:end]
        write_shard(
            Path("vectors") / name,
            vectors.shape,
            iter([(rows.to_batches()[0], vectors)] if end > start else []),
            rows.schema,
            ENCODER_SHA256,
        )
    return tmp_path


def staged(run: RunFile = RUN, **sections: Any) -> dict[str, int]:
    """Run the stages as DVC does; their exit codes."""
    save_run(run)
    Path("params.yaml").write_text(yaml.safe_dump({**SECTIONS, **sections}))
    codes = {"plan_index": plan_index.main(["--vectors", "vectors", "--gate", "gate", "--plan", "plan"])}
    for month in run.shards:
        codes[month] = fill_shard.main(["--plan", "plan", "--shard", f"vectors/{month}", "--filled", f"filled/{month}"])
    codes["build_index"] = build_index.main(["--plan", "plan", "--vectors", "vectors", "--filled", "filled", "--index", "build"])
    return codes


@pytest.mark.costly
@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_stages_make_what_one_call_makes(workspace: Path, kind: str) -> None:
    section = {**SECTIONS["plan_index"], "kind": kind}
    assert set(staged(plan_index=section).values()) == {0}
    params = PlanIndex(kind=kind, queries=100, ivfpq=IvfPq(code_bytes=2))  # type: ignore[arg-type]
    build_from_arrays(vectors_of(ROWS), rows_of(ROWS), Path("once"), plan_index=params, encoder_sha256=ENCODER_SHA256)
    for name in ("index.faiss", "lists.ivfdata", "vectors.npy") if kind == "ivfpq" else ("index.faiss",):
        assert Path("build", name).read_bytes() == Path("once", name).read_bytes(), name
    index = Searcher.open(Path("build"))
    assert index.rows() == rows_of(ROWS)
    np.testing.assert_array_equal(index.vectors, vectors_of(ROWS))
    assert [path.name for path in sorted(Path("filled/2013-03").iterdir())] == ["filled.faiss"] * (kind == "ivfpq") + ["filled.json"]
    assert Path("filled/2013-02/filled.json").read_text() == '{"rows": 0}\n'


def publish(directory: Path) -> PinnedIndex:
    pointer = Published(directory).publish(1, build=Path("build"))
    names = ("generation", "manifest_sha256", "partition", "encoder_version", "encoder_sha256", "sequence")
    return PinnedIndex(name=INDEX, **{name: getattr(pointer, name) for name in names})


@pytest.mark.costly
@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_a_published_generation_is_appended_to(workspace: Path, kind: str) -> None:
    sections = {"plan_index": {**SECTIONS["plan_index"], "kind": kind, "appended_limit": 1}}
    staged(RUN.model_copy(update={"shards": ("2013-01", "2013-02")}), **sections)
    run = RUN.model_copy(update={"index": publish(workspace)})
    Path("build").rename("old")
    assert set(staged(run, **sections).values()) == {0}
    index = Searcher.open(Path("build"))
    assert (index.built["mode"], index.built["base"], index.built["appended"]) == ("incremental", run.index and run.index.generation, 500)
    assert index.rows() == rows_of(ROWS)
    np.testing.assert_array_equal(index.vectors, vectors_of(ROWS))
    np.testing.assert_array_equal(index.search(vectors_of(ROWS)[::50], 1)[1][:, 0], np.arange(ROWS)[::50])


@pytest.mark.costly
def test_a_generation_that_has_gone_is_not_appended_to(workspace: Path) -> None:
    staged(RUN.model_copy(update={"shards": ("2013-01", "2013-02")}))
    run = RUN.model_copy(update={"index": publish(workspace)})
    sections = {**SECTIONS, "plan_index": {**SECTIONS["plan_index"], "appended_limit": 1}}
    assert staged(run, **sections)["build_index"] == 0
    (workspace / "index").rename(workspace / "gone")
    with pytest.raises(ModelError, match="roll back or rebuild"):
        build_index.build_index(
            Shards.open(Path("vectors"), run.shards),
            BuildIndex(),
            load_run(),
            planned=Path("plan"),
            filled=Path("filled"),
            target=Path("again"),
        )
    assert not Path("again").exists()


def test_a_shard_that_is_missing_or_not_as_planned_is_refused(workspace: Path) -> None:
    staged()
    shards, options = Shards.open(Path("vectors"), RUN.shards), {"planned": Path("plan"), "filled": Path("filled"), "target": Path("again")}
    Path("filled/2013-03/filled.faiss").unlink()
    with pytest.raises(DataError, match=r"filled/2013-03/filled\.faiss: not there"):
        build_index.build_index(shards, BuildIndex(), RUN, **options)
    with pytest.raises(DataError, match="the plan was made for"):
        build_index.build_index(Shards.open(Path("vectors"), ["2013-01"]), BuildIndex(), RUN, **options)


def test_an_index_that_finds_too_little_stops_the_run(workspace: Path) -> None:
    codes = staged(build_index={"ivfpq": {"nprobe": [1], "refine": [1]}})
    assert codes == {"plan_index": 0, "2013-01": 0, "2013-02": 0, "2013-03": 0, "build_index": 1}
    assert "GateFailed" in Path("failure.json").read_text()
    assert not Path("build").exists()
