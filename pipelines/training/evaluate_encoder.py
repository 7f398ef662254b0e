"""The gate before an encoder is registered: does it predict the outcome, are its vectors sound, and is it as good as the champion?

Reads   data/features/history.parquet, data/encoder/: fitted.skops, fp32.onnx and encoder.onnx; data/reports/quantize/report.json; the champion's
        file if the run is pinned to one
Writes  data/reports/evaluate_encoder/: evaluation.json (for register and promote), metrics.json (DVC metrics), report.json, report.html
Fails   if the encoder misses a limit of params.yaml: evaluate_encoder, gives a value that is not a number, differs from the network that
        scikit-learn trained, or predicts clearly worse than the champion; the reports are written nevertheless

A champion of other features cannot be compared with. The report says so, and the run goes on, since an index uses one encoder at a time. A
champion that has learned from nights of this holdout stops the run: an encoder of an earlier partition does not replace a newer one.
"""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from pydantic import Field

from pipelines.lib.challengers.decision import record_refusal
from pipelines.lib.core import contract, stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import DataError, GateFailed, ModelError
from pipelines.lib.core.params import Section, load_section, naming_the_declaration
from pipelines.lib.core.run import load_run
from pipelines.lib.encoders.comparison import Compared, NotCompared, compare
from pipelines.lib.encoders.encoder import Encoder, load_encoder
from pipelines.lib.encoders.evaluation import EncoderEvaluation, EncoderFigures, EncoderMetrics
from pipelines.lib.encoders.graph import Fitted
from pipelines.lib.features.history import History, Holdout, holdout_start, read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures import metrics, neighbours
from pipelines.lib.models.inference import check_fit
from pipelines.lib.pages import html as pages
from pipelines.lib.tables.dataset import load_dataset

NEIGHBOURS, SEED = 10, 0

NORM = 1e-4
"""Largest difference of a vector's norm from 1: a hundred times the rounding error of float32 over some dozens of components."""


class EvaluateEncoder(Section):
    """Limits that an encoder must keep. `queries`: number of held-out rows whose outcome is predicted from their neighbours in the training rows."""

    minimum_auc: float = Field(ge=0, le=1)
    parity_tolerance: float = Field(gt=0)
    minimum_spread: float = Field(ge=0)
    maximum_auc_loss: float = Field(ge=0)
    queries: int = Field(ge=1)


def evaluate_encoder(encoder: Encoder, learned: History, holdout: History, params: EvaluateEncoder) -> EncoderFigures:
    """Measure `encoder` on `holdout` [n], which it has not seen; the same rows give the same figures.

    Raises `ModelError` for a vector or probability that is not a number.
    """
    vectors, scores = encoder.encode(holdout.features), encoder.probability(holdout.features)
    if wrong := int((~np.isfinite(np.column_stack([vectors, scores]))).any(axis=1).sum()):
        raise ModelError(f"the vector or probability of {wrong} of {len(scores)} rows is not finite; do not promote this encoder")
    asked = neighbours.sample(len(scores), params.queries, SEED)
    _, near = neighbours.exact(encoder.encode(learned.features), vectors[asked], min(NEIGHBOURS, len(learned.labels)))
    return EncoderFigures(
        **vars(metrics.summary(holdout.labels, scores)),
        neighbour_auc=metrics.summary(holdout.labels[asked], learned.labels[near].mean(axis=1)).auc,
        norm_error=round(float(np.abs(np.linalg.norm(vectors, axis=1) - 1).max()), 6),
        least_spread=round(float(vectors.std(axis=0).min()), 6),
        dimension=encoder.dimension,
    )


def faults(figures: EncoderMetrics, against: Compared | NotCompared | None, params: EvaluateEncoder) -> tuple[str, ...]:
    """Return why this encoder must not be registered; empty for a good one."""
    found = []
    if figures.parity_max_difference > params.parity_tolerance:
        found.append(f"ONNX and the trained model differ by {figures.parity_max_difference:.2g}, more than {params.parity_tolerance:.2g}")
    if figures.auc is None or figures.auc < params.minimum_auc:
        found.append(f"the AUC on the holdout is {figures.auc}, below {params.minimum_auc}")
    if figures.norm_error > NORM:
        found.append(f"the norm of a vector differs from 1 by {figures.norm_error:.2g}, more than {NORM}")
    if figures.least_spread < params.minimum_spread:
        found.append(f"a dimension has collapsed: its standard deviation is {figures.least_spread:.2g}, below {params.minimum_spread}")
    if isinstance(against, NotCompared) and against.stops:
        found.append(against.reason)
    if isinstance(against, Compared) and against.champion_auc - against.auc > params.maximum_auc_loss:
        found.append(
            f"the AUC is {against.auc:.4f}, the champion's {against.champion_auc:.4f}: it falls by more than {params.maximum_auc_loss}"
        )
    return tuple(found)


@stage.stage("evaluate_encoder")
def main(*, features: Path, fitted: Path, model: Path, encoder: Path, quantized: Path, report: Path) -> None:
    from pipelines.lib.models import skops_file

    params, dataset, run = load_section("evaluate_encoder", EvaluateEncoder), load_dataset(), load_run()
    training = load_section("train_encoder", Holdout)
    start = holdout_start(run.date, dataset.label.delay_days, training.holdout_days)
    champion = load_encoder(Path(run.encoder.path), run.encoder.sha256) if run.encoder.version else None
    evaluation = EncoderEvaluation(
        name=run.encoder.name,
        partition=run.partition,
        since=start.isoformat(),
        comparison=None,
        training=training.model_dump(),
        metrics=None,
        limits=params.model_dump(),
        sha256=None,
        quantization={},
        faults=(),
    )
    try:
        challenger, whole = load_encoder(encoder), load_encoder(model)
        tried = json.loads(quantized.read_text(encoding="utf-8"))
        chosen = tried["candidates"][tried["chosen"]]
        if chosen["sha256"] != challenger.sha256:
            raise DataError(f"{quantized} is of encoder {chosen['sha256']}, {encoder} has sha256 {challenger.sha256}; run quantize again")
        evaluation = replace(evaluation, sha256=challenger.sha256, quantization={"chosen": tried["chosen"], **chosen})
        check_fit(challenger, signature_of_features(features))
        whole_history = read_history(features, dataset, categories=challenger.categories).as_question(start.isoformat())
        learned, holdout = whole_history.until(start.isoformat()), whole_history.since(start.isoformat())
        if not len(holdout.labels):
            raise DataError(
                f"no labelled rows from {start} on; a holdout of {training.holdout_days} days needs outcomes. Choose a later partition"
            )
        network = Fitted(**skops_file.load(fitted))
        parity = float(np.abs(network.probability(holdout.features) - whole.probability(holdout.features)).max())
        figures = EncoderMetrics(**vars(evaluate_encoder(challenger, learned, holdout, params)), parity_max_difference=round(parity, 6))
        compared = compare(challenger, champion, run.encoder.version, holdout) if champion and run.encoder.version else None
        evaluation = replace(evaluation, metrics=figures, comparison=compared, faults=faults(figures, compared, params))
        evaluation = replace(evaluation, trained_rows=int(network.scaler.n_samples_seen_), history_rows=len(learned.labels))
    except ModelError as error:  # it does not even give vectors: the report says only that
        evaluation = replace(evaluation, faults=(str(error),))
    write(report, evaluation, dataset.label.name if dataset.label.task == "regression" else None)
    stage.log.info("%s", evaluation.note)
    if evaluation.faults:
        reasons = "; ".join(evaluation.faults)
        if run.encoder.version:
            refused = run.model_copy(update={"model": run.encoder})
            record_refusal(refused, (evaluation.sha256 or "no vectors")[:12], reasons, actor="evaluate_encoder")
        raise GateFailed(f"the encoder does not pass: {reasons}. See {report / 'report.html'}; limits: params.yaml, evaluate_encoder")


def write(report: Path, evaluation: EncoderEvaluation, above: str | None = None) -> None:
    """Write the directory `report`: metrics for DVC, the contract for later stages, the page for people. `above` is the outcome if it is a number."""
    files = {
        "evaluation.json": contract.to_json(evaluation),
        "metrics.json": json.dumps(asdict(evaluation.metrics) if evaluation.metrics else {}, indent=2),
        "report.json": json.dumps({"note": evaluation.note}, indent=2),
        "report.html": naming_the_declaration(pages.render("encoder.html", evaluation=evaluation, above=above)),
    }
    with replacing(report) as temporary:
        temporary.mkdir()
        for name, content in files.items():
            (temporary / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
