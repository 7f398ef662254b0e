"""How far rows have moved from a reference: the distances of two histograms, column by column."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.lib.measures.binning import Binning
from pipelines.lib.measures.distances import jensen_shannon, ks, psi
from pipelines.lib.measures.histogram import Histogram


@dataclass(frozen=True)
class Measures:
    """How far one column of `rows` rows is from the reference, to six decimals.

    `psi` is over all bins, those of missing and unseen included. `ks` is of the numbers alone, None for categories and where
    either side has no number. `jensen_shannon` is a distance in [0, 1]. `missing` and `unseen` are shares of the current rows.
    """

    rows: int
    psi: float
    ks: float | None
    jensen_shannon: float
    missing: float
    unseen: float


def compare(binnings: Sequence[Binning], reference: Histogram, current: Histogram, *, floor: float) -> dict[str, Measures]:
    """Return the measures of each column of `current` against `reference`, both counted in `binnings`. Raises `DataError` without rows."""
    return {binning.name: _measure(binning, reference.counts[binning.name], current.counts[binning.name], floor) for binning in binnings}


def _measure(binning: Binning, reference: tuple[int, ...], current: tuple[int, ...], floor: float) -> Measures:
    rows = sum(current)
    ordered = binning.values is None and any(reference[:-1]) and any(current[:-1])
    return Measures(
        rows=rows,
        psi=round(psi(reference, current, floor), 6),
        ks=round(ks(reference[:-1], current[:-1]), 6) if ordered else None,
        jensen_shannon=round(jensen_shannon(reference, current), 6),
        missing=round(current[-1] / rows, 6),
        unseen=0.0 if binning.values is None else round(current[-2] / rows, 6),
    )
