"""Judge the exported model on the holdout: the last labelled days, which training has not seen.

Reads   data/features/history.parquet, data/models/model.skops, data/models/model.onnx
Writes  data/reports/evaluate/: metrics.json (DVC metrics), slices.json, calibration.json and roc.json (DVC plots), model_card.html
        data/reports/latency.json beside it: a measurement of this machine, so not versioned; `register` logs it
Fails   when ONNX and scikit-learn disagree, or the quality or latency misses its limit; the reports are written all the same

Metrics are those of the ONNX model, since that is what runs; scikit-learn serves for parity alone.
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from pipelines.lib import metrics, stage
from pipelines.lib.atomic import replacing
from pipelines.lib.dataset import load_dataset
from pipelines.lib.errors import DataError, GateFailed
from pipelines.lib.history import History, Holdout, holdout_start, read_history
from pipelines.lib.inference import Model, latency, load_model
from pipelines.lib.params import Section, load_section
from pipelines.lib.run import RunFile, load_run


class Evaluate(Section):
    """Limits that a model must keep, and the columns by whose values the quality is told apart (`slices`)."""

    slices: tuple[str, ...]
    slice_minimum_rows: int = Field(ge=1)
    minimum_auc: float = Field(ge=0, le=1)
    parity_tolerance: float = Field(gt=0)
    latency_p99_limit_ms: float = Field(gt=0)


def evaluate(history: History, scores: np.ndarray, parity: float, params: Evaluate) -> dict[str, Any]:
    """The figures of `scores` [n] on the holdout `history` [n]; the same for the same rows and model."""
    overall = metrics.summary(history.labels, scores)
    # The converter rounds thresholds to float32: the last digits of the difference are noise.
    return {"metrics": overall | {"parity_max_difference": round(parity, 6)}, "slices": _slices(history, scores, params)}


def _slices(history: History, scores: np.ndarray, params: Evaluate) -> list[dict[str, Any]]:
    found = []
    for column in params.slices:
        values = history.column(column)
        for value in sorted(set(values.tolist())):
            mask = values == value
            if mask.sum() >= params.slice_minimum_rows:
                found.append({"column": column, "value": value} | metrics.summary(history.labels[mask], scores[mask]))
    return found


def faults(figures: Mapping[str, Any], p99_ms: float, params: Evaluate) -> list[str]:
    """Why this model must not go on; empty for a good one."""
    found = []
    if figures["parity_max_difference"] > params.parity_tolerance:
        found.append(f"ONNX and scikit-learn differ by {figures['parity_max_difference']:.2g}, more than {params.parity_tolerance:.2g}")
    if figures["auc"] is None or figures["auc"] < params.minimum_auc:
        found.append(f"the AUC on the holdout is {figures['auc']}, below {params.minimum_auc}")
    if p99_ms > params.latency_p99_limit_ms:
        found.append(f"one row takes {p99_ms:.2f} ms at the 99th percentile, more than {params.latency_p99_limit_ms} ms")
    return found


def model_card(result: Mapping[str, Any], model: Model, run: RunFile, training: Mapping[str, Any], importances: Mapping[str, float]) -> str:
    """The page that a person reads before trusting the model; self-contained HTML."""
    from pipelines.lib import figures, pages

    return pages.render(
        "model_card.html",
        run=run,
        sha256=model.sha256,
        metrics=result["metrics"],
        slices=result["slices"],
        training=training,
        calibration=figures.calibration({"holdout": result["calibration"]}),
        roc=figures.roc(result["roc"], result["metrics"]["auc"] or 0.5),
        distribution=figures.distribution({"holdout": result["scores"]}, label="score"),
        importances=figures.bars(
            dict(sorted(importances.items(), key=lambda item: -item[1])), label="importance (mean decrease in impurity)"
        ),
    )


@stage.stage("evaluate", "features", "model", "onnx", "report")
def main(paths: stage.Paths) -> None:
    from pipelines.lib import skops_file

    params, dataset, run = load_section("evaluate", Evaluate), load_dataset(), load_run()
    training = load_section("train", Holdout)
    since = holdout_start(run.date, dataset.label.delay_days, training.holdout_days)
    history = read_history(paths.features, dataset, since=since)
    if not len(history.labels):
        raise DataError(
            f"no labelled rows from {since} on; a holdout of {training.holdout_days} days needs outcomes. Choose a later partition"
        )
    model, forest = load_model(paths.onnx), skops_file.load(paths.model)
    scores = model.score(history.features)
    result = evaluate(history, scores, float(np.abs(forest.predict_proba(history.features)[:, 1] - scores).max()), params)
    result |= {"calibration": metrics.calibration(history.labels, scores), "roc": metrics.roc(history.labels, scores), "scores": scores}
    importances = {name: round(float(value), 6) for name, value in zip(history.names, forest.feature_importances_, strict=True)}

    with replacing(paths.report) as temporary:
        temporary.mkdir()
        for name in ("metrics", "slices", "calibration", "roc"):
            (temporary / f"{name}.json").write_text(json.dumps(result[name], indent=2), encoding="utf-8")
        (temporary / "model_card.html").write_text(model_card(result, model, run, training.model_dump(), importances), encoding="utf-8")
    took = latency(model, rows=history.features[:1000])
    with replacing(paths.report.with_name("latency.json")) as temporary:
        temporary.write_text(json.dumps({"sha256": model.sha256, "p50_us": took.p50_us, "p99_us": took.p99_us}, indent=2), encoding="utf-8")

    stage.log.info("%s", json.dumps(result["metrics"]))
    found = faults(result["metrics"], took.p99_us / 1000, params)
    if found:
        raise GateFailed(
            f"the model does not pass: {'; '.join(found)}. See {paths.report / 'model_card.html'}; limits are in params.yaml: evaluate"
        )


if __name__ == "__main__":
    sys.exit(main())
