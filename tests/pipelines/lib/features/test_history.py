"""Rows that are drawn from a history: as many as asked for, in their order, the same each time, and both classes alike."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.lib.features.history import History, drawn


def _history(rows: int) -> History:
    rng = np.random.default_rng(1)
    labels = (rng.random(rows) < 0.02).astype(np.int8)
    return History(np.arange(rows, dtype=np.float32)[:, None], labels, pa.table({"key": np.arange(rows)}), ("a",))


def test_a_history_that_is_short_enough_is_not_touched() -> None:
    history = _history(100)
    assert drawn(history, 100) is history
    assert drawn(history, 101) is history


def test_rows_labels_and_keys_stay_together_in_their_order_the_same_each_time() -> None:
    history = _history(50_000)
    found, again = drawn(history, 20_000), drawn(history, 20_000)
    keys = found.column("key")
    assert len(keys) == len(np.unique(keys)) == 20_000
    assert np.all(np.diff(keys) > 0)
    np.testing.assert_array_equal(found.features[:, 0], keys)
    np.testing.assert_array_equal(found.labels, history.labels[keys])
    np.testing.assert_array_equal(keys, again.column("key"))


def test_a_rare_class_keeps_its_rate() -> None:
    history = _history(200_000)
    assert drawn(history, 100_000).labels.mean() == pytest.approx(history.labels.mean(), rel=0.05)


def test_a_declared_category_is_known_by_its_text_and_the_model_sees_its_code() -> None:
    """Pages named a slice ``category = 2.0``."""
    features = np.array([[0], [1], [-1], [-2]], np.float32)
    history = History(features, np.zeros(4, np.int8), pa.table({"key": range(4)}), ("channel",), declared={"channel": ("web", "app")})
    assert history.exact("channel").to_pylist() == ["web", "app", "(unseen)", None]
    assert history.column("channel").tolist() == [0, 1, -1, -2]


def test_a_category_that_is_text_in_the_file_keeps_the_text_of_every_row() -> None:
    rows = pa.table({"key": range(2), "channel": ["web", "rare"]})
    lists = {"channel": ("web",)}
    history = History(np.array([[0], [-1]], np.float32), np.zeros(2, np.int8), rows, ("channel",), lists, declared=lists)
    assert history.exact("channel").to_pylist() == ["web", "rare"]
