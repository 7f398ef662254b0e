"""How widely an index is searched: the cheapest setting that surely finds enough, chosen by a sample of rows and judged by another.

A sample is of the tail, the newest rows, asked about the rows before it. Where there is no tail, it is of rows of the index, each left out of its own
answer, and nothing judges the choice.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.lib.core.errors import GateFailed
from pipelines.lib.measures import neighbours
from pipelines.lib.measures.neighbours import Ids, Vectors
from pipelines.lib.vector_index import questions as index_questions
from pipelines.lib.vector_index.params import HnswSweep, IvfPqSweep
from pipelines.lib.vector_index.plan import Plan
from pipelines.lib.vector_index.questions import Questions
from pipelines.lib.vector_index.search import Searcher, Setting, flat_vectors, hnsw_parameters

NEIGHBOURS = 10
"""Neighbours by which the width of a search is chosen: as many as evidence shows."""

RECALLS = (1, NEIGHBOURS, 100)
"""Neighbours by which it is judged."""

_SURE = 3.0
"""Standard errors of a sampled recall that are to lie between it and the recall wanted, since another sample judges it. A few hundred rows, as one
night has, thus need a wider search than a thousand, which tell more surely what a narrower one finds."""


def inherited(made: Plan, base: Searcher | None) -> dict[str, Any] | None:
    """Return how the base is searched, where too few rows are appended to it to tell anything new."""
    if base is None or made.appended >= index_questions.LEAST:
        return None
    return {name: base.built[name] for name in ("search", "sweep", "held_out")}


def choose_hnsw(hnsw: Any, take: Callable[[Ids], Vectors], made: Plan, params: HnswSweep) -> dict[str, Any]:
    """Try each setting from the narrowest on, until one is good enough. The cost is the number of distances computed for a query. `hnsw` holds the known rows."""
    import faiss

    def answer(questions: Questions, setting: Setting, k: int) -> tuple[Vectors, Ids]:
        found: tuple[Vectors, Ids] = hnsw.search(questions.vectors, k, params=hnsw_parameters(setting["ef"], k))
        return found

    def sweep(questions: Questions) -> Iterator[dict[str, Any]]:
        for ef in sorted(params.ef):
            faiss.cvar.hnsw_stats.reset()
            trial = {"ef": ef, **_recall_of(questions, answer(questions, {"ef": ef}, NEIGHBOURS + questions.spare), NEIGHBOURS)}
            yield {**trial, "cost": round(faiss.cvar.hnsw_stats.ndis / max(1, len(questions.own)), 1)}
            if _surely(trial) >= params.recall_10:
                return

    return _choose(made, take, flat_vectors(hnsw), sweep, answer, params.recall_10)


def choose_ivfpq(searcher: Searcher, made: Plan, params: IvfPqSweep) -> dict[str, Any]:
    """Yield each number of lists with each of candidates, until no wider one can be cheaper; cost: centroids, codes and vectors compared for a query.

    Lists are looked through whole, so that an index from whose answers the tail is left out answers as one without it.
    """
    import faiss

    def answer(questions: Questions, setting: Setting, k: int) -> tuple[Vectors, Ids]:
        found = searcher.candidates(questions.vectors, k * setting["refine"], setting["nprobe"], questions.known)
        return neighbours.nearest(searcher.vectors, questions.vectors, found, k)

    def sweep(questions: Questions) -> Iterator[dict[str, Any]]:
        best, lists, k = np.inf, int(made.lists or 1), NEIGHBOURS + questions.spare
        for nprobe in sorted({min(nprobe, lists) for nprobe in params.nprobe}):
            faiss.cvar.indexIVF_stats.reset()
            found = searcher.candidates(questions.vectors, k * max(params.refine), nprobe, questions.known)
            codes = faiss.cvar.indexIVF_stats.ndis / max(1, len(questions.own))
            for refine in sorted(params.refine):
                cost = round(lists + codes + k * refine, 1)
                if cost >= best:
                    break
                kept = neighbours.nearest(searcher.vectors, questions.vectors, found[:, : k * refine], k)
                trial = {"nprobe": nprobe, "refine": refine, **_recall_of(questions, kept, NEIGHBOURS)}
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
    """Return the cheapest setting of the `sweep` that finds enough among `vectors`, and what it finds for rows that it was not chosen by;
    `take` has any rows'.
    """

    def questions(k: int, *, second: bool) -> Questions:
        own = index_questions.drawn(made.count, made.known, made.queries, made.seed, second=second)
        return index_questions.ask([vectors], own, take(own), made.known, k)

    trials = list(sweep(questions(NEIGHBOURS, second=False)))
    setting = _cheapest(trials, wanted, made.kind)
    if made.known == made.count:
        return {"search": setting, "sweep": trials, "held_out": None}
    judges = questions(max(RECALLS), second=True)
    recalls = {f"recall_{k}": _recall_of(judges, answer(judges, setting, k), k)[f"recall_{k}"] for k in RECALLS}
    held_out = {"rows": made.count - made.known, "queries": len(judges.own), **recalls}
    return {"search": setting, "sweep": trials, "held_out": held_out}


def _recall_of(questions: Questions, answer: tuple[Vectors, Ids], k: int) -> dict[str, float]:
    """Return recall@k and its standard error."""
    hits = questions.hits(*answer, k)
    if not len(hits):
        return {f"recall_{k}": 1.0, "error": 0.0}
    return {f"recall_{k}": round(float(hits.mean()), 6), "error": round(float(hits.std()) / len(hits) ** 0.5, 6)}


def _surely(trial: Mapping[str, Any]) -> float:
    return float(trial["recall_10"] - _SURE * trial["error"])


def _setting(trial: Mapping[str, Any]) -> dict[str, int]:
    return {key: value for key, value in trial.items() if key not in ("recall_10", "error", "cost")}


def _cheapest(sweep: Sequence[Mapping[str, Any]], wanted: float, kind: str) -> dict[str, int]:
    """Return the setting of the cheapest trial that surely reaches the recall `wanted`. Raises `GateFailed` if none does."""
    good = [trial for trial in sweep if _surely(trial) >= wanted]
    if good:
        return _setting(min(good, key=lambda trial: trial["cost"]))
    best = max(sweep, key=_surely)
    denser = "plan_index.hnsw.m and ef_construction" if kind == "hnsw" else "plan_index.ivfpq.code_bytes"
    raise GateFailed(
        f"no width of search surely reaches recall@{NEIGHBOURS} {wanted}: the best is {best['recall_10']} with {_setting(best)}, standard error {best['error']}; "
        "nothing was built. "
        f"Raise {denser}, or let build_index.{kind} try wider ones (docs/runbooks/recall-gate-failed.md)"
    )
