"""Which features a file holds or a model expects, and how they were declared.

A features file carries its signature in the Parquet schema, a model in its ONNX metadata, both under the same key. A model is
only ever run on features of its own signature: the same names in the same order, computed by the same declaration.
"""

import json
from pathlib import Path
from typing import NamedTuple

KEY = "nightshift.features"

CATEGORIES_KEY = "nightshift.categories"
"""In the schema of a features file: the features that are text there, each with the number of categories that a model keeps."""


class Signature(NamedTuple):
    """`names` of the features in order; `sha256` of their canonical declaration."""

    names: tuple[str, ...]
    sha256: str

    def to_json(self) -> str:
        """Return the form in which files carry it."""
        return json.dumps({"names": list(self.names), "sha256": self.sha256})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Signature":
        """Return the inverse of `to_json`."""
        content = json.loads(text)
        return cls(tuple(content["names"]), content["sha256"])


def signature_of_features(path: Path) -> Signature:
    """Return the signature of the features file at `path`. Raises `DataError` if it has none or is torn."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from pipelines.lib.core.errors import DataError

    try:
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; run the featurize stage that makes it") from None
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} is not a whole Parquet file ({error}); run the featurize stage again") from error
    if KEY.encode() not in metadata:
        raise DataError(f"{path} says nothing about its features (no {KEY!r} in its schema); it was not written by a featurize stage")
    return Signature.from_json(metadata[KEY.encode()])
