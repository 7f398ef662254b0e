"""How important each feature is to a model of any kind: shares that add up to 1, and the words for what they measure."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.measures.importance import permutation_importance
from pipelines.lib.models.estimators import OTHERS, final, public_name

if TYPE_CHECKING:
    from pipelines.lib.features.history import History
    from pipelines.lib.models.inference import Model

IMPURITY = "mean decrease in impurity"
GAIN = "gain of its splits"
COEFFICIENT = "coefficient times standard deviation"
PERMUTATION = "loss of quality when it is shuffled"


def kind_of(model: Any) -> str:
    """Return what the importances of a fitted `model` measure."""
    last = final(model)
    if not _keeps_features(model):
        return PERMUTATION
    if public_name(type(last)) in OTHERS:
        return GAIN
    if hasattr(last, "feature_importances_"):
        return IMPURITY
    return COEFFICIENT if hasattr(last, "coef_") else PERMUTATION


def importances_of(
    model: Any, rows: NDArray[np.float32], names: Sequence[str], permuted: Callable[[], Mapping[str, float]]
) -> NDArray[np.float64]:
    """Return the importance [f] of each of the features `names` [f] to a fitted `model`, as `kind_of` says.

    `rows` [n, f] are training rows, whose standard deviations scale coefficients. `permuted` measures how much the quality drops when a feature is shuffled; it is
    called only for models that say nothing themselves.
    """
    kind, last = kind_of(model), final(model)
    if kind == IMPURITY:
        found: NDArray[np.float64] = last.feature_importances_
        return found  # adds up to 1 already
    if kind == GAIN:
        raw = np.nan_to_num(np.asarray(last.feature_importances_, dtype=np.float64))
    elif kind == COEFFICIENT:
        seen = model[:-1].transform(rows) if last is not model else rows
        raw = np.abs(np.asarray(last.coef_, dtype=np.float64)).reshape(-1, len(names)).mean(axis=0) * np.std(seen, axis=0, dtype=np.float64)
    else:
        drops = permuted()
        raw = np.maximum([drops.get(name, 0.0) for name in names], 0.0)  # chance makes some negative
    total = raw.sum()
    return raw / total if total > 0 else raw


def importances_shown(challenger: "Model", trained: Any, held_out: "History") -> dict[str, float]:
    """Return the importance of each feature as the profile of `challenger` has it, which was made of the training rows.

    Without a profile it is computed on the rows `held_out`, for the fitted model `trained` that was exported.
    """
    if challenger.profile:
        return {column.binning.name: column.importance for column in challenger.profile.features}

    def permuted() -> dict[str, float]:
        return permutation_importance(challenger.score, held_out.features, held_out.labels, held_out.nights, held_out.names, held_out.task)

    found = importances_of(trained, held_out.features, held_out.names, permuted)
    return dict(zip(held_out.names, found.round(6).tolist(), strict=True))


def _keeps_features(model: Any) -> bool:
    """Return whether the estimator at the end of a pipeline sees the features themselves, each in its place."""
    from sklearn.base import OneToOneFeatureMixin

    return all(isinstance(step, OneToOneFeatureMixin) for _, step in getattr(model, "steps", ())[:-1])
