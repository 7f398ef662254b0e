"""Categories of text as numbers: the code of a category is its place in the list that a model carries.

A features file holds such a category as text, because each model has a list of its own: the categories that were most frequent in its training. So a file
serves every model, and a code is never read with the list of another model.
"""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.errors import ModelError
from pipelines.lib.measures.binning import MISSING_CODE, UNSEEN_CODE

if TYPE_CHECKING:
    import pyarrow as pa

KEY = "nightshift.categories"
"""Of the entry in an ONNX file's metadata: the list of each feature."""

UNSEEN = "(unseen)"
"""The text of a code that stands for every category which is not in the list."""

Categories = Mapping[str, tuple[str, ...]]
"""The categories of each feature that is text in a features file, in the order of their codes."""


def codes(column: "pa.Array | pa.ChunkedArray", values: Sequence[str]) -> NDArray[np.float32]:
    """Return the code of each text of `column` [n]: its place in `values`, -1 for a text that is not there, -2 for no text."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    places = pc.fill_null(pc.index_in(array, value_set=pa.array(values, array.type)), UNSEEN_CODE)
    found = pc.if_else(pc.is_null(array), MISSING_CODE, places).cast(pa.float32())
    return np.from_dlpack(found).astype(np.float32, copy=False)  # to_numpy() would import pandas


def texts(coded: NDArray[np.float32], values: Sequence[str]) -> "pa.Array":
    """Return the inverse of `codes`: the text of each code of `coded` [n], `UNSEEN` for a text that is not in `values`, null for no text."""
    import pyarrow as pa

    places = coded.astype(np.int64)
    places = np.where(places == UNSEEN_CODE, len(values), places)
    return pa.array([*values, UNSEEN], pa.string()).take(pa.array(places, mask=places == MISSING_CODE))


def to_json(categories: Categories) -> str:
    """Return the form in which a model carries its lists."""
    return json.dumps({name: list(values) for name, values in categories.items()}, ensure_ascii=True, separators=(",", ":"))


def from_json(text: str | None) -> dict[str, tuple[str, ...]]:
    """Return the inverse of `to_json`; no lists for None, which is a model without such features. Raises `ModelError` for anything else."""
    try:
        found = {} if text is None else {name: tuple(values) for name, values in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(f"the lists of categories of a model cannot be read ({error}); train and export it again") from None
    if wrong := [
        name for name, values in found.items() if not all(isinstance(value, str) for value in values) or len(set(values)) < len(values)
    ]:
        raise ModelError(
            f"the list of categories of {wrong[0]} repeats a category or holds what is not text; train and export the model again"
        )
    return found
