"""The vector index: what it finds of what exact search finds, how much faster, and what building, keeping and using it costs.

*Flights*: all of 2013, through the functions of the stages with the shipped parameters: features, encoder, quantisation, vectors by month, then an HNSW and an
IVF-PQ. *Large*: `LARGE` vectors, each a flight's with a random vector added, as long as the way to the tenth neighbour (median), and made a unit again; an
IVF-PQ of them, and an HNSW, which `auto` would not make of this number (``plan_index.hnsw_up_to``).

``hnsw_recall_10`` and ``ivfpq_recall_10`` are the worst of all that were asked for: rows of the newest nights, as ``built.json`` judges by them (``held_out_recall_10``
of *flights*; of *large* the last rows, which have no nights), flights of December of an index to November (``held_out``), and indexed rows that the sweep has
not seen, each left out of its own answer. Queries per second are measured in batches, in turns with FAISS's exact search over the same vectors on the same threads; a
ratio is the median over rounds, and the worst of *flights*, *large* and December.

``build_ratio`` is the worse of two: the build, its parameters given, against the bare calls of FAISS that it makes, by turns on the same threads, files written in
both; ``tuning_s`` is the time that choosing the parameters adds. ``ivfpq_memory_ratio`` is the memory that opening and asking adds to a process of its own and that the system
cannot take back (RssAnon), compared with the raw float32 vectors. Vectors and lists that are mapped from files are shared and may be dropped; ``mapped_mib`` is their
size. ``incremental_ratio`` is the time to append one night to an HNSW, which ``auto`` takes for the flights, compared with a full build from plan to tuned and judged
build. ``ivfpq_incremental_ratio`` is the same for an IVF-PQ, whose full build is fast.

A run that was ended goes on where it was: each step keeps its figures under ``var/bench/index`` until all are there. With ``--vectors``, ``--queries`` and ``--truth``
(NumPy files: [n, d], [m, d], and the ids [m, >= 10] of the true neighbours by L2), ``python -m benchmarks.index`` puts any data set through the same builder.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.index.builds import KINDS
from benchmarks.measure import in_process
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.home import REPOSITORY, home
from pipelines.lib.pages.figures import recall_curve
from pipelines.lib.pages.svg import standalone

PICTURE = REPOSITORY / "docs" / "images" / "index_curve.svg"

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
    "flights": ("flights:prepare", ()),
    "flights_hnsw": ("flights:flights_build", ("hnsw",)),
    "flights_ivfpq": ("flights:flights_build", ("ivfpq",)),
    "held_out": ("flights:held_out", ()),
    "building": ("flights:building", ()),
    "incremental": ("flights:incremental", ()),
    "evidence": ("flights:evidence", ()),
    "large": ("large:prepare_large", ()),
    "large_hnsw": ("large:large_build", ("hnsw", 5)),
    "large_ivfpq": ("large:large_build", ("ivfpq", 5)),
    "large_ivfpq_20_shards": ("large:large_build", ("ivfpq", 20)),
}


def main() -> dict[str, Any]:
    """Run all steps, or the steps that an ended run has left."""
    work = home() / "bench" / "index"
    code = [path for part in (REPOSITORY / "pipelines", Path(__file__).parent) for path in sorted(part.rglob("*.py"))]
    made_by = hashlib.sha256(b"".join(path.read_bytes() for path in [*code, REPOSITORY / "params.yaml"])).hexdigest()
    if not (work / made_by).exists():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / made_by).touch()
    found = {name: remembered(work, name, *step) for name, step in STEPS.items()}
    draw(found["held_out"])
    shutil.rmtree(work)
    return summary(found)


def remembered(work: Path, name: str, function: str, arguments: Sequence[Any]) -> dict[str, Any]:
    """Return the result of `function` in a process of its own: from now, or from before the run was ended."""
    path = work / f"{name}.json"
    if not path.exists():
        print(f"   {name} ...", flush=True)
        started = time.perf_counter()
        found, peak = in_process(f"benchmarks.index.{function}", str(work), *arguments)
        found |= {"peak_rss_mib": round(peak), "took_s": round(time.perf_counter() - started, 1)}
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(found), encoding="utf-8")
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    print(f"   {name}: { ({key: value for key, value in result.items() if not key.endswith('curve')}) }", flush=True)
    return result


def summary(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the figures with a target, each the worst of its measurements, then all others under the name of their step."""
    figures: dict[str, Any] = {}
    for kind in KINDS:
        sets = [settings[f"{size}_{kind}"] for size in ("flights", "large")]
        recalls = [result[figure] for result in sets for figure in ("recall_10", "held_out_recall_10")]
        figures[f"{kind}_recall_10"] = min(*recalls, settings["held_out"][f"{kind}_recall_10"])
        figures[f"{kind}_qps_ratio"] = min(*(result["qps_ratio"] for result in sets), settings["held_out"][f"{kind}_qps_ratio"])
    figures["ivfpq_memory_ratio"] = max(settings[f"{size}_ivfpq"]["memory_ratio"] for size in ("flights", "large"))
    figures["build_ratio"] = max(settings["building"][f"{kind}_build_ratio"] for kind in KINDS)
    figures["incremental_ratio"] = settings["incremental"]["hnsw_incremental_ratio"]
    figures["ivfpq_incremental_ratio"] = settings["incremental"]["ivfpq_incremental_ratio"]
    figures["evidence_s"] = settings["evidence"]["evidence_s"]
    figures |= {name: value for name, value in settings["flights"].items() if name.startswith("int8_")}
    few, many = (settings[name]["build_peak_own_mib"] for name in ("large_ivfpq", "large_ivfpq_20_shards"))
    figures["ivfpq_peak_20_to_5_shards"] = round(many / few, 3)
    others = {f"{step}_{name}": value for step, result in settings.items() for name, value in result.items() if not name.endswith("curve")}
    return figures | {name: value for name, value in others.items() if not name.startswith("flights_int8_")}


def draw(held_out: Mapping[str, Any]) -> None:
    """Draw the picture of the documentation: recall and speed of both kinds, for flights that they do not hold."""
    curves, chosen = {}, {}
    for name, kind in (("HNSW", "hnsw"), ("IVF-PQ", "ivfpq")):
        points = {json.dumps(point["setting"]): (point["recall_10"], point["qps"]) for point in held_out[f"{kind}_curve"]}
        curves[name], chosen[name] = list(points.values()), points[json.dumps(held_out[f"{kind}_search"])]
    limits = {"HNSW": TARGETS["hnsw_recall_10"][1], "IVF-PQ": TARGETS["ivfpq_recall_10"][1]}
    drawn = recall_curve(curves, exact=held_out["exact_qps"], chosen=chosen, limits=limits)
    PICTURE.write_text(standalone(drawn) + "\n", encoding="utf-8")
