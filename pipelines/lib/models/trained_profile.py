"""The reference profile of a model that has just been trained: its scores of its own rows and of the holdout, and what its features are worth."""

from collections.abc import Callable
from typing import Any

import numpy as np

from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import History
from pipelines.lib.measures.importance import permutation_importance
from pipelines.lib.models import estimators, unseen
from pipelines.lib.models.importances import importances_of
from pipelines.lib.models.profile import Profile, ProfileParams, build_profile
from pipelines.lib.tables.dataset import Dataset


def profile_of(
    model: Any,
    history: History,
    holdout: History,
    *,
    fit: Callable[[History], Any],
    seed: int,
    dataset: Dataset,
    features: Features,
    params: ProfileParams,
) -> Profile:
    """Return the profile of `model`, which `fit` has made of the rows of `history`. With it monitoring will compare nights; `seed` and `fit` are for `unseen.reference_scores`."""
    one_thread = estimators.single_threaded(model)

    def score(matrix: np.ndarray) -> np.ndarray:
        if not len(matrix):
            return np.empty(0, dtype=np.float32)
        with estimators.one_blas_thread():
            return np.asarray(estimators.answer(one_thread, matrix, history.task.name), dtype=np.float32)

    def permuted(rows: History) -> dict[str, float]:
        return permutation_importance(score, rows.features, rows.labels, rows.nights, rows.names, rows.task)

    on_holdout = permuted(holdout)
    reference = unseen.reference_scores(model, history, fit, seed, params)
    return build_profile(
        history,
        holdout,
        scores=reference.scores.astype(np.float32),
        scored_as=reference.scored_as,
        holdout_scores=score(holdout.features),
        importances=importances_of(model, history.features, history.names, lambda: on_holdout or permuted(history)).tolist(),
        holdout_importances=on_holdout,
        dataset=dataset,
        features=features,
        params=params,
    )
