"""Decide whether the champion should be retrained, and say why; nothing is started here.

Reads   the journal (drift and performance of the champion's nights, earlier decisions, retrainings), the ledger, data/champion/model.onnx, the log
        of the published table: what was measured of scores that have been replaced since is left out
Writes  data/reports/govern/: decision.json (what `alert` acts on) and report.json
Effect  the decision is a row in the journal's `decisions`, a *no* as well; the same again adds nothing
Fails   when no version was champion on the partition, the model is not the pinned one, or the database does not answer

The rules are `pipelines.lib.loop.governor`'s. Running it again on the same history decides the same: ``python -m pipelines.monitoring.govern``.
"""

import datetime as dt
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

from pipelines.lib.core import home, stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ModelError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.loop.champion_history import History, Measure, Night, Outcome, Promotion, Reference, Retraining
from pipelines.lib.loop.governor import govern
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.models.profile import Profile
from pipelines.lib.published.nights import publications
from pipelines.lib.records.journal import DecisionRow, Journal, NightRecord, PerformanceRecord, VerdictRow, of_published
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.lib.tables.dataset import TaskName, load_dataset


def reference_of(profile: Profile) -> Reference | None:
    """Return the quality on the holdout, or None if there was too little data to measure it and its spread."""
    quality = profile.quality
    if quality is None or quality.night_quality is None or quality.night_quality_std is None:
        return None
    return Reference(quality.night_quality, quality.night_quality_std, quality.nights)


def night_of(record: NightRecord, profile: Profile) -> Night:
    """Return a recorded window, each PSI next to the noise and the importance that the profile describes its column."""
    psi = {name: measured["psi"] for name, measured in record.drift["columns"].items()}
    features = {column.binning.name: measure_of(column.binning.name, psi, profile) for column in profile.features}
    score = measure_of(profile.score.binning.name, psi, profile)
    return Night(record.partition, record.version, record.drift["rows"], record.drift["nights"], features, score)


def measure_of(name: str, psi: dict[str, float], profile: Profile) -> Measure:
    """Return the measure of one column. The noise is that of a world that stands still: slow movement within training is movement as
    well.
    """
    column = profile.column(name)
    return Measure(psi[name], column.noise.p95, column.importance)


def outcome_of(record: PerformanceRecord, task: TaskName = "binary") -> Outcome:
    """Return a night's realised quality."""
    return Outcome(record.partition, record.version, record.rows, record.figures[TASKS[task].quality_key])


def promotion_of(entry: Entry) -> Promotion:
    """Return an entry of the ledger, as far as it matters here."""
    return Promotion(entry.sequence, entry.live_from, entry.version)


def retrainings_of(verdicts: Sequence[VerdictRow], decisions: Sequence[DecisionRow]) -> list[Retraining]:
    """Return the runs that `alert` has asked for, and those that somebody else began and that got so far as to a verdict.

    A decision alone is none: a yes that never reached Airflow has started nothing. It tells why its partition was retrained.
    """
    reasons = {(row.partition, row.version): tuple(row.findings.get("signals", ())) for row in decisions if row.retrain}
    runs = dict.fromkeys((row.run_id, row.partition, row.champion or "") for row in verdicts)
    return [Retraining(partition, champion, reasons.get((partition, champion), ())) for _, partition, champion in runs]


@stage.stage("govern")
def main(*, report: Annotated[Path, "directory of the report"] = Path("data/reports/govern")) -> None:
    """Decide as `params.yaml` says, from what is recorded up to the partition of `run.yaml`."""
    from pipelines.lib.models.inference import load_model

    run, policy, delay = load_run(), load_section("govern", Policy), load_dataset().label.delay_days
    name, url = run.model.name, home.ledger_url()
    journal, model = Journal(url), load_model(Path(run.model.path), run.model.sha256)
    matured = (run.date - dt.timedelta(days=delay + 1)).isoformat()
    promotions = [promotion_of(entry) for entry in Ledger(url).history(name)]
    if run.model.version is None or model.profile is None:
        raise ModelError(
            f"the model {run.model.path} is of no version, or carries no profile; register one that train and export_onnx have made"
        )
    published = publications()
    policy.require_reachable(model.profile.window_nights)
    nights = journal.nights(name, run.model.version, until=run.partition, count=max(policy.alarm_window_nights, policy.retry_nights))
    decisions = journal.decisions(name)
    history = History(
        name=name,
        partition=run.partition,
        scored_by=run.model.version,
        promotions=promotions,
        nights=[night_of(record, model.profile) for record in of_published(nights, published)],
        outcomes=[outcome_of(record, model.task.name) for record in of_published(journal.performance(name, until=matured), published)],
        retrainings=retrainings_of(journal.verdicts(name), decisions),
        reference=reference_of(model.profile),
        decided=max((row.partition for row in decisions), default=None),
        window_nights=model.profile.window_nights,
        trained_until=model.profile.trained_until,
        quality_name=model.task.quality_name,
    )
    decision = govern(history, policy)
    journal.record_decision(decision)
    facts = {"name": name, "retrain": decision.retrain, "reason": decision.reason, "findings": decision.findings}
    with replacing(report) as temporary:
        temporary.mkdir()
        for file, content in (
            ("decision.json", facts | {"champion_version": decision.version, "partition": decision.partition}),
            ("report.json", asdict(decision) | {"note": f"retraining {decision.reason.partition(';')[0]}"}),
        ):
            (temporary / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    stage.log.info("%s", decision.reason)


if __name__ == "__main__":
    sys.exit(main())
