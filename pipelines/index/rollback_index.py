"""Make an earlier generation of the vector index current again: one switch of the pointer.

Reads   the pointer, the generation's files, whose digests are verified first
Effect  the generation is current from now on; the pointer says who did it and why
Writes  data/reports/rollback_index/report.json
Fails   when the generation is unknown, no longer kept, current already or not whole; nothing is changed then

It acts outside the workspace, so it is not a DVC stage: ``python -m pipelines.index.rollback_index --to previous --actor <you> --reason <why>``.
"""

import sys
from typing import Annotated

from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core import stage
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.vector_index import publication as index_publication
from pipelines.lib.vector_index.generations import Pointer
from pipelines.lib.vector_index.publication import PREVIOUS


def rollback_index(name: str, *, to: str, actor: str, reason: str, request: str | None = None) -> Pointer:
    """Make generation `to` of index `name` current (``previous``: the one before). Returns the pointer.

    Raises `ConfigError` if nobody says who decides, or why, and what `pipelines.lib.vector_index.publication.rollback` raises.
    """
    for option, value, missing in (("actor", actor, "who decides"), ("reason", reason, "why")):
        if not value.strip():
            raise ConfigError(f"--{option} is empty; say {missing}: it goes into the pointer")
    return index_publication.rollback(name, to, actor, reason, request=request)


@stage.stage("rollback_index")
def main(
    *,
    actor: Annotated[str, "who decides"],
    reason: Annotated[str, "why; stored in the pointer"],
    to: Annotated[str, "'previous', or the id of a generation that is kept"] = PREVIOUS,
    request: Annotated[str | None, "names this request: repeated, it is fulfilled once"] = None,
) -> None:
    name = load_registry().encoder
    pointer = rollback_index(name, to=to, actor=actor, reason=reason, request=request)
    note = f"generation {pointer.generation} of {name} is current (switch {pointer.sequence}, encoder version {pointer.encoder_version})"
    stage.log.info("%s", note)
    stage.write_report("rollback_index", {"note": note, "generation": pointer.generation, "sequence": pointer.sequence})


if __name__ == "__main__":
    sys.exit(main())
