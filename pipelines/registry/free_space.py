"""Free disk space: remove the files of runs that nothing refers to any more from DVC's cache, and with ``--remote`` from its remote.

Reads   the repository's refs, working trees and workspaces; the ledger, MLflow's versions, the published tables, the generations of the index
Writes  data/reports/free_space/report.json: the sizes of the kept objects and of those that can be freed. With ``--free`` it removes the latter
Fails   if one of these cannot be read, since the files that it refers to would be lost; if runs use DVC without a pause

The default is a dry run: ``python -m pipelines.registry.free_space`` says how much would be freed. Runs may be open and may start: while
objects are removed, DVC waits in every workspace. Never use ``dvc gc`` instead (docs/how-to/production.md, Free disk space).
"""

import os
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, TypedDict

from pipelines.lib.champions.registry import connect
from pipelines.lib.core import home, kept, use_cases
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.stage import log, stage, write_report
from pipelines.lib.records.ledger import Ledger
from pipelines.lib.storage import retention
from pipelines.lib.storage.object_store import Cache, Store, alone, remote_of

LEAST_DAYS, WAIT_S = 1.0, 600.0


Versions = dict[tuple[str, str], str]
"""The run that made each (name, version)."""


class Place(TypedDict):
    """The objects of one store, and those of them that nothing needs."""

    objects: int
    bytes: int
    freed_objects: int
    freed_bytes: int


class Freed(TypedDict):
    """The report: what was `freed` (or would be) in each of the `places`, and how many runs are named as needed."""

    days: float
    freed: bool
    named_runs: int
    places: dict[str, Place]
    warnings: list[str]
    note: str


def free_space(repository: Path, stores: dict[str, Store], versions: Versions, days: float, *, free: bool) -> Freed:
    """Survey `stores`, and with `free` remove the objects that nothing refers to and that are older than `days`. Return the report as JSON."""
    oldest = time.time() - days * 86_400
    runs: set[str] = set()

    def named() -> set[str]:
        runs.update(versions.values(), retention.published_runs(_tables(repository)), retention.generation_runs(home.index_root()))
        return runs

    keep = retention.kept_objects(
        repository, named, oldest, lambda md5: next(filter(None, (store.read(md5) for store in stores.values())), None)
    )
    spaces = {name: retention.survey(store.objects(), keep, oldest) for name, store in stores.items()}  # all, before anything is removed
    for name, space in spaces.items() if free else ():
        stores[name].remove(space.free)
    places: dict[str, Place] = {
        name: {"objects": space.objects, "bytes": space.size, "freed_objects": len(space.free), "freed_bytes": space.free_size}
        for name, space in spaces.items()
    }
    done = "freed" if free else "would be freed"
    lines = [f"{done}: {place['freed_bytes']:,} of {place['bytes']:,} bytes in DVC's {name}" for name, place in places.items()]
    warnings = _unknown_versions(versions)
    return {
        "days": days,
        "freed": free,
        "named_runs": len(runs),
        "places": places,
        "warnings": warnings,
        "note": "; ".join([*lines, *warnings]),
    }


def _tables(repository: Path) -> list[str]:
    """Return the published tables of all use cases, of those that were removed as well: their recorded runs name them."""
    from pipelines.lib.published.store import tables_of

    recorded = {dag_id.partition("__")[2] for dag_id in retention.recorded_dags(repository)}
    return tables_of(recorded | {one.name for one in use_cases.use_cases(repository) if not one.default} | {""})


def _unknown_versions(versions: Versions) -> list[str]:
    """Return a warning for each version of the ledger whose run MLflow does not know: only their age protects its files."""
    ledger = Ledger(home.ledger_url())
    entries = {(entry.name, entry.version) for name in ledger.names() for entry in ledger.history(name)}
    return [
        f"{name} version {version} is in the ledger, but MLflow does not say which run made it"
        for name, version in sorted(entries - versions.keys())
    ]


@stage("free_space")
def main(
    *,
    days: Annotated[float, "keep each run that was recorded, and each object that was written, in this number of days"] = 30.0,
    free: Annotated[bool, "remove the objects; without it nothing is removed"] = False,
    remote: Annotated[bool, "look at the default DVC remote as well"] = False,
) -> None:
    if days < LEAST_DAYS:
        raise ConfigError(
            f"--days is {days:g}; it must be at least {LEAST_DAYS:g}, since an open run may need the files that it has just made"
        )
    repository, cache = Path(os.environ.get("NIGHTSHIFT_REPOSITORY", home.REPOSITORY)), kept.cache_root()
    stores: dict[str, Store] = {"cache": Cache(cache), **({"remote": remote_of(repository)} if remote else {})}
    versions = retention.registered_runs(
        connect()
    )  # before DVC waits, since MLflow can be slow. A version that is registered after this has an open workspace
    with alone(cache, repository, WAIT_S) if free else nullcontext():
        report = free_space(repository, stores, versions, days, free=free)
    write_report("free_space", report)
    log.info("%s%s", report["note"], "" if free else ". This was a dry run: add --free")


if __name__ == "__main__":
    sys.exit(main())
