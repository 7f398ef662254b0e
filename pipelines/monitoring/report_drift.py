"""Draw up what is known about a model on a night: where its inputs have moved, how good it was, what was decided.

Reads   the journal, the ledger, data/champion/model.onnx with its profile, data/reports/govern/decision.json and, for the importances,
        data/reports/measure_performance/report.json
Writes  data/reports/report_drift/: report.json, report.html
Effect  the night's figures, and those of the earlier nights whose outcomes are known, are series in MLflow; a repeat changes nothing
Fails   when the night was not measured by detect_drift, or the database or MLflow does not answer; the report is written all the same

By hand: ``python -m pipelines.monitoring.report_drift``.
"""

import datetime as dt
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from pipelines.lib.champions.registry import connect, experiment_id, load_registry
from pipelines.lib.core import home, stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError, ModelError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.loop import drift_report
from pipelines.lib.loop.drift_report import Seen
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.loop.tracking import log_points
from pipelines.lib.models.profile import Profile
from pipelines.lib.published.nights import publications
from pipelines.lib.records.journal import Journal, NightRecord, of_published
from pipelines.lib.records.ledger import Ledger
from pipelines.lib.tables.dataset import load_dataset


class ReportDrift(Section):
    """`nights`: how many days the report looks back."""

    nights: int = Field(ge=1)


def report_drift(seen: Seen, profile: Profile, policy: Policy, outcome: str) -> tuple[dict[str, Any], str]:
    """Return the report on the last of the nights that were `seen`, as JSON can carry it and as a page; `outcome` is the label's name."""
    content = drift_report.build_report(seen, profile, policy)
    return content, drift_report.page(content, seen, profile, outcome)


def look_back(run: RunFile, days: int, decision: Mapping[str, Any], measured: Mapping[str, Any]) -> Seen:
    """Return what the journal and the ledger hold of the `days` up to the run's partition. Raises `ConfigError` if that was not
    measured.
    """
    name, since = run.model.name, (run.date - dt.timedelta(days=days - 1)).isoformat()
    journal, entries = Journal(home.ledger_url()), Ledger(home.ledger_url()).history(name)
    own = journal.nights(name, run.model.version, since=run.partition, until=run.partition)
    if not own:
        raise ConfigError(f"{run.partition} was not measured with {name} version {run.model.version}; run detect_drift first")
    published = publications()
    nights = of_published(journal.nights(name, since=since, until=run.partition), published)
    performance = of_published(journal.performance(name, since=since, until=run.partition), published)
    # Where a night was scored again, of another version: that of its published scores, or the champion of that time while these have no outcomes.
    live = {night.partition: entry.version for night in nights for entry in entries if entry.live_from <= night.partition}
    scored_by = live | {record.partition: record.version for record in performance} | {run.partition: own[0].version}
    return Seen(
        nights=drift_report.one_each(nights, scored_by),
        window=window_of(journal, own[0]),
        performance=performance,
        entries=[entry for entry in entries if since <= entry.live_from <= run.partition],
        decisions=journal.decisions(name, until=run.partition),
        decision=decision,
        measured=measured,
    )


def window_of(journal: Journal, night: NightRecord) -> list[NightRecord]:
    """Return the nights that were added up for `night`, itself the last."""
    content = night.drift.get("window")  # records of an earlier Nightshift say only how many
    first, count = (min(content), None) if content else (None, night.drift["nights"])
    found = journal.nights(night.name, night.version, since=first, until=night.partition, count=count)
    return [record for record in found if not content or record.partition in content]


def read(path: Path) -> dict[str, Any]:
    """Return the JSON of an earlier stage; nothing if it has not run, as it may by hand."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


@stage.stage("report_drift")
def main(
    *,
    report: Annotated[Path, "directory of the report"] = Path("data/reports/report_drift"),
    decision: Annotated[Path, "what govern has written"] = Path("data/reports/govern/decision.json"),
    measured: Annotated[Path, "what measure_performance has written"] = Path("data/reports/measure_performance/report.json"),
) -> None:
    """Report as `run.yaml` and `params.yaml` say."""
    from pipelines.lib.models.inference import load_model

    run, params, policy = load_run(), load_section("report_drift", ReportDrift), load_section("govern", Policy)
    profile = load_model(Path(run.model.path), run.model.sha256).profile
    if profile is None or run.model.version is None:
        raise ModelError(
            f"the model {run.model.path} is of no version, or carries no profile; register one that train and export_onnx have made"
        )
    seen = look_back(run, params.nights, read(decision), read(measured))
    content, html = report_drift(seen, profile, policy, load_dataset().label.name)
    with replacing(report) as temporary:
        temporary.mkdir()
        (temporary / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (temporary / "report.html").write_text(html, encoding="utf-8")
    client = connect()
    experiment = experiment_id(client, load_registry().experiment)
    log_points(client, experiment, run.model.name, run.model.version, drift_report.points(content))
    stage.log.info("%s", content["note"])


if __name__ == "__main__":
    sys.exit(main())
