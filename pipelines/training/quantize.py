"""Make the encoder half as large or less, if its vectors keep their neighbours; otherwise keep it in FP32, and say so.

Reads   data/features/history.parquet, data/encoder/fp32.onnx
Writes  data/encoder/encoder.onnx: in the form of `pipelines.lib.encoders.quantization` that keeps most neighbours, or FP32 unchanged;
        data/reports/quantize/: report.json and report.html, with the losses of every form.
        data/reports/quantize_timing.json: a measurement of this machine, so not versioned
Fails   if a file is torn, or has other features. A form that does not pass is not a failure: FP32 is used

A form passes if it keeps enough of the ten nearest neighbours among held-out rows, loses hardly any AUC, gives a row the same vector in every
batch, and makes the file smaller. Ranges are taken from training rows only.
"""

import json
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from pydantic import Field

from pipelines.lib.core import stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.params import Section, load_section, naming_the_declaration
from pipelines.lib.core.run import load_run
from pipelines.lib.encoders import quantization
from pipelines.lib.encoders.encoder import Encoder, load_encoder
from pipelines.lib.encoders.kept_neighbours import ComparedRows, Near, kept
from pipelines.lib.encoders.quantization import FP32, Losses, note
from pipelines.lib.features.history import History, Holdout, holdout_start, read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures import metrics
from pipelines.lib.models.inference import check_fit
from pipelines.lib.pages import html as pages
from pipelines.lib.tables.dataset import load_dataset


class Quantize(Section):
    """Limits of a quantised encoder (`minimum_overlap` of neighbours, `maximum_auc_loss`), and the numbers of rows on which they are measured.

    `neighbour_rows`: the most rows among which neighbours are looked for. Of more held-out rows, and of a longer history, that many are drawn.
    """

    minimum_overlap: float = Field(gt=0, le=1)
    maximum_auc_loss: float = Field(ge=0)
    calibration_rows: int = Field(ge=1)
    queries: int = Field(ge=1)
    minimum_rows: int = Field(ge=1)
    neighbour_rows: int = Field(default=500_000, ge=1)


def quantize(
    encoders: Mapping[str, Encoder],
    sizes: Mapping[str, int],
    history: History,
    held_out: np.ndarray,
    compared: ComparedRows,
    params: Quantize,
) -> dict[str, Losses]:
    """Measure the loss of each of `encoders` (one is FP32; `sizes` in bytes) on the rows of `history` [n] that `held_out` [n] marks.

    Neighbours are looked for among the rows that are `compared`.
    """
    rows = np.flatnonzero(held_out)
    labels, features = history.labels[rows], history.features[rows]
    found: dict[str, Losses] = {}
    before: Near | None = None
    for name, encoder in sorted(encoders.items(), key=lambda item: item[0] != FP32):  # FP32 first: the others are compared with it
        near = compared.near(encoder, history.features)
        before = before or near
        auc = metrics.summary(labels, encoder.probability(features)).auc if len(rows) else None
        overlap, overlap_of_all = kept(near, before)
        reference = found[FP32]["auc"] if name != FP32 else auc
        losses = Losses(
            rows=len(rows),
            auc=auc,
            overlap_10=overlap,
            overlap_10_all=overlap_of_all,
            auc_fall=None if auc is None or reference is None else round(reference - auc, 6),
            bytes=sizes[name],
            size_ratio=round(sizes[name] / sizes[FP32], 4),
            alone_difference=round(quantization.alone_difference(encoder, features), 9),
            sha256=encoder.sha256,
            faults=[],
        )
        found[name] = losses if name == FP32 else {**losses, "faults": faults(losses, params)}
    return found


def faults(figures: Losses, params: Quantize) -> list[str]:
    """Return why a quantised encoder with these figures does not pass; empty if it passes."""
    overlap, fall = figures["overlap_10"], figures["auc_fall"]
    if figures["rows"] < params.minimum_rows or fall is None:
        return [f"not measured: there are {figures['rows']} held-out rows, and {params.minimum_rows} of both classes are needed"]
    found = []
    if overlap < params.minimum_overlap:
        found.append(f"it keeps {overlap:.3f} of the neighbours, less than {params.minimum_overlap}")
    if fall > params.maximum_auc_loss:
        found.append(f"the AUC falls by {fall:.4f}, more than {params.maximum_auc_loss}")
    if figures["alone_difference"] > quantization.ALONE:
        found.append(f"a row alone has another vector than in a batch (difference up to {figures['alone_difference']:.2g})")
    if figures["size_ratio"] >= 1:
        found.append(
            f"it has {figures['size_ratio']:.2f} of the size: in a small network, the scales need more bytes than the weights save"
        )
    return found


def choose(losses: Mapping[str, Losses]) -> str:
    """Return the form that passes and keeps most neighbours, otherwise FP32."""
    passed = [name for name, figures in losses.items() if name != FP32 and not figures["faults"]]
    return max(passed, key=lambda name: losses[name]["overlap_10"], default=FP32)


@stage.stage("quantize")
def main(*, features: Path, model: Path, encoder: Path, report: Path) -> None:
    params, dataset, training = load_section("quantize", Quantize), load_dataset(), load_section("train_encoder", Holdout)
    start = holdout_start(load_run().date, dataset.label.delay_days, training.holdout_days).isoformat()
    whole = load_encoder(model)
    check_fit(whole, signature_of_features(features))
    history = read_history(features, dataset, categories=whole.categories).as_question(start)
    held_out = history.nights >= start
    learned = np.flatnonzero(~held_out)
    calibration = history.features[learned[:: -(-len(learned) // params.calibration_rows) or 1]]
    contents = {FP32: model.read_bytes()}
    contents |= {way: quantization.quantized(contents[FP32], way, calibration) for way in quantization.WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        encoders = {}
        for name, content in contents.items():
            (Path(scratch) / name).write_bytes(content)
            encoders[name] = load_encoder(Path(scratch) / name)
    compared = ComparedRows.of(held_out, most=params.neighbour_rows, queries=params.queries)
    found = quantize(encoders, {name: len(content) for name, content in contents.items()}, history, held_out, compared, params)
    chosen = choose(found)
    tried = {
        "note": note(chosen, found),
        "since": start,
        "chosen": chosen,
        "calibration_rows": len(calibration),
        "neighbour_rows": compared.counts(held_out),
        "candidates": found,
    }
    with replacing(encoder) as temporary:
        temporary.write_bytes(contents[chosen])
    speed = quantization.rows_per_second(encoders, history.features[held_out][:20_000])
    with replacing(report.with_name("quantize_timing.json")) as temporary:
        temporary.write_text(json.dumps({"rows_per_second": speed}, indent=2), encoding="utf-8")
    with replacing(report) as temporary:
        temporary.mkdir()
        (temporary / "report.json").write_text(json.dumps(tried, indent=2), encoding="utf-8")
        page = naming_the_declaration(pages.render("quantize.html", report=tried, limits=params))
        (temporary / "report.html").write_text(page, encoding="utf-8")
    stage.log.info("%s", tried["note"])


if __name__ == "__main__":
    sys.exit(main())
