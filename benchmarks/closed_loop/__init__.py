"""The gain of the loop: April to December 2013, night by night, compared with the first champion left alone.

Each night goes through the functions of the stages: scored by the champion's ONNX, counted into its profile's bins, compared in windows; its outcomes
come after the label's delay and give its quality; `govern` reads what was recorded. When it says yes, a challenger is trained on all that has matured,
exported, evaluated, and compared with the champion on the rows that neither has trained on. `decide` decides, and a promoted challenger scores from
the next night on. No person takes part: *ask* counts as refused. *Static* is the first champion, trained as of 2013-04-01, on every night.

The replay runs twice. The shipped features rely mostly on lagged rates, which follow the world by themselves. `PLAIN` (keys ``plain_``)
has none of them: weather, distance, aircraft, calendar, carrier, origin and destination. Features are computed once, for flights with outcomes.
AUC and log loss are means over the nine months. Not run here: latency and memory of a challenger, and its shadow nights.
"""

import datetime as dt
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.governor import features_of_2013, section
from pipelines.lib.challengers import comparison
from pipelines.lib.challengers.agreement import Shadow
from pipelines.lib.challengers.comparison import Comparison, Opponent
from pipelines.lib.challengers.evaluation import Evaluation
from pipelines.lib.challengers.policy import Policy as Promoting
from pipelines.lib.challengers.policy import decide
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import parse_section
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import History, holdout_start, read_history
from pipelines.lib.features.signature import Signature, signature_of_features
from pipelines.lib.loop.champion_history import History as Recorded
from pipelines.lib.loop.champion_history import Promotion, Retraining
from pipelines.lib.loop.governor import govern
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.measures import metrics
from pipelines.lib.measures.histogram import Histogram, count
from pipelines.lib.models import golden
from pipelines.lib.models.forest_sample import sample_of
from pipelines.lib.models.inference import Model, load_model
from pipelines.lib.models.profile import SCORE, Profile, ProfileParams
from pipelines.lib.pages import figures as charts
from pipelines.lib.pages.svg import standalone
from pipelines.lib.records.journal import NightRecord, PerformanceRecord
from pipelines.lib.tables.dataset import Dataset
from pipelines.monitoring.detect_drift import detect_drift
from pipelines.monitoring.govern import night_of, outcome_of, reference_of
from pipelines.monitoring.measure_performance import MeasurePerformance, measure_performance
from pipelines.training.evaluate import Evaluate, evaluate, faults
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import Train, profile_of, train

FIRST, END = dt.date(2013, 4, 1), dt.date(2014, 1, 1)
PICTURE = REPOSITORY / "docs" / "images" / "closed_loop.svg"
ROLLING = 14
"""Nights over which the picture takes the AUC."""

TARGETS = {
    "auc_closed_loop": (">=", 0.700),
    "gain": (">=", 0.030),
    "logloss_gain": (">=", 0.0),
    "retrainings": ("<=", 8),
    "promotions_of_a_worse_challenger": ("<=", 0),
    "plain_retrainings": ("<=", 8),
    "plain_promotions_of_a_worse_challenger": ("<=", 0),
}

DESTINATIONS = """
    ABQ ACK ALB ANC ATL AUS AVL BDL BGR BHM BNA BOS BQN BTV BUF BUR BWI BZN CAE CAK CHO CHS CLE CLT CMH CRW CVG DAY DCA DEN DFW DSM DTW
    EGE EYW FLL GRR GSO GSP HDN HNL HOU IAD IAH ILM IND JAC JAX LAS LAX LEX LGA LGB MCI MCO MDW MEM MHT MIA MKE MSN MSP MSY MTJ MVY MYR
    OAK OKC OMA ORD ORF PBI PDX PHL PHX PIT PSE PSP PVD PWM RDU RIC ROC RSW SAN SAT SAV SBN SDF SEA SFO SJC SJU SLC SMF SNA SRQ STL STT
    SYR TPA TUL TVC TYS XNA
"""

PLAIN = {
    "joins": {
        "weather": {"key": {"origin": "origin", "hour_start": "date_trunc('hour', scheduled_departure)"}},
        "planes": {"key": {"tailnum": "tailnum"}},
    },
    "numeric": {
        "distance": {"missing": -1},
        "temperature": {"expression": "weather_temp", "missing": 55},
        "dew_point": {"expression": "weather_dewp", "missing": 40},
        "humidity": {"expression": "weather_humid", "missing": 60},
        "pressure": {"expression": "weather_pressure", "missing": 1018},
        "wind_direction": {"expression": "weather_wind_dir", "missing": -1},
        "wind_speed": {"expression": "weather_wind_speed", "missing": 10},
        "wind_gust": {"expression": "weather_wind_gust", "missing": 0},
        "precipitation": {"expression": "weather_precip", "missing": 0},
        "visibility": {"expression": "weather_visib", "missing": 10},
        "aircraft_age": {"expression": "year(scheduled_departure) - planes_built", "missing": -1},
        "seats": {"expression": "planes_seats", "missing": -1},
        "engines": {"expression": "planes_engines", "missing": -1},
        "scheduled_arrival": {"expression": "sched_arr_time", "missing": -1},
        "flight_number": {"expression": "flight", "missing": -1},
    },
    "categorical": {
        "airline": {"expression": "carrier"},
        "airport": {"expression": "origin"},
        "destination": {"expression": "dest", "values": DESTINATIONS.split()},
    },
    "calendar": ["hour", "minute_of_day", "weekday", "month"],
}
"""A declaration that learns nothing from outcomes: 22 features."""


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


def main() -> dict[str, Any]:
    """Replay the shipped and the plain features, and draw both."""
    dataset = section("dataset", Dataset)
    figures: dict[str, Any] = {}
    panels = {}
    for prefix, features in (("", section("features", Features)), ("plain_", None)):
        with tempfile.TemporaryDirectory() as name:
            declared = features or parse_section(PLAIN, Features, "PLAIN")
            path = features_of_2013(dataset, declared, Path(name))
            loop = Loop(read_history(path, dataset), signature_of_features(path), dataset, declared, Path(name))
            replayed = loop.replay()
        monthly = summary(loop, replayed)
        figures |= {f"{prefix}{key}": value for key, value in monthly.items()}
        panels["Plain features" if prefix else "Shipped features"] = panel(loop, replayed, monthly)
    with replacing(PICTURE) as temporary:
        temporary.write_text(standalone(charts.closed_loop(panels, label=f"AUC of {ROLLING} nights")) + "\n", encoding="utf-8")
    return figures


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
        figures, findings = evaluate(holdout, scores, self.parity, params), golden.directions(challenger.model, holdout.features, known)
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
            "gate_auc_difference": found.auc_difference.value,
            "gate_log_loss_difference": found.log_loss_difference.value,
        }


def summary(loop: Loop, replayed: Replay) -> dict[str, Any]:
    """Return the figures of one replay."""
    months = loop.live.nights.astype("datetime64[M]")
    summaries = {
        line: [metrics.summary(loop.live.labels[months == month], scores[months == month]) for month in np.unique(months)]
        for line, scores in (("static", replayed.static), ("closed_loop", replayed.closed))
    }
    auc = {line: [float(month.auc or 0.0) for month in found] for line, found in summaries.items()}
    loss = {line: [float(month.log_loss) for month in found] for line, found in summaries.items()}
    promoted = [decision for decision in replayed.decisions if decision["verdict"] == "promote"]
    return {
        **{f"auc_{line}": round(float(np.mean(found)), 4) for line, found in auc.items()},
        **{f"logloss_{line}": round(float(np.mean(found)), 4) for line, found in loss.items()},
        "gain": round(float(np.mean(auc["closed_loop"]) - np.mean(auc["static"])), 4),
        "logloss_gain": round(float(np.mean(loss["static"]) - np.mean(loss["closed_loop"])), 4),
        "retrainings": len(replayed.decisions),
        "promotions": len(promoted),
        "refusals": len(replayed.decisions) - len(promoted),
        "promotions_of_a_worse_challenger": sum(decision["gate_auc_difference"] < 0 for decision in promoted),
        "months": [str(month) for month in np.unique(months)],
        **{f"auc_{line}_by_month": [round(value, 3) for value in found] for line, found in auc.items()},
        **{f"logloss_{line}_by_month": [round(value, 3) for value in found] for line, found in loss.items()},
        "decisions": replayed.decisions,
    }


def panel(loop: Loop, replayed: Replay, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return one panel of the picture: the AUC of `ROLLING` nights, static and closed."""
    nights = np.unique(loop.live.nights)
    ends = nights[ROLLING - 1 :]
    lines = {}
    for line, scores in (("static", replayed.static), ("closed", replayed.closed)):
        values = []
        for first, last in zip(nights, ends, strict=False):
            rows = (loop.live.nights >= first) & (loop.live.nights <= last)
            values.append(float(metrics.summary(loop.live.labels[rows], scores[rows]).auc or 0.0))
        lines[line] = values
    summary = f"mean of monthly AUC {figures['auc_static']:.3f} left alone, {figures['auc_closed_loop']:.3f} in the loop"
    return {
        "reference": ("the first champion, left alone", ends.tolist(), lines["static"]),
        "other": ("the closed loop", ends.tolist(), lines["closed"]),
        "marks": [(decision["partition"], decision["verdict"] == "promote") for decision in replayed.decisions],
        "summary": summary,
    }
