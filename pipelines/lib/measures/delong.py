"""How sure an area under the ROC curve is, and the difference of two on the same rows: DeLong, DeLong & Clarke-Pearson 1988.

Computed by midranks in O(n log n), as Sun & Xu 2014 (IEEE Signal Processing Letters 21, 1389-1393) show, rather than by comparing
every positive row with every negative one.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import DataError

Doubles = NDArray[np.float64]


def delong(labels: NDArray[np.integer[Any]], *score_columns: NDArray[np.floating[Any]]) -> tuple[Doubles, Doubles]:
    """Return the areas [m] of m columns of scores [n] over the same `labels` {0, 1} [n], and the covariance [m, m] of these areas.

    Tied scores count half. The covariance is NaN with fewer than two rows of a class. Raises `DataError` if there is one class only.
    """
    above, below = placements(labels, *score_columns)
    return above.mean(axis=1), _covariance(above) / above.shape[1] + _covariance(below) / below.shape[1]


def placements(labels: NDArray[np.integer[Any]], *score_columns: NDArray[np.floating[Any]]) -> tuple[Doubles, Doubles]:
    """Return the structural components of the areas: for each positive row the share of negative rows that it outranks [m, positives], and
    for each negative row the share of positive rows that outrank it [m, negatives]. The mean of either is the area. Raises as `delong`.
    """
    positive = np.asarray(labels) == 1
    count, others = int(positive.sum()), int((~positive).sum())
    if count == 0 or others == 0:
        raise DataError(f"{count} positive and {others} negative rows: an area under the ROC curve needs both; take more rows")
    above, below = np.empty((len(score_columns), count)), np.empty((len(score_columns), others))
    for index, column in enumerate(score_columns):
        scores = np.asarray(column, dtype=np.float64)
        ranks = _midranks(scores)
        above[index] = (ranks[positive] - _midranks(scores[positive])) / others
        below[index] = 1 - (ranks[~positive] - _midranks(scores[~positive])) / count
    return above, below


def _midranks(values: Doubles) -> Doubles:
    """Return ranks from 1; equal values share the middle of the ranks that they take together."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    middle: Doubles = (np.cumsum(counts) - (counts - 1) / 2)[which]
    return middle


def _covariance(rows: Doubles) -> Doubles:
    if rows.shape[1] < 2:
        return np.full((len(rows), len(rows)), np.nan)
    centred = rows - rows.mean(axis=1, keepdims=True)
    product: Doubles = centred @ centred.T / (rows.shape[1] - 1)
    return product
