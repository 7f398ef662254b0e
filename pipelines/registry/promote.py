"""Make a registered version champion: one fenced line in the ledger, then the aliases.

Reads   data/models/registered.json, run.yaml, the ledger
Effect  a ledger entry and the aliases `champion` and `previous`; repeated for the present champion, it only repairs the aliases
Fails   when the champion is not the one that `--expect` names: somebody promoted meanwhile, and nothing is changed

It acts outside the workspace, so it is no DVC stage: ``python -m pipelines.registry.promote``.
"""

import sys

from pipelines.lib import home, stage
from pipelines.lib.errors import LedgerConflict
from pipelines.lib.ledger import Entry, Ledger
from pipelines.lib.params import parse_section, read_yaml
from pipelines.lib.registry import Registered, connect, project_aliases
from pipelines.lib.run import load_run

NOBODY = "none"


def promote(ledger: Ledger, version: Registered, *, expect: str, live_from: str, actor: str, reason: str) -> Entry:
    """Append `version` as champion of its name where the present champion is version `expect` (``none`` before the first).

    Returns the entry that makes it champion, a new one or the one that did already. Raises `LedgerConflict` when another
    version is champion, or becomes it at this very moment.
    """
    champion = ledger.champion(version.name)
    if champion and champion.version == version.version:
        stage.log.info("%s version %s is champion already (entry %d)", version.name, version.version, champion.sequence)
        return champion
    found = champion.version if champion else NOBODY
    if found != expect:
        raise LedgerConflict(
            f"the champion of {version.name} is version {found}, not {expect}; version {version.version} was not promoted. "
            "Compare with the present champion and decide anew"
        )
    entry = ledger.append(
        Entry(
            name=version.name,
            sequence=champion.sequence + 1 if champion else 1,
            action="promote",
            version=version.version,
            sha256=version.sha256,
            model_uri=version.model_uri,
            from_version=champion.version if champion else None,
            live_from=live_from,
            actor=actor,
            reason=reason,
        )
    )
    stage.log.info("%s version %s is champion from %s (entry %d, before: %s)", entry.name, entry.version, live_from, entry.sequence, found)
    return entry


@stage.stage(
    "promote",
    "registered",
    expect={"required": True, "help": "version that is champion now, or 'none'"},
    actor={"required": True, "help": "who or what decides"},
    reason={"required": True, "help": "why, for whoever reads the ledger"},
)
def main(options: stage.Paths) -> None:
    version = parse_section(read_yaml(options.registered), Registered, options.registered.name)
    ledger = Ledger(home.ledger_url())
    promote(ledger, version, expect=options.expect, live_from=load_run().partition, actor=options.actor, reason=options.reason)
    project_aliases(connect(), ledger, version.name)


if __name__ == "__main__":
    sys.exit(main())
