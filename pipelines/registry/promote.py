"""Make a registered version champion: one fenced line in the ledger, then the aliases.

Reads   data/models/registered.json, run.yaml, the ledger; in a retraining also what decide and evaluate have written
Effect  a ledger entry with its evidence and the aliases `champion` and `previous`; repeated for the present champion, it only
        repairs the aliases. Nothing is appended before the version's file has been fetched, and its digest verified
Fails   when the champion is not the one that the run was pinned to (or that `--expect` names): somebody promoted meanwhile; when
        the evidence says no, or asks and nobody has approved; when the file was altered; when MLflow does not answer

It acts outside the workspace, so it is no DVC stage: ``python -m pipelines.registry.promote``.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipelines.lib import home, stage
from pipelines.lib.errors import ConfigError, DataError, LedgerConflict
from pipelines.lib.journal import Journal, Verdict
from pipelines.lib.ledger import Entry, Ledger
from pipelines.lib.params import parse_section, read_yaml
from pipelines.lib.partition import parse_partition
from pipelines.lib.registry import Registered, connect, day_after, fetch, make_champion, project_aliases
from pipelines.lib.run import RunFile, load_run
from pipelines.lib.verdict import read_decision, require_allowed

NOBODY = "none"


def promote(
    ledger: Ledger,
    version: Registered,
    *,
    expect: str,
    live_from: str,
    actor: str,
    reason: str,
    evidence: dict[str, Any] | None = None,
) -> Entry:
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
    entry = make_champion(ledger, version, champion, action="promote", live_from=live_from, actor=actor, reason=reason, evidence=evidence)
    stage.log.info("%s version %s is champion from %s (entry %d, before: %s)", entry.name, entry.version, live_from, entry.sequence, found)
    return entry


def first_night(run: RunFile) -> str:
    """The partition from which a version that `run` made is live: of a retraining the day after, since a champion has scored its own."""
    return day_after(run.date) if run.model.champion else run.partition


def gather(run: RunFile, version: Registered, options: stage.Paths) -> dict[str, Any]:
    """What speaks for the promotion, as the ledger keeps it. Raises `GateFailed` where the decision does not allow it."""
    evidence: dict[str, Any] = {"run_ref": run.run_ref}
    if options.decision:
        evidence["decision"] = decision = read_decision(options.decision)
        if decision.get("challenger", version.version) != version.version:
            raise DataError(f"the decision is on version {decision['challenger']}, registered is {version.version}; run decide again")
        require_allowed(decision, options.approver)
    if options.approver:
        evidence["approver"] = options.approver
    if options.comparison and options.comparison.exists():
        evidence["comparison"] = json.loads(options.comparison.read_text(encoding="utf-8"))
    return evidence


@stage.stage(
    "promote",
    "registered",
    expect={"help": "version that is champion now, or 'none'; by default the one that the run was pinned to"},
    live_from={"help": "first partition that it scores; by default the day after the run's, and the run's own where there was no champion"},
    decision={"type": Path, "help": "decision.json of decide"},
    comparison={"type": Path, "help": "comparison.json of evaluate"},
    approver={"default": "", "help": "the person who said yes where the decision was to ask"},
    actor={"help": "who or what decides; by default the approver, else decide"},
    reason={"help": "why, for whoever reads the ledger; by default the reasons of the decision"},
)
def main(options: stage.Paths) -> None:
    run, ledger = load_run(), Ledger(home.ledger_url())
    version = parse_section(read_yaml(options.registered), Registered, options.registered.name)
    evidence = gather(run, version, options)
    reason = options.reason or "; ".join(evidence.get("decision", {}).get("reasons", []))
    actor = options.actor or options.approver or ("decide" if options.decision else "")
    if not (actor and reason):
        raise ConfigError("nobody says who decides, or why; give --actor and --reason, or the --decision of a retraining")
    live_from = options.live_from or first_night(run)
    parse_partition(live_from)
    client = connect()  # before the ledger moves: where MLflow is down, the champion stays
    with tempfile.TemporaryDirectory() as scratch:
        fetch(version, Path(scratch) / "model.onnx")
    expect = options.expect or run.model.champion or NOBODY
    entry = promote(ledger, version, expect=expect, live_from=live_from, actor=actor, reason=reason, evidence=evidence)
    project_aliases(client, ledger, version.name)
    if options.decision:
        verdict = Verdict(version.name, run.run_id, run.partition, run.model.champion, version.version, "promoted", reason, actor)
        Journal(home.ledger_url()).record_verdict(verdict)
        stage.write_report("promote", {"note": f"promoted version {entry.version}, live from {entry.live_from}, by {entry.actor}"})


if __name__ == "__main__":
    sys.exit(main())
