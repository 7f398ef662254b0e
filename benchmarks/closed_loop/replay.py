"""The replay of the nights of one features file, for a label of any task: the functions of the stages, night by night."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
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
from pipelines.lib.core.params import S, parse_section
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import History, holdout_start
from pipelines.lib.features.signature import Signature
from pipelines.lib.loop.champion_history import History as Recorded
from pipelines.lib.loop.champion_history import Promotion, Retraining
from pipelines.lib.loop.governor import govern
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.loop.watch import NightLoss, judge
from pipelines.lib.measures.histogram import Histogram, count
from pipelines.lib.measures.tasks import BINARY
from pipelines.lib.models import estimators, golden
from pipelines.lib.models.decision_rule import Decided
from pipelines.lib.models.forest_sample import sample_of
from pipelines.lib.models.inference import Model, load_model
from pipelines.lib.models.profile import SCORE, Profile, ProfileParams
from pipelines.lib.models.trained_profile import profile_of
from pipelines.lib.records.journal import NightRecord, PerformanceRecord
from pipelines.lib.tables.dataset import Dataset
from pipelines.monitoring.detect_drift import detect_drift
from pipelines.monitoring.govern import night_of, outcome_of, reference_of
from pipelines.monitoring.measure_performance import MeasurePerformance, measure_performance
from pipelines.training.evaluate import Evaluate, evaluate, faults
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import Train, train

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
class Watch:
    """The former champion scores the nights of the `champion` that was promoted because it is fresher; `nights` are those with outcomes."""

    champion: Champion
    former: Champion
    nights: list[NightLoss] = field(default_factory=list)


@dataclass
class Replay:
    """The result of a replay: scores [n] of both lines on the rows [n] from the first champion on, decisions, rollbacks, and each promotion on the nights it `served`."""

    static: np.ndarray
    closed: np.ndarray
    decisions: list[dict[str, Any]]
    rollbacks: list[dict[str, Any]]
    served: list[dict[str, Any]]


class Loop:
    """The stages' functions on one features file, with the parameters that `section` returns but for the values of `changed` sections.

    The `first` date is that of the first champion.
    """

    def __init__(
        self,
        history: History,
        signature: Signature,
        dataset: Dataset,
        features: Features,
        directory: Path,
        changed: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        *,
        first: dt.date = FIRST,
        section: Callable[[str, Any], Any] = section,
    ) -> None:
        self.history, self.signature, self.dataset, self.features, self.directory = history, signature, dataset, features, directory
        self.first, self.section, self.task = first, section, history.task
        self.training: Train = _changed("train", section("train", Train), changed)
        self.policy: Policy = _changed("govern", section("govern", Policy), changed)
        self.promoting: Promoting = _changed("decide", section("decide", Promoting), changed)
        self.live = history.since(first.isoformat())

    def replay(self) -> Replay:
        """Replay every night, in order."""
        first = self.champion("1", self.first)
        promotions = [Promotion(1, self.first.isoformat(), "1")]
        retrainings: list[Retraining] = []
        decisions: list[dict[str, Any]] = []
        rollbacks: list[dict[str, Any]] = []
        served: list[tuple[Champion, Champion]] = []
        champion, watch = first, None
        static, closed = first.model.score(self.live.features), np.empty(len(self.live.labels), dtype=np.float32)
        performance: list[PerformanceRecord] = []
        places = {night: np.flatnonzero(self.live.nights == night) for night in np.unique(self.live.nights).tolist()}
        for night, rows in places.items():
            closed[rows] = champion.model.score(self.live.features[rows])
            champion.nights.append(self.record(champion, night, self.live.features[rows], closed[rows]))
            labelled = pa.table({"score": closed[rows], "outcome": self.live.labels[rows]})
            measured, _ = measure_performance(labelled, MeasurePerformance(nights=1), self.task)
            performance.append(PerformanceRecord("m", night, champion.version, "", len(rows), measured))
            if watch and (lost := self.look(watch, night)):
                champion, watch = watch.former, None
                promotions.append(Promotion(len(promotions) + 1, _next(night), champion.version))
                rollbacks.append({"partition": night, "champion": champion.version, "finding": lost})
                print(f"   {night}: rolled back to version {champion.version}, {lost}", flush=True)
            decision = govern(
                Recorded(
                    "m",
                    night,
                    champion.version,
                    promotions,
                    [night_of(record, champion.profile) for record in champion.nights],
                    [outcome_of(record, self.task.name) for record in performance if record.partition < self.matured(night)],
                    retrainings,
                    reference_of(champion.profile),
                    trained_until=champion.profile.trained_until,
                    quality_name=self.task.quality_name,
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
                challenger.live_from = _next(night)
                served.append((challenger, champion))
                watch = Watch(challenger, champion) if verdict["basis"] == "fresher" else None
                champion = challenger
                promotions.append(Promotion(len(promotions) + 1, champion.live_from, champion.version))
        return Replay(static, closed, decisions, rollbacks, [self.served(*pair, promotions) for pair in served])

    def served(self, champion: Champion, former: Champion, promotions: list[Promotion]) -> dict[str, Any]:
        """Return how much higher the loss of `champion` was than that of the `former` one would have been, on the nights that it served."""
        [place] = [place for place, promotion in enumerate(promotions) if promotion.live_from == champion.live_from]
        end = promotions[place + 1].live_from if place + 1 < len(promotions) else "9999"
        rows = (self.live.nights >= champion.live_from) & (self.live.nights < end)
        labels, nights, features = self.live.labels[rows], self.live.nights[rows], self.live.features[rows]
        found = comparison.loss_difference(
            labels, former.model.score(features), champion.model.score(features), nights, self.task
        ).rounded()
        return {"live_from": champion.live_from, "nights": len(np.unique(nights)), "log_loss_difference": asdict(found)}

    def look(self, watch: Watch, night: str) -> str | None:
        """Return the finding of `watch` if the champion clearly loses on the nights whose outcomes are known at the start of `night`."""
        limit = self.promoting.watch_nights
        known = (self.live.nights >= watch.champion.live_from) & (self.live.nights < self.matured(night))
        for date in np.unique(self.live.nights[known]).tolist()[len(watch.nights) : limit]:
            rows = self.live.nights == date
            labels = self.live.labels[rows]
            mine, theirs = (
                comparison.mean_loss(labels, side.model.score(self.live.features[rows]), self.task)
                for side in (watch.champion, watch.former)
            )
            watch.nights.append(NightLoss(date, len(labels), int(labels.sum()) if self.task is BINARY else None, mine, theirs))
            lost, finding = judge(watch.nights, self.promoting, last=len(watch.nights) == limit, loss_name=self.task.loss_name)
            if lost:
                return finding
        return None

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
            forest,
            fitted,
            holdout,
            fit=lambda rows: train(rows, self.training),
            seed=self.training.random_state,
            dataset=self.dataset,
            features=self.features,
            params=self.section("profile", ProfileParams),
        )
        path = self.directory / f"{version}.onnx"
        exporting = self.section("export_onnx", ExportOnnx)
        path.write_bytes(export_onnx(forest, self.signature, exporting, profile, task=self.task.name))
        model = load_model(path)
        self.sample = sample_of(forest)
        expected = estimators.answer(forest, holdout.features, self.task.name)
        self.parity = golden.relative_difference(expected, model.score(holdout.features))
        return Champion(version, partition.isoformat(), model)

    def select(self, mask: np.ndarray) -> History:
        """Return the rows of `mask` [n]."""
        kept = self.history.rows.filter(pa.array(mask))
        return replace(self.history, features=self.history.features[mask], labels=self.history.labels[mask], rows=kept)

    def record(self, champion: Champion, night: str, features: np.ndarray, scores: np.ndarray) -> NightRecord:
        """Return the record of `detect_drift`."""
        tonight = count({**dict(zip(self.history.names, features.T, strict=True)), SCORE: scores}, champion.profile.binnings)
        earlier = [Histogram.from_json(record.histogram) for record in champion.nights[1 - champion.profile.window_nights :]]
        drift = detect_drift(champion.profile, tonight, earlier, self.policy)
        return NightRecord("m", champion.version, night, "", tonight.rows, tonight.to_json(), drift)

    def judge(self, challenger: Champion, champion: Champion, partition: str) -> dict[str, Any]:
        """Return the verdict of `evaluate` and `decide`."""
        params: Evaluate = self.section("evaluate", Evaluate)
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
            evaluate(holdout, scores, self.parity, params, self.section("score", Decided).threshold),
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
        verdict = decide(evaluation, unseen, self.promoting, challenger=None, champion=None)
        return {
            "verdict": verdict.verdict,
            "basis": verdict.basis,
            "reasons": verdict.reasons,
            "gate_auc_difference": found.quality_difference.value,
            "gate_log_loss_difference": found.loss_difference.value,
            "gate_clearly_worse": (found.quality_difference.high or 0.0) < 0 or (found.loss_difference.low or 0.0) > 0,
        }


def _next(night: str) -> str:
    return (dt.date.fromisoformat(night) + dt.timedelta(days=1)).isoformat()


def _changed(name: str, shipped: S, changed: Mapping[str, Mapping[str, Any]]) -> S:
    """Return the `shipped` section `name` with the values of `changed`, validated as in a file."""
    return parse_section(
        shipped.model_dump(exclude_unset=True) | dict(changed.get(name, {})), type(shipped), f"benchmarks.closed_loop: {name}"
    )
