"""Which features a model leans on, measured on rows with outcomes, and how far that ranking has moved from another one."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np

from pipelines.lib.measures.tasks import BINARY, Task

MOST_ROWS = 20_000
"""Rows that are permuted: the standard error of a drop in AUC is then about 0.002, and a model of 22 features takes half a second."""


def permutation_importance(
    score: Callable[[np.ndarray], np.ndarray],
    features: np.ndarray,
    labels: np.ndarray,
    nights: np.ndarray,
    names: Sequence[str],
    task: Task = BINARY,
) -> dict[str, float]:
    """Return how much a night's quality (AUC, or R²) drops when one feature of `features` [n, f] is shuffled among its rows (Breiman 2001), for each of `names` [f].

    The mean over the `nights` [n] (ISO dates), weighted by rows, of those on which it is defined; no features where it is on none. A feature
    that is the same all night long is worth 0, and chance makes one that does not matter negative at times. The same for the same rows;
    of more than `MOST_ROWS` as many are drawn. `score` gives [n, f] its scores [n].
    """
    rows = np.arange(len(labels))
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng(0).choice(rows, MOST_ROWS, replace=False))
    held = [rows[nights[rows] == night] for night in np.unique(nights[rows])]
    held = [night for night in held if task.judges(labels[night])]
    if not held:
        return {}
    starts = np.cumsum([len(night) for night in held])[:-1]
    rows = np.concatenate(held)
    matrix, outcomes = features[rows], np.split(labels[rows], starts)
    # One seed a night, of its date: it is shuffled alike alone, as monitoring sees it, and among others, as training does.
    orders = [np.random.default_rng(date.fromisoformat(str(nights[night[0]])).toordinal()) for night in held]
    columns = [score(matrix)]
    for index in range(matrix.shape[1]):
        shuffled = matrix.copy()
        shuffled[:, index] = np.concatenate(
            [order.permutation(values) for order, values in zip(orders, np.split(matrix[:, index], starts), strict=True)]
        )
        columns.append(score(shuffled))
    of_nights = zip(outcomes, *(np.split(column, starts) for column in columns), strict=True)
    qualities = np.array([task.qualities(outcome, np.stack(columns)) for outcome, *columns in of_nights])
    drops = np.average(qualities[:, :1] - qualities[:, 1:], axis=0, weights=[len(night) for night in held])
    return {name: round(float(drop), 6) for name, drop in zip(names, drops, strict=True)}


def ndcg(reference: Mapping[str, float], current: Mapping[str, float]) -> float | None:
    """Return how well the ranking by `current` keeps the order of the `reference`: 1 the same, less the more important the features that moved.

    ``DCG / ideal DCG`` with ``DCG = sum_i a(f_i) / log2(i + 1)``, a(f) the reference's importance (below 0: 0) of the feature that is in
    place i = 1, 2, … by current importance; the ideal is the reference's own order. It is what Amazon SageMaker's model monitor calls
    feature attribution drift, where less than 0.90 is a violation. None if no feature is important in the reference.
    """
    gains = {name: max(value, 0.0) for name, value in reference.items()}
    ideal = _dcg(sorted(gains.values(), reverse=True))
    return round(_dcg([gains[name] for name in ranking(current) if name in gains]) / ideal, 6) if ideal > 0 else None


def importance_drift(nights: Sequence[tuple[int, Mapping[str, float] | None]], reference: Mapping[str, float]) -> dict[str, Any]:
    """Return how the ranking by the importances of `nights`, each (rows, importances or None), weighted by rows, compares with the `reference`.

    ``{"nights", "rows", "ndcg", "features": [{"name", "reference", "reference_rank", "current", "rank"}]}``, by reference rank.
    """
    known = [(rows, found) for rows, found in nights if found and rows]
    total = sum(rows for rows, _ in known)
    if not total:
        return {"nights": 0, "rows": 0, "ndcg": None, "features": []}
    current = {name: round(sum(rows * found.get(name, 0.0) for rows, found in known) / total, 6) for name in reference}
    now = ranking(current)
    features = [
        {"name": name, "reference": reference[name], "reference_rank": place, "current": current[name], "rank": now.index(name) + 1}
        for place, name in enumerate(ranking(reference), start=1)
    ]
    return {"nights": len(known), "rows": total, "ndcg": ndcg(reference, current), "features": features}


def ranking(importances: Mapping[str, float]) -> list[str]:
    """Return the names, the most important first; equal ones by name."""
    return sorted(importances, key=lambda name: (-importances[name], name))


def _dcg(gains: list[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, start=1))
