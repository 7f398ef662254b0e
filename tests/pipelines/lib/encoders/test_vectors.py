"""Shards of vectors: in order, mapped, always the same bytes, and refused where they do not belong together."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.encoders.vectors import Shard, Shards, vector_file, write_shard
from tests.small_index import ENCODER_SHA256, rows_of, vectors_of

SIZES = {"2013-01": 70, "2013-02": 0, "2013-03": 30}


def write(root: Path, name: str, vectors: np.ndarray, rows: pa.Table, *, pieces: int = 3, encoder: str = ENCODER_SHA256) -> None:
    def encoded() -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        size = max(1, len(vectors) // pieces)
        for start in range(0, len(vectors), size):
            yield from ((batch, vectors[start : start + size]) for batch in rows.slice(start, size).combine_chunks().to_batches())

    root.mkdir(exist_ok=True)
    write_shard(root / name, vectors.shape, encoded(), rows.schema, encoder)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    start = 0
    for name, size in SIZES.items():
        write(tmp_path / "vectors", name, vectors_of(100)[start : start + size], rows_of(100).slice(start, size))
        start += size
    return tmp_path / "vectors"


def test_shards_are_one_after_the_other(root: Path) -> None:
    shards = Shards.open(root, list(SIZES))
    assert (shards.count, shards.dimension, shards.sizes) == (100, 8, SIZES)
    assert (shards.key, shards.encoder_sha256) == (("carrier", "flight"), ENCODER_SHA256)
    np.testing.assert_array_equal(np.concatenate(list(shards.blocks())), vectors_of(100))
    assert pa.Table.from_batches(shards.batches()) == rows_of(100)
    assert all(isinstance(shard.vectors, np.memmap) for shard in shards.parts if len(shard.vectors))


def test_rows_and_vectors_come_in_the_same_order(root: Path) -> None:
    shards = Shards.open(root, list(SIZES))
    order = np.random.default_rng(1).permutation(100)
    np.testing.assert_array_equal(np.concatenate(list(shards.blocks(order))), vectors_of(100)[order])
    assert pa.Table.from_batches(shards.batches(order)) == rows_of(100).take(order)


def test_the_bytes_do_not_depend_on_how_rows_come_in(tmp_path: Path) -> None:
    for pieces in (1, 7):
        write(tmp_path / str(pieces), "2013-01", vectors_of(100), rows_of(100), pieces=pieces)
    for name in ("vectors.npy", "rows.parquet"):
        assert (tmp_path / "1" / "2013-01" / name).read_bytes() == (tmp_path / "7" / "2013-01" / name).read_bytes()


@pytest.mark.parametrize("rows", [9, 11])
def test_more_or_fewer_vectors_than_told_are_refused(tmp_path: Path, rows: int) -> None:
    with pytest.raises(DataError, match=f"was to have 10 vectors, there were {rows}"), vector_file(tmp_path / "v.npy", (10, 8)) as append:
        append(vectors_of(rows))


def test_another_encoder_or_dimension_does_not_fit(root: Path) -> None:
    write(root, "2013-04", vectors_of(5), rows_of(5), encoder="f" * 64)
    write(root, "2013-05", vectors_of(5, dimension=4), rows_of(5))
    for odd in ("2013-04", "2013-05"):
        with pytest.raises(DataError, match=f"shard {odd} has another"):
            Shards.open(root, ["2013-01", odd])


def test_torn_shards_are_refused(root: Path) -> None:
    with pytest.raises(DataError, match="no shard"):
        Shards.open(root, [])
    with pytest.raises(DataError, match="2013-07"):
        Shards.open(root, ["2013-07"])
    path = root / "2013-01" / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(DataError, match="cannot be read"):
        Shards.open(root, ["2013-01"])
    np.save(path, vectors_of(69))
    with pytest.raises(DataError, match="has 70 rows"):
        Shards.open(root, ["2013-01"])


def test_shards_may_be_in_memory() -> None:
    shards = Shards([Shard("all", vectors_of(10), rows_of(10))])
    assert shards.encoder_sha256 is None
    assert pa.Table.from_batches(shards.batches()) == rows_of(10)
