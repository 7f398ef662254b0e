"""Building an index as it was planned: fill the shards, merge them, choose how widely it is searched.

A build is a directory: ``index.faiss`` (HNSW with its vectors, or IVF-PQ, whose lists are in ``lists.ivfdata`` next to it and whose vectors in
``vectors.npy``), ``rows.arrow`` (key, partition and outcome, Arrow IPC, uncompressed so that it can be mapped; the row number is FAISS's id) and
``built.json``, which says what it is. Bytes are the same for the same plan, shards and, for HNSW, one thread.
"""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.lib.core.errors import TransientError
from pipelines.lib.encoders.vectors import BLOCK, PARTITION, Shard, Shards, vector_file
from pipelines.lib.measures.neighbours import Ids, Vectors, threads
from pipelines.lib.vector_index.params import BuildIndex
from pipelines.lib.vector_index.plan import ORDER, TRAINED, Plan
from pipelines.lib.vector_index.search import BUILT, INDEX, LISTS, ROWS, VECTORS, Searcher
from pipelines.lib.vector_index.sweep import NEIGHBOURS, choose_hnsw, choose_ivfpq, inherited

log = logging.getLogger("nightshift")

FILLED = "filled.faiss"
"""The file of a filled shard."""


def fill(shard: Shard, start: int, trained: Path, target: Path, *, workers: int = 1) -> None:
    """Write the file `target`: the index `trained` with the vectors of `shard`, whose ids count from `start`."""
    import faiss

    index = read_ivfpq(trained)
    with threads(workers):
        for first in range(0, len(shard.vectors), BLOCK):
            vectors = np.ascontiguousarray(shard.vectors[first : first + BLOCK])
            index.add_with_ids(vectors, np.arange(start + first, start + first + len(vectors)))
    faiss.write_index(index, str(target))


def build(
    made: Plan,
    shards: Shards,
    params: BuildIndex,
    target: Path,
    *,
    planned: Path,
    filled: Sequence[Path] = (),
    base: Searcher | None = None,
) -> dict[str, Any]:
    """Build what `made` says into the directory `target`, of the files of the plan in `planned` and the `filled` shards in their order.

    The width of search is chosen by one sample of the tail, asked about the rows before it, and judged by another (``held_out``). Where there is no
    tail, it is chosen by rows of the index, each left out of its own answer, and ``held_out`` is null. Returns the content of ``built.json``.
    Raises `GateFailed` if no width of search reaches the recall wanted.
    """
    import faiss

    target.mkdir()
    order: Ids | None = np.load(planned / ORDER, allow_pickle=False) if made.mode == "incremental" else None
    _write_rows(shards, order, target / ROWS)
    if made.kind == "hnsw":

        def take(rows: Ids) -> Vectors:
            return shards.take(rows if order is None else order[rows])

        hnsw = _hnsw(made, base)
        with threads(params.threads):
            _add(hnsw, take, hnsw.ntotal, made.known)
        chosen = inherited(made, base) or choose_hnsw(hnsw, take, made, params.hnsw)
        with threads(params.threads):
            _add(hnsw, take, made.known, made.count)
        faiss.write_index(hnsw, str(target / INDEX))
    else:
        _merge(_without_rows(planned, base), target, _parts(planned, shards, order, filled, base))
        with vector_file(target / VECTORS, (made.count, made.dimension)) as write:
            for block in shards.blocks(order):
                write(block)
        (target / BUILT).write_text(json.dumps({**_describe_plan(made), "search": {}}), encoding="utf-8")
        chosen = inherited(made, base) or choose_ivfpq(Searcher.open(target), made, params.ivfpq)
    if (held_out := chosen["held_out"]) and "partitions" not in held_out:
        chosen["held_out"] = {"partitions": _partitions(target, made.known), **held_out}
    record = _describe_plan(made) | chosen
    (target / BUILT).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    held_out = record["held_out"]
    seen = f"{held_out['recall_10']:.4f} for rows held out" if held_out else "not known for rows held out, of which there are too few"
    log.info("%d rows, searched with %s; recall@%d %s", made.count, record["search"], NEIGHBOURS, seen)
    return record


def _describe_plan(made: Plan) -> dict[str, Any]:
    import faiss

    kept = made.model_dump(mode="json", exclude={"shards", "fill", "trials", "known"})
    return {**kept, "faiss": faiss.__version__, "trials": list(made.trials)}


def _write_rows(shards: Shards, order: Ids | None, path: Path) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, shards.schema) as writer:
        for batch in shards.batches(order):
            writer.write_batch(batch)


def _partitions(directory: Path, start: int) -> list[str]:
    """Return the first and the last partition of the rows from `start` on."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pa.ipc.open_file(pa.memory_map(str(directory / ROWS))).read_all()
    span = pc.min_max(rows[PARTITION].slice(start)).as_py()
    return [span["min"], span["max"]]


# ------------------------------------------------------------------------------------------------ HNSW


def _hnsw(made: Plan, base: Searcher | None) -> Any:
    """Return what is added to: an empty index, or a copy of the base's."""
    import faiss

    if base is not None:
        return faiss.read_index(str(base.directory / INDEX))
    index = faiss.IndexHNSWFlat(made.dimension, made.parameters["m"])
    index.hnsw.efConstruction = made.parameters["ef_construction"]
    return index


def _add(index: Any, take: Callable[[Ids], Vectors], start: int, end: int) -> None:
    """Add the rows from `start` up to `end`, in blocks that do not depend on how they are cut into shards."""
    for first in range(start, end, BLOCK):
        index.add(take(np.arange(first, min(first + BLOCK, end))))
        log.info("%d of %d vectors added", index.ntotal, end)


# ------------------------------------------------------------------------------------------------ IVF-PQ


def read_ivfpq(path: Path, flags: int = 0) -> Any:
    """Return the IVF-PQ at `path`, to be added to or merged: without the table that makes searches faster, 16 MiB at 2,048 lists, which
    each shard would have.
    """
    import faiss

    return faiss.read_index(str(path), flags | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)


def _parts(planned: Path, shards: Shards, order: Ids | None, filled: Sequence[Path], base: Searcher | None) -> list[Any]:
    """Return the indexes whose lists make up the new one, mapped: the filled shards, or the base and what is appended."""
    import faiss

    if base is None or order is None:
        return [read_ivfpq(path, faiss.IO_FLAG_MMAP) for path in filled]
    appended = _without_rows(planned, base)
    with threads(1):
        for block in shards.blocks(order[base.count :]):
            appended.add_with_ids(block, np.arange(start := base.count + appended.ntotal, start + len(block)))
    return [base.index, appended]


def _without_rows(planned: Path, base: Searcher | None) -> Any:
    """Return an IVF-PQ with empty lists that has learnt what the plan has, or the base."""
    import faiss

    if base is None:
        return read_ivfpq(planned / TRAINED)
    index = read_ivfpq(base.directory / INDEX, faiss.IO_FLAG_SKIP_IVF_DATA)
    inverted = faiss.extract_index_ivf(index)
    lists = faiss.ArrayInvertedLists(inverted.nlist, inverted.code_size)
    inverted.replace_invlists(lists, True)
    lists.this.disown()
    index.ntotal = inverted.ntotal = 0
    return index


def _merge(index: Any, target: Path, parts: Sequence[Any]) -> None:
    """Write `index`, which is empty, with the lists of all `parts`, one after the other. As `faiss.contrib.ondisk.merge_ondisk`, which cannot take a part whose
    lists are in a file of their own: streamed from map to map, so that memory does not grow with the parts.
    """
    import faiss

    inverted = faiss.extract_index_ivf(index)
    lists = faiss.OnDiskInvertedLists(inverted.nlist, inverted.code_size, str(target / LISTS))
    merged = faiss.InvertedListsPtrVector()
    for part in parts:
        merged.push_back(faiss.extract_index_ivf(part).invlists)
    _require_room(target, sum(part.ntotal for part in parts) * (inverted.code_size + np.dtype(np.int64).itemsize))
    index.ntotal = inverted.ntotal = lists.merge_from_multiple(merged.data(), merged.size())
    lists.filename = LISTS  # no path of this machine in the file
    inverted.replace_invlists(lists, True)
    lists.this.disown()
    faiss.write_index(index, str(target / INDEX))


def _require_room(target: Path, needed: int) -> None:
    """Raise `TransientError` if the lists do not fit: FAISS writes them through a map, and a process that does so on a full disk is killed without
    a word.
    """
    free = shutil.disk_usage(target).free
    if free < needed:
        raise TransientError(f"no room in {target} for lists of {needed:,} bytes, {free:,} are free; make room and try again")
