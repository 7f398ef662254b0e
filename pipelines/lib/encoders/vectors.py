"""The vectors of an index before it is built: in shards, one after the other, with the rows that they stand for.

A shard is a directory with ``vectors.npy``, float32 [n, d], and ``rows.parquet``, the n rows in the same order: the key, `partition` and
`outcome` (int8), with the digest of the encoder in its schema, since vectors of two encoders have nothing to do with each other. The position of a
row is counted through all shards in their order. Vectors are mapped, and no more than a block of them is held. That is said of vectors alone: all
rows are held at once by `Shards.batches` in another order than that of the shards.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa

from pipelines.lib.core.errors import DataError
from pipelines.lib.measures.neighbours import Ids, Vectors
from pipelines.lib.tables.engine import open_parquet, write_parquet

VECTORS, ROWS = "vectors.npy", "rows.parquet"

KEY = "nightshift.encoder"
"""Where the schema of a shard's rows names the sha256 of the encoder."""

PARTITION, OUTCOME = "partition", "outcome"

BLOCK = 65_536
"""Vectors that are held at a time: 8 MiB of 32 values."""


@dataclass(frozen=True)
class Shard:
    """`vectors` [n, d] of the encoder of `encoder_sha256` (None: of no encoder), and the `rows` that they stand for: a Parquet file, or a
    table.
    """

    name: str
    vectors: Vectors
    rows: Path | pa.Table
    encoder_sha256: str | None = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Yield the rows in their order."""
        if isinstance(self.rows, pa.Table):
            yield from self.rows.to_batches(BLOCK)
        else:
            yield from open_parquet(self.rows).iter_batches(BLOCK)

    @property
    def schema(self) -> pa.Schema:
        """Of the rows, without metadata."""
        return (self.rows.schema if isinstance(self.rows, pa.Table) else open_parquet(self.rows).schema_arrow).remove_metadata()


class Shards:
    """All shards of an index in their order. Raises `DataError` if they do not fit each other, or there is none."""

    def __init__(self, shards: Iterable[Shard]) -> None:
        self.parts = tuple(shards)
        shapes = {shard.name: (shard.vectors.shape[1], shard.schema, shard.encoder_sha256) for shard in self.parts}
        first = next(iter(shapes.values()), None)
        if first is None:
            raise DataError("there is no shard; name the months of the index in run.yaml: shards")
        if odd := [name for name, shape in shapes.items() if shape != first]:
            raise DataError(
                f"shard {odd[0]} has another dimension, other columns or another encoder than {self.parts[0].name}; embed all of them again"
            )
        self.dimension, self.schema, self.encoder_sha256 = first
        self.starts = np.cumsum([0, *(len(shard.vectors) for shard in self.parts)])

    @classmethod
    def open(cls, root: Path, names: Sequence[str]) -> "Shards":
        """Return the shards `names` in `root`, mapped. Raises `DataError` if one is missing or torn."""
        return cls(_open(root / name) for name in names)

    @property
    def count(self) -> int:
        """Rows of all shards."""
        return int(self.starts[-1])

    @cached_property
    def sizes(self) -> Mapping[str, int]:
        """Rows of each shard, by its name."""
        return {shard.name: len(shard.vectors) for shard in self.parts}

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which a row is known."""
        return tuple(name for name in self.schema.names if name not in (PARTITION, OUTCOME))

    def take(self, positions: Ids) -> Vectors:
        """Return the vectors [m, d] at `positions` [m], copied."""
        taken = np.empty((len(positions), self.dimension), dtype=np.float32)
        parts = np.searchsorted(self.starts, positions, side="right") - 1
        for part in np.unique(parts):
            here = parts == part
            taken[here] = self.parts[part].vectors[positions[here] - self.starts[part]]
        return taken

    def blocks(self, order: Ids | None = None) -> Iterator[Vectors]:
        """Yield all vectors in blocks: in the order of the shards, or those at the positions `order`."""
        if order is not None:
            for start in range(0, len(order), BLOCK):
                yield self.take(order[start : start + BLOCK])
            return
        for shard in self.parts:
            for start in range(0, len(shard.vectors), BLOCK):
                yield np.ascontiguousarray(shard.vectors[start : start + BLOCK])

    def batches(self, order: Ids | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows, in the order of `blocks`; with an `order`, all of them are held at once."""
        if order is None:
            for shard in self.parts:
                yield from (pa.RecordBatch.from_arrays(batch.columns, schema=self.schema) for batch in shard.batches())
        else:
            yield from pa.Table.from_batches(self.batches(), self.schema).take(pa.array(order)).to_batches(BLOCK)


def write_shard(
    directory: Path, shape: tuple[int, int], encoded: Iterator[tuple[pa.RecordBatch, Vectors]], schema: pa.Schema, encoder_sha256: str
) -> None:
    """Make the shard `directory` of batches of rows, of `schema`, and the vectors next to them; `shape` is that of all vectors.

    The bytes depend on rows and vectors alone. Raises `DataError` if there are more or fewer than `shape` says.
    """
    directory.mkdir()
    with vector_file(directory / VECTORS, shape) as write:

        def rows() -> Iterator[pa.RecordBatch]:
            for batch, vectors in encoded:
                write(vectors)
                yield batch

        write_parquet(rows(), schema, directory / ROWS, {KEY: encoder_sha256})


@contextmanager
def vector_file(path: Path, shape: tuple[int, int]) -> Iterator[Callable[[Vectors], None]]:
    """Write the file `path` of vectors float32 [n, d], `shape`, block after block: what is yielded appends one.

    Plainly written, not through a map, whose pages would count as memory. Raises `DataError` if there are more or fewer than `shape` says.
    """
    rows = 0

    def write(vectors: Vectors) -> None:
        nonlocal rows
        rows += len(vectors)
        np.ascontiguousarray(vectors, dtype=np.float32).tofile(file)

    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        yield write
        if rows != shape[0]:
            raise DataError(f"{path} was to have {shape[0]} vectors, there were {rows}; make its shard again")


def _open(directory: Path) -> Shard:
    try:
        vectors = np.load(directory / VECTORS, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, ValueError) as error:
        raise DataError(f"{directory / VECTORS} cannot be read ({error}); embed the shard {directory.name} again") from None
    file = open_parquet(directory / ROWS)
    rows, encoder_key = file.metadata.num_rows, (file.schema_arrow.metadata or {}).get(KEY.encode())
    if vectors.ndim != 2 or vectors.dtype != np.float32 or len(vectors) != rows or encoder_key is None:
        raise DataError(
            f"the shard {directory} has {rows} rows of the encoder {encoder_key!r} and vectors {vectors.dtype} {list(vectors.shape)}; embed it again"
        )
    return Shard(directory.name, vectors, directory / ROWS, json.loads(encoder_key))
