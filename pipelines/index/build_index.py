"""Build the index as it was planned, and find the narrowest search that finds enough.

*Reads* the plan, all shards, for an IVF-PQ the filled ones, for an incremental build the generation that it appends to. *Writes* a build (see
`pipelines.lib.vector_index.build`), and next to the reports what it took. *Fails when* no width of search reaches the recall that `params.yaml` wants, that generation is
gone or altered, or a shard is not filled as planned.
"""

import sys
import time
from pathlib import Path
from typing import Any

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.encoders.vectors import Shards
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index import timing as index_timing
from pipelines.lib.vector_index.build import FILLED, build
from pipelines.lib.vector_index.params import BuildIndex
from pipelines.lib.vector_index.plan import read_plan
from pipelines.lib.vector_index.search import INDEX, Searcher


def build_index(shards: Shards, params: BuildIndex, run: RunFile, *, planned: Path, filled: Path, target: Path) -> dict[str, Any]:
    """Build into the directory `target`, whole or not at all, of the shards that are filled in `filled`; the content of ``built.json``."""
    plan, base, held = read_plan(planned), None, None
    if plan.base is not None and run.index is not None:  # held until the end, so that nobody collects it
        held = generations.read_lock(run.index.name, plan.base, manifest_sha256=run.index.manifest_sha256)
        base = Searcher.open(held.directory)
    if shards.sizes != plan.shards:
        raise DataError(f"the plan was made for {plan.shards}, there are {dict(shards.sizes)}; plan again")
    parts = [filled / shard / FILLED for shard in plan.fill if plan.shards[shard]]
    if missing := [str(part) for part in parts if not part.exists()]:
        raise DataError(f"{', '.join(missing)}: not there, though the plan wants it filled; run fill_shard for it")
    with replacing(target) as temporary:
        return build(plan, shards, params, temporary, planned=planned, filled=parts, base=base)


@stage("build_index")
def main(*, plan: Path, vectors: Path, filled: Path, index: Path) -> None:
    """Build as `run.yaml` and `params.yaml` say."""
    run, params = load_run(), load_section("build_index", BuildIndex)
    started = time.perf_counter()
    build_index(Shards.open(vectors, run.shards), params, run, planned=plan, filled=filled, target=index)
    index_timing.write_build(sha256_of(index / INDEX), time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
