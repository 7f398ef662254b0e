"""The queries of an index and their true answers: the rows of nights that it does not hold, as production asks them, with what exact search answers.

An indexed row's neighbours are mostly of its own night, which shares its weather and its delays; a search that finds them may find much less for the
rows of a night to come. So the newest rows, the *tail*, are asked about an index of all the others. A table too small for one is asked about its own
rows, each left out of its own answer, which flatters.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from pipelines.lib.measures import neighbours
from pipelines.lib.measures.neighbours import Ids, Vectors

LEAST = 100
"""Rows that a tail must have, and that must be known before it: fewer are too few to measure a recall."""

SHARE = 10
"""A tail is at most one in this number of rows: the others are to be what is published, nearly."""


@dataclass(frozen=True)
class Questions:
    """The `vectors` [m, d] of the rows `own` [m], and the nearest `ids` [m, k] at `distances` [m, k] to each among the first `known` rows of an index.

    A row that is known itself does not count as its own neighbour.
    """

    own: Ids
    vectors: Vectors
    known: int
    distances: Vectors
    ids: Ids

    @property
    def spare(self) -> int:
        """How many neighbours more an index must be asked for: one where it may answer with the row itself."""
        return int((self.own < self.known).any())

    def hits(self, distances: Vectors, ids: Ids, k: int) -> Vectors:
        """Return for each question the share [m] of its k true neighbours that the answer [m, k + spare] has; 1 if it has none."""
        if self.spare:
            distances, ids = neighbours.without(distances, ids, self.own)
        return neighbours.hits(ids, distances, self.ids, self.distances, k)


def tail(sizes: Iterable[int], queries: int) -> int:
    """Return how many rows to hold out of partitions of these `sizes`, the newest last: whole ones, just enough for two samples of
    `queries`; 0 for too few.
    """
    newest_first = list(sizes)[::-1]
    count, rows = sum(newest_first), 0
    for size in newest_first:
        if rows >= 2 * queries or rows + size > count // SHARE:
            break
        rows += size
    return rows if rows >= LEAST else 0


def drawn(count: int, known: int, queries: int, seed: int, *, second: bool = False) -> Ids:
    """Return the rows to ask about, out of those from `known` on, or where all `count` are known, out of all: at most `queries`; see
    `neighbours.sample`.
    """
    held_out = count - known
    if not held_out:
        return neighbours.sample(count, queries, seed, second=second)
    return known + neighbours.sample(held_out, min(queries, held_out // 2), seed, second=second)


def ask(parts: Iterable[Vectors], own: Ids, vectors: Vectors, known: int, k: int) -> Questions:
    """Put the `vectors` [m, d] of the rows `own` [m] to exact search among the first `known` rows of `parts`, arrays [n, d] one after the
    other.
    """
    import faiss

    nearest, start = faiss.ResultHeap(len(own), k), 0
    for part in parts:
        rows = part[: max(0, known - start)]
        mine = (own >= start) & (own < start + len(rows))
        distances, ids = neighbours.exact(rows, vectors, k, leave_out=np.where(mine, own - start, -1) if mine.any() else None)
        nearest.add_result(distances, np.where(ids >= 0, ids + start, -1))
        start += len(part)
    nearest.finalize()
    return Questions(own, vectors, known, nearest.D, nearest.I)
