"""How fast a built index answers here, and what it takes of memory. A measurement of this machine, so never a versioned output."""

import json
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipelines.lib.core.atomic import replacing
from pipelines.lib.measures.neighbours import Vectors, threads
from pipelines.lib.vector_index.search import Searcher, Setting

FILE = Path("data/reports/index_timing.json")
BUILD = Path("data/reports/build_timing.json")
ROUNDS = 5
"""Repetitions, of which the median counts: what else runs on the machine disturbs some of them."""


@dataclass(frozen=True)
class Timing:
    """Of the index whose file has the digest `index_sha256`, for ten neighbours.

    Microseconds of processor time that one query takes on one thread, milliseconds of a batch of `batch` queries, queries per second in batches (`qps`, and of exact search over the same
    vectors), MiB that opening and querying adds to a process: its own (`memory_mib`), and those of mapped files (`mapped_mib`), which all
    processes share and the system may drop. `build_s` are the seconds that building took, None if DVC restored the build. `curve` has the speed at each search width, in the order of the widths of the report.
    """

    index_sha256: str
    single_p50_us: float
    single_p99_us: float
    batch: int
    batch_p50_ms: float
    batch_p99_ms: float
    qps: float
    exact_qps: float
    memory_mib: float
    mapped_mib: float
    curve: tuple[float, ...]
    build_s: float | None = None


def measure(index: Searcher, queries: Vectors, settings: Sequence[Setting], *, sha256: str, k: int = 10) -> Timing:
    """Return the timing of `index` on real `queries` [m, d], m >= 1, and at each of `settings`."""
    import faiss

    with threads(1):  # more only wait for each other over one query, for milliseconds where the machine is busy
        singles = np.array([[_processor_seconds(index, query[None, :], k) for query in queries] for _ in range(ROUNDS)])[1:]
    p50, p99 = np.median(np.percentile(singles, [50, 99], axis=1), axis=1) * 1e6
    batches = [_seconds(index, queries, k) for _ in range(4 * ROUNDS + 1)][1:]
    started = time.perf_counter()
    faiss.knn(queries, index.vectors, k)
    exact = time.perf_counter() - started
    # In a process of its own: what this one has allocated and freed before would be used again and so not be seen.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        memory, mapped = pool.submit(memory_mib, index.directory, queries, k).result()
    curve = [statistics.median(_seconds(index, queries, k, setting) for _ in range(ROUNDS)) for setting in settings]
    return Timing(
        index_sha256=sha256,
        single_p50_us=round(float(p50), 1),
        single_p99_us=round(float(p99), 1),
        batch=len(queries),
        batch_p50_ms=round(1e3 * float(np.percentile(batches, 50)), 3),
        batch_p99_ms=round(1e3 * float(np.percentile(batches, 99)), 3),
        qps=round(len(queries) / statistics.median(batches)),
        exact_qps=round(len(queries) / exact, 1),
        memory_mib=round(memory, 1),
        mapped_mib=round(mapped, 1),
        curve=tuple(round(len(queries) / seconds) for seconds in curve),
        build_s=_build_s(sha256),
    )


def write_build(index_sha256: str, seconds: float) -> None:
    """Keep what building the index of this digest took, for its timing."""
    with replacing(BUILD) as temporary:
        temporary.write_text(json.dumps({"index_sha256": index_sha256, "build_s": round(seconds, 2)}), encoding="utf-8")


def _build_s(index_sha256: str) -> float | None:
    try:
        built = json.loads(BUILD.read_text(encoding="utf-8"))
        return float(built["build_s"]) if built["index_sha256"] == index_sha256 else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def write(path: Path, timing: Timing | None) -> None:
    """Write `timing` to `path`; None, where there was nothing to measure, removes what an earlier index has left there."""
    path.unlink(missing_ok=True)
    if timing is not None:
        with replacing(path) as temporary:
            temporary.write_text(json.dumps(asdict(timing), indent=2), encoding="utf-8")


def resident_mib() -> tuple[float, float]:
    """Return what this process holds in memory: of its own (RssAnon) and of mapped files (RssFile); see proc(5).

    Where there is no /proc, as on a Mac, nothing is measured: 0.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return 0.0, 0.0
    held = {name: int(rest.split()[0]) / 1024 for name, _, rest in (line.partition(":") for line in lines) if name.startswith("Rss")}
    return held["RssAnon"], held["RssFile"]


def _processor_seconds(index: Searcher, queries: Vectors, k: int) -> float:
    """Return what a search takes of this thread's processor time: a gate judges it, and must not refuse an index because something else
    is running.
    """
    started = time.thread_time()
    index.search(queries, k)
    return time.thread_time() - started


def _seconds(index: Searcher, queries: Vectors, k: int, setting: Setting | None = None) -> float:
    started = time.perf_counter()
    index.search(queries, k, setting)
    return time.perf_counter() - started


def memory_mib(directory: Path, queries: Vectors, k: int) -> tuple[float, float]:
    """Return what opening the build in `directory` and asking it adds to this process, MiB: of its own, and of mapped files."""
    import faiss  # the library itself is not what the index takes

    faiss.omp_get_max_threads()
    before = resident_mib()
    index = Searcher.open(directory)
    index.search(queries, k)
    after = resident_mib()
    return after[0] - before[0], after[1] - before[1]
