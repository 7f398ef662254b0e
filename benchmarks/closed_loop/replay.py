"""The replay of a year: the functions of the stages, night by night, on one features file."""

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.flights_of_2013 import section
from pipelines.lib.challengers import comparison
from pipelines.lib.challengers.agreement import Shadow
from pipelines.lib.challengers.comparison import Comparison, Opponent
from pipelines.lib.challengers.evaluation import Evaluation
from pipelines.lib.challengers.policy import Policy as Promoting
from pipelines.lib.challengers.policy import decide
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import History, holdout_start
from pipelines.lib.features.signature import Signature
from pipelines.lib.loop.champion_history import History as Recorded
from pipelines.lib.loop.champion_history import Promotion, Retraining
from pipelines.lib.loop.governor import govern
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.measures.histogram import Histogram, count
from pipelines.lib.models import golden
from pipelines.lib.models.decision_rule import Decided
from pipelines.lib.models.forest_sample import sample_of
from pipelines.lib.models.inference import Model, load_model
from pipelines.lib.models.profile import SCORE, Profile, ProfileParams
from pipelines.lib.records.journal import NightRecord, PerformanceRecord
from pipelines.lib.tables.dataset import Dataset
from pipelines.monitoring.detect_drift import detect_drift
from pipelines.monitoring.govern import night_of, outcome_of, reference_of
from pipelines.monitoring.measure_performance import MeasurePerformance, measure_performance
from pipelines.training.evaluate import Evaluate, evaluate, faults
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import Train, profile_of, train

FIRST = dt.date(2013, 4, 1)


@dataclass
class Champion:
    """A version that scores, and what was recorded of its nights."""

    version: str
    live_from: str
    model: Model
    nights: list[NightRecord] = field(default_factory=list)

    @property
    def profile(self) -> Profile:
        """The rows that it learned from."""
        assert self.model.profile is not None
        return self.model.profile


@dataclass
class Replay:
    """The result of a replay: scores [n] of both lines on the rows [n] from April on, and every decision that started something."""

    static: np.ndarray
    closed: np.ndarray
    decisions: list[dict[str, Any]]


class Loop:
    """The stages' functions with the shipped parameters, on one features file."""

    def __init__(self, history: History, signature: Signature, dataset: Dataset, features: Features, directory: Path) -> None:
        self.history, self.signature, self.dataset, self.features, self.directory = history, signature, dataset, features, directory
        self.training: Train = section("train", Train)
        self.policy: Policy = section("govern", Policy)
        self.live = history.since(FIRST.isoformat())

    def replay(self) -> Replay:
        """Replay every night, in order."""
        first = self.champion("1", FIRST)
        promotions = [Promotion(1, FIRST.isoformat(), "1")]
        retrainings: list[Retraining] = []
        decisions: list[dict[str, Any]] = []
        champion = first
        static, closed = first.model.score(self.live.features), np.empty(len(self.live.labels), dtype=np.float32)
        performance: list[PerformanceRecord] = []
        places = {night: np.flatnonzero(self.live.nights == night) for night in np.unique(self.live.nights).tolist()}
        for night, rows in places.items():
            closed[rows] = champion.model.score(self.live.features[rows])
            champion.nights.append(self.record(champion, night, self.live.features[rows], closed[rows]))
            labelled = pa.table({"score": closed[rows], "outcome": self.live.labels[rows]})
            measured, _ = measure_performance(labelled, MeasurePerformance(nights=1))
            performance.append(PerformanceRecord("m", night, champion.version, "", len(rows), measured))
            decision = govern(
                Recorded(
                    "m",
                    night,
                    champion.version,
                    promotions,
                    [night_of(record, champion.profile) for record in champion.nights],
                    [outcome_of(record) for record in performance if record.partition < self.matured(night)],
                    retrainings,
                    reference_of(champion.profile),
                    trained_until=champion.profile.trained_until,
                ),
                self.policy,
            )
            if not decision.retrain:
                continue
            retrainings.append(Retraining(night, champion.version, tuple(decision.findings["signals"])))
            challenger = self.champion(str(len(retrainings) + 1), dt.date.fromisoformat(night))
            verdict = self.judge(challenger, champion, night)
            decisions.append({"partition": night, "champion": champion.version, "reason": decision.reason, **verdict})
            print(f"   {night}: {verdict['verdict']}, {decision.reason}", flush=True)
            if verdict["verdict"] == "promote":
                challenger.live_from = (dt.date.fromisoformat(night) + dt.timedelta(days=1)).isoformat()
                champion = challenger
                promotions.append(Promotion(len(promotions) + 1, champion.live_from, champion.version))
        return Replay(static, closed, decisions)

    def matured(self, partition: str) -> str:
        """Return the first partition without outcomes at the start of `partition`."""
        return (dt.date.fromisoformat(partition) - dt.timedelta(days=self.dataset.label.delay_days)).isoformat()

    def champion(self, version: str, partition: dt.date) -> Champion:
        """Train as of `partition` and export: what `train` and `export_onnx` do."""
        start = holdout_start(partition, self.dataset.label.delay_days, self.training.holdout_days).isoformat()
        known = self.select(self.history.nights < self.matured(partition.isoformat()))
        fitted, holdout = self.select(self.history.nights < start), known.since(start)
        forest = train(fitted, self.training)
        profile = profile_of(
            forest, fitted, holdout, dataset=self.dataset, features=self.features, params=section("profile", ProfileParams)
        )
        path = self.directory / f"{version}.onnx"
        path.write_bytes(export_onnx(forest, self.signature, section("export_onnx", ExportOnnx), profile))
        model = load_model(path)
        self.sample = sample_of(forest)
        self.parity = float(np.abs(forest.predict_proba(holdout.features)[:, 1] - model.score(holdout.features)).max())
        return Champion(version, partition.isoformat(), model)

    def select(self, mask: np.ndarray) -> History:
        """Return the rows of `mask` [n]."""
        return History(self.history.features[mask], self.history.labels[mask], self.history.rows.filter(pa.array(mask)), self.history.names)

    def record(self, champion: Champion, night: str, features: np.ndarray, scores: np.ndarray) -> NightRecord:
        """Return the record of `detect_drift`."""
        tonight = count({**dict(zip(self.history.names, features.T, strict=True)), SCORE: scores}, champion.profile.binnings)
        earlier = [Histogram.from_json(record.histogram) for record in champion.nights[1 - champion.profile.window_nights :]]
        drift = detect_drift(champion.profile, tonight, earlier, section("govern", Policy))
        return NightRecord("m", champion.version, night, "", tonight.rows, tonight.to_json(), drift)

    def judge(self, challenger: Champion, champion: Champion, partition: str) -> dict[str, Any]:
        """Return the verdict of `evaluate` and `decide`."""
        params: Evaluate = section("evaluate", Evaluate)
        since = challenger.profile.trained_until
        holdout = self.select((self.history.nights >= since) & (self.history.nights < self.matured(partition)))
        scores = comparison.finite_scores(challenger.model, holdout.features)
        known = tuple(direction for direction in params.golden if set(direction.change) <= set(self.history.names))
        opponent = Opponent(champion.version, degraded=False, instead_of=None, sha256=champion.model.sha256, since=since)
        found = comparison.compare_models(
            challenger.model, champion.model, holdout, opponent, slices=params.slices, minimum_rows=params.slice_minimum_rows
        )
        if not isinstance(found, Comparison):
            raise RuntimeError(f"the models of {partition} cannot be compared: {found.fault}")
        figures, findings = (
            evaluate(holdout, scores, self.parity, params, section("score", Decided).threshold),
            golden.directions(challenger.model, holdout.features, known),
        )
        evaluation = Evaluation(
            name="m",
            partition=partition,
            training={},
            **vars(figures),
            comparison=found,
            sha256=challenger.model.sha256,
            since=since,
            importances={},
            golden=findings,
            faults=faults(figures.metrics, findings, 0.0, params),
            trained_on=self.sample,
        )
        unseen = Shadow(partition, champion.version, "challenger", fault=None, nights=(), overall=None, note="no night is published")
        verdict = decide(evaluation, unseen, section("decide", Promoting), challenger=None, champion=None)
        return {
            "verdict": verdict.verdict,
            "reasons": verdict.reasons,
            "gate_auc_difference": found.quality_difference.value,
            "gate_log_loss_difference": found.loss_difference.value,
        }
