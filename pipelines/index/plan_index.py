"""Decide how the index is to be built: which kind, again or onto the published generation; train what an IVF-PQ needs.

*Reads* all shards and the report of their gate, `run.yaml` for the published generation and whether a full rebuild is asked for, and that generation.
*Writes* a plan (see `pipelines.lib.vector_index.plan`). *Fails when* parameters do not fit the vectors, or an incremental rebuild is asked for
and not possible: the encoder, parameters or published rows changed, or too many rows were appended.
"""

import sys
from pathlib import Path

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import DataError, ModelError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.encoders.vectors import Shards
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index.params import PlanIndex
from pipelines.lib.vector_index.plan import Base, Plan, plan
from pipelines.lib.vector_index.search import Searcher


def plan_index(shards: Shards, params: PlanIndex, run: RunFile, target: Path) -> Plan:
    """Write the plan for `shards` into the directory `target`, whole or not at all."""
    with replacing(target) as temporary:
        temporary.mkdir()
        if run.index is None or run.rebuild == "full":
            return plan(shards, params, temporary, rebuild=run.rebuild, base="nothing that can be used is published")
        try:
            held = generations.read_lock(run.index.name, run.index.generation, manifest_sha256=run.index.manifest_sha256)
            base = Base(run.index.generation, Searcher.open(held.directory))
        except (ModelError, DataError) as error:  # broken, or collected since: that is what a full rebuild is for
            return plan(shards, params, temporary, rebuild=run.rebuild, base=f"what is published cannot be used: {error}")
        return plan(shards, params, temporary, rebuild=run.rebuild, base=base)


@stage("plan_index")  # the gate is an argument so that DVC orders the stages
def main(*, vectors: Path, gate: Path, plan: Path) -> None:
    """Plan as `run.yaml` and `params.yaml` say."""
    run = load_run()
    plan_index(Shards.open(vectors, run.shards), load_section("plan_index", PlanIndex), run, plan)


if __name__ == "__main__":
    sys.exit(main())
