"""Build an index as the stages do, then measure what it finds, how fast it answers and how much memory it takes."""

import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np

from benchmarks.flights_of_2013 import section
from benchmarks.measure import in_process
from pipelines.lib.core.atomic import replacing
from pipelines.lib.encoders.vectors import Shards
from pipelines.lib.measures import neighbours
from pipelines.lib.measures.neighbours import Ids, Vectors, threads
from pipelines.lib.vector_index import report as index_report
from pipelines.lib.vector_index import timing as index_timing
from pipelines.lib.vector_index.build import FILLED, build, fill
from pipelines.lib.vector_index.params import BuildIndex, HnswSweep, IvfPqSweep, PlanIndex
from pipelines.lib.vector_index.plan import TRAINED, Base, plan
from pipelines.lib.vector_index.search import Searcher, Setting

KINDS: tuple[Literal["hnsw", "ivfpq"], ...] = ("hnsw", "ivfpq")
QUERIES, ROUNDS = 1_000, 5


def line(
    shards: Shards,
    kind: str,
    target: Path,
    *,
    adding: int | None = None,
    code_bytes: int | None = None,
    chosen: Mapping[str, Any] | None = None,
    base: Path | None = None,
) -> dict[str, Any]:
    """Plan, fill and build into the directory `target`, as the stages do it, with the shipped parameters; the content of ``built.json``.

    `adding` (threads) and `code_bytes` in place of the shipped numbers. `chosen`: the ``built.json`` of an index like it, whose choices are taken over, so
    that no other calls of FAISS are made than for the index itself.
    """
    planning, building = section("plan_index", PlanIndex), section("build_index", BuildIndex)
    codes = {"code_bytes": code_bytes or planning.ivfpq.code_bytes, "lists": chosen["lists"] if chosen else planning.ivfpq.lists}
    planning = planning.model_copy(update={"kind": kind, "ivfpq": planning.ivfpq.model_copy(update=codes)})
    building = building.model_copy(update={"threads": adding or building.threads})
    if chosen:
        only = {name: (value,) for name, value in chosen["search"].items()}
        sweep = HnswSweep(**only, recall_10=1e-9) if kind == "hnsw" else IvfPqSweep(**only, recall_10=1e-9)
        planning, building = planning.model_copy(update={"queries": 1}), building.model_copy(update={kind: sweep})
    onto = Base("base", Searcher.open(base)) if base else "it is to be measured"
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target) as temporary, tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        made, filled = plan(shards, planning, Path(scratch), base=onto), []
        if made.kind == "ivfpq" and made.mode == "full":
            for shard in shards.parts:
                filled.append(Path(scratch) / f"{shard.name}.{FILLED}")
                fill(shard, made.start(shard.name), Path(scratch) / TRAINED, filled[-1], workers=adding or 1)
        appended_to = onto.index if isinstance(onto, Base) and made.mode == "incremental" else None
        return build(made, shards, building, temporary, planned=Path(scratch), filled=filled, base=appended_to)


def described(built: Mapping[str, Any]) -> dict[str, Any]:
    """Describe in short the result of a build."""
    return {"rows": built["count"], "search": built["search"], "lists": built.get("lists")}


def measured(target: Path, queries: int = QUERIES, rounds: int = ROUNDS) -> dict[str, Any]:
    """Measure recall, speed relative to exact search, and memory of the build in `target`."""
    index = Searcher.open(target)
    own = neighbours.sample(index.count, queries, index.built["seed"], second=True)
    quality = index_report.quality(index, own, [])
    asked = np.ascontiguousarray(index.vectors[own])
    ratio, exact = ratio_to_exact(index, asked, rounds)
    with threads(1):
        singles = [seconds(partial(index.search, query[None, :], 10), 0) for query in asked]
    raw = index.count * index.dimension * 4 / 2**20
    np.save(queries_file := target.with_suffix(".npy"), asked)
    (memory, mapped), _ = in_process("benchmarks.index.builds:serving", str(target), str(queries_file))
    return {
        **quality["leave_one_out"],
        **{f"held_out_{name}": value for name, value in (index.built["held_out"] or {}).items()},
        "qps_ratio": round(ratio, 1),
        "exact_qps": round(exact, 1),
        "single_p50_us": round(1e6 * float(np.percentile(singles, 50)), 1),
        "single_p99_us": round(1e6 * float(np.percentile(singles, 99)), 1),
        "memory_mib": round(memory, 1),
        "mapped_mib": round(mapped, 1),
        "raw_mib": round(raw, 1),
        "memory_ratio": round(memory / raw, 3),
        "disk_mib": round(sum(file.stat().st_size for file in target.iterdir()) / 2**20, 1),
    }


def serving(target: str, queries: str) -> tuple[float, float]:
    """Measure the MiB that opening and searching a build adds to a process: its own memory, and memory mapped from files."""
    return index_timing.memory_mib(Path(target), np.load(queries), 10)


def ratio_to_exact(index: Searcher, asked: Vectors, rounds: int) -> tuple[float, float]:
    """Return the queries per second of `index` relative to exact search, and those of exact search; in turns, one batch at a time."""
    import faiss

    found = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        faiss.knn(asked, index.vectors, 10)
        found.append((time.perf_counter() - started, seconds(lambda: index.search(asked, 10))))
    exact, own = zip(*found[1:], strict=True)  # the first round warms up
    return statistics.median(slow / fast for slow, fast in zip(exact, own, strict=True)), len(asked) / statistics.median(exact)


def seconds(call: Callable[[], Any], at_least: float = 0.2) -> float:
    """Return the seconds of one `call`: the mean of as many as fill `at_least` seconds."""
    started, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - started < at_least:
        call()
        calls += 1
    return (time.perf_counter() - started) / calls


def timed(call: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """Return the seconds that one `call` takes."""
    started = time.perf_counter()
    call(*arguments, **options)
    return time.perf_counter() - started


def curve(index: Searcher, asked: Vectors, truth: tuple[Vectors, Ids]) -> list[dict[str, Any]]:
    """Return recall and queries per second of `asked` [m, d], whose true neighbours `truth` has, at each width of search."""
    found = []
    for setting in index_report.settings_of(index.setting):
        took = seconds(partial(index.search, asked, 10, setting))
        found.append({"setting": setting, "recall_10": recall_10(index, asked, *truth, setting=setting), "qps": round(len(asked) / took)})
    return found


def recall_10(index: Searcher, asked: Vectors, true_distances: Vectors, true_ids: Ids, *, setting: Setting | None = None) -> float:
    """Return the share of ten true neighbours that `index` finds, for queries outside the index."""
    distances, ids = index.search(asked, 10, setting)
    return round(neighbours.recall(ids, distances, true_ids, true_distances, 10), 5)
