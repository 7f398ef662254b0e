"""Every flight of 2013: vectors by the stages themselves, then recall, speed, and what building, appending and evidence cost."""

import json
import os
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.flights_of_2013 import features_of_2013, section
from benchmarks.index.builds import KINDS, QUERIES, ROUNDS, curve, described, line, measured, ratio_to_exact, recall_10, timed
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.run import PinnedIndex, PinnedModel, RunFile, save_run
from pipelines.lib.encoders.vectors import BLOCK, Shard, Shards
from pipelines.lib.features.compute import Features
from pipelines.lib.measures import neighbours
from pipelines.lib.measures.neighbours import Vectors, threads
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.vector_index import report as index_report
from pipelines.lib.vector_index.params import BuildIndex, PlanIndex
from pipelines.lib.vector_index.search import Searcher

PARTITION, LAST = "2014-01-01", "2013-12-30"
"""The run is for; the last night whose outcomes are known by then."""
MONTHS = tuple(f"2013-{month:02d}" for month in range(1, 13))


def prepare(name: str) -> dict[str, Any]:
    """Make history, encoder and vectors of 2013 with the stages themselves, in the workspace `name`."""
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
    """Run a stage's own main."""
    if stage([part for option, path in paths.items() for part in (f"--{option}", str(path))]):
        raise RuntimeError(f"the stage failed: {Path('failure.json').read_text(encoding='utf-8')}")


def flights(work: Path, *, since: str = "", until: str = "9") -> Shards:
    """Return the flights of 2013 with `since` <= partition < `until`, month by month; mapped if a month is whole."""
    parts = []
    for shard in Shards.open(work / "data" / "index" / "vectors", MONTHS).parts:
        rows = pa.Table.from_batches(shard.batches(), shard.schema)
        nights = rows["partition"].to_numpy().astype(str)
        kept = (nights >= since) & (nights < until)
        if kept.any():
            parts.append(Shard(shard.name, np.ascontiguousarray(shard.vectors[kept]), rows.filter(pa.array(kept)), shard.encoder_sha256))
    return Shards(parts)


def flights_build(name: str, kind: str) -> dict[str, Any]:
    """Build an index of `kind` from all flights; measure recall of rows that the sweep has not seen, speed, memory."""
    target = Path(name) / kind
    started = time.perf_counter()
    built_line = line(flights(Path(name)), kind, target)
    took = time.perf_counter() - started
    return {**described(built_line), "build_s": round(took, 1), **measured(target)}


def held_out(name: str) -> dict[str, Any]:
    """Measure recall and speed for flights of December in indexes of earlier flights, tuned and judged as always, and for the indexes' own rows."""
    before, after = flights(Path(name), until="2013-12-01"), flights(Path(name), since="2013-12-01")
    asked = after.take(neighbours.sample(after.count, 2 * QUERIES, 1))
    found: dict[str, Any] = {"rows": before.count, "queries": len(asked)}
    for kind in KINDS:
        line(before, kind, Path(name) / f"before-{kind}")
        index = Searcher.open(Path(name) / f"before-{kind}")
        own = neighbours.sample(index.count, QUERIES, index.built["seed"], second=True)
        truth = neighbours.exact(index.vectors, asked, 10)
        ratio, exact = ratio_to_exact(index, asked, ROUNDS)
        found |= {f"{kind}_recall_10": recall_10(index, asked, *truth), f"{kind}_qps_ratio": round(ratio, 1), "exact_qps": round(exact, 1)}
        found[f"{kind}_recall_10_judged"] = index.built["held_out"]["recall_10"]
        found[f"{kind}_recall_10_left_out"] = index_report.quality(index, own, [])["leave_one_out"]["recall_10"]
        found[f"{kind}_search"] = index.built["search"]
        found[f"{kind}_curve"] = curve(index, asked, truth)
    return found


def building(name: str, rounds: int = 3) -> dict[str, Any]:
    """Time our build, with the choices of `flights_build`, and the bare calls of FAISS, in turns; then the time that choosing adds."""
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


def bare_hnsw(vectors: Vectors, chosen: Mapping[str, Any], target: Path) -> None:
    """Make the bare calls of FAISS for an HNSW, on the shipped number of threads."""
    import faiss

    settings = section("plan_index", PlanIndex).hnsw
    index = faiss.IndexHNSWFlat(vectors.shape[1], settings.m)
    index.hnsw.efConstruction = settings.ef_construction
    with threads(section("build_index", BuildIndex).threads):
        for start in range(0, len(vectors), BLOCK):  # in the same blocks: all at once, it makes another graph, in twice the time
            index.add(vectors[start : start + BLOCK])
    faiss.write_index(index, str(target))


def bare_ivfpq(vectors: Vectors, chosen: Mapping[str, Any], target: Path) -> None:
    """Make the bare calls of FAISS for an IVF-PQ whose learners, lists and codes are those of `pipelines.lib.vector_index.plan`, on one thread."""
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
    """Append the last night to an index of all nights before it, and build everything from scratch, in turns."""
    work, whole = Path(name), flights(Path(name))
    found: dict[str, Any] = {"appended": whole.count - flights(work, until=LAST).count}
    for kind in KINDS:
        line(flights(work, until=LAST), kind, work / "base")
        appended, rebuilt = [], []
        for _ in range(rounds):
            appended.append(timed(line, whole, kind, work / "appended", base=work / "base"))
            rebuilt.append(timed(line, whole, kind, work / "rebuilt"))
        if (mode := json.loads((work / "appended" / "built.json").read_text(encoding="utf-8"))["mode"]) != "incremental":
            raise RuntimeError(f"what should be appended to was built {mode}")
        found[f"{kind}_incremental_ratio"] = round(statistics.median(one / all_ for one, all_ in zip(appended, rebuilt, strict=True)), 3)
        found |= {f"{kind}_appended_s": round(statistics.median(appended), 2), f"{kind}_rebuilt_s": round(statistics.median(rebuilt), 2)}
    return found


def evidence(name: str) -> dict[str, Any]:
    """Time `attach_evidence` for the 1,000 riskiest rows of two nights: opening and checking the generation, encoding, searching, ordering."""
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
