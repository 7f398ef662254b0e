"""An open index answers from one generation alone, and every odd question has a defined answer or a clear refusal."""

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.core.run import PinnedIndex
from pipelines.lib.encoders.encoder import load_encoder
from pipelines.lib.vector_index.generations import CollectedError, Generation, Pointer, locate
from pipelines.lib.vector_index.params import PlanIndex
from pipelines.lib.vector_index.reader import open_generation, open_pinned
from tests.small_index import (
    DIMENSION,
    ENCODER_SHA256,
    INDEX,
    Published,
    build_from_arrays,
    flip,
    make_build,
    make_encoder,
    rows_of,
    vectors_of,
)
from tests.trained_encoder import encoder_bytes, history


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


@pytest.mark.costly
@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_neighbours_come_with_cosine_distances_and_their_rows(published: Published, tmp_path: Path, kind: str) -> None:
    vectors = vectors_of(2000)
    build_from_arrays(vectors, rows_of(2000), tmp_path / "build", plan_index=PlanIndex(kind=kind), encoder_sha256=ENCODER_SHA256)
    with published.open(tmp_path / "build") as index:
        assert (index.kind, index.count, index.dimension) == (kind, 2000, DIMENSION)
        distances, ids = index.search(vectors[:50], 3)
        assert (distances.dtype, ids.dtype, distances.shape, ids.shape) == (np.float32, np.int64, (50, 3), (50, 3))
        assert (ids[:, 0] == np.arange(50)).mean() > 0.9
        found = ids[:, 1]
        assert np.allclose(distances[:, 1], 1 - (vectors[:50] * vectors[found]).sum(axis=1), atol=1e-6), "one minus the cosine"
        assert index.rows(ids[0]).column_names == ["carrier", "flight", "partition", "outcome"]
        assert index.rows(ids[0])["flight"].to_pylist() == ids[0].tolist()
        assert np.array_equal(index.vector(7), vectors[7])
        assert np.array_equal(index.vectors[:50], vectors[:50])
        assert "encoder" not in index.rows([0]).column_names


@pytest.mark.costly
def test_a_narrower_search_can_be_asked_for(published: Published, tmp_path: Path) -> None:
    vectors = vectors_of(3000)
    build_from_arrays(vectors, rows_of(3000), tmp_path / "build", encoder_sha256=ENCODER_SHA256)
    with published.open(tmp_path / "build") as index:
        wide = index.search(vectors[:200], 1, setting={"ef": 512})[1]
        narrow = index.search(vectors_of(200, seed=5), 1, setting={"ef": 1})[1]
        exact = index.search(vectors_of(200, seed=5), 1, setting={"ef": 512})[1]
    assert (wide[:, 0] == np.arange(200)).all()
    assert (narrow != exact).any()


def test_more_neighbours_than_rows_are_filled_up_with_none(published: Published) -> None:
    with published.open(published.build(1)) as index:
        distances, ids = index.search(vectors_of(2), 60)
        assert (ids[:, 50:] == -1).all() and np.isinf(distances[:, 50:]).all()
        assert sorted(ids[0, :50]) == list(range(50))
        last = index.rows(ids[0]).slice(49, 2).to_pylist()
    assert last[0]["carrier"] == "build 1"
    assert set(last[1].values()) == {None}, "a row for every id, also for none"


@pytest.mark.parametrize("count", [0, 1, 9])
def test_hardly_any_rows_are_an_index_too(published: Published, tmp_path: Path, count: int) -> None:
    with published.open(make_build(tmp_path / "build", count)) as index:
        distances, ids = index.search(vectors_of(3, seed=9), 10)
        assert (ids >= 0).sum(axis=1).tolist() == [count] * 3
        assert np.isinf(distances[ids < 0]).all() and (np.diff(distances[:, :count], axis=1) >= 0).all()
        assert index.search(vectors_of(0), 10)[1].shape == (0, 10), "no question, no answer"
        assert index.rows([]).num_rows == 0
        assert index.find(["build 0", 0]) == (0 if count else None)
        with pytest.raises(DataError, match=rf"rows {count} to {count} were asked for; the index has {count}"):
            index.vector(count)


@pytest.mark.parametrize(
    ("vectors", "k", "error", "message"),
    [
        (vectors_of(2, dimension=7), 3, DataError, rf"shape \[2, 7\], this index takes \[m, {DIMENSION}\]"),
        (vectors_of(1)[0], 3, DataError, "shape"),
        (np.full((2, DIMENSION), np.nan, dtype=np.float32), 3, DataError, "query 0 has a value that is not finite"),
        (np.full((2, DIMENSION), np.inf, dtype=np.float32), 3, DataError, "not finite"),
        (vectors_of(2), 0, ConfigError, "k is 0"),
        (vectors_of(2), -1, ConfigError, "k is -1"),
    ],
)
def test_what_cannot_be_answered_is_refused_in_words(
    published: Published, vectors: np.ndarray, k: int, error: type[Exception], message: str
) -> None:
    with published.open(published.build(1)) as index, pytest.raises(error, match=message):
        index.search(vectors, k)


def test_a_zero_vector_is_as_far_from_all_of_them(published: Published) -> None:
    with published.open(published.build(1)) as index:
        distances, ids = index.search(np.zeros((1, DIMENSION), dtype=np.float32), 5)
    assert np.allclose(distances, 0.5), "half the squared length of a vector of norm 1"
    assert len(set(ids[0])) == 5


@pytest.mark.parametrize("ids", [[50], [-2], [0, 1, 99]])
def test_a_row_that_does_not_exist_is_refused(published: Published, ids: list[int]) -> None:
    with published.open(published.build(1)) as index, pytest.raises(DataError, match="the index has 50, numbered from 0"):
        index.rows(ids)


def test_rows_are_taken_from_many_batches_in_the_order_of_the_ids_without_joining_them(published: Published, tmp_path: Path) -> None:
    build, rows = make_build(tmp_path / "many", 50), rows_of(50)
    with pa.OSFile(str(build / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, rows.schema) as writer:
        for start in range(0, 50, 7):
            writer.write_table(rows.slice(start, 7))
    with published.open(build) as index:
        wanted = [49, 0, -1, 7, 6, 49, 13, 14, -1]
        assert index.rows(wanted)["flight"].to_pylist() == [None if row < 0 else row for row in wanted]
        assert index.rows([-1, -1])["flight"].to_pylist() == [None, None]


@pytest.mark.costly
def test_what_a_few_rows_take_does_not_grow_with_the_index(published: Published, tmp_path: Path) -> None:
    count = 20_000
    build = make_build(tmp_path / "many", count)
    with pa.OSFile(str(build / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, rows_of(1).schema) as writer:
        writer.write_table(rows_of(count), max_chunksize=1_000)
    usual, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    with published.open(build) as index:
        assert index.find(["build 0", count - 1]) == count - 1
        pa.set_memory_pool(counted)
        try:
            assert index.rows(range(0, count, count // 10)).num_rows == 10
        finally:
            pa.set_memory_pool(usual)
    assert counted.max_memory() < 50_000, "bytes; a row is some forty"


def pinned_to(pointer: Pointer) -> PinnedIndex:
    message = {name: getattr(pointer, name) for name in (*Generation.model_fields, "sequence")}
    return PinnedIndex(name=INDEX, **message)


def test_where_the_pinned_generation_is_broken_the_one_before_it_is_opened_and_told(published: Published) -> None:
    first, second, _ = (published.publish(mark) for mark in (1, 2, 3))
    index, fault = open_pinned(pinned_to(second), root=published.root)
    assert (index.generation, fault) == (second.generation, None), "not the current one"
    flip(locate(INDEX, second.generation, published.root) / "index.faiss")
    index, fault = open_pinned(pinned_to(second), root=published.root)
    assert index.generation == first.generation
    assert fault is not None and f"{second.generation}: index.faiss has sha256" in fault
    (locate(INDEX, first.generation, published.root) / "lock").unlink()
    with pytest.raises(
        ModelError, match=rf"neither generation {second.generation} of flights nor one before it is whole: .*{first.generation}"
    ):
        open_pinned(pinned_to(second), root=published.root)


def test_a_pinned_generation_that_was_collected_is_told_apart_from_a_broken_one(published: Published) -> None:
    first = published.publish(1, retain=1)
    published.publish(2, retain=1)
    with pytest.raises(CollectedError, match=rf"generation {first.generation} of flights was collected since: .* start a new one"):
        open_pinned(pinned_to(first), root=published.root)


def test_a_row_is_found_by_its_key(published: Published) -> None:
    with published.open(published.build(1)) as index:
        assert index.key == ("carrier", "flight")
        assert index.find(["build 1", 7]) == index.find(("build 1", "7")) == 7
        assert index.find(["build 2", 7]) is None
        assert index.find([None, 7]) is None
        with pytest.raises(ConfigError, match=r"has 1 values; it takes carrier, flight"):
            index.find(["build 1"])
        with pytest.raises(ConfigError, match=r"\['build 1', 'seven'\] is not a key of carrier, flight"):
            index.find(["build 1", "seven"])


def test_a_generation_is_served_on_until_it_is_refreshed(published: Published) -> None:
    published.publish(1, retain=1)
    with open_generation(INDEX, root=published.root) as index:
        assert (index.manifest["mark"], index.refresh()) == (1, False)
        published.publish(2, retain=1)
        published.publish(3, retain=1)
        assert index.find(["build 1", 3]) == 3, "what is open stays"
        assert index.refresh()
        assert (index.manifest["mark"], index.find(["build 1", 3]), index.find(["build 3", 3])) == (3, None, 3)
        assert not index.refresh()
    with pytest.raises(ModelError, match="this index was closed"):
        index.search(vectors_of(1), 1)


def test_what_was_opened_by_its_id_stays(published: Published) -> None:
    first = published.publish(1)
    with open_generation(INDEX, first.generation, manifest_sha256=first.manifest_sha256, root=published.root) as index:
        published.publish(2)
        assert not index.refresh()
        assert index.generation == first.generation


def test_a_refresh_that_fails_leaves_what_was_served(published: Published) -> None:
    published.publish(1)
    with open_generation(INDEX, root=published.root) as index:
        second = published.publish(2)
        (locate(INDEX, second.generation, published.root) / "index.faiss").write_bytes(b"")
        with pytest.raises(ModelError, match=second.generation):
            index.refresh()
        assert index.manifest["mark"] == 1
        assert index.search(vectors_of(1), 1)[1].shape == (1, 1)


def test_an_index_of_another_encoder_is_refused_also_by_a_refresh(published: Published) -> None:
    published.publish(1)
    with open_generation(INDEX, encoder_sha256=ENCODER_SHA256, root=published.root) as index:
        published.publish_with_another_encoder(2)
        with pytest.raises(ModelError, match="vectors of two encoders mean nothing"):
            index.refresh()
        assert index.manifest["mark"] == 1
    with pytest.raises(ModelError, match="vectors of two encoders mean nothing"):
        open_generation(INDEX, encoder_sha256=ENCODER_SHA256, root=published.root)


def test_files_that_do_not_belong_together_are_refused(published: Published, tmp_path: Path) -> None:
    build = make_build(tmp_path / "odd", 50)
    (build / "rows.arrow").write_bytes((make_build(tmp_path / "other", 40) / "rows.arrow").read_bytes())
    with pytest.raises(DataError, match="has 50 vectors and 40 rows; build it again"):
        published.open(build)
    (build / "index.faiss").write_bytes((build / "index.faiss").read_bytes()[:100])
    with pytest.raises(DataError, match=r"the index in .* cannot be opened"):
        published.open(build)


@pytest.mark.costly
def test_threads_that_ask_at_once_get_what_one_gets(published: Published, tmp_path: Path) -> None:
    vectors = vectors_of(3000)
    build_from_arrays(vectors, rows_of(3000), tmp_path / "build", encoder_sha256=ENCODER_SHA256)
    with published.open(tmp_path / "build") as index:
        questions = [vectors_of(20, seed=seed) for seed in range(40)]
        alone = [index.search(question, 10) for question in questions]
        with ThreadPoolExecutor(8) as pool:
            together = list(pool.map(lambda question: index.search(question, 10), questions))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])


@pytest.mark.costly
def test_a_close_or_refresh_beneath_a_thread_ends_nobody(published: Published) -> None:
    """Mapped files that are gone end the process; so what a thread works with must outlive what it was taken from."""
    published.publish(1, retain=1)
    index = open_generation(INDEX, root=published.root)
    asked = [threading.Event() for _ in range(4)]

    def ask(once: threading.Event) -> int:
        """Search until the index is closed; return the number of answers."""
        for answers in itertools.count():
            try:
                assert index.search(vectors_of(8), 5)[1].shape == (8, 5)
            except ModelError as error:
                assert "this index was closed" in str(error)
                return answers
            once.set()
        raise AssertionError

    with ThreadPoolExecutor(len(asked)) as pool:
        threads = [pool.submit(ask, once) for once in asked]
        for mark in range(2, 12):
            published.publish(mark, retain=1)
            assert index.refresh()
        assert index.manifest["mark"] == 11
        assert all(once.wait(60) for once in asked)
        index.close()
        assert all(thread.result() for thread in threads)


def test_a_generation_carries_the_encoder_that_it_is_asked_with(published: Published, tmp_path: Path) -> None:
    content = encoder_bytes()
    features = history().features[:300]
    vectors = load_encoder(make_encoder(tmp_path / "trained.onnx", content)).encode(features)
    build_from_arrays(vectors, rows_of(300), tmp_path / "build", encoder_sha256=sha256_of(tmp_path / "trained.onnx"))
    published.publish(1, build=tmp_path / "build", encoder=tmp_path / "trained.onnx", encoder_sha256=sha256_of(tmp_path / "trained.onnx"))
    with open_generation(INDEX, root=published.root) as index:
        assert index.encoder is index.encoder, "loaded once"
        distances, ids = index.search(index.encoder.encode(features[40:41]), 1)
        assert np.allclose(distances, 0, atol=1e-6)
        assert np.array_equal(index.vector(ids[0, 0]), vectors[40])
    with open_generation(INDEX, verify=False, root=published.root) as index:
        encoder = locate(INDEX, index.generation, published.root) / "encoder.onnx"
        encoder.write_bytes(encoder.read_bytes()[:-1] + b"\1")
        with pytest.raises(ModelError, match=r"encoder.onnx has sha256"):
            _ = index.encoder
