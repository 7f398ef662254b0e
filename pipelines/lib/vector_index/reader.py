"""The vector index as its readers see it: one small class that opens a generation and answers from that one alone.

Opening checks the manifest against the pointer and every file against the manifest; an encoder that is not the generation's own is refused. An index that is
open stays what it was while others are published, rolled back or collected. The next open finds the current one, and so does `refresh`.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial, reduce
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike

from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.measures.neighbours import Ids, Vectors
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index.generations import CollectedError, ReadLock
from pipelines.lib.vector_index.search import Searcher, Setting

if TYPE_CHECKING:
    from pipelines.lib.core.run import PinnedIndex
    from pipelines.lib.encoders.encoder import Encoder

BESIDES_THE_KEY = ("partition", "outcome")
"""The columns of the rows of an index, without their key."""


class _Opened:
    """The files of the generation that is held, mapped. As long as a thread works with them, it is held."""

    def __init__(self, lock: ReadLock) -> None:
        self.lock, self.manifest = lock, lock.manifest
        self.searcher = Searcher.open(lock.directory)
        self.rows = self.searcher.rows()
        self.batches = self.rows.to_batches()
        self.ends = np.cumsum([batch.num_rows for batch in self.batches], dtype=np.int64)
        self.key = tuple(column for column in self.rows.column_names if column not in BESIDES_THE_KEY)
        if self.rows.num_rows != self.searcher.count:
            raise DataError(
                f"the index in {lock.directory} has {self.searcher.count} vectors and {self.rows.num_rows} rows; build it again"
            )

    @cached_property
    def encoder(self) -> "Encoder":
        from pipelines.lib.encoders.encoder import load_encoder

        return load_encoder(self.lock.directory / generations.ENCODER, self.manifest["encoder_sha256"])


class VectorIndex:
    """An open index. Any number of threads may ask it at once; close and refresh it where none is between two questions that belong
    together.
    """

    def __init__(self, opened: _Opened, latest: Callable[[str], ReadLock | None]) -> None:
        self._now: _Opened | None = opened
        self._latest = latest

    @property
    def _opened(self) -> _Opened:
        if (opened := self._now) is None:
            raise ModelError("this index was closed; open it again")
        return opened

    @property
    def manifest(self) -> Mapping[str, Any]:
        """The content of ``manifest.json`` of the generation."""
        return self._opened.manifest

    @property
    def generation(self) -> str:
        """The id of the generation: the name of its directory."""
        return self._opened.searcher.directory.name

    @property
    def kind(self) -> str:
        """``hnsw`` or ``ivfpq``."""
        return self._opened.searcher.kind

    @property
    def count(self) -> int:
        """How many rows; their ids are 0 to `count` - 1."""
        return self._opened.searcher.count

    @property
    def dimension(self) -> int:
        """How many values a vector has."""
        return self._opened.searcher.dimension

    @property
    def key(self) -> tuple[str, ...]:
        """The columns by which a row is known, in the order in which `find` takes their values."""
        return self._opened.key

    @property
    def vectors(self) -> Vectors:
        """All vectors [n, d] where they are mapped: not to be touched after `close` or `refresh`."""
        return self._opened.searcher.vectors

    @property
    def partitions(self) -> pa.ChunkedArray:
        """The partition of every row, in the order of their ids; mapped, and no other column is read."""
        return self._opened.rows["partition"]

    @property
    def outcomes(self) -> pa.ChunkedArray:
        """The outcome of every row, in the order of their ids; mapped, and no other column is read."""
        return self._opened.rows["outcome"]

    @property
    def encoder(self) -> "Encoder":
        """The generation's own encoder."""
        return self._opened.encoder

    def search(self, vectors: Vectors, k: int, *, setting: Setting | None = None) -> tuple[Vectors, Ids]:
        """Return the k nearest rows to each of `vectors` float32 [m, d], nearest first: cosine distances (0 to 2) [m, k] and ids [m, k].

        Where fewer are found, an answer is filled up with the id -1 at an infinite distance. `setting`: how widely to search, other than the index
        was tuned for. Raises `DataError` for vectors of another width or with values that are not finite, `ConfigError` for a k below 1.
        """
        squared, ids = self._opened.searcher.search(vectors, k, setting)
        return squared * np.float32(0.5), ids  # of vectors of norm 1

    def rows(self, ids: ArrayLike) -> pa.Table:
        """Return key, partition and outcome of the rows `ids` [r], in that order; nulls for the id -1. Raises `DataError` for an unknown id."""
        opened, wanted = self._opened, np.ascontiguousarray(ids, dtype=np.int64)
        _check(wanted, -1, opened.searcher.count)
        batch_of = np.searchsorted(opened.ends, wanted, side="right")
        batch_of[wanted < 0] = -1
        found, order, taken = [], np.full(len(wanted), -1, dtype=np.int64), 0
        for number in np.unique(batch_of[batch_of >= 0]):  # a take from the table would join all its batches first
            of_batch = np.flatnonzero(batch_of == number)
            batch = opened.batches[number]
            found.append(batch.take(_places(wanted[of_batch] - (opened.ends[number] - batch.num_rows))))
            order[of_batch] = np.arange(taken, taken + len(of_batch))
            taken += len(of_batch)
        return pa.Table.from_batches(found, opened.rows.schema).combine_chunks().take(_places(order))

    def vector(self, row: int) -> Vectors:
        """Return a copy of the vector [d] of the row with the id `row`. Raises `DataError` for what is not an id."""
        searcher = self._opened.searcher
        _check(np.array([row]), 0, searcher.count)
        return np.array(searcher.vectors[row])

    def find(self, key: Sequence[Any]) -> int | None:
        """Return the id of the row whose `key` has these values, also as text; None if it is not indexed. Raises `ConfigError` for what
        is not a key.
        """
        rows, columns = self._opened.rows, self._opened.key
        if len(key) != len(columns):
            raise ConfigError(f"the key {list(key)} has {len(key)} values; it takes {', '.join(columns)}")
        try:
            wanted = [pa.scalar(value).cast(rows.schema.field(column).type) for column, value in zip(columns, key, strict=True)]
        except pa.ArrowException as error:
            raise ConfigError(f"{list(key)} is not a key of {', '.join(columns)} ({error})") from None
        same = reduce(pc.and_, [pc.equal(rows[column], value) for column, value in zip(columns, wanted, strict=True)])
        found = pc.index(same, True)
        return None if found.as_py() < 0 else int(found.as_py())

    def refresh(self) -> bool:
        """Go over to the generation that is current by now; whether it is another one. A generation that was opened by its id stays.

        Raises what `open_generation` raises where that one cannot be opened; this one is served on.
        """
        if lock := self._latest(self.generation):
            self._now = _Opened(lock)
        return lock is not None

    def close(self) -> None:
        """Release the generation; queries that other threads have already sent are still answered."""
        self._now = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def open_generation(
    name: str,
    generation: str | None = None,
    *,
    manifest_sha256: str | None = None,
    encoder_sha256: str | None = None,
    verify: bool = True,
    root: Path | None = None,
) -> VectorIndex:
    """Return the current generation of index `name`, or the one named, verified (without `verify`: sizes alone) and held until `close`.

    Raises `ModelError` if there is none, it is not whole, not that of `manifest_sha256`, or not of the encoder of `encoder_sha256`.
    """
    open_generation = partial(generations.read_lock, name, encoder_sha256=encoder_sha256, digests=verify, root=root)

    def latest(serving: str) -> ReadLock | None:
        pointer = None if generation else generations.current(name, root)
        return open_generation() if pointer and pointer.generation != serving else None

    return VectorIndex(_Opened(open_generation(generation, manifest_sha256=manifest_sha256)), latest)


def open_pinned(pinned: "PinnedIndex", *, root: Path | None = None) -> tuple[VectorIndex, str | None]:
    """Return the generation that a run is pinned to, verified, and None; where it is broken, the first whole one before it, and what is wrong in words.

    An open index carries its own encoder, and says in `generation` and `manifest` which it is. Raises `CollectedError` if the pinned one was
    collected since, `ModelError` where neither it nor one before it is whole.
    """
    faults: list[str] = []
    wanted: list[Any] = [pinned]
    while wanted:
        one = wanted.pop(0)
        try:
            index = open_generation(
                pinned.name, one.generation, manifest_sha256=one.manifest_sha256, encoder_sha256=one.encoder_sha256, root=root
            )
            return index, "; ".join(faults) or None
        except (ModelError, DataError) as error:
            if isinstance(error, CollectedError) and one is pinned:
                raise
            faults.append(str(error))
        if one is pinned and (pointer := generations.current(pinned.name, root)):
            wanted += pointer.before(pinned.generation)
    raise ModelError(f"neither generation {pinned.generation} of {pinned.name} nor one before it is whole: {'; '.join(faults)}")


def _places(rows: np.ndarray) -> pa.Array:
    """Return row numbers [r] in Arrow's form, null for -1. Not by pa.array(), which would import pandas."""
    there = np.packbits(rows >= 0, bitorder="little")
    return pa.Array.from_buffers(pa.int64(), len(rows), [pa.py_buffer(there), pa.py_buffer(rows)])


def _check(ids: np.ndarray, lowest: int, count: int) -> None:
    if ids.size and not lowest <= ids.min() <= ids.max() < count:
        raise DataError(f"rows {ids.min()} to {ids.max()} were asked for; the index has {count}, numbered from 0")
