"""Put one month's vectors into the lists of an IVF-PQ that has been trained: the part of the work that shards share out.

*Reads* the plan and the month's shard. *Writes* a directory with ``filled.json``, the number of rows that were filled in, and the filled index. There is
none if nothing is to be filled: an HNSW takes all vectors itself, an incremental build only the new ones. *Fails when* the plan is not one for this shard.
"""

import json
import sys
from pathlib import Path

from pydantic import Field

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.stage import log, stage
from pipelines.lib.encoders.vectors import Shards
from pipelines.lib.vector_index.build import FILLED, fill
from pipelines.lib.vector_index.params import MOST_THREADS
from pipelines.lib.vector_index.plan import TRAINED, read_plan


class FillShard(Section):
    """`threads` of one shard; shards are filled side by side."""

    threads: int = Field(default=1, ge=1, le=MOST_THREADS)


def fill_shard(planned: Path, shard: Path, params: FillShard, target: Path) -> int:
    """Write the directory `target`, whole or not at all; the number of rows that were filled in."""
    plan = read_plan(planned)
    [found] = Shards.open(shard.parent, [shard.name]).parts
    if plan.shards.get(shard.name) != len(found.vectors):
        raise DataError(f"the plan was made for {plan.shards}, the shard {shard.name} has {len(found.vectors)} rows; plan again")
    with replacing(target) as temporary:
        temporary.mkdir()
        rows = len(found.vectors) if shard.name in plan.fill else 0
        if rows:
            fill(found, plan.start(shard.name), planned / TRAINED, temporary / FILLED, workers=params.threads)
        (temporary / "filled.json").write_text(json.dumps({"rows": rows}) + "\n", encoding="utf-8")
        return rows


@stage("fill_shard")
def main(*, plan: Path, shard: Path, filled: Path) -> None:
    """Fill as `params.yaml` says."""
    rows = fill_shard(plan, shard, load_section("fill_shard", FillShard), filled)
    log.info("%d vectors filled in", rows) if rows else log.info("nothing to fill")


if __name__ == "__main__":
    sys.exit(main())
