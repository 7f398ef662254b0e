"""A small model with its profile, and nights of it as the journal keeps them: what the tests of the drift report start from."""

import datetime as dt
import json
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.home import REPOSITORY, ledger_url
from pipelines.lib.core.params import load_section
from pipelines.lib.loop.drift_report import Seen
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.measures.binning import numeric_binning
from pipelines.lib.measures.drift import compare
from pipelines.lib.measures.histogram import Histogram, count, merge
from pipelines.lib.measures.metrics import realised
from pipelines.lib.models.profile import SCORE, Noise, Profile, Quality, Reference
from pipelines.lib.records.journal import Decision, DecisionRow, Journal, NightRecord, PerformanceRecord
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from tests import scored_night

NAME, VERSION = "Watched", "2"
POLICY = load_section("govern", Policy, REPOSITORY / "params.yaml")
LAST = dt.date(2013, 4, 30)
NOISE = Noise(mean=0.01, p95=0.02, consecutive_p95=0.02)
ROWS = 300


def columns(rows: int, seed: int, moved: float = 0.0) -> dict[str, np.ndarray]:
    """Return features of a night and their scores; the most important one, `a`, is `moved`."""
    values = scored_night.values(rows, seed)
    values[:, 0] += moved
    scores = scored_night.forest().predict_proba(values)[:, 1].astype(np.float32)
    return dict(zip(scored_night.NAMES, values.T, strict=True)) | {SCORE: scores}


@cache
def profile() -> Profile:
    """Return what the model learned from: 2,000 rows."""
    learned = columns(2_000, seed=1)
    binnings = {name: numeric_binning(name, values, bins=10) for name, values in learned.items()}
    counted = count(learned, list(binnings.values())).counts
    importances = dict(zip(scored_night.NAMES, (0.6, 0.2, 0.1, 0.06, 0.04), strict=True))
    references = [Reference(binnings[name], counted[name], importances.get(name, 0.0), NOISE) for name in learned]
    quality = Quality({}, 0.02, 0.7, 0.05, 14, (), importances)
    return Profile("2013-01-01", "2013-03-15", 2_000, 7, 0.0001, tuple(references[:-1]), references[-1], quality)


@cache
def onnx_bytes() -> bytes:
    """Return the model as production runs it, the profile within."""
    return export_onnx(scored_night.forest(), scored_night.SIGNATURE, ExportOnnx(opset=22), profile())


def nights(number: int = 14, moved_from: int = 99, version: str = VERSION) -> list[NightRecord]:
    """Return the last `number` nights up to `LAST`; from place `moved_from` on, `a` is somewhere else."""
    found: list[NightRecord] = []
    for place in range(number):
        moved = 2.0 if place >= moved_from else 0.0
        counted = count(columns(ROWS, seed=10 + place, moved=moved), profile().binnings)
        window = [Histogram.from_json(record.histogram) for record in found[-6:]] + [counted]
        measured = compare(profile().binnings, profile().histogram, merge(window), floor=profile().floor)
        content = {
            name: asdict(values) | {"importance": profile().column(name).importance, "noise": NOISE.consecutive_p95}
            for name, values in measured.items()
        }
        drift = {"rows": ROWS * len(window), "nights": len(window), "columns": content}
        date = str(LAST - dt.timedelta(days=number - 1 - place))
        found.append(NightRecord(NAME, version, date, f"refs/runs/{date}", ROWS, counted.to_json(), drift))
    return found


def performance(partition: str, version: str = VERSION, rows: int = ROWS, revision: int = 1) -> PerformanceRecord:
    """Return realised figures of a night, with two slices."""
    rng = np.random.default_rng(dt.date.fromisoformat(partition).toordinal())
    labels = (rng.random(rows) < 0.3).astype(np.int8)
    scores = np.clip(0.25 + 0.1 * labels + rng.normal(0, 0.1, rows), 0, 1).astype(np.float32)
    figures: dict[str, Any] = {**realised(labels, scores), "scored": rows, "importances": None}
    half = rows // 2
    parts = [("<x>", slice(half)), ("y", slice(half, None))]
    slices = [{"column": "origin", "value": value, **realised(labels[part], scores[part])} for value, part in parts] if rows else []
    return PerformanceRecord(NAME, partition, version, "0" * 64, rows, figures, slices, revision)


def record(root: Path) -> None:
    """Make `root`, which is the working directory, the workspace of a run on the last night: the model, and what earlier stages recorded.

    The journal and the ledger are those of ``NIGHTSHIFT_HOME``.
    """
    (root / "params.yaml").write_text((REPOSITORY / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    (root / "model.onnx").write_bytes(onnx_bytes())
    recorded = seen(nights(moved_from=10))
    journal = Journal(ledger_url())
    for night in recorded.nights:
        journal.record_night(night)
    for measured in recorded.performance:
        journal.record_performance(measured)
    last = recorded.decisions[-1]
    journal.record_decision(Decision(NAME, last.partition, VERSION, last.retrain, last.reason, last.findings))
    Ledger(ledger_url()).append(replace(recorded.entries[0], sequence=1))
    for stage, file, content in (
        ("govern", "decision.json", recorded.decision),
        ("measure_performance", "report.json", {"recorded": [], "importance": None}),
    ):
        (root / "data" / "reports" / stage).mkdir(parents=True)
        (root / "data" / "reports" / stage / file).write_text(json.dumps(content), encoding="utf-8")


def pin(**changes: Any) -> None:
    """Write the ``run.yaml`` of the run that `record` prepares, with `changes`."""
    model = {"path": "model.onnx", "name": NAME, "version": VERSION, "sha256": sha256_of(Path("model.onnx"))}
    Path("run.yaml").write_text(yaml.safe_dump({"partition": str(LAST), "model": model} | changes), encoding="utf-8")


def seen(records: list[NightRecord] | None = None, *, retrain: bool = False, reason: str = "no: nothing has moved") -> Seen:
    """Return all that is recorded of these nights; version 2 went live in their middle, after version 1."""
    records = nights() if records is None else records
    findings = {"quality": {"limit": 0.61}}
    decision = {"retrain": retrain, "reason": reason, "findings": findings, "champion_version": VERSION, "partition": records[-1].partition}
    row = DecisionRow(NAME, records[-1].partition, VERSION, retrain, reason, findings, sequence=1)
    promoted = Entry(NAME, 2, "promote", VERSION, "a" * 64, "m", "1", records[len(records) // 2].partition, "ada", "better")
    window = records[-records[-1].drift["nights"] :]
    return Seen(records, window, [performance(record.partition) for record in records[:-2]], [promoted], [row], decision, {})
