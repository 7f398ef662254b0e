"""Which features a model leans on, measured on rows with outcomes, and how far that ranking has moved from another one."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.lib.delong import delong
from pipelines.lib.inference import Model

MOST_ROWS = 20_000
"""Rows that are permuted: the standard error of a drop in AUC is then about .002, and a model of 22 features takes half a second."""


def permutation_importance(model: Model, features: np.ndarray, labels: np.ndarray, seed: int) -> dict[str, float]:
    """How much the AUC drops when one feature [n] of `features` [n, f] is shuffled among the rows, for each feature (Breiman 2001).

    About 0 for a feature that does not matter, which chance makes negative at times. The same for the same `seed`. Of more than
    `MOST_ROWS` rows as many are drawn. Raises `DataError` where `labels` {0, 1} [n] hold one class only.
    """
    random = np.random.default_rng(seed)
    if len(labels) > MOST_ROWS:
        drawn = np.sort(random.choice(len(labels), MOST_ROWS, replace=False))
        features, labels = features[drawn], labels[drawn]
    scores = [model.score(features)]
    for column in range(features.shape[1]):
        shuffled = features.copy()
        shuffled[:, column] = random.permutation(features[:, column])
        scores.append(model.score(shuffled))
    areas, _ = delong(labels, *scores)
    return {name: round(float(areas[0] - area), 6) for name, area in zip(model.signature.names, areas[1:], strict=True)}


def ndcg(reference: Mapping[str, float], current: Mapping[str, float]) -> float | None:
    """How well the ranking by `current` keeps the order of the `reference`: 1 the same, less the more important the features that moved.

    ``DCG / ideal DCG`` with ``DCG = sum_i a(f_i) / log2(i + 1)``, a(f) the reference's importance (below 0: 0) of the feature that is in
    place i = 1, 2, … by current importance; the ideal is the reference's own order. It is what Amazon SageMaker's model monitor calls
    feature attribution drift, where less than .90 is a violation. None where no feature is important in the reference.
    """
    gains = {name: max(value, 0.0) for name, value in reference.items()}
    ideal = _dcg(sorted(gains.values(), reverse=True))
    return round(_dcg([gains[name] for name in ranking(current) if name in gains]) / ideal, 6) if ideal > 0 else None


def importance_drift(nights: Sequence[tuple[int, Mapping[str, float] | None]], reference: Mapping[str, float]) -> dict[str, Any]:
    """How the ranking by the importances of `nights`, each (rows, importances or None), weighted by rows, compares with the `reference`.

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
    """The names, the most important first; equal ones by name."""
    return sorted(importances, key=lambda name: (-importances[name], name))


def _dcg(gains: list[float]) -> float:
    return sum(gain / math.log2(place + 1) for place, gain in enumerate(gains, start=1))
