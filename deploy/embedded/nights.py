"""A finished night: its tasks from Airflow, its rows from the published table, its gates from their reports."""

import datetime as dt
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from nightshift_airflow.places import home, reports_path

from deploy.embedded.client import Client
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.home import ledger_url
from pipelines.lib.gates import FAILED, NOT_JUDGED, PASSED, WARNING
from pipelines.lib.published.delta_tables import read_scores
from pipelines.lib.published.store import evidence_url
from pipelines.lib.records.journal import Journal
from pipelines.lib.tables.dataset import load_dataset
from pipelines.lib.tables.engine import name as quoted
from pipelines.lib.vector_index.evidence import grouped

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True)
class Night:
    """One run of the nightly DAG. `expected_rate` is the mean score, `spans` (task, start, seconds) with start as UNIX time.

    `decision` is the governor's decision on the night, empty if the night was not watched. `similar` is the evidence for its riskiest
    rows, by their keys. `pages` holds the file of each page that belongs to the night, by stage; ``model`` is the card of its model.
    """

    partition: str
    run_id: str
    state: str
    rows: int
    model_name: str
    model_version: str
    model_sha256: str
    degraded: bool
    expected_rate: float
    duration_s: float
    tasks: dict[str, float] = field(default_factory=dict)
    spans: tuple[tuple[str, float, float], ...] = ()
    gates: dict[str, str] = field(default_factory=dict)
    reports: dict[str, dict[str, Any]] = field(default_factory=dict)
    decision: str = ""
    similar: dict[tuple[Any, ...], dict[str, Any]] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the night as ``demo.json`` holds it."""
        names = ("partition", "run_id", "state", "rows", "model_name", "model_version", "model_sha256", "duration_s", "tasks", "decision")
        return {name: getattr(self, name) for name in names} | {"evidence": len(self.similar)}


def collect_night(client: Client, dag_id: str, run_id: str, partition: str) -> Night:
    """Collect the facts of a run from Airflow, the published table and the gates; a failed run has published nothing."""
    run = client.run(dag_id, run_id)
    tasks = sorted((task for task in client.tasks(dag_id, run_id) if task["start_date"]), key=lambda task: task["start_date"])
    spans = tuple((task["task_id"], _seconds(task["start_date"]), float(task["duration"] or 0)) for task in tasks)
    reports = {
        path.parent.name: json.loads(path.read_text(encoding="utf-8"))
        for path in sorted(reports_path(dag_id, run_id).glob("validate_*/report.json"), key=lambda path: path.stat().st_mtime)
    }
    rows, mean, name, version, sha256, degraded = _published(partition, run_id)
    return Night(
        partition=partition,
        run_id=run_id,
        state=run["state"],
        rows=rows,
        model_name=name,
        model_version=version,
        model_sha256=sha256,
        degraded=degraded,
        expected_rate=mean,
        duration_s=round(_seconds(run["end_date"]) - _seconds(run["start_date"]), 1) if run["end_date"] else 0.0,
        tasks={task: round(seconds, 1) for task, _, seconds in spans},
        spans=spans,
        gates={gate: gate_verdict(report) for gate, report in reports.items()},
        reports=reports,
        similar=similar(partition, run_id),
        pages=pages_of(dag_id, run_id) | card_of(name, version),
    )


def pages_of(dag_id: str, run_id: str) -> dict[str, str]:
    """Return the page that each stage of a run has written."""
    return {path.parent.name: str(path) for path in sorted(reports_path(dag_id, run_id).glob("*/report.html"))}


def card_of(name: str, version: str) -> dict[str, str]:
    """Return the card of a model's version as ``model``; empty if there is none."""
    card = home() / "reports" / "models" / name / version / "model_card.html"
    return {"model": str(card)} if name and version and card.exists() else {}


def gate_verdict(report: Mapping[str, Any]) -> str:
    """Return the verdict of a gate's ``report.json``: *passed*, or the worst of its findings with their number, such as *not judged, 2 checks*."""
    verdicts = [finding["verdict"] for finding in report["expectations"]]
    for verdict in (FAILED, WARNING, NOT_JUDGED):
        if count := verdicts.count(verdict):
            return f"{verdict}, {count} check{'s' if count > 1 else ''}"
    return str(PASSED)


def with_decision(night: Night, watched: Mapping[str, Mapping[str, str]]) -> Night:
    """Add the governor's latest decision on `night`, if its monitoring succeeded. `watched` holds the pages of such runs by partition."""
    if night.partition not in watched:
        return night
    decisions = Journal(ledger_url()).decisions(night.model_name, until=night.partition)
    decision = next((row.reason for row in reversed(decisions) if row.partition == night.partition), "")
    return replace(night, decision=decision, pages={**night.pages, **watched[night.partition]})


def riskiest(partition: str, count: int) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return column names and rows of the `count` highest scores of a published night."""
    scores = open_scores(partition)
    if scores is None:
        return [], []
    key = ", ".join(map(quoted, load_dataset().key))
    cursor = scores.execute(
        f"SELECT printf('%.3f', score) AS score, {key} FROM scores WHERE partition = ? ORDER BY scores.score DESC, {key} LIMIT ?",
        [partition, count],
    )
    return [column[0] for column in cursor.description], cursor.fetchall()


def similar(partition: str, run_id: str) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return the evidence that a run has published, as people read it (see `pipelines.lib.vector_index.evidence.grouped`), by the key of the row that it is for."""
    import pyarrow.compute as pc

    try:
        found = read_scores(partition, evidence_url())
    except ConfigError:  # no night has had evidence yet
        return {}
    return {tuple(row["key"]): row for row in grouped(found.filter(pc.equal(found["run_id"], run_id)), load_dataset().key)}


def _published(partition: str, run_id: str) -> tuple[int, float, str, str, str, bool]:
    scores = open_scores(partition)
    if scores is None:
        return 0, 0.0, "", "", "", False
    found = scores.execute(
        "SELECT count(*), avg(score), any_value(model_name), any_value(model_version), any_value(model_sha256), any_value(degraded) "
        "FROM scores WHERE partition = ? AND run_id = ? HAVING count(*) > 0",
        [partition, run_id],
    ).fetchone()
    return found or (0, 0.0, "", "", "", False)


def open_scores(*partitions: str) -> "duckdb.DuckDBPyConnection | None":
    """Open a DuckDB connection in which ``scores`` holds the published rows of `partitions`; None if nothing was ever published, or without a partition."""
    import pyarrow as pa

    from pipelines.lib.tables.engine import UTC, bare_connection

    if not partitions:
        return None
    try:
        rows = pa.concat_tables([read_scores(partition) for partition in partitions])
    except ConfigError:
        return None
    connection = bare_connection(UTC)
    connection.register("scores", rows)
    return connection


def _seconds(text: str) -> float:
    return dt.datetime.fromisoformat(text).timestamp()
