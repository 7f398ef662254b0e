"""The scores with which monitoring compares those of later nights: a model's answers for the rows of its training, unless it knows these by heart.

The scores of a deep forest of its own rows are far too sure, so any night would look like drift, and a quality measured on them is too good. Then the scores are
those of models that have not learned from the night of a row. They are not the first choice: a model of few leaves gives many rows the same score, another
fit of it gives them another one, and that looks like drift as well.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import DataError
from pipelines.lib.measures.binning import numeric_binning
from pipelines.lib.measures.distances import psi
from pipelines.lib.measures.histogram import count
from pipelines.lib.models import estimators
from pipelines.lib.models.forms import NETWORK, form_of
from pipelines.lib.models.profile import NOT_TESTED, SCORE, SCORE_DECIMALS, SEEN, UNSEEN, ProfileParams

if TYPE_CHECKING:
    from pipelines.lib.features.history import History

Scores = NDArray[np.float64]
Fit = Callable[["History"], Any]

BY_HEART = 0.1
"""PSI between the scores of learned and of other rows from which on a model knows its rows by heart. A smaller one is less than what counts as drift."""

_FOLDS = 5
_FEW_FOLDS, _MANY_ROWS = 2, 50_000
"""A model of this number of rows is nearly the same without half of them, and a fit of it takes its time."""


class Reference(NamedTuple):
    """`scores` float64 [n], and of which rows they are, `scored_as`: `SEEN`, `UNSEEN`, or `NOT_TESTED` if nobody can say whether they are too sure."""

    scores: Scores
    scored_as: str


def reference_scores(model: Any, history: "History", fit: Fit, seed: int, params: ProfileParams) -> Reference:
    """Return scores of the rows of `history`, from which a fitted `model` has learned, that look like those of other rows.

    `fit` makes such a model of other rows, or raises `DataError`. It is called with half of the nights, unless the trees of a forest answer without it,
    and for each part of the nights if `model` knows its rows by heart. `seed` says which nights. The network of `forms.distil` has too few weights for that.
    """
    own = _own(model, history)
    form = form_of(model)
    if form is not None and form.name == NETWORK:
        return Reference(own, SEEN)
    try:
        if any(_distance(learned, other, params) <= BY_HEART for learned, other in _looks(model, own, history, fit, seed)):
            return Reference(own, SEEN)
        return Reference(_held_out(history, fit, seed, _FOLDS if len(own) < _MANY_ROWS else _FEW_FOLDS), UNSEEN)
    except DataError:
        return Reference(own, NOT_TESTED)


def _looks(model: Any, own: Scores, history: "History", fit: Fit, seed: int) -> Iterator[tuple[Scores, Scores]]:
    """Yield scores of rows from which a model has learned, with scores of rows from which it has not.

    The first look costs no fit, but only a forest of many trees whose trees have drawn their rows passes it: the mean of a few trees is another score than that of all.
    """
    if estimators.is_forest(estimators.final(model)) and estimators.final(model).bootstrap:
        out_of_bag = _out_of_bag(model, history)
        known = ~np.isnan(out_of_bag)
        yield own[known], out_of_bag[known]
    other = _parts(history, 2, seed) == 0
    half = fit(history.where(~other))
    yield _own(half, history.where(~other)), _own(half, history.where(other))


def _out_of_bag(model: Any, history: "History") -> Scores:
    """Return the mean answer [n] of the trees that have not drawn a row; NaN where all have."""
    last = estimators.final(model)
    rows = history.features if last is model else model[:-1].transform(history.features).astype(np.float32)
    total, trees = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int32)
    for tree, drawn in zip(last.estimators_, last.estimators_samples_, strict=True):
        other = np.ones(len(rows), dtype=bool)
        other[drawn] = False
        total[other] += estimators.answer(tree, rows[other], history.task.name)
        trees += other
    mean: Scores = np.divide(total, trees, out=np.full(len(rows), np.nan), where=trees > 0)
    return mean


def _held_out(history: "History", fit: Fit, seed: int, parts: int) -> Scores:
    """Return the answers [n] of models that have not learned from the night of a row."""
    part_of_row, found = _parts(history, parts, seed), np.empty(len(history.labels))
    for part in np.unique(part_of_row):
        asked = part_of_row == part
        found[asked] = _own(fit(history.where(~asked)), history.where(asked))
    return found


def _parts(history: "History", parts: int, seed: int) -> NDArray[np.intp]:
    """Return the part [n] of each row: whole nights, in a random order. Raises `DataError` if there is one night alone."""
    nights, night_of_row = np.unique(history.nights, return_inverse=True)
    if len(nights) < 2:
        raise DataError("there is one night alone")
    found: NDArray[np.intp] = (np.random.default_rng(seed).permutation(len(nights)) % parts)[night_of_row]
    return found


def _distance(learned: Scores, other: Scores, params: ProfileParams) -> float:
    binning = numeric_binning(SCORE, learned.astype(np.float32), bins=params.bins, decimals=SCORE_DECIMALS)
    reference, found = (np.array(count({SCORE: scores.astype(np.float32)}, [binning]).counts[SCORE]) for scores in (learned, other))
    return psi(reference, found, params.floor)


def _own(model: Any, history: "History") -> Scores:
    with estimators.one_blas_thread():
        given = estimators.answer(estimators.single_threaded(model), history.features, history.task.name)
    return np.asarray(given, dtype=np.float64)
