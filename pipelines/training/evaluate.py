"""Judge the exported model: on the holdout, which training has not seen, and against the champion on the rows that neither has seen.

Reads   data/features/history.parquet, data/models/model.skops, data/models/model.onnx; data/champion/model.onnx if the run is pinned to one
Writes  data/reports/evaluate/: evaluation.json (the contract for `decide` and the model card), metrics.json (DVC metrics), calibration.json and
        roc.json (DVC plots), comparison.json (evidence for the ledger, null without a champion), golden.json, report.json, report.html
        data/reports/latency.json: a measurement of this machine, so not versioned; `register` and `decide` read it
Fails   if the model misses a limit of params.yaml: evaluate, gives a score that is not a number, contradicts the golden set, or differs from
        the model that was trained; the reports are written nevertheless. `decide` says whether it is *better*

Metrics are those of the ONNX model, since production runs it; the trained model is only used to check that both are equal.
"""

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import Field

from pipelines.lib.challengers import comparison
from pipelines.lib.challengers.comparison import Comparison, Opponent
from pipelines.lib.challengers.decision import record_refusal
from pipelines.lib.challengers.decisions import decide_nights
from pipelines.lib.challengers.evaluation import CLASSES, Evaluation, Figures, ForecastMetrics, Metrics, Unscored
from pipelines.lib.challengers.report import write
from pipelines.lib.challengers.trained_model import facts_of
from pipelines.lib.core import stage
from pipelines.lib.core.errors import DataError, GateFailed, ModelError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import load_run
from pipelines.lib.features.history import History, Holdout, holdout_start, read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures import metrics
from pipelines.lib.measures.slices import slices_of
from pipelines.lib.models import costs, estimators
from pipelines.lib.models import golden as known
from pipelines.lib.models.decision_rule import Decided, DecisionRule
from pipelines.lib.models.inference import Model, check_fit, load_model, require_task
from pipelines.lib.tables.dataset import load_dataset


class Evaluate(Section):
    """Limits that a model must keep, and the columns whose values are judged separately (`slices`).

    `golden`: changes that are known to make the outcome more or less likely; a model that contradicts one does not pass.
    """

    slices: tuple[str, ...]
    slice_minimum_rows: int = Field(ge=1)
    minimum_auc: float = Field(ge=0, le=1)
    parity_tolerance: float = Field(gt=0)
    latency_p99_limit_ms: float = Field(gt=0)
    golden_rows: int = Field(default=200, ge=1)
    golden: tuple[known.Direction, ...] = ()


def evaluate(history: History, scores: np.ndarray, parity: float, params: Evaluate, rule: DecisionRule) -> Figures:
    """Measure `scores` [n] and what `rule` decides on the holdout `history` [n]; the same rows and scores give the same figures."""
    task, judged, (whole, part) = history.task, history.task.judges(history.labels), CLASSES[history.task.name]
    low, high = task.score_range(scores)
    return Figures(
        metrics=whole(**vars(task.summary(history.labels, scores)), parity_max_difference=round(parity, 6)),
        quality_interval=comparison.quality_interval(history.labels, scores, history.nights, task) if judged else None,
        slices=tuple(
            part(column=column, value=value, **vars(task.summary(history.labels[mask], scores[mask])))
            for column in params.slices
            for value, mask in slices_of(history.exact(column), params.slice_minimum_rows)
        ),
        calibration=tuple(metrics.calibration(history.labels, scores)),
        roc=tuple(metrics.roc(history.labels, scores)) if judged and task.decides else (),
        scores=tuple(np.histogram(scores, np.linspace(low, high, 41))[0].tolist()),
        decisions=decide_nights(history.labels, scores, history.nights, rule) if task.decides else None,
        score_range=(low, high),
        task=task.name,
    )


def faults(figures: Metrics | ForecastMetrics, golden: Iterable[known.Finding], p99_ms: float, params: Evaluate) -> tuple[str, ...]:
    """Return why this model must not be registered, apart from any comparison; empty for a good one."""
    found = []
    if figures.parity_max_difference > params.parity_tolerance:
        found.append(f"ONNX and the trained model differ by {figures.parity_max_difference:.2g}, more than {params.parity_tolerance:.2g}")
    if figures.quality is None or figures.quality < params.minimum_auc:
        found.append(f"the {figures.quality_name} on the holdout is {figures.quality}, below {params.minimum_auc}")
    if p99_ms > params.latency_p99_limit_ms:
        found.append(f"one row takes {p99_ms:.2f} ms of processor time at the 99th percentile, more than {params.latency_p99_limit_ms} ms")
    return (*found, *(f"golden set: {finding}" for finding in golden if not finding.passed))


@stage.stage("evaluate")
def main(*, features: Path, model: Path, onnx: Path, champion: Path, report: Path) -> None:
    from pipelines.lib.models import skops_file

    params, dataset, run, training = load_section("evaluate", Evaluate), load_dataset(), load_run(), load_section("train", Holdout)
    start = holdout_start(run.date, dataset.label.delay_days, training.holdout_days).isoformat()
    pinned, golden = champion / "model.onnx", None
    current = load_model(pinned, run.model.sha256) if run.model.version or pinned.exists() else None
    challenger: Model | None = None
    evaluation: Evaluation | Unscored
    try:
        challenger, trained = load_model(onnx), skops_file.load(model)
        check_fit(challenger, signature_of_features(features))
        since = comparison.trained_until(challenger, start)
        history = read_history(features, dataset, categories=challenger.categories, since=parse_partition(since))
        if profile := challenger.profile:
            history = replace(history, declared={of.name: of.values for of in profile.binnings if of.values is not None})
        if not len(history.labels):
            raise DataError(
                f"no labelled rows from {since} on; a holdout of {training.holdout_days} days needs outcomes. Choose a later partition"
            )
        scores = comparison.finite_scores(challenger, history.features)
        require_task(challenger, dataset.label.task, onnx)
        parity = known.relative_difference(estimators.answer(trained, history.features, dataset.label.task), scores)
        figures = evaluate(history, scores, parity, params, load_section("score", Decided).threshold)
        findings = known.directions(challenger, history.features, params.golden)
        golden = known.choose(history.names, history.features, scores, challenger.sha256, params.golden_rows)
        mine, theirs, compared = costs.measure(challenger, onnx, history.features), None, None
        if current:
            opponent = Opponent(
                version=run.model.version,
                degraded=run.model.degraded,
                instead_of=run.model.instead_of,
                sha256=current.sha256,
                since=max(since, comparison.trained_until(current, since)),
            )
            compared = comparison.compare_models(
                challenger, current, history, opponent, slices=params.slices, minimum_rows=params.slice_minimum_rows
            )
            if isinstance(compared, Comparison):
                theirs = costs.measure(current, pinned, history.coded_for(current.categories).features)
        costs.write(report.with_name("latency.json"), {"challenger": mine, "champion": theirs})
        evaluation = Evaluation(
            name=run.model.name,
            partition=run.partition,
            training=training.model_dump(),
            **vars(figures),
            comparison=compared,
            sha256=challenger.sha256,
            since=since,
            golden=findings,
            faults=faults(figures.metrics, findings, mine.p99_us / 1000, params),
            **facts_of(challenger, trained, history),
        )
    except ModelError as error:  # it does not even give scores: the report says only that
        digest = challenger.sha256 if challenger else None
        evaluation = Unscored(run.model.name, run.partition, training.model_dump(), digest, (str(error),))

    write(report, evaluation, golden)
    stage.log.info("%s", evaluation.note)
    if evaluation.faults:
        reasons = "; ".join(evaluation.faults)
        if run.model.version:  # a challenger: the journal records its refusal. DVC never skips a stage that has failed
            record_refusal(run, (evaluation.sha256 or "no scores")[:12], reasons, actor="evaluate")
        raise GateFailed(f"the model does not pass: {reasons}. See {report / 'report.html'}; limits are in params.yaml: evaluate")


if __name__ == "__main__":
    sys.exit(main())
