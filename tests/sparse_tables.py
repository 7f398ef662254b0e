"""Two small tables that do not have rows every night, and a workspace in which their nights run through the real stages, without Airflow.

The clinic is closed on Sundays and over a holiday, and on some days nobody comes. The market has rows on Mondays only.
"""

import datetime as dt
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from pipelines.data import (
    featurize_batch,
    featurize_history,
    ingest_batch,
    ingest_history,
    validate_batch,
    validate_features,
    validate_history,
)
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.home import ledger_url
from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.core.stage import FAILURE_FILE
from pipelines.lib.core.use_cases import find, write_into
from pipelines.lib.declarations import derivation
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.monitoring import detect_drift, govern, measure_performance
from pipelines.scoring import publish_empty_night, publish_scores, score, validate_scores
from pipelines.training import export_onnx, train
from tests import rides
from tests.stub_repository import git

TODAY = dt.date(2026, 11, 23)
HOLIDAY = (dt.date(2024, 3, 29), dt.date(2024, 4, 2))
"""First and last night of the clinic's holiday, with a Sunday within."""

DECLARED: dict[str, Any] = {
    "dataset": {
        "source": {"kind": "parquet", "path": "visits/*.parquet"},
        "key": ["visit"],
        "event_time": "seen_at",
        "label": {"name": "again", "expression": "returned", "delay_days": 2},
        "columns": {"visit": {"type": "string"}},
        "known_later": ["returned"],
    },
    "features": {
        "numeric": {"age": {"missing": -1}},
        "categorical": {"ward": {}},
        "calendar": ["hour"],
        "lagged": {"returned_ward": {"by": ["ward"], "window_days": 28, "prior_weight": 10}},
    },
}


def visits(nights: Mapping[dt.date, int]) -> str:
    """Return SQL of the visits on `nights`, as many as they say; the same rows each time."""
    listed = ", ".join(f"(DATE '{night}', {rows})" for night, rows in nights.items() if rows)
    return f"""
        SELECT *, (hash(visit || 'r') % 100) < 15 + age // 2 AS returned FROM (
            SELECT printf('%s-%04d', night, number) AS visit,
                night::TIMESTAMP + INTERVAL 1 MINUTE * (480 + (number * 600) // rows) AS seen_at,
                (hash(night, number, 'a') % 90)::BIGINT AS age,
                list_extract(['north', 'south'], 1 + (hash(night, number, 'w') % 2)::INT) AS ward
            FROM (VALUES {listed}) AS nights(night, rows), LATERAL (SELECT unnest(range(rows)) AS number))
        ORDER BY seen_at"""


def clinic() -> dict[dt.date, int]:
    """Return the visits of each night from January to April."""
    dates = [dt.date(2024, 1, 1) + dt.timedelta(days=day) for day in range(121)]
    closed = {date for date in dates if date.weekday() == 6 or HOLIDAY[0] <= date <= HOLIDAY[1] or date.toordinal() % 23 == 0}
    return {date: 0 if date in closed else 10 + date.toordinal() * 7 % 9 for date in dates}


def market() -> dict[dt.date, int]:
    """Return the visits of each night of 60 weeks that begin on a Monday."""
    return {dt.date(2023, 1, 2) + dt.timedelta(days=day): 0 if day % 7 else 60 + day % 11 for day in range(7 * 60)}


class Workspace:
    """A workspace of the use case `name` whose source has a file for each night with rows, and a champion trained as of its first run."""

    def __init__(self, root: Path, name: str, nights: Mapping[dt.date, int], **dataset: Any) -> None:
        self.root = root
        rides.repository(root / "repository", {**DECLARED, "dataset": {**DECLARED["dataset"], **dataset}}, name)
        (root / "repository" / "visits").mkdir()
        self.add(nights)
        os.chdir(root / "repository")
        use_case = find(name, Path())
        self.derived = derivation.derive(use_case, TODAY)
        derivation.write(use_case, self.derived)
        self.workspace = root / "workspace"
        (self.workspace / ".dvc").mkdir(parents=True)
        (self.workspace / ".dvc" / "config").write_text("[core]\n    analytics = false\n")
        write_into(self.workspace, name, root / "repository")
        git(self.workspace, "init", "--quiet")
        git(self.workspace, "commit", "--quiet", "--allow-empty", "--message", "start")
        os.chdir(self.workspace)
        self.name = yaml.safe_load(Path("params.yaml").read_text())["registry"]["name"]
        self.first = dt.date.fromisoformat(self.derived["first_run"]["partition"])

    def add(self, nights: Mapping[dt.date, int]) -> None:
        """Write the file of each of the `nights` that has rows."""
        for night, rows in nights.items():
            if rows:
                rides.write(self.root / "repository" / "visits" / f"{night}.parquet", visits({night: rows}))

    def remove(self, night: dt.date) -> None:
        """Remove the file of `night`."""
        (self.root / "repository" / "visits" / f"{night}.parquet").unlink()

    def run(self, stage: Any, **arguments: str) -> None:
        """Run `stage`, which must succeed."""
        assert stage.main([f"--{name}={value}" for name, value in arguments.items()]) == 0, FAILURE_FILE.read_text(encoding="utf-8")

    def train(self) -> None:
        """Make a model as of the first partition, and its version 1 the champion."""
        self.open(self.first, "train", sha256=None)
        self.run(ingest_history, raw="data/raw/history")
        self.run(validate_history, raw="data/raw/history", report="data/reports/validate_history")
        files = {"features": "data/features/history.parquet", "model": "data/models/model.skops", "profile": "data/models/profile.json"}
        self.run(featurize_history, raw="data/raw/history", gate="data/reports/validate_history", features=files["features"])
        self.run(train, **files)
        self.run(export_onnx, **files, onnx="data/models/model.onnx")
        live_from = str(self.first - dt.timedelta(days=60))
        sha256 = sha256_of(Path("data/models/model.onnx"))
        Ledger(ledger_url()).append(Entry(self.name, 1, "promote", "1", sha256, "models:/m/1", None, live_from, "test", "first"))

    def open(self, night: dt.date, attempt: str, *, sha256: str | None) -> None:
        """Pin a run of `night`."""
        model = PinnedModel(path="data/models/model.onnx", name=self.name, version="1", sha256=sha256)
        run_id, opened_at = f"{attempt}-{night}", dt.datetime.now(dt.UTC).isoformat()
        save_run(
            RunFile(
                partition=str(night), model=model, run_id=run_id, run_ref=f"refs/runs/d/{run_id}", git_commit="0" * 40, opened_at=opened_at
            )
        )

    def night(self, night: dt.date, attempt: str = "night") -> str:
        """Run the nightly DAG on `night` and then, if its scores are published, the monitoring. Return the last stage, and why it failed."""
        self.open(night, attempt, sha256=sha256_of(Path("data/models/model.onnx")))
        self.run(ingest_batch, raw="data/raw/batch")
        gate = "data/reports/validate_batch"
        if validate_batch.main(["--raw=data/raw/batch", f"--report={gate}"]):
            return f"validate_batch: {json.loads(FAILURE_FILE.read_text())['message']}"
        if json.loads(Path(gate, "verdict.json").read_text())["rows"] == 0:
            if publish_empty_night.main([f"--gate={gate}"]):
                return f"publish_empty_night: {json.loads(FAILURE_FILE.read_text())['message']}"
            return "publish_empty_night"
        features, scores, model = "data/features/batch.parquet", "data/scores/scores.parquet", "data/models/model.onnx"
        self.run(featurize_batch, raw="data/raw/batch", gate=gate, features=features)
        self.run(validate_features, features=features, model=model, report="data/reports/validate_features")
        self.run(score, features=features, gate="data/reports/validate_features", model=model, scores=scores)
        self.run(validate_scores, features=features, scores=scores, report="data/reports/validate_scores")
        self.run(publish_scores, scores=scores, gate="data/reports/validate_scores")
        for stage in (detect_drift, measure_performance, govern):
            self.run(stage)
        return "govern"

    def report(self, stage: str) -> dict[str, Any]:
        """Return what the last run of `stage` reported."""
        return dict(json.loads(Path(f"data/reports/{stage}/report.json").read_text(encoding="utf-8")))
