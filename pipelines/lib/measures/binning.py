"""The bins of a column: edges that are chosen once, from the rows that a model learned from, and never change.

Bins are closed above and open below, ``(edge, next edge]``; the outer ones have open ends, so that every value falls into one. A value that is
missing has a bin of its own at the end: NaN, and the exact number (`filler`) that stands for a missing value in a features file. Categories
(codes, see `pipelines.lib.features.compute`) have one bin each, one for what was not declared and one for what is missing.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import ConfigError

TAIL = 0.001
"""Share of the rows in each of the two outermost bins. With bins at 0.01 besides, the simulated years of `benchmarks.governor` in which whole nights are drawn
had five times as many false retrainings (0.40 instead of 0.08 per year): the ends of a column are where nights differ most.
"""

UNSEEN_CODE, MISSING_CODE = -1, -2
"""Codes of categories in features files (`pipelines.lib.features.compute`, which is too heavy to be loaded for two numbers; a test
compares them).
"""


@dataclass(frozen=True)
class Binning:
    """The bins of one column: numeric with ascending inner `edges`, or categorical with the declared `values` (then `edges` is empty).

    Counts are laid out as ``[bins in order..., missing]`` for numbers, ``[values in order..., unseen, missing]`` for categories.
    `alone` names the edges whose bin holds one value and no other: the heavy ones. Values are rounded to `decimals` before they are counted
    (None: as they are).
    """

    name: str
    edges: tuple[float, ...] = ()
    filler: float | None = None
    values: tuple[str, ...] | None = None
    alone: tuple[float, ...] = ()
    decimals: int | None = None

    def __post_init__(self) -> None:
        if self.values is None and (not self.edges or not all(a < b for a, b in pairwise(self.edges))):
            raise ConfigError(f"the bins of {self.name} have the edges {self.edges}; they must ascend, and there must be one at least")

    @property
    def kind(self) -> str:
        """``numeric`` or ``categorical``."""
        return "numeric" if self.values is None else "categorical"

    @property
    def size(self) -> int:
        """How many counts there are."""
        return len(self.edges) + 2 if self.values is None else len(self.values) + 2

    @property
    def labels(self) -> list[str]:
        """A word for each count, in order."""
        if self.values is not None:
            return [*self.values, "unseen", "missing"]
        missing = "missing" if self.filler is None else f"missing or {self.filler:g}"
        below = [f"below {after:g}" if after in self.alone else f"{edge:g}" for edge, after in pairwise([*self.edges, math.inf])]
        first = below[0] if below[0].startswith("below") else f"up to {below[0]}"
        inner = [f"{low:g} to {high}" for low, high in zip(self.edges, below[1:], strict=False)]
        bins = [f"{edge:g}" if edge in self.alone else content for edge, content in zip(self.edges, [first, *inner], strict=True)]
        return [*bins, f"above {self.edges[-1]:g}", missing]

    @property
    def cuts(self) -> tuple[float, ...]:
        """The limits that values are compared with: the edges, or the codes, from that of a missing category on."""
        return self.edges if self.values is None else tuple(range(MISSING_CODE, len(self.values)))

    def to_json(self) -> dict[str, Any]:
        """Return the binning as JSON can hold it."""
        content = {"name": self.name, "edges": list(self.edges), "filler": self.filler, "values": self.values and list(self.values)}
        content |= {"alone": list(self.alone) or None, "decimals": self.decimals}
        return {key: value for key, value in content.items() if value is not None}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the inverse of `to_json`."""
        values = content.get("values")
        filler, alone, decimals = content.get("filler"), tuple(content.get("alone", ())), content.get("decimals")
        return cls(content["name"], tuple(content["edges"]), filler, None if values is None else tuple(values), alone, decimals)


def numeric_binning(
    name: str, values: NDArray[np.floating[Any]], *, bins: int, filler: float | None = None, decimals: int | None = None
) -> Binning:
    """Return quantile bins of the finite `values` [n] other than the `filler`: at most `bins` of about equal rows, the tails, and the rest.

    A heavy value, one that more than one in `bins` rows have, gets a bin of its own, and the quantiles are those of the other rows.
    Otherwise most quantiles would be that value: nothing would tell it from its neighbours, nor these from each other. At most `bins` distinct
    values have a bin each. Of more, the first and the last bin are cut where the share `TAIL` of the rows is outside. There is always a bin below
    all values and one above them. So a constant, a cap or a scale that changes is seen, and a tail that moves away. Without any value, there is one edge
    at 0.

    `decimals`: round first, here and whenever values are counted, if the last digits differ between machines.
    """
    kept = values[np.isfinite(values)] if decimals is None else np.round(values[np.isfinite(values)], decimals)
    if filler is not None:
        kept = kept[kept != np.asarray(filler, dtype=values.dtype)]
    distinct, rows = np.unique(kept, return_counts=True)
    heavy = distinct[rows * bins > len(kept)]
    light = distinct[rows * bins <= len(kept)]
    if len(distinct) == 0:
        edges = np.zeros(1, dtype=values.dtype)
    else:
        equal_bins = bins - len(heavy)
        if len(light) > equal_bins:
            shares = np.concatenate([[0, TAIL], np.linspace(0, 1, equal_bins + 1)[1:-1], [1 - TAIL, 1]])
            light = _quantiles(kept[~np.isin(kept, heavy)], shares)
            light[0] = _just_below(light[:1])[0]
        edges = np.concatenate([_just_below(distinct[:1]), _just_below(heavy), heavy, light])
    edges = np.unique(edges)
    return Binning(name, tuple(map(_shortest, edges)), filler, alone=tuple(map(_shortest, heavy)), decimals=decimals)


def _quantiles(values: NDArray[np.floating[Any]], shares: NDArray[np.float64]) -> NDArray[np.floating[Any]]:
    return np.quantile(values.astype(np.float64), shares).astype(values.dtype)


def _just_below(values: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """Return the next smaller number, but below 0 the next that every processor tells from 0, and nothing below the least."""
    information = np.finfo(values.dtype)
    below = np.where(values == 0, -information.tiny, np.nextafter(values, information.min))
    return below.astype(values.dtype)


def _shortest(edge: "np.floating[Any]") -> float:
    """Return the shortest decimal that gives `edge` back in its own precision."""
    return float(str(edge))


def categorical_binning(name: str, values: Sequence[str]) -> Binning:
    """Return a bin for each of the declared `values`, whose codes are their places, one for unseen and one for missing."""
    return Binning(name, values=tuple(values))
