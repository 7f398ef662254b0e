"""The report on realised performance: which nights must be measured, and the news of those that were."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from pipelines.lib.measures.tasks import BINARY, Task
from pipelines.lib.published.nights import PublishedNight
from pipelines.lib.records.journal import PerformanceRecord


def changed(seen: Mapping[str, PerformanceRecord], digests: Mapping[str, str], published: Sequence[PublishedNight]) -> list[PublishedNight]:
    """Return those of the `published` nights whose outcomes, with the `digests` by date, or publication are not those that were `seen`."""
    ours = [night for night in published if night.partition in digests]
    known = {partition: (record.outcomes_sha256, record.version, record.publication) for partition, record in seen.items()}
    return [night for night in ours if known.get(night.partition) != (digests[night.partition], night.model_version, night.publication)]


def build_report(
    window: Sequence[PerformanceRecord],
    recorded: Sequence[PerformanceRecord],
    before: Mapping[str, PerformanceRecord],
    contradicted: Mapping[str, str],
    task: Task = BINARY,
) -> dict[str, Any]:
    """Return the report: every night of the `window`, those `recorded` now in place of those `before`, those `contradicted`; and the news
    in a line.
    """
    again = [(record, before[record.partition]) for record in recorded if record.partition in before]
    corrected = [now.partition for now, then in again if now.outcomes_sha256 != then.outcomes_sha256]
    rescored = [now.partition for now, then in again if then.publication not in ("", now.publication)]
    key = task.quality_key
    judged = next((record for record in reversed(recorded) if record.figures[key] is not None), None)
    notes = [f"{task.quality_name} of {judged.partition} {judged.figures[key]:.2f}"] if judged else []
    notes += [f"corrected outcomes: {', '.join(corrected)}"] if corrected else []
    notes += [f"published again: {', '.join(rescored)}"] if rescored else []
    if contradicted:
        notes.append(f"not measured for contradicting outcomes: {', '.join(contradicted)} ({contradicted[max(contradicted)]})")
    report = {"nights": [asdict(record) for record in window], "recorded": [record.partition for record in recorded]}
    report |= {"corrected": corrected, "rescored": rescored, "contradicted": dict(contradicted)}
    return report | {"note": "; ".join(notes)} if notes else report
