"""A data set of your own, from NumPy files, through the same builder."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.index.builds import KINDS, ROUNDS, line, ratio_to_exact, recall_10, timed
from benchmarks.index.large import numbered
from pipelines.lib.core.errors import GateFailed
from pipelines.lib.core.home import home
from pipelines.lib.encoders.vectors import Shard, Shards
from pipelines.lib.measures import neighbours
from pipelines.lib.vector_index.search import Searcher


def given(vectors: str, queries: str, truth: str) -> dict[str, Any]:
    """Measure both kinds of index of the data set in these files; or say why one was refused.

    The sweep tunes them on the last rows, and the queries judge them. A code has a byte for four values, or for more if four does not divide
    their number.
    """
    base, asked = (np.ascontiguousarray(np.load(path, mmap_mode="r"), dtype=np.float32) for path in (vectors, queries))
    true_ids = np.ascontiguousarray(np.load(truth)[:, :10], dtype=np.int64)
    if true_ids.shape != (len(asked), 10) or base.shape[1] != asked.shape[1] or not -1 < true_ids.min() <= true_ids.max() < len(base):
        raise SystemExit(
            f"the shapes are {base.shape}, {asked.shape} and {true_ids.shape}; expected [n, d], [m, d] and ids [m, >= 10] of rows below n"
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
            ratio, exact = ratio_to_exact(index, asked, ROUNDS)
            found |= {f"{kind}_recall_10": recall_10(index, asked, true_distances, true_ids), f"{kind}_qps_ratio": round(ratio, 1)}
            found |= {f"{kind}_build_s": round(took, 1), f"{kind}_search": dict(index.setting), "exact_qps": round(exact, 1)}
    return found
