"""Turn the trained model into ONNX, the only form that production runs.

Reads   data/models/model.skops, data/models/profile.json, the signature of data/features/history.parquet
Writes  data/models/model.onnx (the same bytes for the same model)
Fails   if the model or its profile does not fit the features, or cannot be converted
"""

import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.lib.core import stage
from pipelines.lib.core.errors import ModelError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.features.signature import KEY, Signature
from pipelines.lib.measures import categories
from pipelines.lib.measures.categories import Categories
from pipelines.lib.measures.tasks import KEY as TASK_KEY
from pipelines.lib.models.profile import KEY as PROFILE_KEY
from pipelines.lib.models.profile import Profile
from pipelines.lib.tables.dataset import TaskName, load_dataset


class ExportOnnx(Section):
    """`opset`: the ONNX operator set; pinned, so that a new converter does not change the bytes."""

    opset: int = Field(ge=15)


def export_onnx(
    model: Any,
    signature: Signature,
    params: ExportOnnx,
    reference: Profile | None = None,
    known: Categories | None = None,
    task: TaskName = "binary",
) -> bytes:
    """Return `model` as ONNX: input ``features`` float32 [n, f], output ``probabilities`` float32 [n, 2] or, of a regression, ``forecast`` float32 [n, 1].

    It carries its signature, its task, its profile and the categories that are `known` to it.
    """
    from pipelines.lib.models.conversion import convert

    if model.n_features_in_ != len(signature.names):
        raise ModelError(
            f"the model was trained on {model.n_features_in_} features, but the features file has {len(signature.names)}; run train again"
        )
    if reference is not None and tuple(column.binning.name for column in reference.features) != signature.names:
        raise ModelError("the profile has other features than the features file; run train again")
    proto = convert(model, len(signature.names), params.opset, task)
    metadata = {KEY: signature.to_json()} | ({PROFILE_KEY: reference.to_json()} if reference else {})
    metadata |= {TASK_KEY: task} if task != "binary" else {}
    metadata |= {categories.KEY: categories.to_json(known)} if known else {}
    for key, value in metadata.items():
        entry = proto.metadata_props.add()
        entry.key, entry.value = key, value
    content: bytes = proto.SerializeToString(deterministic=True)
    return content


@stage.stage("export_onnx")
def main(*, features: Path, model: Path, profile: Path, onnx: Path) -> None:
    from pipelines.lib.core.atomic import replacing
    from pipelines.lib.features.categories import kept_categories
    from pipelines.lib.features.signature import signature_of_features
    from pipelines.lib.models import skops_file

    reference = Profile.from_json(profile.read_bytes())
    known = {feature: reference.column(feature).binning.values or () for feature in kept_categories(features)}
    params = load_section("export_onnx", ExportOnnx)
    content = export_onnx(skops_file.load(model), signature_of_features(features), params, reference, known, load_dataset().label.task)
    with replacing(onnx) as temporary:
        temporary.write_bytes(content)
    stage.log.info("%.1f MiB of ONNX", len(content) / 2**20)


if __name__ == "__main__":
    sys.exit(main())
