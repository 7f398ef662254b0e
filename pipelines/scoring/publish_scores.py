"""Publish a night's scores: one commit to the table that consumers read.

Reads   data/scores/scores.parquet, the report of its gate, run.yaml for where they come from
Writes  the night in the published table (see `pipelines.lib.published.delta_tables`); data/reports/publish_scores/report.json: what was done.
        A record that the night had no rows is removed: they came late
Fails   when the gate did not pass these rows, or the run is not pinned to a registered model; the table is then as it was

No DVC stage, since DVC would skip or restore it: the DAG runs it. Running it again changes nothing.
"""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.core.stage import log, stage

if TYPE_CHECKING:
    from pipelines.lib.published.delta_tables import Publication


class PublishScores(Section):
    """`attempts`: how often a night is tried against other writers of that same night before the task gives up and is retried."""

    attempts: int


def publish_scores(scores: Path, run: RunFile, rows: int, params: PublishScores) -> "Publication":
    """Publish the file `scores`, which must have the `rows` that its gate passed. Raises `DataError` if it has not."""
    from pipelines.lib.published.delta_tables import lineage_of, publish
    from pipelines.lib.published.empty_nights import forget_empty_night

    publication = publish(scores, lineage_of(run), expected_rows=rows, attempts=params.attempts)
    if forget_empty_night(lineage_of(run)):
        log.info("%s was recorded as a night without rows; now it is published", run.partition)
    done = "published" if publication.changed else "were there already"
    log.info("%d rows of %s %s, version %d of the table", publication.rows, run.partition, done, publication.version)
    return publication


def mean_score(scores: Path) -> float | None:
    """Return the mean of the column `score` of the file, rounded to six decimals: the rate that is expected. None if there are no rows."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    mean = pc.mean(pq.read_table(scores, columns=["score"], page_checksum_verification=True)["score"]).as_py()
    return None if mean is None else round(mean, 6)


@stage("publish_scores")
def main(
    *,
    scores: Path,
    gate: Path,
    report: Annotated[Path, "directory of the record of what was done"] = Path("data/reports/publish_scores"),
    raw: Annotated[Path, "what was read for the night, also of nights that had no rows"] = Path("data/raw/batch"),
) -> None:
    """Publish as `run.yaml` and `params.yaml` say."""
    from pipelines.lib.core.atomic import replacing
    from pipelines.lib.core.reports import VERDICT, require_passed
    from pipelines.lib.published.empty_nights import late_note
    from pipelines.lib.tables.dataset import load_dataset

    run = load_run()
    rows = require_passed(gate / VERDICT, "validate_scores", run.partition)
    publication = publish_scores(scores, run, rows, load_section("publish_scores", PublishScores))
    mean = mean_score(scores)
    model = f"{run.model.name} version {run.model.version}"
    notes = [
        f"{publication.rows} rows",
        model,
        *([] if mean is None else [f"expected rate {mean:.3f}" if load_dataset().label.task == "binary" else f"mean forecast {mean:.4g}"]),
    ]
    notes += ["DEGRADED: not the champion"] if run.model.degraded else []
    notes += [late] if (late := late_note(raw)) else []
    record = {
        "rows": publication.rows,
        "model": model,
        "mean_score": mean,
        "degraded": run.model.degraded,
        "table_version": publication.version,
        "note": ", ".join(notes),
    }
    with replacing(report / "report.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
