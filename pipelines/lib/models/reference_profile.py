"""The reference profile in the file of a model, read without running the model."""

from pathlib import Path

from pipelines.lib.models.onnx_file import read_metadata
from pipelines.lib.models.profile import KEY, Profile


def profile_of_model(model: Path, sha256: str | None) -> Profile | None:
    """Return the profile that the ONNX file `model` carries, if any. Raises `ModelError` if it is not the pinned file."""
    embedded = read_metadata(model, sha256).get(KEY)
    return None if embedded is None else Profile.from_json(embedded)
