"""Building an index as it was planned: fill the shards, merge them, find the narrowest search that is good enough.

A build is a directory: ``index.faiss`` (HNSW with its vectors, or IVF-PQ, whose lists lie in ``lists.ivfdata`` beside it and whose vectors in
``vectors.npy``), ``rows.arrow`` (key, partition and outcome, Arrow IPC, uncompressed so that it can be mapped; the row number is FAISS's id) and
``built.json``, which says what it is. Bytes are the same for the same plan, shards and, for HNSW, one thread.
"""

import itertools
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipelines.lib import neighbours
from pipelines.lib.atomic import replacing
from pipelines.lib.errors import GateFailed
from pipelines.lib.index_plan import ORDER, TRAINED, Base, Plan, PlanIndex, Rebuild, plan
from pipelines.lib.index_search import BUILT, INDEX, LISTS, ROWS, VECTORS, Searcher
from pipelines.lib.neighbours import Ids, Vectors, threads
from pipelines.lib.params import Section
from pipelines.lib.vectors import BLOCK, Shard, Shards, vector_file

log = logging.getLogger("nightshift")

FILLED = "filled.faiss"
"""The file of a filled shard."""

_K = 10
"""Neighbours by which the width of a search is chosen: as many as evidence shows."""


class HnswSweep(Section):
    """The values of `ef` to try, and the recall@10 that the first to reach it is taken for."""

    ef: tuple[int, ...] = (12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
    recall_10: float = Field(default=0.985, gt=0, le=1)


class IvfPqSweep(Section):
    """The lists to look through and the candidates (times k) to compare exactly, of which the cheapest pair that reaches `recall_10` is taken."""

    nprobe: tuple[int, ...] = (1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
    refine: tuple[int, ...] = (1, 2, 4, 8, 16, 32)
    recall_10: float = Field(default=0.96, gt=0, le=1)


class BuildIndex(Section):
    """`threads` that add to an HNSW: with more than one, no two builds are the same. The recalls wanted lie above those that evaluate_index asks for,
    by some standard errors: it asks other rows.
    """

    threads: int = Field(default=1, ge=1)
    hnsw: HnswSweep = HnswSweep()
    ivfpq: IvfPqSweep = IvfPqSweep()


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

    Returns the content of ``built.json``. Raises `GateFailed` where no width of search reaches the recall wanted.
    """
    import faiss

    target.mkdir()
    order: Ids | None = np.load(planned / ORDER, allow_pickle=False) if made.mode == "incremental" else None
    if made.kind == "hnsw":
        hnsw = _hnsw(made, base)
        with threads(params.threads):
            _add(hnsw, shards, order, hnsw.ntotal)
        faiss.write_index(hnsw, str(target / INDEX))
        del hnsw  # what is asked from here on is what was written
    else:
        _merge(_without_rows(planned, base), target, _parts(planned, shards, order, filled, base))
        with vector_file(target / VECTORS, (made.count, made.dimension)) as write:
            for block in shards.blocks(order):
                write(block)
    _write_rows(shards, order, target / ROWS)
    told = _told(made)
    (target / BUILT).write_text(json.dumps({**told, "search": {}}), encoding="utf-8")
    searcher = Searcher.open(target)
    sweep = list(_sweep_hnsw(searcher, params.hnsw, made) if made.kind == "hnsw" else _sweep_ivfpq(searcher, params.ivfpq, made))
    wanted = getattr(params, made.kind).recall_10
    told |= {"search": _cheapest(sweep, wanted, made.kind), "sweep": sweep}
    (target / BUILT).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    log.info(
        "%d rows; recall@%d %s with %s",
        made.count,
        _K,
        next(s["recall_10"] for s in sweep if _setting(s) == told["search"]),
        told["search"],
    )
    return told


def build_from_arrays(
    vectors: Vectors,
    rows: Any,
    target: Path,
    *,
    plan_index: PlanIndex | None = None,
    build_index: BuildIndex | None = None,
    parts: int = 1,
    encoder_sha256: str | None = None,
    rebuild: Rebuild = "auto",
    base: Path | None = None,
) -> dict[str, Any]:
    """Build into the directory `target`, replacing it, from `vectors` [n, d] and the Arrow table `rows` (key, partition, outcome): what the stages do, in one call.

    `parts`: shards that they are cut into. `base`: a build to append to where the plan allows it. Returns the content of ``built.json``.
    """
    bounds = np.linspace(0, len(vectors), parts + 1).astype(int)
    shards = Shards(
        Shard(f"{part:04}", vectors[start:end], rows.slice(start, end - start), encoder_sha256)
        for part, (start, end) in enumerate(itertools.pairwise(bounds))
    )
    onto: Base | str = "there is none to append to"
    if base is not None:
        onto = Base(base.name, Searcher.open(base))
    with replacing(target) as temporary, tempfile.TemporaryDirectory(prefix="build-", dir=target.parent) as scratch:
        made = plan(shards, plan_index or PlanIndex(), Path(scratch), rebuild=rebuild, base=onto)
        filled = []
        for shard in shards.parts if made.fill else ():
            filled.append(Path(scratch) / f"{shard.name}.{FILLED}")
            fill(shard, made.start(shard.name), Path(scratch) / TRAINED, filled[-1])
        appended_to = onto.index if made.base is not None and isinstance(onto, Base) else None
        return build(made, shards, build_index or BuildIndex(), temporary, planned=Path(scratch), filled=filled, base=appended_to)


def _told(made: Plan) -> dict[str, Any]:
    import faiss

    kept = made.model_dump(mode="json", exclude={"shards", "fill", "trials"})
    return {**kept, "faiss": faiss.__version__, "trials": list(made.trials)}


def _write_rows(shards: Shards, order: Ids | None, path: Path) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, shards.schema) as writer:
        for batch in shards.batches(order):
            writer.write_batch(batch)


# ------------------------------------------------------------------------------------------------ HNSW


def _hnsw(made: Plan, base: Searcher | None) -> Any:
    """What is added to: an empty index, or a copy of the base's."""
    import faiss

    if base is not None:
        return faiss.read_index(str(base.directory / INDEX))
    index = faiss.IndexHNSWFlat(made.dimension, made.parameters["m"])
    index.hnsw.efConstruction = made.parameters["ef_construction"]
    return index


def _add(index: Any, shards: Shards, order: Ids | None, there: int) -> None:
    told = 0
    for block in shards.blocks(None if order is None else order[there:]):
        index.add(block)
        if index.ntotal - told >= max(shards.count // 10, BLOCK):
            told = index.ntotal
            log.info("%d of %d vectors added", told, shards.count)


# ------------------------------------------------------------------------------------------------ IVF-PQ


def read_ivfpq(path: Path, flags: int = 0) -> Any:
    """The IVF-PQ at `path`, to be added to or merged: without the table that makes searches faster, 16 MiB at 2,048 lists, which each shard would have."""
    import faiss

    return faiss.read_index(str(path), flags | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)


def _parts(planned: Path, shards: Shards, order: Ids | None, filled: Sequence[Path], base: Searcher | None) -> list[Any]:
    """The indexes whose lists make up the new one, mapped: the filled shards, or the base and what is appended."""
    import faiss

    if base is None or order is None:
        return [read_ivfpq(path, faiss.IO_FLAG_MMAP) for path in filled]
    appended = _without_rows(planned, base)
    with threads(1):
        for block in shards.blocks(order[base.count :]):
            appended.add_with_ids(block, np.arange(start := base.count + appended.ntotal, start + len(block)))
    return [base.index, appended]


def _without_rows(planned: Path, base: Searcher | None) -> Any:
    """An IVF-PQ with empty lists that has learnt what the plan has, or the base."""
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
    lists lie in a file of their own: streamed from map to map, so that memory does not grow with the parts.
    """
    import faiss

    inverted = faiss.extract_index_ivf(index)
    lists = faiss.OnDiskInvertedLists(inverted.nlist, inverted.code_size, str(target / LISTS))
    merged = faiss.InvertedListsPtrVector()
    for part in parts:
        merged.push_back(faiss.extract_index_ivf(part).invlists)
    index.ntotal = inverted.ntotal = lists.merge_from_multiple(merged.data(), merged.size())
    lists.filename = LISTS  # no path of this machine in the file
    inverted.replace_invlists(lists, True)
    lists.this.disown()
    faiss.write_index(index, str(target / INDEX))


# ------------------------------------------------------------------------------------------------ the sweep


def _asked(searcher: Searcher, made: Plan) -> tuple[Ids, Vectors, tuple[Vectors, Ids]]:
    """The sampled rows, their vectors, and their true neighbours."""
    own = neighbours.sample(searcher.count, made.queries, made.seed)
    queries = searcher.vectors[own]
    return own, queries, neighbours.exact(searcher.vectors, queries, _K, leave_out=own)


def _sweep_hnsw(searcher: Searcher, sweep: HnswSweep, made: Plan) -> Iterator[dict[str, Any]]:
    """From the narrowest on, until one is good enough; cost: distances computed for a query."""
    import faiss

    own, queries, (distances, ids) = _asked(searcher, made)
    for ef in sorted(sweep.ef):
        faiss.cvar.hnsw_stats.reset()
        found = neighbours.without(*searcher.search(queries, _K + 1, {"ef": ef}), own)
        recall = neighbours.recall(found[1], found[0], ids, distances, _K)
        yield {"ef": ef, "recall_10": round(recall, 6), "cost": round(faiss.cvar.hnsw_stats.ndis / max(1, len(own)), 1)}
        if recall >= sweep.recall_10:
            return


def _sweep_ivfpq(searcher: Searcher, sweep: IvfPqSweep, made: Plan) -> Iterator[dict[str, Any]]:
    """Each number of lists with each of candidates, until no wider one can be cheaper; cost: centroids, codes and vectors compared for a query."""
    import faiss

    own, queries, (distances, ids) = _asked(searcher, made)
    best = np.inf
    lists = int(made.lists or 1)
    for nprobe in sorted({min(nprobe, lists) for nprobe in sweep.nprobe}):
        faiss.cvar.indexIVF_stats.reset()
        found = searcher.candidates(queries, (_K + 1) * max(sweep.refine), nprobe)
        codes = faiss.cvar.indexIVF_stats.ndis / max(1, len(own))
        for refine in sorted(sweep.refine):
            cost = round(lists + codes + (_K + 1) * refine, 1)
            if cost >= best:
                break
            answer = neighbours.nearest(searcher.vectors, queries, found[:, : (_K + 1) * refine], _K + 1)
            kept = neighbours.without(*answer, own)
            recall = neighbours.recall(kept[1], kept[0], ids, distances, _K)
            yield {"nprobe": nprobe, "refine": refine, "recall_10": round(recall, 6), "cost": cost}
            if recall >= sweep.recall_10:
                best = cost
        if lists + codes + (_K + 1) * min(sweep.refine) >= best:
            return


def _setting(trial: Mapping[str, Any]) -> dict[str, int]:
    return {key: value for key, value in trial.items() if key not in ("recall_10", "cost")}


def _cheapest(sweep: Sequence[Mapping[str, Any]], wanted: float, kind: str) -> dict[str, int]:
    """The setting of the cheapest trial that reaches the recall `wanted`. Raises `GateFailed` where none does."""
    good = [trial for trial in sweep if trial["recall_10"] >= wanted]
    if good:
        return _setting(min(good, key=lambda trial: trial["cost"]))
    best = max(sweep, key=lambda trial: trial["recall_10"])
    denser = "plan_index.hnsw.m and ef_construction" if kind == "hnsw" else "plan_index.ivfpq.code_bytes"
    raise GateFailed(
        f"no width of search reaches recall@{_K} {wanted}: the best is {best['recall_10']} with {_setting(best)}; nothing was built. "
        f"Raise {denser}, or let build_index.{kind} try wider ones (docs/runbooks/recall-gate-failed.md)"
    )
