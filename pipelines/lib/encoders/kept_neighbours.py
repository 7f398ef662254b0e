"""The nearest neighbours of held-out rows under an encoder, and the share of them that another encoder keeps.

Neighbours are looked for twice: among held-out rows, and among the whole history. Of more rows than are declared, that many are drawn.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.encoders.encoder import Encoder
from pipelines.lib.measures import neighbours
from pipelines.lib.measures.neighbours import Ids

NEIGHBOURS, SEED = 10, 0

Near = tuple[Ids, Ids]
"""The neighbours [q, 10] of each query among held-out rows, and among the history."""


@dataclass(frozen=True)
class ComparedRows:
    """Numbers of rows of a history, in rising order: `held_out` [h] and `history` [a] are those among which neighbours are looked for, `queries` [q] those
    whose neighbours they are.
    """

    held_out: Ids
    history: Ids
    queries: Ids

    @classmethod
    def of(cls, held_out: NDArray[np.bool_], *, most: int, queries: int) -> "ComparedRows":
        """Return at most `most` of the rows that `held_out` [n] marks, at most `most` of all n, and `queries` of the held-out ones."""
        rng = np.random.default_rng(SEED)
        rows = (np.flatnonzero(held_out), np.arange(len(held_out)))
        compared, history = (np.sort(rng.choice(kind, most, replace=False)) if len(kind) > most else kind for kind in rows)
        return cls(compared, history, compared[neighbours.sample(len(compared), queries, SEED)])

    def counts(self, held_out: NDArray[np.bool_]) -> dict[str, dict[str, int]]:
        """Return the number of rows that are compared, and of those that they were drawn from, as a report has them."""
        return {
            "held_out": {"compared": len(self.held_out), "rows": int(held_out.sum())},
            "history": {"compared": len(self.history), "rows": len(held_out)},
        }

    def near(self, encoder: Encoder, features: NDArray[np.float32]) -> Near:
        """Return the nearest rows to each query under `encoder`, itself left out; `features` [n, f] are those of the history."""
        encoded = np.union1d(self.held_out, self.history)
        vectors = encoder.encode(features if len(encoded) == len(features) else features[encoded])
        asked = vectors[np.searchsorted(encoded, self.queries)]
        held_out, history = (
            neighbours.exact(vectors[np.searchsorted(encoded, rows)], asked, NEIGHBOURS, leave_out=_places(rows, self.queries))[1]
            for rows in (self.held_out, self.history)
        )
        return held_out, history


def kept(mine: Near, theirs: Near) -> tuple[float, float]:
    """Return the share of neighbours that two encoders have in common, among held-out rows and among the history."""
    held_out, history = (round(neighbours.overlap(one, other, NEIGHBOURS), 6) for one, other in zip(mine, theirs, strict=True))
    return held_out, history


def _places(rows: Ids, wanted: Ids) -> Ids:
    """Return the place of each of `wanted` [q] among the rising `rows`, -1 if it is not there."""
    return np.where(np.isin(wanted, rows), np.searchsorted(rows, wanted), -1)
