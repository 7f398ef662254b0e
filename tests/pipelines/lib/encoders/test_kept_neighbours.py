"""The rows among which neighbours are looked for: as many as are declared, the same each time, and no query finds itself."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.lib.encoders.encoder import Encoder, load_encoder
from pipelines.lib.encoders.kept_neighbours import ComparedRows, kept
from tests.trained_encoder import START, encoder_bytes, history

HELD_OUT = history().nights >= START


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    path: Path = tmp_path_factory.mktemp("encoder") / "encoder.onnx"
    path.write_bytes(encoder_bytes())
    return load_encoder(path)


def test_of_few_rows_all_are_compared() -> None:
    rows = ComparedRows.of(HELD_OUT, most=6_000, queries=300)
    np.testing.assert_array_equal(rows.held_out, np.flatnonzero(HELD_OUT))
    np.testing.assert_array_equal(rows.history, np.arange(6_000))
    assert rows.counts(HELD_OUT) == {"held_out": {"compared": 2_800, "rows": 2_800}, "history": {"compared": 6_000, "rows": 6_000}}
    assert len(rows.queries) == 300
    assert HELD_OUT[rows.queries].all()


def test_of_more_rows_as_many_are_drawn_the_same_each_time() -> None:
    first, second = (ComparedRows.of(HELD_OUT, most=1_000, queries=200) for _ in range(2))
    for one, other, size in zip(vars(first).values(), vars(second).values(), (1_000, 1_000, 200), strict=True):
        np.testing.assert_array_equal(one, other)
        assert len(np.unique(one)) == size
    assert HELD_OUT[first.held_out].all()
    assert 0.4 < HELD_OUT[first.history].mean() < 0.54  # as in the history: 0.467


@pytest.mark.parametrize("most", [1_000, 6_000])
def test_no_query_is_its_own_neighbour_and_an_encoder_keeps_all_of_its_own(encoder: Encoder, most: int) -> None:
    rows = ComparedRows.of(HELD_OUT, most=most, queries=200)
    near = rows.near(encoder, history().features)
    for found, among in zip(near, (rows.held_out, rows.history), strict=True):
        assert found.shape == (200, 10)
        assert not (among[found] == rows.queries[:, None]).any()
    assert kept(near, near) == (1.0, 1.0)


def test_without_held_out_rows_there_is_nothing_to_compare(encoder: Encoder) -> None:
    rows = ComparedRows.of(np.zeros(6_000, dtype=bool), most=1_000, queries=200)
    assert [found.shape for found in rows.near(encoder, history().features)] == [(0, 10), (0, 10)]
