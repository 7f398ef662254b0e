"""Building and asking an index of either kind: sizes from nothing on, odd vectors, the same bytes twice, appended to, and refused when it
finds too little.
"""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import faiss
import numpy as np
import pytest

from pipelines.lib.core.errors import ConfigError, DataError, GateFailed, TransientError
from pipelines.lib.measures import neighbours
from pipelines.lib.vector_index import build as index_build
from pipelines.lib.vector_index.build import read_ivfpq
from pipelines.lib.vector_index.params import BuildIndex, HnswSweep, IvfPq, IvfPqSweep, PlanIndex
from pipelines.lib.vector_index.search import Searcher
from tests.small_index import ENCODER_SHA256, build_from_arrays, rows_of, vectors_of

pytestmark = pytest.mark.costly

HNSW = PlanIndex(kind="hnsw", queries=200)
IVFPQ = PlanIndex(kind="ivfpq", queries=200, ivfpq=IvfPq(code_bytes=2))
KINDS = {"hnsw": HNSW, "ivfpq": IVFPQ}
ROWS = 3_000


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Tests run side by side: threads of each would wait for those of the others."""
    with neighbours.threads(1):
        yield


def built(target: Path, count: int = ROWS, *, params: PlanIndex = HNSW, vectors: np.ndarray | None = None, **options: Any) -> Searcher:
    vectors = vectors_of(ROWS)[:count] if vectors is None else vectors
    build_from_arrays(vectors, rows_of(len(vectors)), target, plan_index=params, encoder_sha256=ENCODER_SHA256, **options)
    return Searcher.open(target)


def recall(index: Searcher, k: int = 10) -> float:
    own = neighbours.sample(index.count, 200, 42, second=True)
    distances, ids = neighbours.exact(index.vectors, index.vectors[own], k, leave_out=own)
    found = neighbours.without(*index.search(index.vectors[own], k + 1), own)
    return neighbours.recall(found[1], found[0], ids, distances, k)


@pytest.mark.parametrize("kind", KINDS)
def test_it_finds_what_is_near(tmp_path: Path, kind: str) -> None:
    index = built(tmp_path / "build", params=KINDS[kind], parts=4)
    assert (index.kind, index.count, index.dimension) == (kind, ROWS, 8)
    np.testing.assert_array_equal(index.vectors, vectors_of(ROWS))
    assert index.rows() == rows_of(ROWS)
    assert recall(index) >= 0.95
    distances, ids = index.search(vectors_of(5, seed=9), 10)
    np.testing.assert_allclose(distances, ((vectors_of(5, seed=9)[:, None] - index.vectors[ids]) ** 2).sum(axis=2), rtol=1e-5)
    assert (np.diff(distances, axis=1) >= 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_its_vectors_outlive_it_and_cannot_be_altered(tmp_path: Path, kind: str) -> None:
    vectors = built(tmp_path / "build", params=KINDS[kind]).vectors
    gc.collect()
    assert vectors.tobytes() == vectors_of(ROWS).tobytes()
    with pytest.raises(ValueError, match="read-only"):
        vectors[0, 0] = 1


@pytest.mark.parametrize("kind", KINDS)
def test_its_bytes_are_the_same_each_time(tmp_path: Path, kind: str) -> None:
    for name in ("one", "two"):
        built(tmp_path / name, params=KINDS[kind], parts=3)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted({"hnsw": [], "ivfpq": ["lists.ivfdata", "vectors.npy"]}[kind] + ["built.json", "index.faiss", "rows.arrow"])
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name


def test_how_many_shards_it_came_in_does_not_show_in_an_ivfpq(tmp_path: Path) -> None:
    one, many = built(tmp_path / "1", params=IVFPQ, parts=1), built(tmp_path / "7", params=IVFPQ, parts=7)
    for name in ("index.faiss", "lists.ivfdata", "vectors.npy"):
        assert (one.directory / name).read_bytes() == (many.directory / name).read_bytes(), name


def test_what_is_merged_holds_no_table_for_searches(tmp_path: Path) -> None:
    """With one for each shard, memory would grow with their number."""
    path = str(built(tmp_path / "build", params=IVFPQ).directory / "index.faiss")
    flags = faiss.IO_FLAG_SKIP_IVF_DATA
    assert faiss.read_index(path, flags).precomputed_table.size() > 0
    assert read_ivfpq(Path(path), flags).precomputed_table.size() == 0


@pytest.mark.parametrize("count", [0, 1, 9])
def test_next_to_nothing_is_an_index_too(tmp_path: Path, count: int) -> None:
    index = built(tmp_path / "build", count)
    assert index.vectors.shape == (count, 8)
    assert index.rows().num_rows == count
    distances, ids = index.search(vectors_of(3), 10)
    assert ids.shape == (3, 10)
    assert (np.sort(ids, axis=1)[:, 10 - count :] == np.arange(count)).all()
    assert (ids[:, count:] == -1).all()
    assert np.isinf(distances[:, count:]).all()


@pytest.mark.parametrize("count", [0, 1, 9, 255])
def test_an_ivfpq_needs_rows_to_learn_from(tmp_path: Path, count: int) -> None:
    with pytest.raises(ConfigError, match=f"at least 256 rows, there are {count}; set plan_index.kind to hnsw"):
        built(tmp_path / "build", count, params=IVFPQ)
    assert list(tmp_path.iterdir()) == []


def test_an_ivfpq_of_few_rows_works(tmp_path: Path) -> None:
    index = built(tmp_path / "build", 256, params=IVFPQ)
    assert recall(index) >= 0.95
    assert (index.search(vectors_of(2), 300)[1] >= 0).sum(axis=1).max() <= 256


@pytest.mark.parametrize("kind", KINDS)
def test_twins_and_zeros_are_found_like_all_others(tmp_path: Path, kind: str) -> None:
    vectors = vectors_of(ROWS)
    vectors[1_000:1_200] = vectors[0]
    vectors[2_000:2_005] = 0
    index = built(tmp_path / "build", params=KINDS[kind], vectors=vectors)
    distances, ids = index.search(vectors[:1], 10)
    assert (distances == 0).all()
    assert set(ids[0].tolist()) <= {0, *range(1_000, 1_200)}
    assert set(index.search(vectors[2_000:2_001], 5)[1][0].tolist()) == set(range(2_000, 2_005))


@pytest.mark.parametrize("kind", KINDS)
def test_questions_that_make_no_sense_are_refused(tmp_path: Path, kind: str) -> None:
    index = built(tmp_path / "build", 400, params=KINDS[kind])
    with pytest.raises(DataError, match=r"shape \[2, 7\], this index takes \[m, 8\]"):
        index.search(np.zeros((2, 7), dtype=np.float32), 3)
    with pytest.raises(DataError, match="query 1 has a value that is not finite"):
        index.search(np.array([[0] * 8, [np.nan] * 8], dtype=np.float32), 3)
    with pytest.raises(ConfigError, match="k is 0"):
        index.search(vectors_of(1), 0)
    assert [array.shape for array in index.search(np.empty((0, 8), dtype=np.float32), 3)] == [(0, 3), (0, 3)]


@pytest.mark.parametrize(
    ("params", "name"), [(HNSW, "index.faiss"), (IVFPQ, "index.faiss"), (IVFPQ, "lists.ivfdata"), (IVFPQ, "vectors.npy")]
)
@pytest.mark.parametrize("size", [0, 10, -1])
def test_a_torn_file_is_refused_when_the_build_is_opened(tmp_path: Path, params: PlanIndex, name: str, size: int) -> None:
    index = built(tmp_path / "build", 400, params=params)
    path = index.directory / name
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DataError, match="cannot be opened"):
        Searcher.open(tmp_path / "build")


def test_files_of_two_builds_are_refused(tmp_path: Path) -> None:
    built(tmp_path / "one", 400)
    (tmp_path / "one" / "index.faiss").write_bytes((built(tmp_path / "two", 401).directory / "index.faiss").read_bytes())
    with pytest.raises(DataError, match="not of one build"):
        Searcher.open(tmp_path / "one")


def surely(trial: dict[str, float]) -> float:
    return trial["recall_10"] - 3 * trial["error"]


def test_the_narrowest_search_that_finds_enough_is_taken(tmp_path: Path) -> None:
    wide = built(tmp_path / "wide", build_index=BuildIndex(hnsw=HnswSweep(ef=(256, 11, 64), recall_10=0.9999)))
    found = wide.built["sweep"]
    assert wide.setting == {"ef": found[-1]["ef"]}
    assert [trial["ef"] for trial in found] == [11, 64, 256][: len(found)]
    assert len(found) > 1
    assert all(surely(trial) < 0.9999 for trial in found[:-1])
    assert [trial["cost"] for trial in found] == sorted(trial["cost"] for trial in found)


def test_of_ivfpq_searches_the_cheapest_that_finds_enough_is_taken(tmp_path: Path) -> None:
    index = built(tmp_path / "build", params=IVFPQ)
    good = [trial for trial in index.built["sweep"] if surely(trial) >= 0.95]
    cheapest = min(good, key=lambda trial: trial["cost"])
    assert index.setting == {"nprobe": cheapest["nprobe"], "refine": cheapest["refine"]}
    everything = BuildIndex(ivfpq=IvfPqSweep(nprobe=(1, 2, 4, 8, 16, 32, 64), refine=(1, 2, 4, 8, 16), recall_10=1.0))
    assert built(tmp_path / "all", params=IVFPQ, build_index=everything).setting["nprobe"] > index.setting["nprobe"]


@pytest.mark.parametrize(
    ("params", "sweep", "result"),
    [
        (HNSW.model_copy(update={"hnsw": HNSW.hnsw.model_copy(update={"m": 2})}), BuildIndex(hnsw=HnswSweep(ef=(1,), recall_10=1)), "plan_index.hnsw.m"),
        (IVFPQ, BuildIndex(ivfpq=IvfPqSweep(nprobe=(1,), refine=(1,))), "plan_index.ivfpq.code_bytes"),
    ],
)  # fmt: skip
def test_an_index_that_finds_too_little_is_not_built(tmp_path: Path, params: PlanIndex, sweep: BuildIndex, result: str) -> None:
    with pytest.raises(GateFailed, match=rf"no width of search surely reaches recall@10 .* the best is 0\.\d+ with .*{result}"):
        built(tmp_path / "build", params=params, build_index=sweep)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_new_is_appended(tmp_path: Path, kind: str) -> None:
    base = built(tmp_path / "base", ROWS - 100, params=KINDS[kind])
    index = built(tmp_path / "build", params=KINDS[kind], base=base.directory, parts=3)
    result = index.built
    assert (result["mode"], result["base"], result["appended"], result["appended_since_full"]) == ("incremental", "base", 100, 100)
    np.testing.assert_array_equal(index.vectors, vectors_of(ROWS))
    assert index.rows() == rows_of(ROWS)
    assert recall(index) >= 0.95
    new = index.vectors[-100:]
    assert (index.search(new, 1)[1][:, 0] == np.arange(ROWS - 100, ROWS)).mean() > 0.95
    again = built(tmp_path / "again", params=KINDS[kind], base=index.directory)
    assert (again.built["appended"], again.built["appended_since_full"]) == (0, 100)
    before = {path.name: path.read_bytes() for path in index.directory.iterdir() if path.name != "built.json"}
    assert {name: (again.directory / name).read_bytes() for name in before} == before


@pytest.mark.parametrize("kind", KINDS)
def test_rows_that_came_late_stand_behind_those_of_the_base(tmp_path: Path, kind: str) -> None:
    late = np.arange(0, ROWS, 40)
    early = np.setdiff1d(np.arange(ROWS), late)
    options: dict[str, Any] = {"plan_index": KINDS[kind], "encoder_sha256": ENCODER_SHA256}
    build_from_arrays(vectors_of(ROWS)[early], rows_of(ROWS).take(early), tmp_path / "base", **options)
    corrected = rows_of(ROWS).set_column(3, "outcome", [np.ones(ROWS, dtype=np.int8)])
    build_from_arrays(vectors_of(ROWS), corrected, tmp_path / "build", base=tmp_path / "base", parts=4, **options)
    index = Searcher.open(tmp_path / "build")
    order = np.concatenate([early, late])
    assert index.built["mode"] == "incremental"
    assert index.rows() == corrected.take(order)  # keys and outcomes are written again
    np.testing.assert_array_equal(index.vectors, vectors_of(ROWS)[order])
    np.testing.assert_array_equal(index.search(index.vectors[:50], 1)[1][:, 0], np.arange(50))


def nights(count: int) -> Any:
    """Return rows of nights of 150 rows each."""
    partitions = [f"2013-01-{1 + row // 150:02}" for row in range(count)]
    return rows_of(count).set_column(2, "partition", [partitions])


def shifted() -> np.ndarray:
    """Return vectors of which the last two nights are close together and far from all others: they are found easily from each other, and
    not from the others.
    """
    vectors = vectors_of(ROWS)
    vectors[-300:] = vectors_of(1, seed=3) + 0.3 * vectors[-300:]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_judged_by_nights_that_it_does_not_hold(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"plan_index": KINDS[kind], "encoder_sha256": ENCODER_SHA256}
    result = build_from_arrays(shifted(), nights(ROWS), tmp_path / "build", **options)
    held_out, known = result["held_out"], ROWS - 300
    assert (held_out["partitions"], held_out["rows"], held_out["queries"]) == (["2013-01-19", "2013-01-20"], 300, 150)
    # It reports the recall of an index of the other nights alone for the second sample of those nights.
    asked = known + neighbours.sample(300, 150, 42, second=True)
    if kind == "hnsw":
        graph = faiss.IndexHNSWFlat(8, 32)
        graph.hnsw.efConstruction = result["parameters"]["ef_construction"]
        graph.add(shifted()[:known])
        found = graph.search(shifted()[asked], 10, params=faiss.SearchParametersHNSW(efSearch=result["search"]["ef"]))
    else:  # exact for lists, which are looked through whole
        searcher = Searcher.open(tmp_path / "build")
        wide = searcher.candidates(shifted()[asked], ROWS, result["search"]["nprobe"])
        left = [row[(row >= 0) & (row < known)][: 10 * result["search"]["refine"]] for row in wide]
        old = np.array([np.pad(row, (0, 10 * result["search"]["refine"] - len(row)), constant_values=-1) for row in left])
        found = neighbours.nearest(searcher.vectors, shifted()[asked], old, 10)
    truth = neighbours.exact(shifted()[:known], shifted()[asked], 10)
    assert held_out["recall_10"] == pytest.approx(neighbours.recall(found[1], found[0], truth[1], truth[0], 10), abs=1e-5)
    assert 0.9 < held_out["recall_10"] <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_of_what_is_appended_it_is_judged_before_it_is(tmp_path: Path, kind: str) -> None:
    options: dict[str, Any] = {"plan_index": KINDS[kind], "encoder_sha256": ENCODER_SHA256}
    base = build_from_arrays(shifted()[:-300], nights(ROWS - 300), tmp_path / "base", **options)
    result = build_from_arrays(shifted(), nights(ROWS), tmp_path / "build", base=tmp_path / "base", **options)
    assert result["mode"] == "incremental"
    assert result["held_out"]["partitions"] == ["2013-01-19", "2013-01-20"]
    assert base["held_out"]["partitions"] == ["2013-01-18", "2013-01-18"]  # a tenth of all at most
    # A handful of rows more tells nothing: they are searched as the others.
    few = np.concatenate([shifted(), vectors_of(20, seed=8)])
    again = build_from_arrays(few, nights(ROWS + 20), tmp_path / "few", base=tmp_path / "build", **options)
    assert (again["mode"], again["appended"]) == ("incremental", 20)
    assert {name: again[name] for name in ("search", "held_out", "sweep")} == {
        name: result[name] for name in ("search", "held_out", "sweep")
    }


def test_a_table_too_small_is_asked_for_its_own_rows(tmp_path: Path) -> None:
    assert built(tmp_path / "build", 400).built["held_out"] is None


def test_a_rotation_is_learnt_where_it_is_asked_for(tmp_path: Path) -> None:
    params = IVFPQ.model_copy(update={"ivfpq": IvfPq(rotate=True, code_bytes=4)})
    base = built(tmp_path / "base", ROWS - 50, params=params, parts=2)
    index = built(tmp_path / "build", params=params, base=base.directory)
    assert index.built["mode"] == "incremental"
    assert recall(base) >= 0.94
    assert recall(index) >= 0.94


def test_lists_that_do_not_fit_the_disk_are_reported_before_they_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are written through a map: on a full disk the kernel would end the process."""
    monkeypatch.setattr(index_build.shutil, "disk_usage", lambda path: SimpleNamespace(free=ROWS * (2 + 8) - 1))
    with pytest.raises(TransientError, match=r"no room in .* for lists of 30,000 bytes, 29,999 are free; make room and try again"):
        built(tmp_path / "build", params=IVFPQ, parts=2)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(index_build.shutil, "disk_usage", lambda path: SimpleNamespace(free=ROWS * (2 + 8)))
    assert built(tmp_path / "build", params=IVFPQ, parts=2).count == ROWS


def test_no_path_of_the_machine_is_written(tmp_path: Path) -> None:
    index = built(tmp_path / "build", params=IVFPQ)
    for path in index.directory.iterdir():
        assert str(tmp_path).encode() not in path.read_bytes(), path.name
    moved = tmp_path / "elsewhere"
    index.directory.rename(moved)
    assert Searcher.open(moved).search(vectors_of(1), 1)[1].tolist() == [[0]]


def test_what_was_there_is_replaced_only_by_a_whole_build(tmp_path: Path) -> None:
    before = built(tmp_path / "build", 400).built
    with pytest.raises(GateFailed):
        built(tmp_path / "build", params=IVFPQ, build_index=BuildIndex(ivfpq=IvfPqSweep(nprobe=(1,), refine=(1,))))
    assert json.loads((tmp_path / "build" / "built.json").read_text()) == before
    assert [path.name for path in tmp_path.iterdir()] == ["build"]
