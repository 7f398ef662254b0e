"""Attach evidence to a night's riskiest rows: the past rows that resemble them most, and how these ended.

Reads   data/features/batch.parquet, data/scores/scores.parquet, the generation of the vector index that run.yaml pins
Writes  data/evidence/evidence.parquet: the rows of `pipelines.lib.vector_index.evidence.schema_of`; data/reports/attach_evidence/: report.json, report.html
Fails   when the two files are of different runs

The scores are published before: an error here does not change them. Where the pinned generation is broken, the first whole one before it is asked; where
there is none, the pinned one was collected since, or it was made of other features than tonight's, there is nothing to compare with: no rows. Note, report
and page say so, and the night goes on. As long as the pinned generation is whole, the same run gives the same bytes, also if other generations are published.
"""

import datetime as dt
import json
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.core.stage import log, stage
from pipelines.lib.tables.dataset import Dataset, load_dataset

if TYPE_CHECKING:
    import pyarrow as pa


class AttachEvidence(Section):
    """`riskiest`: for how many rows, those with the highest scores. `neighbours`: how many past rows each is given."""

    riskiest: int = Field(ge=1)
    neighbours: int = Field(ge=1, le=1_000)  # which are looked for among 4 times as many, at once for all rows


def attach_evidence(
    scores: Path, features: Path, run: RunFile, dataset: Dataset, params: AttachEvidence
) -> "tuple[pa.Table, dict[str, Any]]":
    """Return the evidence for the night of `run`, and the report on it, whose note says in words what was found or why nothing was."""
    import pyarrow as pa

    from pipelines.lib.core.errors import ModelError
    from pipelines.lib.vector_index.evidence import Wanted, base_rate, evidence_of, hindsight, misfit, no_evidence, tell
    from pipelines.lib.vector_index.reader import open_pinned

    pinned = run.index
    none = no_evidence(scores, dataset.key, pa.float64() if dataset.label.task == "regression" else None)
    content: dict[str, Any] = {"partition": run.partition, "rows": 0, **params.model_dump(), "index": pinned and pinned.model_dump()}
    content |= {"generation": None, "faults": [], "hindsight": None, "base_rate": None}
    if pinned is None:
        return none, {**content, "note": "no evidence: no vector index that could be used was published when the run opened"}
    try:
        index, fault = open_pinned(pinned)
    except ModelError as error:  # collected since, or nothing is whole
        content["faults"] = [f"NO EVIDENCE: {error}"]
        return none, {**content, "note": content["faults"][0]}
    with index:
        passed_over = [pinned.fault or "it is broken"] * pinned.degraded + [fault] * (fault is not None)
        content["faults"] = [f"DEGRADED INDEX: the generation before is used, since {why}" for why in passed_over]
        content["generation"] = index.generation
        if why_not := misfit(features, index):
            content["faults"].append(f"NO EVIDENCE: {why_not}")
            return none, {**content, "note": "; ".join(content["faults"])}
        known_before = (run.date - dt.timedelta(days=dataset.label.delay_days)).isoformat()
        found = evidence_of(scores, features, index, dataset.key, Wanted(params.riskiest, params.neighbours, known_before))
        content |= {"rows": found.num_rows, "hindsight": hindsight(index, known_before), "base_rate": base_rate(index, known_before)}
        note = "; ".join(filter(None, [*content["faults"], tell(found, index), content["hindsight"]]))
    return found, {**content, "note": note}


@stage("attach_evidence")
def main(*, features: Path, scores: Path, evidence: Path, report: Path) -> None:
    """Attach as `run.yaml` and `params.yaml` say."""
    import pyarrow.parquet as pq

    from pipelines.lib.core.atomic import replacing
    from pipelines.lib.vector_index.evidence import page

    dataset = load_dataset()
    found, content = attach_evidence(scores, features, load_run(), dataset, load_section("attach_evidence", AttachEvidence))
    with replacing(evidence) as temporary:
        pq.write_table(found, temporary, compression="zstd", write_page_checksum=True)
    with replacing(report) as temporary:
        temporary.mkdir()
        (temporary / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        (temporary / "report.html").write_text(page(content, found, dataset), encoding="utf-8")
    log.log(logging.WARNING if content["faults"] else logging.INFO, "%s", content["note"])


if __name__ == "__main__":
    sys.exit(main())
