"""Judge the exported model: on the holdout, which training has not seen, and against the champion on the rows that neither has seen.

Reads   data/features/history.parquet, data/models/model.skops, data/models/model.onnx; data/champion/model.onnx where the run is pinned to one
Writes  data/reports/evaluate/: evaluation.json (all that `decide` and the model card need), metrics.json (DVC metrics), calibration.json and
        roc.json (DVC plots), comparison.json (evidence for the ledger, null without a champion), golden.json, report.json, report.html
        data/reports/latency.json beside it: a measurement of this machine, so not versioned; `register` and `decide` read it
Fails   when the model misses a limit of params.yaml: evaluate, gives what is no number, contradicts the golden set, or is not what
        scikit-learn trained; the reports are written all the same. Whether it is *better* is for `decide` to say

Metrics are those of the ONNX model, since that is what runs; scikit-learn serves for parity alone.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from pipelines.lib.challengers import comparison, model_card
from pipelines.lib.challengers.decision import record_refusal
from pipelines.lib.core import stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import DataError, GateFailed, ModelError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import load_run
from pipelines.lib.features.history import History, Holdout, holdout_start, read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures import metrics
from pipelines.lib.measures.slices import slices_of
from pipelines.lib.models import costs
from pipelines.lib.models import golden as known
from pipelines.lib.models.inference import check_fit, load_model
from pipelines.lib.tables.dataset import load_dataset


class Evaluate(Section):
    """Limits that a model must keep, and the columns by whose values the quality is told apart (`slices`).

    `golden`: what is known to make the outcome likelier or less likely; a model that does not see it so does not pass.
    """

    slices: tuple[str, ...]
    slice_minimum_rows: int = Field(ge=1)
    minimum_auc: float = Field(ge=0, le=1)
    parity_tolerance: float = Field(gt=0)
    latency_p99_limit_ms: float = Field(gt=0)
    golden_rows: int = Field(default=200, ge=1)
    golden: tuple[known.Direction, ...] = ()


def evaluate(history: History, scores: np.ndarray, parity: float, params: Evaluate) -> dict[str, Any]:
    """The figures of `scores` [n] on the holdout `history` [n]; the same for the same rows and model."""
    overall = metrics.summary(history.labels, scores)
    interval = comparison.auc_interval(history.labels, scores, history.nights) if overall["auc"] is not None else None
    # The converter rounds thresholds to float32: the last digits of the difference are noise.
    return {
        "metrics": overall | {"parity_max_difference": round(parity, 6)},
        "auc_interval": interval,
        "slices": _slices(history, scores, params),
        "calibration": metrics.calibration(history.labels, scores),
        "roc": metrics.roc(history.labels, scores) if interval else [],
        "scores": np.histogram(scores, np.linspace(0, 1, 41))[0].tolist(),
    }


def _slices(history: History, scores: np.ndarray, params: Evaluate) -> list[dict[str, Any]]:
    return [
        {"column": column, "value": value} | metrics.summary(history.labels[mask], scores[mask])
        for column in params.slices
        for value, mask in slices_of(history.exact(column), params.slice_minimum_rows)
    ]


def faults(evaluation: Mapping[str, Any], p99_ms: float, params: Evaluate) -> list[str]:
    """Why this model must not go on, whatever it is compared with; empty for a good one."""
    figures, found = evaluation["metrics"], []
    if figures["parity_max_difference"] > params.parity_tolerance:
        found.append(f"ONNX and scikit-learn differ by {figures['parity_max_difference']:.2g}, more than {params.parity_tolerance:.2g}")
    if figures["auc"] is None or figures["auc"] < params.minimum_auc:
        found.append(f"the AUC on the holdout is {figures['auc']}, below {params.minimum_auc}")
    if p99_ms > params.latency_p99_limit_ms:
        found.append(f"one row takes {p99_ms:.2f} ms of processor time at the 99th percentile, more than {params.latency_p99_limit_ms} ms")
    return found + [f"golden set: {known.champion_fields(finding)}" for finding in evaluation["golden"] if not finding["passed"]]


def write(report: Path, evaluation: Mapping[str, Any], golden: known.Golden | None) -> None:
    """The directory `report`: what DVC shows as metrics and plots, what later stages read, what people read."""
    found = evaluation["comparison"]
    files = {name: evaluation.get(name, {}) for name in ("metrics", "calibration", "roc")} | {"evaluation": evaluation}
    files["comparison"] = found and {key: value for key, value in found.items() if key not in ("calibration", "roc")}
    files["report"] = {"note": _note(evaluation)}
    with replacing(report) as temporary:
        temporary.mkdir()
        for name, content in files.items():
            (temporary / f"{name}.json").write_text(json.dumps(content, indent=2), encoding="utf-8")
        (temporary / "report.html").write_text(model_card.render(evaluation), encoding="utf-8")
        if golden:
            (temporary / "golden.json").write_text(golden.to_json(), encoding="utf-8")


def _note(evaluation: Mapping[str, Any]) -> str:
    if evaluation["faults"]:
        return f"the model does not pass: {'; '.join(evaluation['faults'])}"
    change = (evaluation["comparison"] or {}).get("auc_difference")
    return f"challenger's AUC {evaluation['metrics']['auc']:.3f}" + (f", {change['value']:+.3f} to the champion's" if change else "")


@stage.stage("evaluate")
def main(*, features: Path, model: Path, onnx: Path, champion: Path, report: Path) -> None:
    from pipelines.lib.models import skops_file

    params, dataset, run, training = load_section("evaluate", Evaluate), load_dataset(), load_run(), load_section("train", Holdout)
    start = holdout_start(run.date, dataset.label.delay_days, training.holdout_days).isoformat()
    pinned, golden = champion / "model.onnx", None
    current = load_model(pinned, run.model.sha256) if run.model.version or pinned.exists() else None
    evaluation: dict[str, Any] = {"name": run.model.name, "partition": run.partition, "training": training.model_dump(), "comparison": None}
    try:
        challenger, forest = load_model(onnx), skops_file.load(model)
        check_fit(challenger, signature_of_features(features))
        since = comparison.trained_until(challenger, start)
        history = read_history(features, dataset, since=parse_partition(since))
        if not len(history.labels):
            raise DataError(
                f"no labelled rows from {since} on; a holdout of {training.holdout_days} days needs outcomes. Choose a later partition"
            )
        scores = comparison.finite_scores(challenger, history.features)
        parity = float(np.abs(forest.predict_proba(history.features)[:, 1] - scores).max())
        evaluation |= {"sha256": challenger.sha256, "since": since} | evaluate(history, scores, parity, params)
        evaluation["importances"] = dict(zip(history.names, forest.feature_importances_.round(6).tolist(), strict=True))
        evaluation["golden"] = known.directions(challenger, history.features, params.golden)
        golden = known.choose(history.names, history.features, scores, challenger.sha256, params.golden_rows)
        mine, theirs = costs.measure(challenger, onnx, history.features), None
        if current:
            gate = max(since, comparison.trained_until(current, since))
            found = comparison.compare_models(
                challenger, current, history, since=gate, slices=params.slices, minimum_rows=params.slice_minimum_rows
            )
            champion_fields = {"version": run.model.version, "degraded": run.model.degraded, "instead_of": run.model.instead_of}
            evaluation["comparison"] = {**champion_fields, "sha256": current.sha256, "since": gate, **found}
            theirs = None if "fault" in found else costs.measure(current, pinned, history.features)
        costs.write(report.with_name("latency.json"), {"challenger": mine, "champion": theirs})
        evaluation["faults"] = faults(evaluation, mine.p99_us / 1000, params)
    except ModelError as error:  # it does not even give scores: that is the whole report
        evaluation["faults"] = [str(error)]

    write(report, evaluation, golden)
    stage.log.info("%s", json.dumps(evaluation.get("metrics")))
    if evaluation["faults"]:
        reasons = "; ".join(evaluation["faults"])
        if run.model.version:  # a challenger: who asks what became of it looks into the journal. DVC never skips a stage that has failed
            record_refusal(run, str(evaluation.get("sha256", "no scores"))[:12], reasons, actor="evaluate")
        raise GateFailed(f"the model does not pass: {reasons}. See {report / 'report.html'}; limits are in params.yaml: evaluate")


if __name__ == "__main__":
    sys.exit(main())
