"""The page of a few finished nights: one self-contained HTML file."""

import datetime as dt
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from deploy.embedded.nights import Night, open_scores, riskiest
from pipelines.lib.core.atomic import replacing
from pipelines.lib.measures import metrics
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.pages import alternatives, figures
from pipelines.lib.pages.html import render
from pipelines.lib.sources import raw
from pipelines.lib.tables.dataset import load_dataset
from pipelines.lib.tables.engine import name as quoted
from pipelines.lib.tables.engine import text
from pipelines.lib.tables.labels import finite_outcome


def write_report(nights: Sequence[Night], target: Path, index: Mapping[str, Any]) -> Path:
    """Write the page of `nights`, in order of their partitions, to `target`; return it. `index` is what the published vector index says
    of itself.
    """
    scores = {night.partition: _scores_of(night.partition) for night in nights if night.rows}
    labels, matured_scores, observed = matured_outcomes([night.partition for night in nights if night.rows])
    zero = min((start for night in nights for _, start, _ in night.spans), default=0.0)
    gates = list(dict.fromkeys(gate for night in nights for gate in night.reports))
    task = TASKS[load_dataset().label.task]
    words, every = alternatives.OF_TASK[task.name], np.concatenate([*scores.values(), np.zeros(0, np.float32)])
    page = render(
        "nights.html",
        nights=[replace(night, pages=_links(night, target.parent)) for night in nights],
        ok=all(night.state == "success" for night in nights),
        observed=observed,
        matured=task.summary(labels, matured_scores) if len(labels) else None,
        numbers=not words["share"],
        distribution=figures.distribution(
            scores, label="score" if words["share"] else "forecast", span=task.score_range(every) if len(every) else (0.0, 1.0)
        ),
        calibration=figures.calibration({"matured nights": metrics.calibration(labels, matured_scores)}, words) if len(labels) else "",
        riskiest=riskiest(nights[-1].partition, 10),
        table=load_dataset().name,
        outcome=load_dataset().label.name,
        index=index,
        gates=gates,
        timeline=figures.timeline({night.partition: [(task, start - zero, s) for task, start, s in night.spans] for night in nights}),
    )
    with replacing(target) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return target


def matured_outcomes(partitions: Sequence[str]) -> tuple[Any, Any, dict[str, float]]:
    """Return labels [n], scores [n] and the observed rate by partition, for scored rows whose outcome is known by the last of `partitions`."""
    published = open_scores(*partitions)
    if not partitions or published is None:
        return np.array([], dtype=np.int8), np.array([], dtype=np.float32), {}
    dataset = load_dataset()
    first, last = (dt.date.fromisoformat(partition) for partition in (min(partitions), max(partitions)))
    matured = last - dt.timedelta(days=dataset.label.delay_days)  # outcomes of earlier dates are known at the start of `last`
    key = ", ".join(map(quoted, dataset.key))
    with tempfile.TemporaryDirectory(prefix="nightshift-outcomes-") as directory:
        raw.extract(dataset, partition=last, start=first, end=max(first, matured), lookback_days=0, target=Path(directory) / "raw")
        events = f"read_parquet({text(Path(directory) / 'raw' / 'events.parquet')})"
        outcome = f"{finite_outcome(dataset)}"
        rows = published.execute(
            f"SELECT partition, score, outcome FROM scores JOIN (SELECT {key}, {outcome} AS outcome FROM {events}) "
            f"USING ({key}) WHERE outcome IS NOT NULL AND partition BETWEEN ? AND ? ORDER BY partition, {key}",
            [first.isoformat(), last.isoformat()],
        )
        found = rows.fetchnumpy()
    labels, scores = np.asarray(found["outcome"]), np.asarray(found["score"], dtype=np.float32)
    names = np.asarray(found["partition"], dtype=str)
    return labels, scores, {str(name): float(labels[names == name].mean()) for name in np.unique(names)}


def _links(night: Night, directory: Path) -> dict[str, str]:
    """Return the pages of a night as links from a file in `directory`: both are on one disk, and may move together."""
    return {stage: quote(os.path.relpath(page, directory)) for stage, page in night.pages.items()}


def _scores_of(partition: str) -> Any:
    published = open_scores(partition)
    assert published is not None  # a night with rows has been published
    return published.execute("SELECT score FROM scores WHERE partition = ?", [partition]).fetchnumpy()["score"]
