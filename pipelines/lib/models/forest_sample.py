"""How many rows a forest was fitted on, and how many of them each of its trees drew."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ForestSample:
    """`rows` that training had, and the `rows_per_tree` that each tree drew from them, with replacement."""

    rows: int
    rows_per_tree: int

    @property
    def is_part(self) -> bool:
        """Whether a tree drew fewer rows than there were."""
        return self.rows_per_tree < self.rows


def sample_of(forest: Any) -> ForestSample:
    """Return the sample of a fitted forest of scikit-learn, which keeps both numbers, also in a skops file."""
    return ForestSample(int(forest._n_samples), int(forest._n_samples_bootstrap))
