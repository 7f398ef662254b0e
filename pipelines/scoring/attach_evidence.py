"""Attach evidence to a night's riskiest rows: the past rows that resemble them most, and how these ended.

Reads   data/features/batch.parquet, data/scores/scores.parquet, the generation of the vector index that run.yaml pins
Writes  data/evidence/evidence.parquet: the rows of `pipelines.lib.evidence.schema_of`; data/reports/attach_evidence/: report.json, report.html
Fails   when the pinned generation is gone, altered or torn, or the two files are of different runs

The scores are published before: whatever happens here, they stay. Where no generation was published, or the published one was made of other features
than tonight's, there is nothing to compare with: no rows, a note that says so, and the night goes on.
"""

import datetime as dt
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.lib.dataset import Dataset, load_dataset
from pipelines.lib.params import Section, load_section
from pipelines.lib.run import RunFile, load_run
from pipelines.lib.stage import Paths, log, stage

if TYPE_CHECKING:
    import pyarrow as pa


class AttachEvidence(Section):
    """`riskiest`: for how many rows, those with the highest scores. `neighbours`: how many past rows each is given."""

    riskiest: int = Field(ge=1)
    neighbours: int = Field(ge=1)


def attach_evidence(
    scores: Path, features: Path, run: RunFile, dataset: Dataset, params: AttachEvidence
) -> "tuple[pa.Table, dict[str, Any]]":
    """The evidence for the night of `run`, and the report on it, whose note says in words what was found or why nothing was."""
    from pipelines.lib.evidence import Wanted, evidence_of, misfit, no_evidence, tell
    from pipelines.lib.vector_index import open_generation

    pinned = run.index
    report = {"partition": run.partition, "rows": 0, **params.model_dump(), "index": pinned and pinned.model_dump()}
    if pinned is None:
        return no_evidence(scores, dataset.key), {**report, "note": "no evidence: no vector index was published when the run opened"}
    with open_generation(
        pinned.name, pinned.generation, manifest_sha256=pinned.manifest_sha256, encoder_sha256=pinned.encoder_sha256
    ) as index:
        if fault := misfit(features, index, pinned):
            return no_evidence(scores, dataset.key), {**report, "note": fault}
        known_before = (run.date - dt.timedelta(days=dataset.label.delay_days)).isoformat()
        wanted = Wanted(params.riskiest, params.neighbours, known_before)
        found = evidence_of(scores, features, index, pinned, dataset.key, wanted)
    return found, {**report, "rows": found.num_rows, "note": tell(found, dataset.key, pinned)}


@stage("attach_evidence", "features", "scores", "evidence", "report")
def main(paths: Paths) -> None:
    """Attach as `run.yaml` and `params.yaml` say."""
    import pyarrow.parquet as pq

    from pipelines.lib.atomic import replacing
    from pipelines.lib.evidence import page

    dataset = load_dataset()
    found, report = attach_evidence(paths.scores, paths.features, load_run(), dataset, load_section("attach_evidence", AttachEvidence))
    with replacing(paths.evidence) as temporary:
        pq.write_table(found, temporary, compression="zstd", write_page_checksum=True)
    with replacing(paths.report) as temporary:
        temporary.mkdir()
        (temporary / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
        (temporary / "report.html").write_text(page(report, found, dataset), encoding="utf-8")
    log.info("%s", report["note"])


if __name__ == "__main__":
    sys.exit(main())
