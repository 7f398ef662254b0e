"""The versions that a run is pinned to when it opens: the model or encoder that is champion now, the night's own, the index that is published.

Looked up once, by `pipelines.registry.pin_run`; every later stage reads ``run.yaml``.
"""

import datetime as dt
import logging
from pathlib import Path

from pipelines.lib.champions.registry import fetch
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, ModelError
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import PinnedIndex, PinnedModel, RunFile
from pipelines.lib.records.ledger import Entry, Ledger

log = logging.getLogger("nightshift")


FIRST_MODEL = "register a version and promote it (make demo does, see docs/runbooks/champion-broken.md)"
FIRST_ENCODER = "trigger encoder_training"


def pin_model(ledger: Ledger, name: str, target: Path, *, remedy: str = FIRST_MODEL) -> PinnedModel:
    """Copy the champion's file to `target`, or the previous version's where the champion's cannot be trusted.

    Raises `ModelError` if neither can be had; `remedy` says how another one is made.
    """
    champion = ledger.champion(name)
    if champion is None:
        raise ModelError(f"{name} has no champion; {remedy}")
    faults = []
    for entry in filter(None, (champion, ledger.previous(name))):
        try:
            fetch(entry, target)
        except ModelError as error:
            faults.append(str(error))
            log.warning("%s", error)
            continue
        if faults:
            log.warning("DEGRADED: using %s version %s instead of the champion, version %s", name, entry.version, champion.version)
        degraded = entry.version != champion.version
        return PinnedModel(
            path=str(target),
            name=name,
            version=entry.version,
            sha256=entry.sha256,
            degraded=degraded,
            instead_of=champion.version if degraded else None,
            ledger_sequence=champion.sequence,
        )
    raise ModelError(
        f"no version of {name} can be used: {'; '.join(faults)}. Restore the file (docs/runbooks/champion-broken.md), or {remedy}"
    )


def pin_night(ledger: Ledger, name: str, partition: str, target: Path) -> tuple[PinnedModel, str]:
    """Copy the file of the version that scored the published night `partition` to `target`; it, and the ref of the run that did."""
    from pipelines.lib.published.nights import published_night

    night = published_night(name, partition)
    entry = _entry_of(ledger, name, night.model_version)
    fetch(entry, target)
    return PinnedModel(path=str(target), name=name, version=entry.version, sha256=entry.sha256, degraded=night.degraded), night.run_ref


def restore_model(run: RunFile, ledger: Ledger) -> None:
    """Bring the file of an already pinned run back, from DVC's cache or else from the registry."""
    target = Path(run.model.path)
    if target.exists() and sha256_of(target) == run.model.sha256:
        return
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        Repo(".").checkout(targets=[f"{target}.dvc"], force=True)
    except DvcException as error:
        log.warning("the pinned model is not in DVC's cache (%s); taking it from the registry", error)
    if target.exists() and sha256_of(target) == run.model.sha256:
        return
    fetch(_entry_of(ledger, run.model.name, run.model.version), target)


def _entry_of(ledger: Ledger, name: str, version: str | None) -> Entry:
    for entry in ledger.history(name):
        if entry.version == version:
            return entry
    raise ModelError(f"the ledger does not know {name} version {version}, to which this run is pinned; restore the ledger's database")


def pin_index(name: str, *, digests: bool) -> PinnedIndex | None:
    """Return the newest generation of index `name` whose files are whole; None if none is published, or none is whole.

    Without `digests` the files' sizes alone are compared: who opens the generation verifies it, and a night that hashed the whole index before
    anything is scored would have its scores wait for that. Scores do not wait for an index: a broken index is reported by the run that goes without it and by
    `check_index`, which fails.
    """
    from pipelines.lib.vector_index.generations import usable

    try:
        found = usable(name, digests=digests)
    except (ModelError, OSError) as error:
        log.warning("NO INDEX: %s", error)
        return None
    if found is None:
        return None
    pointer, fault = found
    if fault:
        log.warning("DEGRADED INDEX: using generation %s, since %s", pointer.generation, fault)
    return PinnedIndex(
        name=name,
        generation=pointer.generation,
        manifest_sha256=pointer.manifest_sha256,
        partition=pointer.partition,
        encoder_version=pointer.encoder_version,
        encoder_sha256=pointer.encoder_sha256,
        sequence=pointer.sequence,
        degraded=fault is not None,
        fault=fault,
    )


def require_no_older(run: RunFile) -> None:
    """Raise `ConfigError` if a rebuild is as of an older partition than what is published, unless it was asked for in full.

    It would become current as if it were newer, and rows that are known would be gone from the index.
    """
    if run.index and run.partition < run.index.partition and run.rebuild != "full":
        raise ConfigError(
            f"the rebuild is as of {run.partition}, but generation {run.index.generation} of {run.index.partition} is published, which knows more rows. "
            "To go back to an earlier generation trigger index_rollback; to have an index as of that partition all the same, trigger "
            "vector_index_rebuild with rebuild: full"
        )


def months(start: str | None, last: dt.date) -> tuple[str, ...]:
    """Return the months (``2013-01``) from date `start` to the one of date `last`, none if that is before it."""
    if start is None:
        raise ConfigError(
            "ingest_history.start is null, so the shards of the index have no first month; write the first date of your data there"
        )
    first = parse_partition(start)
    numbers = range(12 * first.year + first.month - 1, 12 * last.year + last.month)
    return tuple(f"{number // 12}-{number % 12 + 1:02d}" for number in numbers)
