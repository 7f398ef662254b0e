"""The golden set: rows that a model must score as it did, and directions that it must know."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.features.signature import Signature
from pipelines.lib.models.golden import Direction, Golden, check, choose, directions
from pipelines.lib.models.inference import load_model
from tests import scored_night

TWO = Signature(("a", "b"), "0" * 64)


@dataclass
class Linear:
    """A model whose score is the mean of its features' first column, plus `shift`."""

    signature: Signature = TWO
    shift: float = 0.0

    def score(self, matrix: np.ndarray) -> np.ndarray:
        return (matrix[:, 0] + self.shift).astype(np.float32)


@pytest.fixture
def golden() -> Golden:
    features = np.random.default_rng(0).random((1_000, 2)).astype(np.float32)
    return choose(("a", "b"), features, Linear().score(features), "f" * 64, count=200)


def test_it_survives_json_bit_for_bit(golden: Golden) -> None:
    back = Golden.from_json(golden.to_json())
    assert (back.names, back.sha256) == (golden.names, golden.sha256)
    assert back.features.tobytes() == golden.features.tobytes()
    assert back.scores.tobytes() == golden.scores.tobytes()


def test_its_rows_are_spread_over_all(golden: Golden) -> None:
    assert golden.features.shape == (200, 2)
    few = choose(("a",), np.arange(5, dtype=np.float32)[:, None], np.arange(5, dtype=np.float32), "f" * 64, count=200)
    assert few.features.ravel().tolist() == [0, 1, 2, 3, 4]


def test_the_model_itself_passes_and_any_other_does_not(golden: Golden) -> None:
    assert check(Linear(), golden) == []
    assert "200 of 200 golden rows get another score" in check(Linear(shift=0.001), golden)[0]
    assert "200 of 200 golden rows get a score that is not finite" in check(Linear(shift=np.nan), golden)[0]
    assert "the model takes a; the golden set holds a, b" in check(Linear(Signature(("a",), "0" * 64)), golden)[0]
    assert "holds no rows" in check(Linear(), replace(golden, features=golden.features[:0], scores=golden.scores[:0]))[0]


def test_one_row_that_differs_is_named(golden: Golden) -> None:
    scores = golden.scores.copy()
    scores[17] += 0.5
    assert "1 of 200 golden rows get another score than at registration; row 17" in check(Linear(), replace(golden, scores=scores))[0]


def test_an_exported_model_reproduces_its_golden_set(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(scored_night.onnx_bytes())
    model = load_model(tmp_path / "model.onnx")
    features = scored_night.values(500)
    golden = choose(scored_night.NAMES, features, model.score(features), model.sha256, count=100)
    assert check(load_model(tmp_path / "model.onnx"), Golden.from_json(golden.to_json())) == []


@pytest.mark.parametrize("text", ["", "{}", "[1]", json.dumps({"names": ["a"], "features": [[1, 2, 3], [4]], "scores": [], "sha256": ""})])
def test_a_file_that_is_not_a_golden_set_is_refused(text: str) -> None:
    with pytest.raises(DataError, match="not a golden set"):
        Golden.from_json(text)


def test_directions_are_judged_by_the_mean_score(golden: Golden) -> None:
    expected = [
        Direction(change={"a": 2.0}, expect="higher"),
        Direction(change={"a": 2.0}, expect="lower"),
        Direction(change={"b": 9.0}, expect="higher"),
    ]
    before = golden.features.copy()
    found = directions(Linear(), golden.features, expected)
    assert [finding.passed for finding in found] == [True, False, False]  # what changes nothing is not higher
    assert np.array_equal(golden.features, before)
    assert str(found[1]).startswith("with a = 2 the mean score goes from 0.")
    assert str(found[1]).endswith("to 2.0000; it must come out lower")


def test_a_direction_of_an_unknown_feature_is_named(golden: Golden) -> None:
    with pytest.raises(ConfigError, match="changes 'c', which is not a feature; the features are a, b"):
        directions(Linear(), golden.features, [Direction(change={"c": 1.0}, expect="higher")])
