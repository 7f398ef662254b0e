"""Exact nearest neighbours, and how near to them an approximate answer comes.

Vectors are float32 [n, d]; distances are squared L2, ids are row numbers. Where there are fewer than k neighbours, an answer is filled up with the
id -1 at an infinite distance, as FAISS does it.
"""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]

_SPARE = 16
"""Neighbours that are looked for beyond k: FAISS finds many queries' neighbours through products of matrices, whose distances are off by some
1e-7, so that two of nearly the same distance may change places at the end of the list."""

_TIE = 1e-5
"""Relative difference up to which two distances are the same: they are sums of some dozens of float32 squares."""

_FEW = 32
"""Queries below which one thread compares: where others wait for a core, FAISS's threads wait for each other, 30 ms for what takes 40
us.
"""


@contextmanager
def threads(number: int) -> Iterator[None]:
    """Let FAISS use `number` threads within, for what this thread asks of it."""
    import faiss

    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(number)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def exact(base: Vectors, queries: Vectors, k: int, *, leave_out: Ids | None = None) -> tuple[Vectors, Ids]:
    """Return the k nearest rows of `base` [n, d] to each of `queries` [m, d]: distances [m, k] in rising order and ids [m, k].

    `leave_out` [m] names one row for each query that does not count (-1: none): a query that is itself a row of `base` would find itself. Rows of the
    same distance come in the order of their ids. `base` may be memory-mapped; it is not copied.
    """
    import faiss

    count, spare = len(base), _SPARE + (leave_out is not None)
    wanted = min(k + spare, count)
    if wanted == 0 or len(queries) == 0:
        return np.full((len(queries), k), np.inf, dtype=np.float32), np.full((len(queries), k), -1, dtype=np.int64)
    _, ids = faiss.knn(queries, base, wanted)
    if leave_out is not None:
        ids[ids == leave_out[:, None]] = -1
    return nearest(base, queries, ids, k)


def nearest(base: Vectors, queries: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """Return the k nearest of the rows `ids` [m, c] of `base` [n, d] to each of `queries` [m, d], by their true distances: as `exact` answers.

    The id -1 stands for none. `base` is read in place, at the named rows alone, so it may be memory-mapped.
    """
    import faiss

    queries, ids = np.ascontiguousarray(queries, dtype=np.float32), np.ascontiguousarray(ids, dtype=np.int64)
    distances = np.full(ids.shape, np.inf, dtype=np.float32)
    if ids.size:
        pointers = [faiss.swig_ptr(array) for array in (distances, queries, base, ids)]
        with threads(1) if len(queries) < _FEW else nullcontext():
            faiss.fvec_L2sqr_by_idx(*pointers, base.shape[1], *ids.shape)  # zero-copy; infinite for -1
    order = np.lexsort((ids, distances))[:, :k]  # by row: the last axis
    found = np.take_along_axis(distances, order, axis=1), np.take_along_axis(ids, order, axis=1)
    short = ((0, 0), (0, k - order.shape[1]))
    return np.pad(found[0], short, constant_values=np.inf), np.pad(found[1], short, constant_values=-1)


def recall(found_ids: Ids, found_distances: Vectors, exact_ids: Ids, exact_distances: Vectors, k: int) -> float:
    """Return the share of all true k neighbours that was found; see `hits`. Where there are none at all, it is 1."""
    wanted = (exact_ids[:, :k] >= 0).sum(axis=1)
    if not wanted.any():
        return 1.0
    return float((hits(found_ids, found_distances, exact_ids, exact_distances, k) * wanted).sum() / wanted.sum())


def hits(found_ids: Ids, found_distances: Vectors, exact_ids: Ids, exact_distances: Vectors, k: int) -> Vectors:
    """Return the share [m] of each query's true k neighbours that an answer has: its ids and distances [m, >= k] compared with `exact`.

    A found row counts when it is one of the true neighbours or as near as the farthest of them (ties: which of several equally far rows
    an answer names is chance). True neighbours that do not exist (fewer than k rows) are not looked for; a query without any has all of them.
    """
    true_ids, true_distances = exact_ids[:, :k], exact_distances[:, :k]
    there = true_ids >= 0
    wanted = there.sum(axis=1)
    limit = np.where(there, true_distances, -np.inf).max(axis=1, keepdims=True, initial=-np.inf)
    ids, distances = found_ids[:, :k], found_distances[:, :k]
    same = (ids[:, :, None] == true_ids[:, None, :]).any(axis=2)
    found = ((ids >= 0) & (same | (distances <= limit * (1 + _TIE)))).sum(axis=1)
    return np.where(wanted > 0, np.minimum(found, wanted) / np.maximum(wanted, 1), 1.0)


def overlap(ids_a: Ids, ids_b: Ids, k: int) -> float:
    """Return the mean share of the first k ids [m, >= k] that two answers to the same queries have in common, in any order."""
    first, second = ids_a[:, :k], ids_b[:, :k]
    common = ((first[:, :, None] == second[:, None, :]) & (first[:, :, None] >= 0)).any(axis=2).sum(axis=1)
    size = np.maximum((first >= 0).sum(axis=1), (second >= 0).sum(axis=1))
    return float(common.sum() / size.sum()) if size.any() else 1.0


def sample(count: int, queries: int, seed: int, *, second: bool = False) -> Ids:
    """Return the row numbers, in rising order, of `queries` rows out of `count` to ask an index about; `second`: as many others, of which none is among the first.

    Settings are chosen on one sample and judged on the other. All rows, both times, where there are not enough for two. Deterministic given `seed`.
    """
    if count < 2 * queries:
        return np.arange(count, dtype=np.int64)
    chosen = np.random.default_rng(seed).choice(count, size=2 * queries, replace=False)
    return np.sort(chosen[queries:] if second else chosen[:queries]).astype(np.int64)


def without(distances: Vectors, ids: Ids, leave_out: Ids) -> tuple[Vectors, Ids]:
    """Return an answer [m, k + 1] less the row `leave_out` [m] of each query, or less the last where that row was not found: [m, k]."""
    hit = ids == leave_out[:, None]
    hit[~hit.any(axis=1), -1] = True
    shape = (len(ids), ids.shape[1] - 1)
    return distances[~hit].reshape(shape), ids[~hit].reshape(shape)
