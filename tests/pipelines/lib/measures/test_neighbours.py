"""The truth that indexes are compared with: exact neighbours, each query left out of its own answer, and recall in which ties count."""

import numpy as np
import pytest

from pipelines.lib.measures.neighbours import exact, nearest, overlap, recall, sample, without


def vectors(rows: int, *, seed: int = 0, dimension: int = 8) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, dimension)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_exact_is_what_comparing_all_pairs_says() -> None:
    base, queries = vectors(500), vectors(40, seed=1)
    distances, ids = exact(base, queries, 10)
    all_pairs = ((queries[:, None, :].astype(np.float64) - base[None]) ** 2).sum(axis=2)
    np.testing.assert_array_equal(ids, np.argsort(all_pairs, axis=1)[:, :10])
    np.testing.assert_allclose(distances, np.sort(all_pairs, axis=1)[:, :10], rtol=1e-5)


def test_a_row_is_left_out_of_its_own_answer_and_only_there() -> None:
    base = vectors(50)
    rows = np.arange(50)
    distances, ids = exact(base, base, 5, leave_out=rows)
    assert not (ids == rows[:, None]).any()
    assert (distances > 0).all()
    _, with_itself = exact(base, base, 6)
    np.testing.assert_array_equal(with_itself[:, 1:], ids)


def test_a_twin_is_not_left_out_with_the_row() -> None:
    base = np.concatenate([vectors(30), vectors(30)])
    distances, ids = exact(base, base[:3], 1, leave_out=np.arange(3))
    assert ids[:, 0].tolist() == [30, 31, 32]
    assert distances[:, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("rows", [0, 1, 9])
def test_an_answer_is_filled_up_where_there_are_fewer_rows(rows: int) -> None:
    base, queries = vectors(rows), vectors(2, seed=3)
    distances, ids = exact(base, queries, 10)
    assert distances.shape == ids.shape == (2, 10)
    assert ((ids >= 0).sum(axis=1) == rows).all()
    assert np.isinf(distances[:, rows:]).all()
    distances, ids = exact(base, base, 10, leave_out=np.arange(rows))
    assert (ids >= 0).sum() == rows * (rows - 1)
    assert recall(ids, distances, ids, distances, 10) == 1.0


def test_nearest_orders_candidates_by_true_distance_and_passes_over_none() -> None:
    base, queries = vectors(20), vectors(1, seed=5)
    candidates = np.array([[7, -1, 3, 12]])
    _, ids = nearest(base, queries, candidates, 3)
    true = ((base[[7, 3, 12]] - queries) ** 2).sum(axis=1)
    np.testing.assert_array_equal(ids[0], np.array([7, 3, 12])[np.argsort(true)])
    assert nearest(base, queries, candidates, 5)[1][0, 3:].tolist() == [-1, -1]
    assert np.isinf(nearest(base, queries, candidates, 5)[0][0, 3:]).all()


def test_recall_counts_what_was_found() -> None:
    base, queries = vectors(300), vectors(20, seed=2)
    distances, ids = exact(base, queries, 10)
    assert recall(ids, distances, ids, distances, 10) == 1.0
    half, far = ids.copy(), distances.copy()
    half[:, 5:], far[:, 5:] = -1, np.inf
    assert recall(half, far, ids, distances, 10) == 0.5
    wrong, other = exact(base, -queries, 10)[::-1]
    assert recall(wrong, other + 4, ids, distances, 10) == 0.0


def test_which_of_several_equally_far_rows_is_named_does_not_count() -> None:
    base = np.repeat(vectors(1), 20, axis=0)
    distances, ids = exact(base, base[:1], 5)
    assert recall(ids + 10, distances, ids, distances, 5) == 1.0
    assert overlap(ids + 10, ids, 5) == 0.0


def test_overlap_is_blind_to_order_and_to_none() -> None:
    assert overlap(np.array([[1, 2, 3]]), np.array([[3, 1, 9]]), 3) == pytest.approx(2 / 3)
    assert overlap(np.array([[1, -1]]), np.array([[1, -1]]), 2) == 1.0
    assert overlap(np.full((2, 3), -1), np.full((2, 3), -1), 3) == 1.0


def test_two_samples_share_no_row_and_are_always_the_same() -> None:
    first, second = (sample(5_000, 1_000, 42, second=second) for second in (False, True))
    assert len(first) == len(second) == 1_000
    assert not set(first) & set(second)
    np.testing.assert_array_equal(first, sample(5_000, 1_000, 42))
    np.testing.assert_array_equal(sample(9, 1_000, 42), np.arange(9))
    assert len(sample(0, 1_000, 42, second=True)) == 0


def test_an_answer_is_rid_of_the_query_itself_or_else_of_its_last_row() -> None:
    distances, ids = np.array([[0, 1, 2], [0, 1, 2]], dtype=np.float32), np.array([[4, 5, 6], [7, 8, 9]])
    left, found = without(distances, ids, np.array([5, 0]))
    assert found.tolist() == [[4, 6], [7, 8]]
    assert left.tolist() == [[0, 2], [0, 1]]
