"""The code of a category is its place in the list of a model; other categories and missing ones have codes of their own."""

import numpy as np
import pyarrow as pa
import pytest

from pipelines.lib.core.errors import ModelError
from pipelines.lib.measures.categories import codes, from_json, to_json

COLUMN = pa.array(["b", None, "a", "z", "", "b", "É"])


@pytest.mark.parametrize("column", [COLUMN, pa.chunked_array([COLUMN[:3], COLUMN[3:]])])
def test_a_known_category_is_its_place_another_one_minus_one_and_none_minus_two(column: pa.Array | pa.ChunkedArray) -> None:
    found = codes(column, ("a", "b", "É", ""))
    assert found.dtype == np.float32
    assert found.tolist() == [1, -2, 0, -1, 3, 1, 2]


def test_no_rows_and_only_other_categories() -> None:
    assert codes(pa.array([], pa.string()), ("a",)).tolist() == []
    assert codes(COLUMN, ("q",)).tolist() == [-1, -2, -1, -1, -1, -1, -1]


def test_lists_survive_the_file_in_their_order() -> None:
    lists = {"merchant": ("b", "a", "Händler 7", '"'), "kind": ("x",)}
    assert from_json(to_json(lists)) == lists
    assert from_json(None) == {}


@pytest.mark.parametrize("text", ["[]", "{", '{"a": 1}', '{"a": [1]}', '{"a": ["x", "x"]}'])
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="train and export"):
        from_json(text)
