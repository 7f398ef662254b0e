"""The pool of a use case: how many of its tasks may run at once, so that one table cannot take all workers of an installation."""

from pathlib import Path
from typing import Any

from pydantic import Field

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import Section, parse_section
from pipelines.lib.core.use_cases import effective, use_cases


class Pool(Section):
    """The tasks of the use case share `slots`; with None, they share Airflow's default pool with all others that have none."""

    slots: int | None = Field(default=None, ge=1)


def pool_slots(params: dict[str, Any]) -> int | None:
    """Return the slots of the pool that the parameters declare. Raises `ConfigError`."""
    return parse_section(params.get("pool") or {}, Pool, "pool").slots


def declared_pools(root: Path) -> dict[str, int]:
    """Return the slots of each pool that the sound use cases below `root` declare, by the name of the use case."""
    pools = {}
    for use_case in use_cases(root):
        try:
            slots = pool_slots(effective(use_case).params)
        except ConfigError:  # it has no DAGs, and so no tasks
            continue
        if slots is not None:
            pools[use_case.name] = slots
    return pools
