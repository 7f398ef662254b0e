"""How many rows a model was fitted on, and how many of them each tree of a forest drew."""

from dataclasses import dataclass
from typing import Any

from pipelines.lib.models.estimators import final


@dataclass(frozen=True)
class ForestSample:
    """`rows` that training had, and the `rows_per_tree` that each tree drew from them, with replacement; None if the model is not a forest."""

    rows: int
    rows_per_tree: int | None

    @property
    def is_part(self) -> bool:
        """Whether a tree drew fewer rows than there were."""
        return self.rows_per_tree is not None and self.rows_per_tree < self.rows


def keep_sample(model: Any, rows: int) -> None:
    """Let a fitted `model` remember that it learned from `rows` rows, also in a skops file. A forest of scikit-learn does so itself."""
    if not hasattr(final(model), "_n_samples"):
        model.training_rows_ = rows


def sample_of(model: Any) -> ForestSample:
    """Return the sample of a fitted `model`."""
    last = final(model)
    if not hasattr(last, "_n_samples"):
        return ForestSample(int(model.training_rows_), None)
    drawn = last._n_samples_bootstrap  # None if its trees draw no rows
    return ForestSample(int(last._n_samples), int(last._n_samples if drawn is None else drawn))
