"""Make a former champion the champion again: one line in the ledger, then the aliases.

Reads   the ledger, the version's file in the registry, the list of published nights
Effect  a ledger entry with actor and reason, and the aliases. Nothing is appended before the version's file has been fetched, and its digest
        verified
Writes  data/reports/rollback/report.json
Fails   if the version is unknown, was never champion, or is already champion; if its file is missing or altered; if the champion is not the one
        that `--expect` names. If MLflow does not answer, the ledger has changed nevertheless, since nights follow the ledger: a second run
        repairs the aliases

It acts outside the workspace, so it is not a DVC stage: ``python -m pipelines.registry.rollback --to previous --actor <you> --reason <why>``.
"""

import re
import sys
from typing import Annotated

from pipelines.lib.champions.registry import connect, load_registry, project_aliases, roll_back
from pipelines.lib.core import home, stage
from pipelines.lib.core.errors import ConfigError, LedgerConflict, ModelError
from pipelines.lib.records.ledger import Entry, Ledger

PREVIOUS = "previous"


def rollback(
    ledger: Ledger, name: str, *, to: str, actor: str, reason: str, expect: str | None = None, request: str | None = None
) -> Entry:
    """Make version `to` of model `name` champion (``previous``: the one before the present one), live from the next night.

    `expect` is the version that must be champion now. `request` identifies this request: it is fulfilled once, however often it is
    repeated. Returns the entry. Raises `ConfigError` or `ModelError` for a version that cannot be rolled back to, and `LedgerConflict` if
    the champion is not `expect`, or changes during the call.
    """
    history = ledger.history(name)
    if done := next((entry for entry in history if request and entry.evidence.get("request") == request), None):
        stage.log.info("%s was fulfilled before, by entry %d", request, done.sequence)
        return done
    champion = history[-1] if history else None
    if champion is None:
        raise ModelError(f"{name} has no champion yet, so there is nothing to roll back; promote a first version (make demo does)")
    if expect is not None and champion.version != expect:
        raise LedgerConflict(
            f"the champion of {name} is version {champion.version}, not {expect}. Nothing was changed: look at it, then decide again"
        )
    target = _target(ledger, name, history, to)
    return roll_back(ledger, target, champion, actor=actor, reason=reason, evidence={"request": request} if request else {})


def _target(ledger: Ledger, name: str, history: list[Entry], to: str) -> Entry:
    champion = history[-1]
    if to == PREVIOUS:
        line = ledger.line(name)
        if len(line) < 2:
            others = sorted({entry.version for entry in history} - {champion.version}, key=int)
            remedy = f"name a version to roll forward to: {', '.join(others)}" if others else "train and promote another one"
            raise ModelError(f"{name} had no champion before version {champion.version}; {remedy}")
        return line[-2]
    if to == champion.version:
        raise ConfigError(
            f"{name} version {to} is already champion, since entry {champion.sequence} by {champion.actor}; nothing was changed"
        )
    found = next((entry for entry in reversed(history) if entry.version == to), None)
    if found is None:
        known = ", ".join(sorted({entry.version for entry in history}, key=int))
        raise ModelError(f"{name} version {to} is unknown or was never champion; name a former champion: {known}")
    return found


@stage.stage("rollback")
def main(
    *,
    actor: Annotated[str, "who decides"],
    reason: Annotated[str, "why, for readers of the ledger"],
    to: Annotated[str, "'previous', or the number of a version that was champion before"] = PREVIOUS,
    expect: Annotated[str | None, "version that must be champion now; otherwise nothing is changed"] = None,
    request: Annotated[str | None, "identifies this request: it is fulfilled once, even if it is repeated"] = None,
    encoder: Annotated[bool, "roll back the encoder instead of the model"] = False,
) -> None:
    if not re.fullmatch(r"previous|[0-9]{1,9}", to, re.ASCII):
        raise ConfigError(f"--to is {to[:40]!r}; it must be 'previous' or the number of a version")
    for name, value, said in (("actor", actor, "who decides"), ("reason", reason, "why")):
        if not value.strip():
            raise ConfigError(f"--{name} is empty; say {said}: it goes into the ledger")
    ledger, names = Ledger(home.ledger_url()), load_registry()
    name = names.encoder if encoder else names.name
    entry = rollback(ledger, name, to=to, actor=actor, reason=reason, expect=expect, request=request)
    note = (
        f"{name} version {entry.version} is champion from {entry.live_from} (entry {entry.sequence}, before: version {entry.from_version})"
    )
    stage.log.info("%s", note)
    stage.write_report("rollback", {"note": note, "version": entry.version, "sequence": entry.sequence, "live_from": entry.live_from})
    project_aliases(connect(), ledger, name)


if __name__ == "__main__":
    sys.exit(main())
