"""Make a registered version champion: one fenced line in the ledger, then the aliases.

Reads   data/models/registered.json, run.yaml, the ledger, which nights are published; in a retraining also what decide and evaluate have
        written, of an encoder what evaluate_encoder has, by hand the version's tags and the journal
Effect  a ledger entry with its evidence and the aliases `champion` and `previous`; repeated for the present champion, it only
        repairs the aliases. Nothing is appended before the version's file has been fetched, and its digest verified. A challenger that
        comes too late is on record as refused
Fails   when the champion is not the one that the run was pinned to, entry for entry (or the version that `--expect` names): somebody promoted
        or rolled back meanwhile; when the evidence says no, or asks and nobody has approved; by hand, when the version was refused or rolled
        back; when the file was altered; when MLflow does not answer
"""

import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

from pipelines.lib.champions.evidence import gather
from pipelines.lib.champions.registry import (
    Registered,
    choose_live_from,
    clear_marks,
    connect,
    fetch,
    make_champion,
    project_aliases,
    require_not_refused,
    withdraw,
)
from pipelines.lib.core import home, stage
from pipelines.lib.core.errors import ConfigError, LedgerConflict
from pipelines.lib.core.params import parse_section, read_yaml
from pipelines.lib.core.run import load_run
from pipelines.lib.records.journal import Journal, Verdict
from pipelines.lib.records.ledger import Entry, Ledger

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
    sequence: int | None = None,
    run_ref: str | None = None,
) -> Entry:
    """Append `version` as champion of its name where the present champion is version `expect` (``none`` before the first).

    With `sequence` the champion must have been made by that very entry, and the run `run_ref` promotes a version once: what was rolled
    back since does not come back by a repetition. Returns the entry that makes the version champion, a new one or the one that did
    already. Raises `LedgerConflict` when another version is champion, or becomes it at this very moment.
    """
    history = ledger.history(version.name)
    champion = history[-1] if history else None
    if champion and champion.version == version.version:
        stage.log.info("%s version %s is champion already (entry %d)", version.name, version.version, champion.sequence)
        return champion
    mine = [entry for entry in history if run_ref and (entry.version, entry.evidence.get("run_ref")) == (version.version, run_ref)]
    if mine and champion:
        back = history[mine[-1].sequence]  # the entry after it, since they count from 1
        raise LedgerConflict(
            f"{version.name} version {version.version} was promoted by this run as entry {mine[-1].sequence}, and entry {back.sequence} took it "
            f"back ({back.actor}: {back.reason}); it was not promoted again. Roll forward to it by name, or train anew"
        )
    found = champion.version if champion else NOBODY
    if found != expect:
        raise LedgerConflict(
            f"the champion of {version.name} is version {found}, not {expect}; version {version.version} was not promoted. "
            "Compare with the present champion, then decide again"
        )
    if champion and sequence not in (None, champion.sequence):
        raise LedgerConflict(
            f"the champion of {version.name} is version {found} by entry {champion.sequence}, not by entry {sequence} as when the run opened: it was "
            f"replaced and came back; version {version.version} was not promoted. Compare again, then decide again"
        )
    entry = make_champion(ledger, version, champion, action="promote", live_from=live_from, actor=actor, reason=reason, evidence=evidence)
    stage.log.info("%s version %s is champion from %s (entry %d, before: %s)", entry.name, entry.version, live_from, entry.sequence, found)
    return entry


@stage.stage("promote")
def main(
    *,
    registered: Path,
    expect: Annotated[
        str | None, "version that is champion now, or 'none'; by default the ledger's entry that the run was pinned to"
    ] = None,
    live_from: Annotated[
        str | None, "first partition that it scores; by default the one after the run's, and after all that is published"
    ] = None,
    decision: Annotated[Path | None, "decision.json of decide; without it, it is promoted by hand"] = None,
    comparison: Annotated[Path | None, "comparison.json of evaluate"] = None,
    evaluation: Annotated[Path | None, "evaluation.json of evaluate_encoder, which decides about an encoder"] = None,
    approver: Annotated[str, "the person who said yes where the decision was to ask"] = "",
    actor: Annotated[str | None, "who or what decides; by default the approver, else decide"] = None,
    reason: Annotated[str | None, "why, for whoever reads the ledger; by default the reasons of the decision"] = None,
) -> None:
    run, ledger, journal = load_run(), Ledger(home.ledger_url()), Journal(home.ledger_url())
    version = parse_section(read_yaml(registered), Registered, registered.name)
    evidence = gather(run, version, decision=decision, evaluation=evaluation, comparison=comparison, approver=approver)
    decided = decision or evaluation  # anew, whatever was said of this version before
    reason = reason or evidence.reason
    actor = actor or approver or (("decide" if decision else "evaluate_encoder") if decided else "")
    if not (actor and reason):
        raise ConfigError("nobody says who decides, or why; give --actor and --reason, or the --decision of a retraining")
    champion = ledger.champion(version.name)
    live_from = choose_live_from(run, version.name, champion, live_from)
    client = connect()  # before the ledger moves: where MLflow is down, the champion stays
    if not decided and not (champion and champion.version == version.version):
        require_not_refused(client, journal, version)
    with tempfile.TemporaryDirectory() as scratch:
        fetch(version, Path(scratch) / "model.onnx")
    pinned = {"expect": run.model.champion or NOBODY, "sequence": run.model.ledger_sequence, "run_ref": run.run_ref}
    fence: dict[str, Any] = {"expect": expect} if expect else pinned
    told = (version.name, run.run_id, run.partition, run.model.champion, version.version)
    try:
        entry = promote(ledger, version, **fence, live_from=live_from, actor=actor, reason=reason, evidence=evidence.to_json())
    except LedgerConflict as error:
        if decided:
            withdraw(client, version)
            project_aliases(client, ledger, version.name)
            journal.record_verdict(Verdict(*told, "refused", str(error), actor))
        raise
    project_aliases(client, ledger, version.name)
    clear_marks(client, version)
    if decided:
        journal.record_verdict(Verdict(*told, "promoted", reason, actor))
        stage.write_report("promote", {"note": f"promoted version {entry.version}, live from {entry.live_from}, by {entry.actor}"})


if __name__ == "__main__":
    sys.exit(main())
