"""The queries of an index and their true answers: rows that it does not hold, and where there are too few of those, its own, each left out."""

import numpy as np
import pytest

from pipelines.lib.measures import neighbours
from pipelines.lib.vector_index.questions import ask, drawn, tail
from tests.small_index import vectors_of

ROWS = 400


@pytest.mark.parametrize(
    ("sizes", "queries", "rows"),
    [
        ([1_000] * 30, 1_000, 2_000),
        ([900] * 30, 1_000, 2_700),  # whole partitions
        ([900] * 20, 1_000, 1_800),  # no more than a tenth
        ([50] * 20, 1_000, 100),
        ([49] * 20, 1_000, 0),  # too few
        ([1_000], 10, 0),
        ([], 10, 0),
    ],
)
def test_a_tail_is_just_enough_of_the_last_partitions(sizes: list[int], queries: int, rows: int) -> None:
    assert tail(sizes, queries) == rows


def test_two_samples_of_a_tail_have_nothing_in_common() -> None:
    for known, queries in ((300, 30), (300, 1_000)):
        one, two = (drawn(ROWS, known, queries, 42, second=second) for second in (False, True))
        assert len(one) == len(two) == min(queries, 50)
        assert not set(one) & set(two)
        assert min(one.min(), two.min()) >= known
        np.testing.assert_array_equal(one, drawn(ROWS, known, queries, 42))
    np.testing.assert_array_equal(drawn(ROWS, ROWS, 30, 42), neighbours.sample(ROWS, 30, 42))


@pytest.mark.parametrize("cuts", [[], [150], [0, 10, 10, 399]])
@pytest.mark.parametrize(("own", "known"), [([0, 150, 399], ROWS), ([300, 399], 300), ([12, 13], 11)])
def test_what_is_true_is_true_across_parts(cuts: list[int], own: list[int], known: int) -> None:
    vectors, asked = vectors_of(ROWS), np.array(own)
    questions = ask(np.split(vectors, cuts), asked, vectors[asked], known, 10)
    whole = neighbours.exact(vectors[:known], vectors[asked], 10, leave_out=asked)
    np.testing.assert_array_equal(questions.ids, whole[1])
    np.testing.assert_array_equal(questions.distances, whole[0])
    assert questions.ids.max() < known
    assert not (questions.ids == asked[:, None]).any()


@pytest.mark.parametrize(("known", "spare"), [(ROWS, 1), (300, 0)])
def test_an_exact_answer_hits_all_and_half_of_one_half(known: int, spare: int) -> None:
    vectors, own = vectors_of(ROWS), np.arange(350, 360)
    questions = ask([vectors], own, vectors[own], known, 10)
    assert questions.spare == spare
    distances, ids = neighbours.exact(vectors[:known], vectors[own], 10 + spare)
    np.testing.assert_array_equal(questions.hits(distances, ids, 10), np.ones(10))
    ids[:, 5 + spare :], distances[:, 5 + spare :] = -1, np.inf
    np.testing.assert_array_equal(questions.hits(distances, ids, 10), np.full(10, 0.5))
