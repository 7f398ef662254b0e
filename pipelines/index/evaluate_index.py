"""Judge the built index: does it find what exact search finds, fast enough, and small enough?

Reads   data/index/build/
Writes  data/reports/evaluate_index/: report.json (verdict, recall, the digest of each file that was judged: what `publish_index` holds the build against)
        and projection.json, the same for the same build; report.html next to them and data/reports/index_timing.json measure this machine, so
        they are not versioned
Fails   when a recall@10 of the index is below its kind's limit in params.yaml: evaluate_index, when one query takes longer at the 99th percentile,
        or the files are larger; the reports are written all the same

Two recalls must hold. ``held_out``: what build_index has found, before they were added, for rows of the newest nights: as production asks. ``leave_one_out``:
what is found here, in the very files that would be published, for rows of the index, each left out of its own answer.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.lib.core import stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import GateFailed
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.measures import neighbours
from pipelines.lib.measures.neighbours import Ids
from pipelines.lib.tables.dataset import load_dataset
from pipelines.lib.vector_index import report as index_report
from pipelines.lib.vector_index import timing as index_timing
from pipelines.lib.vector_index.publication import built_files
from pipelines.lib.vector_index.search import Searcher, Setting
from pipelines.lib.vector_index.timing import Timing

ASKED = {"held_out": "rows of nights that it did not hold", "leave_one_out": "rows of its own, each left out of its answer"}
"""The queries of each recall, by its name in the report."""


class MinimumRecall(Section):
    """The least share of the ten true neighbours that an index must find, by its kind."""

    hnsw: float = Field(gt=0, le=1)
    ivfpq: float = Field(gt=0, le=1)


class EvaluateIndex(Section):
    """Limits that an index must keep: recall@10, milliseconds of one query at the 99th percentile, MiB of all its files."""

    recall_10: MinimumRecall
    latency_p99_limit_ms: float = Field(gt=0)
    size_limit_mib: float = Field(gt=0)


def evaluate_index(index: Searcher, own: Ids, settings: Sequence[Setting]) -> dict[str, Any]:
    """Return the figures of `index` that are the same each time: what it is, how much of the true neighbours it finds, also of its rows `own` and at each of
    `settings`.
    """
    description = {"kind": index.kind, "search": dict(index.setting), "rows": index.count, "dimension": index.dimension}
    return description | {name: index.built[name] for name in ("mode", "reason", "held_out")} | index_report.quality(index, own, settings)


def faults(report: Mapping[str, Any], timing: Timing | None) -> list[str]:
    """Return why this index must not be published; empty for a good one. A figure that was not measured is not judged."""
    limits, found = report["limits"], []
    for asked, description in ASKED.items():
        recall = report[asked] and report[asked]["recall_10"]
        if recall is not None and recall < limits["recall_10"]:
            found.append(
                f"it finds {recall:.4f} of the ten true neighbours of {report[asked]['queries']:,} {description}, the limit for {report['kind']} is "
                f"{limits['recall_10']}; raise build_index.{report['kind']}.recall_10, which has build_index search wider, or let plan_index build denser"
            )
    if timing and timing.single_p99_us > 1000 * limits["latency_p99_limit_ms"]:
        found.append(
            f"one query takes {timing.single_p99_us / 1000:.2f} ms of processor time at the 99th percentile, the limit is {limits['latency_p99_limit_ms']} ms; "
            "let plan_index build denser, so that build_index needs to search less widely, or raise the limit"
        )
    if report["size_mib"] > limits["size_limit_mib"]:
        found.append(
            f"its files take {report['size_mib']} MiB, the limit is {limits['size_limit_mib']} MiB; raise it, or let auto choose ivfpq earlier"
        )
    return found


def note(report: Mapping[str, Any]) -> str:
    """Return the report in a line."""
    if report["faults"]:
        return f"the index does not pass: {'; '.join(report['faults'])}"
    recalls = {description: report[asked]["recall_10"] for asked, description in ASKED.items() if report[asked]}
    found = [f"{recall:.3f} for {description}" for description, recall in recalls.items() if recall is not None]
    return f"{report['kind']} index of {report['rows']:,} rows, " + (f"recall@10 {', '.join(found)}" if found else "nothing to compare")


@stage.stage("evaluate_index")
def main(*, build: Path, report: Path) -> None:
    params, run = load_section("evaluate_index", EvaluateIndex), load_run()
    files = built_files(build)
    judged: dict[str, Any] = {"gate": "evaluate_index", "partition": run.partition}
    index = Searcher.open(build)
    own = neighbours.sample(index.count, index.built["queries"], index.built["seed"], second=True)
    settings = index_report.settings_of(index.setting)
    judged |= evaluate_index(index, own, settings)
    judged |= {"size_mib": round(sum(file["bytes"] for file in files.values()) / 2**20, 2), "files": files}
    judged["limits"] = {**params.model_dump(), "recall_10": getattr(params.recall_10, index.kind)}
    timing = None
    if judged["leave_one_out"]["queries"]:
        timing = index_timing.measure(index, index.vectors[own], settings, sha256=files["index.faiss"]["sha256"])
    points = index_report.plane(index.vectors, index.rows()["outcome"].to_numpy(), index.built["seed"])
    judged["faults"] = faults(judged, timing)
    judged |= {"passed": not judged["faults"], "note": note(judged)}
    index_timing.write(index_timing.FILE, timing)
    label = load_dataset().label
    write(report, judged, points, index_report.page(judged, points, timing, label.name, numbers=label.task == "regression"))
    stage.log.info("%s", judged["note"])
    if judged["faults"]:
        raise GateFailed(f"{judged['note']}. See {report / 'report.html'} and docs/runbooks/recall-gate-failed.md")


def write(directory: Path, report: Mapping[str, Any], points: Sequence[Mapping[str, Any]], page: str) -> None:
    """Write the three files of the report, each whole."""
    for name, text in {"report.json": json.dumps(report, indent=2), "projection.json": json.dumps(points), "report.html": page}.items():
        with replacing(directory / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
