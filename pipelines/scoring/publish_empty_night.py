"""Record that a night had no rows, so that consumers can tell it from a night that was not scored.

Reads   the report of validate_batch, run.yaml for where it comes from; data/raw/batch for rows that came late
Writes  the night in the published table `empty_nights` (see `pipelines.lib.published.empty_nights`); data/reports/publish_empty_night/report.json
Fails   when the gate did not pass, the night has rows, the run is not pinned to a registered model, or scores of the night are published

Only a table that may have nights without rows has this task, and only on such a night it runs in place of all that scores. The published asset
`scores` has no event for it, so nobody watches the night. No DVC stage, since DVC would skip it. Running it again changes nothing.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.core.stage import log, stage, write_report


class PublishEmptyNight(Section):
    """`attempts`: how often a night is tried against other writers of that same night before the task gives up and is retried."""

    attempts: int = Field(ge=1)


def publish_empty_night(reason: str, run: RunFile, params: PublishEmptyNight) -> dict[str, Any]:
    """Record the night of `run` as one without rows, for the `reason` of the gate; return what was done."""
    from pipelines.lib.published.delta_tables import lineage_of
    from pipelines.lib.published.empty_nights import record_empty_night

    publication = record_empty_night(reason, lineage_of(run), attempts=params.attempts)
    done = "recorded" if publication.changed else "recorded before"
    log.info("%s: %s; %s", run.partition, reason, done)
    return {"partition": run.partition, "rows": 0, "table_version": publication.version, "note": reason}


@stage("publish_empty_night")
def main(*, gate: Path, raw: Path = Path("data/raw/batch")) -> None:
    """Record as `run.yaml` and `params.yaml` say."""
    from pipelines.lib.core.reports import VERDICT, require_passed
    from pipelines.lib.published.empty_nights import late_note

    run = load_run()
    if rows := require_passed(gate / VERDICT, "validate_batch", run.partition):
        raise DataError(f"{run.partition} has {rows} rows; clear validate_batch, which then goes on to score them")
    reason = json.loads((gate / "report.json").read_text(encoding="utf-8")).get("empty")
    if not reason:
        raise DataError(f"{gate}/report.json does not say why {run.partition} may have no rows; run validate_batch again")
    done = publish_empty_night(str(reason), run, load_section("publish_empty_night", PublishEmptyNight))
    if late := late_note(raw):
        log.warning("%s", late)
        done["note"] = f"{done['note']}; {late}"
    write_report("publish_empty_night", done)


if __name__ == "__main__":
    sys.exit(main())
