"""The vector index: what it finds of what exact search finds, how much faster, and what building, keeping and using it costs.

*Flights*: all of 2013, through the functions of the stages with the shipped parameters: features, encoder, quantisation, vectors by month, then an HNSW and an
IVF-PQ. *Large*: `LARGE` vectors, each a flight's with a random vector added, as long as the way to the tenth neighbour (median), and made a unit again; an
IVF-PQ of them, and an HNSW, which `auto` would not make of so many (``plan_index.hnsw_up_to``).

``hnsw_recall_10`` and ``ivfpq_recall_10`` are the worst of all that were asked for: rows of the newest nights, as ``built.json`` judges by them (``held_out_recall_10``
of *flights*; of *large* the last rows, which have no nights), flights of December of an index to November (``held_out``), and indexed rows that the sweep has
not seen, each left out of its own answer. Queries a second come in batches, by turns with FAISS's exact search over the same vectors on the same threads; a
ratio is the median over rounds, and the worst of *flights*, *large* and December.

``build_ratio`` is the worse of two: the build, its parameters given, against the bare calls of FAISS that it makes, by turns on the same threads, files written in
both; what choosing the parameters takes beside is ``tuning_s``. ``ivfpq_memory_ratio`` is what opening and asking adds to a process of its own that the system
cannot take back (RssAnon), against raw float32 vectors; what is mapped from files (vectors, lists) is shared and may be dropped, and told as
``mapped_mib``. ``incremental_ratio`` is one night appended to an HNSW, which ``auto`` takes for the flights, against all built anew, plan to tuned and judged
build; that of an IVF-PQ, which is built anew in no time, is told beside it.

A run that was ended goes on where it was: each step keeps its figures under ``var/bench/index`` until all are there. With ``--vectors``, ``--queries`` and ``--truth``
(NumPy files: [n, d], [m, d], and the ids [m, >= 10] of the true neighbours by L2), ``python -m benchmarks.index`` puts any data set through the same builder.
"""

import argparse
import hashlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.governor import features_of_2013, section
from benchmarks.measure import in_process, missed, record
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import GateFailed
from pipelines.lib.core.home import REPOSITORY, home
from pipelines.lib.core.run import PinnedIndex, PinnedModel, RunFile, save_run
from pipelines.lib.encoders.vectors import BLOCK, ROWS, VECTORS, Shard, Shards
from pipelines.lib.features.compute import Features
from pipelines.lib.measures import neighbours
from pipelines.lib.measures.neighbours import Ids, Vectors, threads
from pipelines.lib.pages.figures import recall_curve
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.vector_index import report as index_report
from pipelines.lib.vector_index import timing as index_timing
from pipelines.lib.vector_index.build import FILLED, build, fill
from pipelines.lib.vector_index.params import BuildIndex, HnswSweep, IvfPqSweep, PlanIndex
from pipelines.lib.vector_index.plan import TRAINED, Base, plan
from pipelines.lib.vector_index.search import Searcher, Setting

LARGE = 5_000_000
KINDS: tuple[Literal["hnsw", "ivfpq"], ...] = ("hnsw", "ivfpq")
PARTITION, LAST = "2014-01-01", "2013-12-30"
"""The run is for; the last night whose outcomes are known by then."""
MONTHS = tuple(f"2013-{month:02d}" for month in range(1, 13))
PICTURE = REPOSITORY / "docs" / "images" / "index_curve.svg"
QUERIES, ROUNDS = 1_000, 5
LARGE_THREADS = 2
"""That add to the large HNSW; the shipped single one would double the time of the benchmark, and changes no figure but that."""

TARGETS = {
    "hnsw_recall_10": (">=", 0.98),
    "hnsw_qps_ratio": (">=", 40.0),
    "ivfpq_recall_10": (">=", 0.95),
    "ivfpq_qps_ratio": (">=", 20.0),
    "ivfpq_memory_ratio": ("<=", 0.25),
    "build_ratio": ("<=", 1.15),
    "evidence_s": ("<=", 2.0),
    "incremental_ratio": ("<=", 0.2),
    "int8_overlap_10": (">=", 0.95),
    "int8_size_ratio": ("<=", 0.5),
    "ivfpq_peak_20_to_5_shards": ("<=", 1.1),
}

STEPS = {
    "flights": ("prepare", ()),
    "flights_hnsw": ("flights_build", ("hnsw",)),
    "flights_ivfpq": ("flights_build", ("ivfpq",)),
    "held_out": ("held_out", ()),
    "building": ("building", ()),
    "incremental": ("incremental", ()),
    "evidence": ("evidence", ()),
    "large": ("prepare_large", ()),
    "large_hnsw": ("large_build", ("hnsw", 5)),
    "large_ivfpq": ("large_build", ("ivfpq", 5)),
    "large_ivfpq_20_shards": ("large_build", ("ivfpq", 20)),
}


def main() -> dict[str, Any]:
    """All steps, or those that an ended run has left."""
    work = home() / "bench" / "index"
    code = sorted([*(REPOSITORY / "pipelines" / "lib").glob("*.py"), Path(__file__), REPOSITORY / "params.yaml"])
    made_by = hashlib.sha256(b"".join(path.read_bytes() for path in code)).hexdigest()
    if not (work / made_by).exists():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / made_by).touch()
    found = {name: remembered(work, name, *step) for name, step in STEPS.items()}
    draw(found["held_out"])
    shutil.rmtree(work)
    return summary(found)


def remembered(work: Path, name: str, function: str, arguments: Sequence[Any]) -> dict[str, Any]:
    """What `function` has found, in a process of its own: now, or before the run was ended."""
    path = work / f"{name}.json"
    if not path.exists():
        print(f"   {name} ...", flush=True)
        started = time.perf_counter()
        found, peak = in_process(f"benchmarks.index:{function}", str(work), *arguments)
        found |= {"peak_rss_mib": round(peak), "took_s": round(time.perf_counter() - started, 1)}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    print(f"   {name}: { ({key: value for key, value in told.items() if not key.endswith('curve')}) }", flush=True)
    return told


def summary(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The figures with a target, each the worst of where it was measured, then all the others under the name of their step."""
    figures: dict[str, Any] = {}
    for kind in KINDS:
        sets = [found[f"{size}_{kind}"] for size in ("flights", "large")]
        recalls = [told[figure] for told in sets for figure in ("recall_10", "held_out_recall_10")]
        figures[f"{kind}_recall_10"] = min(*recalls, found["held_out"][f"{kind}_recall_10"])
        figures[f"{kind}_qps_ratio"] = min(*(told["qps_ratio"] for told in sets), found["held_out"][f"{kind}_qps_ratio"])
    figures["ivfpq_memory_ratio"] = max(found[f"{size}_ivfpq"]["memory_ratio"] for size in ("flights", "large"))
    figures["build_ratio"] = max(found["building"][f"{kind}_build_ratio"] for kind in KINDS)
    figures["incremental_ratio"] = found["incremental"]["hnsw_incremental_ratio"]
    figures["ivfpq_incremental_ratio"] = found["incremental"]["ivfpq_incremental_ratio"]
    figures["evidence_s"] = found["evidence"]["evidence_s"]
    figures |= {name: value for name, value in found["flights"].items() if name.startswith("int8_")}
    few, many = (found[name]["build_peak_own_mib"] for name in ("large_ivfpq", "large_ivfpq_20_shards"))
    figures["ivfpq_peak_20_to_5_shards"] = round(many / few, 3)
    others = {f"{step}_{name}": value for step, told in found.items() for name, value in told.items() if not name.endswith("curve")}
    return figures | {name: value for name, value in others.items() if not name.startswith("flights_int8_")}


def draw(held_out: Mapping[str, Any]) -> None:
    """The picture of the documentation: recall against speed, of both kinds, for flights that they do not hold."""
    curves, chosen = {}, {}
    for name, kind in (("HNSW", "hnsw"), ("IVF-PQ", "ivfpq")):
        points = {json.dumps(point["setting"]): (point["recall_10"], point["qps"]) for point in held_out[f"{kind}_curve"]}
        curves[name], chosen[name] = list(points.values()), points[json.dumps(held_out[f"{kind}_search"])]
    limits = {"HNSW": TARGETS["hnsw_recall_10"][1], "IVF-PQ": TARGETS["ivfpq_recall_10"][1]}
    PICTURE.write_text(recall_curve(curves, exact=held_out["exact_qps"], chosen=chosen, limits=limits) + "\n", encoding="utf-8")


# ------------------------------------------------------------------------------------------------ flights


def prepare(name: str) -> dict[str, Any]:
    """History, encoder and vectors of 2013, by the stages themselves, in the workspace `name`."""
    from pipelines.index import embed, shard_history
    from pipelines.training import quantize, train_encoder

    os.chdir(name)
    shutil.copy(REPOSITORY / "params.yaml", "params.yaml")
    save_run(RunFile(partition=PARTITION, model=PinnedModel(path="model.onnx", name="none"), shards=MONTHS))
    Path("data/features").mkdir(parents=True, exist_ok=True)
    history = features_of_2013(section("dataset", Dataset), section("features", Features), Path("data/features"))
    fp32, encoder = "data/encoder/fp32.onnx", "data/encoder/encoder.onnx"
    run(train_encoder.main, features=history, fitted="data/encoder/fitted.skops", onnx=fp32)
    run(quantize.main, features=history, model=fp32, encoder=encoder, report="data/reports/quantize")
    run(shard_history.main, features=history, shards="data/features/shards")
    for month in MONTHS:
        run(embed.main, shard=f"data/features/shards/{month}.parquet", encoder=encoder, vectors=f"data/index/vectors/{month}")
    report = json.loads(Path("data/reports/quantize/report.json").read_text(encoding="utf-8"))
    speed = json.loads(Path("data/reports/quantize_timing.json").read_text(encoding="utf-8"))["rows_per_second"]
    way = report["candidates"][report["chosen"]]
    return {
        "int8_overlap_10": way["overlap_10"],
        "int8_size_ratio": way["size_ratio"],
        "int8_throughput_ratio": round(speed[report["chosen"]] / speed["fp32"], 3),
        "int8_way": report["chosen"],
        "int8_auc_fall": way["auc_fall"],
        "fp32_rows_per_s_one_core": speed["fp32"],
        "rows": flights(Path(name)).count,
    }


def run(stage: Callable[[Sequence[str]], int], **paths: Any) -> None:
    """A stage's own main."""
    if stage([part for option, path in paths.items() for part in (f"--{option}", str(path))]):
        raise RuntimeError(f"the stage failed: {Path('failure.json').read_text(encoding='utf-8')}")


def flights(work: Path, *, since: str = "", until: str = "9") -> Shards:
    """The flights of 2013 with `since` <= partition < `until`, month by month; mapped where a month is whole."""
    parts = []
    for shard in Shards.open(work / "data" / "index" / "vectors", MONTHS).parts:
        rows = pa.Table.from_batches(shard.batches(), shard.schema)
        nights = rows["partition"].to_numpy().astype(str)
        kept = (nights >= since) & (nights < until)
        if kept.any():
            parts.append(Shard(shard.name, np.ascontiguousarray(shard.vectors[kept]), rows.filter(pa.array(kept)), shard.encoder_sha256))
    return Shards(parts)


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


def flights_build(name: str, kind: str) -> dict[str, Any]:
    """All flights in an index of `kind`: recall of rows that the sweep has not seen, speed, memory."""
    target = Path(name) / kind
    started = time.perf_counter()
    told = line(flights(Path(name)), kind, target)
    took = time.perf_counter() - started
    return {**described(told), "build_s": round(took, 1), **measured(target)}


def described(built: Mapping[str, Any]) -> dict[str, Any]:
    """What was built, in short."""
    return {"rows": built["count"], "search": built["search"], "lists": built.get("lists")}


def measured(target: Path, queries: int = QUERIES, rounds: int = ROUNDS) -> dict[str, Any]:
    """Recall, speed against exact search and memory of the build in `target`."""
    index = Searcher.open(target)
    own = neighbours.sample(index.count, queries, index.built["seed"], second=True)
    quality = index_report.quality(index, own, [])
    asked = np.ascontiguousarray(index.vectors[own])
    ratio, exact = race(index, asked, rounds)
    with threads(1):
        singles = [seconds(partial(index.search, query[None, :], 10), 0) for query in asked]
    raw = index.count * index.dimension * 4 / 2**20
    np.save(queries_file := target.with_suffix(".npy"), asked)
    (memory, mapped), _ = in_process("benchmarks.index:serving", str(target), str(queries_file))
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


def race(index: Searcher, asked: Vectors, rounds: int) -> tuple[float, float]:
    """How many times as many queries a second as exact search `index` answers, and how many exact search does; by turns, a batch at a time."""
    import faiss

    found = []
    for _ in range(rounds + 1):
        started = time.perf_counter()
        faiss.knn(asked, index.vectors, 10)
        found.append((time.perf_counter() - started, seconds(lambda: index.search(asked, 10))))
    exact, own = zip(*found[1:], strict=True)  # the first round warms up
    return statistics.median(slow / fast for slow, fast in zip(exact, own, strict=True)), len(asked) / statistics.median(exact)


def seconds(call: Callable[[], Any], at_least: float = 0.2) -> float:
    """How long one `call` takes: the mean of as many as fill `at_least` seconds."""
    started, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - started < at_least:
        call()
        calls += 1
    return (time.perf_counter() - started) / calls


def serving(target: str, queries: str) -> tuple[float, float]:
    """MiB that opening a build and asking it adds to a process: of its own, and mapped from files."""
    return index_timing.memory_mib(Path(target), np.load(queries), 10)


def held_out(name: str) -> dict[str, Any]:
    """Recall and speed of flights of December of indexes of those before, tuned and judged as always, and of their own rows for comparison."""
    before, after = flights(Path(name), until="2013-12-01"), flights(Path(name), since="2013-12-01")
    asked = after.take(neighbours.sample(after.count, 2 * QUERIES, 1))
    found: dict[str, Any] = {"rows": before.count, "queries": len(asked)}
    for kind in KINDS:
        line(before, kind, Path(name) / f"before-{kind}")
        index = Searcher.open(Path(name) / f"before-{kind}")
        own = neighbours.sample(index.count, QUERIES, index.built["seed"], second=True)
        truth = neighbours.exact(index.vectors, asked, 10)
        ratio, exact = race(index, asked, ROUNDS)
        found |= {f"{kind}_recall_10": recall_10(index, asked, *truth), f"{kind}_qps_ratio": round(ratio, 1), "exact_qps": round(exact, 1)}
        found[f"{kind}_recall_10_judged"] = index.built["held_out"]["recall_10"]
        found[f"{kind}_recall_10_left_out"] = index_report.quality(index, own, [])["leave_one_out"]["recall_10"]
        found[f"{kind}_search"] = index.built["search"]
        found[f"{kind}_curve"] = curve(index, asked, truth)
    return found


def curve(index: Searcher, asked: Vectors, truth: tuple[Vectors, Ids]) -> list[dict[str, Any]]:
    """Recall and queries a second of `asked` [m, d], whose true neighbours `truth` has, at each width of search."""
    found = []
    for setting in index_report.settings_of(index.setting):
        took = seconds(partial(index.search, asked, 10, setting))
        found.append({"setting": setting, "recall_10": recall_10(index, asked, *truth, setting=setting), "qps": round(len(asked) / took)})
    return found


def recall_10(index: Searcher, asked: Vectors, true_distances: Vectors, true_ids: Ids, *, setting: Setting | None = None) -> float:
    """Of ten true neighbours of queries that are no rows of `index`, the share that it finds."""
    distances, ids = index.search(asked, 10, setting)
    return round(neighbours.recall(ids, distances, true_ids, true_distances, 10), 5)


# ------------------------------------------------------------------------------------------------ what building costs


def building(name: str, rounds: int = 3) -> dict[str, Any]:
    """Our build, with the choices of `flights_build`, and the bare calls of FAISS, by turns; then what choosing takes beside."""
    work, shards = Path(name), flights(Path(name))
    vectors = np.concatenate([shard.vectors for shard in shards.parts])
    found: dict[str, Any] = {"threads": section("build_index", BuildIndex).threads}
    for kind, bare in (("hnsw", bare_hnsw), ("ivfpq", bare_ivfpq)):
        chosen = json.loads((work / kind / "built.json").read_text(encoding="utf-8"))
        ours, theirs = [], []
        for _ in range(rounds):
            ours.append(timed(line, shards, kind, work / "ours", chosen=chosen))
            theirs.append(timed(bare, vectors, chosen, work / "bare"))
        found[f"{kind}_build_ratio"] = round(statistics.median(mine / bare for mine, bare in zip(ours, theirs, strict=True)), 3)
        found |= {f"{kind}_fixed_s": round(statistics.median(ours), 2), f"{kind}_bare_s": round(statistics.median(theirs), 2)}
        found[f"{kind}_tuning_s"] = round(timed(line, shards, kind, work / "ours") - statistics.median(ours), 2)
    return found


def timed(call: Callable[..., Any], *arguments: Any, **options: Any) -> float:
    """Seconds that one `call` takes."""
    started = time.perf_counter()
    call(*arguments, **options)
    return time.perf_counter() - started


def bare_hnsw(vectors: Vectors, chosen: Mapping[str, Any], target: Path) -> None:
    """What FAISS does for an HNSW, on the shipped number of threads."""
    import faiss

    settings = section("plan_index", PlanIndex).hnsw
    index = faiss.IndexHNSWFlat(vectors.shape[1], settings.m)
    index.hnsw.efConstruction = settings.ef_construction
    with threads(section("build_index", BuildIndex).threads):
        for start in range(0, len(vectors), BLOCK):  # in the same blocks: all at once, it makes another graph, in twice the time
            index.add(vectors[start : start + BLOCK])
    faiss.write_index(index, str(target))


def bare_ivfpq(vectors: Vectors, chosen: Mapping[str, Any], target: Path) -> None:
    """What FAISS does for an IVF-PQ whose learners, lists and codes are those of `pipelines.lib.vector_index.plan`, on one thread."""
    import faiss

    settings, lists = section("plan_index", PlanIndex).ivfpq, chosen["lists"]
    learners = vectors[np.random.default_rng(0).permutation(len(vectors))]
    with threads(1):
        index = faiss.IndexIVFPQ(faiss.IndexFlatL2(vectors.shape[1]), vectors.shape[1], lists, settings.code_bytes, 8)
        index.own_fields = False
        parameters = faiss.ClusteringParameters()
        parameters.niter, parameters.max_points_per_centroid = 10, settings.rows_per_list
        clustering = faiss.Clustering(vectors.shape[1], lists, parameters)
        clustering.train(learners[: lists * settings.rows_per_list], index.quantizer)
        index.train(learners[:65_536])
        index.add(vectors)
    faiss.write_index(index, str(target))


def incremental(name: str, rounds: int = 2) -> dict[str, Any]:
    """The last night appended to an index of all before it, and all of it built anew, by turns."""
    work, whole = Path(name), flights(Path(name))
    found: dict[str, Any] = {"appended": whole.count - flights(work, until=LAST).count}
    for kind in KINDS:
        line(flights(work, until=LAST), kind, work / "base")
        appended, anew = [], []
        for _ in range(rounds):
            appended.append(timed(line, whole, kind, work / "appended", base=work / "base"))
            anew.append(timed(line, whole, kind, work / "anew"))
        if (mode := json.loads((work / "appended" / "built.json").read_text(encoding="utf-8"))["mode"]) != "incremental":
            raise RuntimeError(f"what should be appended to was built {mode}")
        found[f"{kind}_incremental_ratio"] = round(statistics.median(one / all_ for one, all_ in zip(appended, anew, strict=True)), 3)
        found |= {f"{kind}_appended_s": round(statistics.median(appended), 2), f"{kind}_anew_s": round(statistics.median(anew), 2)}
    return found


def evidence(name: str) -> dict[str, Any]:
    """`attach_evidence` for the 1,000 riskiest of two nights: opening and checking the generation, encoding, searching, ordering."""
    from pipelines.lib.vector_index.evidence import Wanted  # noqa: F401 (first import apart from the clock)
    from pipelines.lib.vector_index.publication import publish
    from pipelines.scoring.attach_evidence import AttachEvidence, attach_evidence

    os.chdir(name)
    os.environ["NIGHTSHIFT_INDEX_DIR"] = str(Path("published").resolve())
    built = json.loads(Path("hnsw/built.json").read_text(encoding="utf-8"))
    manifest = {"partition": PARTITION, "encoder_version": "1", "encoder_sha256": built["encoder_sha256"]}
    pointer = publish("flight_encoder", Path("hnsw"), Path("data/encoder/encoder.onnx"), manifest, expected_sequence=0, retain=1)
    pinned = PinnedIndex(name="flight_encoder", **pointer.model_dump(include=set(PinnedIndex.model_fields) - {"name", "degraded", "fault"}))
    dataset, partition = section("dataset", Dataset), "2013-12-29"
    night = pq.read_table("data/features/features.parquet", filters=[("partition", ">=", partition)])
    pq.write_table(night, "night.parquet")
    scores = night.select(list(dataset.key)).replace_schema_metadata()
    scores = scores.append_column("score", pa.array(np.random.default_rng(0).random(len(night), dtype=np.float32)))
    pq.write_table(scores, "scores.parquet")
    model = PinnedModel(path="model.onnx", name="none")
    asked = RunFile(partition=partition, model=model, index=pinned), dataset, AttachEvidence(riskiest=1_000, neighbours=10)
    took = [timed(attach_evidence, Path("scores.parquet"), Path("night.parquet"), *asked) for _ in range(ROUNDS)]
    found, report = attach_evidence(Path("scores.parquet"), Path("night.parquet"), *asked)
    if found.num_rows != 10_000:
        raise RuntimeError(f"{found.num_rows} rows of evidence, 10,000 were asked for: {report['note']}")
    return {"evidence_s": round(statistics.median(took), 3), "first_s": round(took[0], 3), "rows": len(night)}


# ------------------------------------------------------------------------------------------------ large


def prepare_large(name: str) -> dict[str, Any]:
    """`LARGE` vectors of norm 1: flights in turn, each with a Gaussian vector added whose length is the median way to the tenth neighbour."""
    vectors = np.concatenate([shard.vectors for shard in flights(Path(name)).parts])
    own = neighbours.sample(len(vectors), QUERIES, 2)
    squared, _ = neighbours.exact(vectors, vectors[own], 10, leave_out=own)
    length, rng = float(np.sqrt(np.median(squared[:, 9]))), np.random.default_rng(42)
    target = Path(name) / "large"
    target.mkdir(exist_ok=True)
    made = np.lib.format.open_memmap(target / VECTORS, mode="w+", dtype=np.float32, shape=(LARGE, vectors.shape[1]))
    for start in range(0, LARGE, 1 << 18):
        block = vectors[np.arange(start, min(start + (1 << 18), LARGE)) % len(vectors)]
        block = block + length / vectors.shape[1] ** 0.5 * rng.standard_normal(block.shape, dtype=np.float32)
        made[start : start + len(block)] = block / np.linalg.norm(block, axis=1, keepdims=True)
    made.flush()
    for parts in (5, 20):
        for part, (start, end) in enumerate(bounds(parts)):
            pq.write_table(numbered(start, end), target / f"{parts}-{part}-{ROWS}")
    return {"rows": LARGE, "noise_length": round(length, 4), "raw_mib": round(made.nbytes / 2**20)}


def numbered(start: int, end: int) -> pa.Table:
    """Rows that are nothing but numbers; in place of nights, a thousand each, so that there is a tail to be asked for."""
    partition = pa.array([f"{row // QUERIES:05}" for row in range(start, end)])
    return pa.table({"row": np.arange(start, end), "partition": partition, "outcome": np.zeros(end - start, np.int8)})


def bounds(parts: int) -> list[tuple[int, int]]:
    """Where each of `parts` shards of the large set begins and ends."""
    return [(LARGE * part // parts, LARGE * (part + 1) // parts) for part in range(parts)]


def large(name: str, parts: int) -> Shards:
    """The large set in so many shards, mapped; the rows are numbers, in files as the stages have them."""
    directory = Path(name) / "large"
    vectors = np.load(directory / VECTORS, mmap_mode="r")
    return Shards(
        Shard(f"{part:02}", vectors[start:end], directory / f"{parts}-{part}-{ROWS}", None)
        for part, (start, end) in enumerate(bounds(parts))
    )


def large_build(name: str, kind: str, parts: int) -> dict[str, Any]:
    """The large set in `parts` shards in an index of `kind`. Recall and speed where there are 5; memory of the build always."""
    target = Path(name) / f"large-{kind}"
    (told, took, peaks), peak = in_process("benchmarks.index:large_line", name, kind, parts, str(target))
    found = {"shards": parts, **described(told), "build_s": took, "build_peak_rss_mib": round(peak), "build_peak_own_mib": peaks}
    if parts == 5:
        found |= measured(target, rounds=2)
    shutil.rmtree(target)
    return found


def large_line(name: str, kind: str, parts: int, target: str) -> tuple[dict[str, Any], float, int]:
    """Build it; ``built.json``, seconds, and the peak of what the process had of its own: mapped files, which the system may drop, left out."""
    shards = large(name, parts)
    with own_peak() as peak:
        started = time.perf_counter()
        told = line(shards, kind, Path(target), adding=LARGE_THREADS)
        took = time.perf_counter() - started
    return {key: told.get(key) for key in ("count", "search", "lists")}, round(took, 1), round(peak[0])


@contextmanager
def own_peak() -> Iterator[list[float]]:
    """A list whose one value becomes the peak of RssAnon, MiB, looked at twenty times a second."""
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak[0] = max(peak[0], index_timing.resident_mib()[0])

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


# ------------------------------------------------------------------------------------------------ any data set


def given(vectors: str, queries: str, truth: str) -> dict[str, Any]:
    """Both kinds of index of the data set in these files, tuned by the sweep on its last rows, judged by its queries; or why one was refused.

    Codes have a byte for four values, or for more where four do not divide them evenly.
    """
    base, asked = (np.ascontiguousarray(np.load(path, mmap_mode="r"), dtype=np.float32) for path in (vectors, queries))
    true_ids = np.ascontiguousarray(np.load(truth)[:, :10], dtype=np.int64)
    if true_ids.shape != (len(asked), 10) or base.shape[1] != asked.shape[1] or not -1 < true_ids.min() <= true_ids.max() < len(base):
        raise SystemExit(
            f"the shapes are {base.shape}, {asked.shape} and {true_ids.shape}; wanted are [n, d], [m, d] and ids [m, >= 10] of rows below n"
        )
    true_distances, true_ids = neighbours.nearest(base, asked, true_ids, 10)
    code_bytes = max(size for size in range(1, max(1, base.shape[1] // 4) + 1) if base.shape[1] % size == 0)
    found: dict[str, Any] = {"rows": len(base), "dimension": base.shape[1], "queries": len(asked), "code_bytes": code_bytes}
    shards = Shards([Shard("all", base, numbered(0, len(base)), None)])
    (home() / "bench").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home() / "bench") as scratch:
        for kind in KINDS:
            try:
                took = timed(line, shards, kind, Path(scratch) / kind, code_bytes=code_bytes)
            except GateFailed as refused:
                found[f"{kind}_refused"] = str(refused)
                continue
            index = Searcher.open(Path(scratch) / kind)
            ratio, exact = race(index, asked, ROUNDS)
            found |= {f"{kind}_recall_10": recall_10(index, asked, true_distances, true_ids), f"{kind}_qps_ratio": round(ratio, 1)}
            found |= {f"{kind}_build_s": round(took, 1), f"{kind}_search": dict(index.setting), "exact_qps": round(exact, 1)}
    return found


def _main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.index", description=__doc__)
    for option, told in (("vectors", "[n, d]"), ("queries", "[m, d]"), ("truth", "[m, >= 10] ids of the true neighbours")):
        parser.add_argument(f"--{option}", help=f"NumPy file of a data set of your own, {told}")
    files = vars(parser.parse_args())
    if any(files.values()) and not all(files.values()):
        parser.error("--vectors, --queries and --truth go together")
    figures = given(**files) if files["vectors"] else main()
    print(json.dumps(figures, indent=2))
    print(f"in {record('index_given' if files['vectors'] else 'index', figures)}")
    faults = missed(figures, {key: target for key, target in TARGETS.items() if key in figures})
    faults += [str(figures[f"{kind}_refused"]) for kind in KINDS if f"{kind}_refused" in figures]
    for fault in faults:
        print(f"MISSED {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(_main())
