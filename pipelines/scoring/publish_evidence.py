"""Publish a night's evidence: one commit to the table `evidence`, which stands next to that of the scores.

Reads   data/evidence/evidence.parquet, the report of attach_evidence, run.yaml for where they come from
Writes  the night in the published table (see `pipelines.lib.published.delta_tables`); data/reports/publish_evidence/report.json: what was done
Fails   when the evidence is not the one of the report, or the run is not pinned to a registered model; the table is then as it was

A night without evidence publishes none and says so. No DVC stage, since DVC would skip or restore it: the DAG runs it. Running it again changes nothing.
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


class PublishEvidence(Section):
    """`attempts`: how often a night is tried against other writers of that same night before the task gives up and is retried."""

    attempts: int = Field(ge=1)


def publish_evidence(evidence: Path, run: RunFile, rows: int, params: PublishEvidence) -> dict[str, Any]:
    """Publish the file `evidence`, which must have the `rows` that attach_evidence describes; returns what was done. A night without
    evidence is not a fault.
    """
    from pipelines.lib.published.delta_tables import lineage_of, publish
    from pipelines.lib.published.store import evidence_url

    if rows == 0:
        return {"rows": 0, "table_version": None, "note": "no evidence published"}
    publication = publish(evidence, lineage_of(run), expected_rows=rows, url=evidence_url(), attempts=params.attempts)
    done = "published" if publication.changed else "were there already"
    log.info("%d rows of evidence for %s %s, version %d of the table", rows, run.partition, done, publication.version)
    return {"rows": rows, "table_version": publication.version, "note": f"{rows} rows of evidence published"}


def rows_of(report: Path, partition: str) -> int:
    """Return how many rows attach_evidence says it has written for `partition`. Raises `DataError` if its `report` is missing or of
    another night.
    """
    try:
        content = json.loads(report.read_text(encoding="utf-8"))
        rows, found = int(content["rows"]), content["partition"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{report} is not a report of attach_evidence ({type(error).__name__}: {error}); run it first") from None
    if found != partition:
        raise DataError(f"{report} is of {found}, expected {partition}; run attach_evidence again")
    return rows


@stage("publish_evidence")
def main(*, evidence: Path, report: Path) -> None:
    """Publish as `run.yaml` and `params.yaml` say."""
    run = load_run()
    rows = rows_of(report / "report.json", run.partition)
    write_report("publish_evidence", publish_evidence(evidence, run, rows, load_section("publish_evidence", PublishEvidence)))


if __name__ == "__main__":
    sys.exit(main())
