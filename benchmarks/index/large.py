"""Five million vectors: recall and speed, and the memory of a build in 5 and in 20 shards."""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.index.builds import QUERIES, described, line, measured
from benchmarks.index.flights import flights
from benchmarks.measure import in_process
from pipelines.lib.encoders.vectors import ROWS, VECTORS, Shard, Shards
from pipelines.lib.measures import neighbours
from pipelines.lib.vector_index import timing as index_timing

LARGE = 5_000_000
LARGE_THREADS = 2
"""That add to the large HNSW; the shipped single one would double the time of the benchmark, and changes no figure but that."""


def prepare_large(name: str) -> dict[str, Any]:
    """Return `LARGE` vectors of norm 1: flights in turn, plus a Gaussian vector whose length is the median distance of the tenth neighbour."""
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
    """Return rows that hold only their number, in partitions of a thousand instead of nights, so that the newest can be held out."""
    partition = pa.array([f"{row // QUERIES:05}" for row in range(start, end)])
    return pa.table({"row": np.arange(start, end), "partition": partition, "outcome": np.zeros(end - start, np.int8)})


def bounds(parts: int) -> list[tuple[int, int]]:
    """Return where each of `parts` shards of the large set begins and ends."""
    return [(LARGE * part // parts, LARGE * (part + 1) // parts) for part in range(parts)]


def large(name: str, parts: int) -> Shards:
    """Return the large set in `parts` shards, mapped; the rows are numbers, in files as the stages have them."""
    directory = Path(name) / "large"
    vectors = np.load(directory / VECTORS, mmap_mode="r")
    return Shards(
        Shard(f"{part:02}", vectors[start:end], directory / f"{parts}-{part}-{ROWS}", None)
        for part, (start, end) in enumerate(bounds(parts))
    )


def large_build(name: str, kind: str, parts: int) -> dict[str, Any]:
    """Build an index of `kind` from `parts` shards of the large set. Measure the memory of the build, and with 5 shards recall and speed."""
    target = Path(name) / f"large-{kind}"
    (built_line, took, peaks), peak = in_process("benchmarks.index.large:large_line", name, kind, parts, str(target))
    found = {"shards": parts, **described(built_line), "build_s": took, "build_peak_rss_mib": round(peak), "build_peak_own_mib": peaks}
    if parts == 5:
        found |= measured(target, rounds=2)
    shutil.rmtree(target)
    return found


def large_line(name: str, kind: str, parts: int, target: str) -> tuple[dict[str, Any], float, int]:
    """Build it; ``built.json``, seconds, and the peak of what the process had of its own: mapped files, which the system may drop, left out."""
    shards = large(name, parts)
    with own_peak() as peak:
        started = time.perf_counter()
        built_line = line(shards, kind, Path(target), adding=LARGE_THREADS)
        took = time.perf_counter() - started
    return {key: built_line.get(key) for key in ("count", "search", "lists")}, round(took, 1), round(peak[0])


@contextmanager
def own_peak() -> Iterator[list[float]]:
    """Yield a list whose one value becomes the peak of RssAnon in MiB, sampled every 0.05 s."""
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
