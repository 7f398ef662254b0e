"""The golden set: what a model must answer, anyone who loads it and wherever, before it may be trusted.

Two parts. *Rows with their scores*, written when the model is evaluated: a later load must reproduce them (`check`). *Expectations
of direction*, declared by people who know the table (``params.yaml: evaluate.golden``): rain must not make a flight punctual
(`directions`). The second kind is the directional expectation test of Ribeiro et al. 2020, *Beyond Accuracy: CheckList*.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from pydantic import Field

from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.core.params import Section
from pipelines.lib.features.signature import Signature

TOLERANCE = 1e-5
"""Largest difference of a score, relative to the largest if that is above 1, that another processor may make; float32 sums of a hundred trees differ by some 1e-7."""


class Scorer(Protocol):
    """A loaded model, such as `pipelines.lib.models.inference.Model`."""

    @property
    def signature(self) -> Signature:
        """The features that it takes."""

    def score(self, matrix: np.ndarray) -> np.ndarray:
        """Map features float32 [n, f] to scores float32 [n]."""


class Direction(Section):
    """With the features of `change` set to the values given there, the mean score must come out `expect` than it was."""

    change: dict[str, float] = Field(min_length=1)
    expect: Literal["higher", "lower"]


@dataclass(frozen=True)
class Golden:
    """`features` [n, f] float32 named `names`, and the `scores` [n] float32 that the model of digest `sha256` gave them."""

    names: tuple[str, ...]
    features: np.ndarray
    scores: np.ndarray
    sha256: str

    def to_json(self) -> str:
        """Return the form of ``golden.json``; float32 survive it bit for bit."""
        content = {"sha256": self.sha256, "names": self.names, "scores": self.scores.tolist(), "features": self.features.tolist()}
        return json.dumps(content)

    @classmethod
    def from_json(cls, text: str) -> "Golden":
        """Return the inverse of `to_json`. Raises `DataError` if `text` is not a golden set."""
        try:
            content = json.loads(text)
            features = np.array(content["features"], dtype=np.float32).reshape(-1, len(content["names"]))
            return cls(tuple(content["names"]), features, np.array(content["scores"], dtype=np.float32), content["sha256"])
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"this is not a golden set ({type(error).__name__}: {error}); evaluate writes it: dvc repro evaluate") from None


def choose(names: tuple[str, ...], features: np.ndarray, scores: np.ndarray, sha256: str, count: int) -> Golden:
    """Return the golden set of `count` rows, evenly spaced over `features` and so over its dates: the same rows for the same input."""
    picked = np.unique(np.linspace(0, len(features) - 1, count).round().astype(int))
    return Golden(names, features[picked], scores[picked], sha256)


def check(model: Scorer, golden: Golden) -> list[str]:
    """Return why `model` is not the one that wrote `golden`; empty if it reproduces every score within `TOLERANCE`."""
    try:
        largest_difference(model, golden)
    except ModelError as error:
        return [str(error)]
    scores = model.score(golden.features)
    distance = np.abs(scores - golden.scores) / _unit(golden.scores)
    worst = int(distance.argmax())
    if distance[worst] > TOLERANCE:
        return [
            f"{int((distance > TOLERANCE).sum())} of {len(scores)} golden rows get another score than at registration; "
            f"row {worst}: {scores[worst]:.6f} instead of {golden.scores[worst]:.6f}"
        ]
    return []


def largest_difference(model: Scorer, golden: Golden) -> float:
    """Return the largest absolute difference between the scores of `model` and those of `golden`. Raises `ModelError` if they cannot be compared."""
    if model.signature.names != golden.names:
        raise ModelError(f"the model takes {', '.join(model.signature.names)}; the golden set holds {', '.join(golden.names)}")
    if not len(golden.scores):
        raise ModelError("the golden set holds no rows, so it shows nothing; evaluate the model again")
    scores = model.score(golden.features)
    if not np.isfinite(scores).all():
        raise ModelError(f"{int((~np.isfinite(scores)).sum())} of {len(scores)} golden rows get a score that is not finite")
    return relative_difference(golden.scores, scores)


def relative_difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the largest absolute difference of two columns of scores [n]: of probabilities, or of forecasts as a share of the largest one if that is above 1."""
    return float(np.abs(actual.astype(np.float64) - expected).max() / _unit(expected))


def _unit(scores: np.ndarray) -> float:
    return max(1.0, float(np.abs(scores).max(initial=0.0)))


@dataclass(frozen=True)
class Finding:
    """The result of an expectation of direction: the mean score `before` the change and `after` it, and whether it went as expected."""

    change: Mapping[str, float]
    expect: Literal["higher", "lower"]
    before: float
    after: float
    passed: bool

    def __str__(self) -> str:
        change = ", ".join(f"{name} = {value:g}" for name, value in self.change.items())
        return f"with {change} the mean score goes from {self.before:.4f} to {self.after:.4f}; it must come out {self.expect}"


def directions(model: Scorer, features: np.ndarray, expected: Sequence[Direction]) -> tuple[Finding, ...]:
    """Test each expectation on `features` [n, f].

    Raises `ConfigError` if one changes a feature that the model does not take.
    """
    before = float(model.score(features).mean(dtype=np.float64))
    return tuple(_direction(model, features, before, one) for one in expected)


def _direction(model: Scorer, features: np.ndarray, before: float, expected: Direction) -> Finding:
    changed = features.copy()
    for name, value in expected.change.items():
        changed[:, _index(model.signature.names, name)] = value
    after = float(model.score(changed).mean(dtype=np.float64))
    passed = after > before if expected.expect == "higher" else after < before
    return Finding(expected.change, expected.expect, round(before, 6), round(after, 6), passed)


def _index(names: tuple[str, ...], name: str) -> int:
    if name not in names:
        raise ConfigError(f"evaluate.golden changes {name!r}, which is not a feature; the features are {', '.join(names)}")
    return names.index(name)
