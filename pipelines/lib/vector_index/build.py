"""Building an index as it was planned: fill the shards, merge them, find the narrowest search that is good enough.

A build is a directory: ``index.faiss`` (HNSW with its vectors, or IVF-PQ, whose lists lie in ``lists.ivfdata`` beside it and whose vectors in
``vectors.npy``), ``rows.arrow`` (key, partition and outcome, Arrow IPC, uncompressed so that it can be mapped; the row number is FAISS's id) and
``built.json``, which says what it is. Bytes are the same for the same plan, shards and, for HNSW, one thread.
"""

import itertools
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import GateFailed, TransientError
from pipelines.lib.encoders.vectors import BLOCK, PARTITION, Shard, Shards, vector_file
from pipelines.lib.measures import neighbours
from pipelines.lib.measures.neighbours import Ids, Vectors, threads
from pipelines.lib.vector_index import questions as index_questions
from pipelines.lib.vector_index.params import BuildIndex, HnswSweep, IvfPqSweep, PlanIndex
from pipelines.lib.vector_index.plan import ORDER, TRAINED, Base, Plan, Rebuild, plan
from pipelines.lib.vector_index.questions import Questions
from pipelines.lib.vector_index.search import BUILT, INDEX, LISTS, ROWS, VECTORS, Searcher, Setting, flat_vectors, hnsw_parameters

log = logging.getLogger("nightshift")

FILLED = "filled.faiss"
"""The file of a filled shard."""

_K = 10
"""Neighbours by which the width of a search is chosen: as many as evidence shows."""

RECALLS = (1, _K, 100)
"""Neighbours by which it is judged."""

_SURE = 3.0
"""Standard errors of a sampled recall that are to lie between it and the recall wanted, since another sample judges it. A few hundred rows, as one
night has, thus need a wider search than a thousand, which tell more surely what a narrower one finds."""


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
    Raises `GateFailed` where no width of search reaches the recall wanted.
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
        chosen = _inherited(made, base) or _choose_hnsw(hnsw, take, made, params.hnsw)
        with threads(params.threads):
            _add(hnsw, take, made.known, made.count)
        faiss.write_index(hnsw, str(target / INDEX))
    else:
        _merge(_without_rows(planned, base), target, _parts(planned, shards, order, filled, base))
        with vector_file(target / VECTORS, (made.count, made.dimension)) as write:
            for block in shards.blocks(order):
                write(block)
        (target / BUILT).write_text(json.dumps({**_told(made), "search": {}}), encoding="utf-8")
        chosen = _inherited(made, base) or _choose_ivfpq(Searcher.open(target), made, params.ivfpq)
    if (held_out := chosen["held_out"]) and "partitions" not in held_out:
        chosen["held_out"] = {"partitions": _partitions(target, made.known), **held_out}
    told = _told(made) | chosen
    (target / BUILT).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
    held_out = told["held_out"]
    seen = f"{held_out['recall_10']:.4f} for rows held out" if held_out else "not known for rows held out, of which there are too few"
    log.info("%d rows, searched with %s; recall@%d %s", made.count, told["search"], _K, seen)
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

    kept = made.model_dump(mode="json", exclude={"shards", "fill", "trials", "known"})
    return {**kept, "faiss": faiss.__version__, "trials": list(made.trials)}


def _write_rows(shards: Shards, order: Ids | None, path: Path) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, shards.schema) as writer:
        for batch in shards.batches(order):
            writer.write_batch(batch)


def _partitions(directory: Path, start: int) -> list[str]:
    """The first and the last partition of the rows from `start` on."""
    import pyarrow as pa
    import pyarrow.compute as pc

    rows = pa.ipc.open_file(pa.memory_map(str(directory / ROWS))).read_all()
    span = pc.min_max(rows[PARTITION].slice(start)).as_py()
    return [span["min"], span["max"]]


# ------------------------------------------------------------------------------------------------ HNSW


def _hnsw(made: Plan, base: Searcher | None) -> Any:
    """What is added to: an empty index, or a copy of the base's."""
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
    _require_room(target, sum(part.ntotal for part in parts) * (inverted.code_size + np.dtype(np.int64).itemsize))
    index.ntotal = inverted.ntotal = lists.merge_from_multiple(merged.data(), merged.size())
    lists.filename = LISTS  # no path of this machine in the file
    inverted.replace_invlists(lists, True)
    lists.this.disown()
    faiss.write_index(index, str(target / INDEX))


def _require_room(target: Path, needed: int) -> None:
    """Raise `TransientError` where the lists do not fit: FAISS writes them through a map, and who does that on a full disk is killed without a word."""
    free = shutil.disk_usage(target).free
    if free < needed:
        raise TransientError(f"no room in {target} for lists of {needed:,} bytes, {free:,} are free; make room and try again")


# ------------------------------------------------------------------------------------------------ the sweep


def _inherited(made: Plan, base: Searcher | None) -> dict[str, Any] | None:
    """How the base is searched, where too few rows are appended to it to tell anything new."""
    if base is None or made.appended >= index_questions.LEAST:
        return None
    return {name: base.built[name] for name in ("search", "sweep", "held_out")}


def _choose_hnsw(hnsw: Any, take: Callable[[Ids], Vectors], made: Plan, params: HnswSweep) -> dict[str, Any]:
    """From the narrowest on, until one is good enough; cost: distances computed for a query. `hnsw` holds the known rows."""
    import faiss

    def answer(questions: Questions, setting: Setting, k: int) -> tuple[Vectors, Ids]:
        found: tuple[Vectors, Ids] = hnsw.search(questions.vectors, k, params=hnsw_parameters(setting["ef"], k))
        return found

    def sweep(questions: Questions) -> Iterator[dict[str, Any]]:
        for ef in sorted(params.ef):
            faiss.cvar.hnsw_stats.reset()
            trial = {"ef": ef, **_found(questions, answer(questions, {"ef": ef}, _K + questions.spare), _K)}
            yield {**trial, "cost": round(faiss.cvar.hnsw_stats.ndis / max(1, len(questions.own)), 1)}
            if _surely(trial) >= params.recall_10:
                return

    return _choose(made, take, flat_vectors(hnsw), sweep, answer, params.recall_10)


def _choose_ivfpq(searcher: Searcher, made: Plan, params: IvfPqSweep) -> dict[str, Any]:
    """Each number of lists with each of candidates, until no wider one can be cheaper; cost: centroids, codes and vectors compared for a query.

    Lists are looked through whole, so that an index from whose answers the tail is left out answers as one without it.
    """
    import faiss

    def answer(questions: Questions, setting: Setting, k: int) -> tuple[Vectors, Ids]:
        found = searcher.candidates(questions.vectors, k * setting["refine"], setting["nprobe"], questions.known)
        return neighbours.nearest(searcher.vectors, questions.vectors, found, k)

    def sweep(questions: Questions) -> Iterator[dict[str, Any]]:
        best, lists, k = np.inf, int(made.lists or 1), _K + questions.spare
        for nprobe in sorted({min(nprobe, lists) for nprobe in params.nprobe}):
            faiss.cvar.indexIVF_stats.reset()
            found = searcher.candidates(questions.vectors, k * max(params.refine), nprobe, questions.known)
            codes = faiss.cvar.indexIVF_stats.ndis / max(1, len(questions.own))
            for refine in sorted(params.refine):
                cost = round(lists + codes + k * refine, 1)
                if cost >= best:
                    break
                kept = neighbours.nearest(searcher.vectors, questions.vectors, found[:, : k * refine], k)
                trial = {"nprobe": nprobe, "refine": refine, **_found(questions, kept, _K)}
                yield {**trial, "cost": cost}
                if _surely(trial) >= params.recall_10:
                    best = cost
            if lists + codes + k * min(params.refine) >= best:
                return

    return _choose(made, searcher.vectors.__getitem__, searcher.vectors, sweep, answer, params.recall_10)


def _choose(
    made: Plan,
    take: Callable[[Ids], Vectors],
    vectors: Vectors,
    sweep: Callable[[Questions], Iterator[dict[str, Any]]],
    answer: Callable[[Questions, Setting, int], tuple[Vectors, Ids]],
    wanted: float,
) -> dict[str, Any]:
    """The cheapest setting of the `sweep` that finds enough among `vectors`, and what it finds for rows that it was not chosen by; `take` has any rows'."""

    def questions(k: int, *, second: bool) -> Questions:
        own = index_questions.drawn(made.count, made.known, made.queries, made.seed, second=second)
        return index_questions.ask([vectors], own, take(own), made.known, k)

    trials = list(sweep(questions(_K, second=False)))
    setting = _cheapest(trials, wanted, made.kind)
    if made.known == made.count:
        return {"search": setting, "sweep": trials, "held_out": None}
    judges = questions(max(RECALLS), second=True)
    recalls = {f"recall_{k}": _found(judges, answer(judges, setting, k), k)[f"recall_{k}"] for k in RECALLS}
    held_out = {"rows": made.count - made.known, "queries": len(judges.own), **recalls}
    return {"search": setting, "sweep": trials, "held_out": held_out}


def _found(questions: Questions, answer: tuple[Vectors, Ids], k: int) -> dict[str, float]:
    """Recall@k and its standard error."""
    hits = questions.hits(*answer, k)
    if not len(hits):
        return {f"recall_{k}": 1.0, "error": 0.0}
    return {f"recall_{k}": round(float(hits.mean()), 6), "error": round(float(hits.std()) / len(hits) ** 0.5, 6)}


def _surely(trial: Mapping[str, Any]) -> float:
    return float(trial["recall_10"] - _SURE * trial["error"])


def _setting(trial: Mapping[str, Any]) -> dict[str, int]:
    return {key: value for key, value in trial.items() if key not in ("recall_10", "error", "cost")}


def _cheapest(sweep: Sequence[Mapping[str, Any]], wanted: float, kind: str) -> dict[str, int]:
    """The setting of the cheapest trial that surely reaches the recall `wanted`. Raises `GateFailed` where none does."""
    good = [trial for trial in sweep if _surely(trial) >= wanted]
    if good:
        return _setting(min(good, key=lambda trial: trial["cost"]))
    best = max(sweep, key=_surely)
    denser = "plan_index.hnsw.m and ef_construction" if kind == "hnsw" else "plan_index.ivfpq.code_bytes"
    raise GateFailed(
        f"no width of search surely reaches recall@{_K} {wanted}: the best is {best['recall_10']} with {_setting(best)}, standard error {best['error']}; "
        "nothing was built. "
        f"Raise {denser}, or let build_index.{kind} try wider ones (docs/runbooks/recall-gate-failed.md)"
    )
