"""Publish the built index: a generation of its own, then one switch of the pointer that readers follow.

Reads   data/index/build/, the report of its gate, the encoder that run.yaml pins, run.yaml for where they come from
Effect  a generation under the index root (see `pipelines.lib.vector_index.generations`), which is current from then on; older ones are collected
Writes  data/reports/publish_index/report.json: what was done
Fails   when the gate did not pass these very files, the encoder is not the one that built them, or the run is not pinned to a registered encoder; when
        somebody published or rolled back since the run opened; when the run's partition is older than what is published and it is not a full rebuild;
        when the disk is full. The published index is then as it was

No DVC stage, since DVC would skip or restore it: the DAG runs it. Running it again changes nothing.
"""

import json
import sys
from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.lib.champions.pins import require_no_older
from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core import stage
from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.reports import require_passed
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.vector_index import publication as index_publication
from pipelines.lib.vector_index.generations import Generation, Pointer
from pipelines.lib.vector_index.search import BUILT

VERDICT_FIGURES = ("leave_one_out",)
"""The figures of the verdict in the manifest; ``held_out`` comes from the build. None is measured by a clock, since a run
that runs again must make the same manifest.
"""


class PublishIndex(Section):
    """`retained_generations`: generations that are kept, the current one among them; what is being read is kept for longer."""

    retained_generations: int = Field(ge=1)


def origin(run: RunFile) -> dict[str, Any]:
    """Return what the manifest describes the run. Raises `ConfigError` if the run is not pinned."""
    encoder = run.encoder
    if encoder.version is None or encoder.sha256 is None or run.run_ref is None:
        raise ConfigError(
            "run.yaml is not pinned (encoder version and sha256 and run_ref are needed to publish): only a run that open_run has pinned publishes; on a "
            "laptop look at data/index/build with evaluate_index instead"
        )
    made_by = {"encoder_name": encoder.name, "encoder_version": encoder.version, "encoder_sha256": encoder.sha256}
    revision = {"partition": run.partition, "data_revision": run.source_revision, "git_commit": run.git_commit}
    return {**made_by, **revision, "run_ref": run.run_ref, "opened_at": run.opened_at}


def judged(build: Path, directory: Path, partition: str) -> dict[str, Any]:
    """Return the verdict in `directory`, for the manifest. Raises `GateFailed` if it is a no, `DataError` where it is not on the files of
    `build`.
    """
    require_passed(directory / "report.json", "evaluate_index", partition)
    report = json.loads((directory / "report.json").read_text(encoding="utf-8"))
    found = index_publication.built_files(build)
    if differing := sorted(file for file in found.keys() | report["files"].keys() if found.get(file) != report["files"].get(file)):
        raise DataError(f"{', '.join(differing)} in {build} are not what evaluate_index has judged; run evaluate_index again")
    return {**{name: report[name] for name in VERDICT_FIGURES}, "files": found}


def publish_index(name: str, build: Path, verdict: Path, run: RunFile, params: PublishIndex) -> tuple[Generation, Pointer]:
    """Publish `build` as index `name`; the generation that it is, and the pointer, which names another one where somebody has switched since.

    Raises what `judged`, `origin`, `require_no_older` and `pipelines.lib.vector_index.publication.publish` raise.
    """
    require_no_older(run)
    manifest = origin(run) | judged(build, verdict, run.partition)
    if run.index and run.index.name != name:
        raise ModelError(f"the run is pinned to the index {run.index.name}, the index to publish is {name}; start a new run")
    seen = run.index.sequence if run.index else 0
    encoder, actor = Path(run.encoder.path), f"{run.dag_id}/{run.run_id}"
    made, _ = index_publication.described(build, encoder, manifest)
    return made, index_publication.publish(
        name, build, encoder, manifest, expected_sequence=seen, retain=params.retained_generations, actor=actor
    )


@stage.stage("publish_index")
def main(*, build: Path, report: Path) -> None:
    """Publish as `run.yaml` and `params.yaml` say; ``--report`` is the directory of evaluate_index's verdict."""
    run, params = load_run(), load_section("publish_index", PublishIndex)
    made, pointer = publish_index(load_registry().encoder, build, report, run, params)
    built = json.loads((build / BUILT).read_bytes())
    note = f"generation {made.generation}, {built['kind']}, {built['count']:,} rows, encoder version {made.encoder_version}"
    note += f" ({pointer.generation} is current)" if pointer.generation != made.generation else ""
    note += " (DEGRADED: not the champion)" if run.encoder.degraded else ""
    record = {
        "generation": made.generation,
        "manifest_sha256": made.manifest_sha256,
        "current": pointer.generation,
        "sequence": pointer.sequence,
    }
    stage.write_report("publish_index", {**record, "kept": [one.generation for one in pointer.known], "note": note})


if __name__ == "__main__":
    sys.exit(main())
