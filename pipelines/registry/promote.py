"""Make a registered version champion: one fenced line in the ledger, then the aliases.

Reads   data/models/registered.json, run.yaml, the ledger, the list of published nights; in a retraining the reports of decide and evaluate, for
        an encoder the report of evaluate_encoder, for a promotion by hand the version's tags and the journal
Effect  a ledger entry with its evidence, and the aliases `champion` and `previous`. For the present champion it only repairs the aliases.
        Nothing is appended before the version's file has been fetched, and its digest verified. A challenger that comes too late is recorded
        as refused
Fails   if the champion is not of the very ledger entry that the run was pinned to (or not the version that `--expect` names), since somebody
        has promoted or rolled back in between; if the verdict is refuse, or is ask and nobody has approved; by hand, if the version was
        refused or rolled back; if the file was altered; if MLflow does not answer
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
    """Append `version` as champion of its name if the present champion is version `expect` (``none`` before the first).

    With `sequence`, that entry must have made the champion. The run `run_ref` promotes a version once: repeating the run does not promote a
    version that was rolled back since. Returns the entry that makes the version champion, new or existing. Raises `LedgerConflict` if another
    version is champion, or becomes champion during the call.
    """
    history = ledger.history(version.name)
    champion = history[-1] if history else None
    if champion and champion.version == version.version:
        stage.log.info("%s version %s is already champion (entry %d)", version.name, version.version, champion.sequence)
        return champion
    mine = [entry for entry in history if run_ref and (entry.version, entry.evidence.get("run_ref")) == (version.version, run_ref)]
    if mine and champion:
        back = history[mine[-1].sequence]  # the entry after it, since they count from 1
        raise LedgerConflict(
            f"{version.name} version {version.version} was promoted by this run as entry {mine[-1].sequence}, and entry {back.sequence} took it "
            f"back ({back.actor}: {back.reason}); it was not promoted again. Roll forward to it by name, or trigger a new retraining"
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
            f"replaced, and is champion again; version {version.version} was not promoted. Compare again, then decide again"
        )
    entry = make_champion(ledger, version, champion, action="promote", live_from=live_from, actor=actor, reason=reason, evidence=evidence)
    stage.log.info("%s version %s is champion from %s (entry %d, before: %s)", entry.name, entry.version, live_from, entry.sequence, found)
    return entry


@stage.stage("promote")
def main(
    *,
    registered: Path,
    expect: Annotated[
        str | None, "version that must be champion now, or 'none'; by default the ledger's entry that the run was pinned to"
    ] = None,
    live_from: Annotated[
        str | None, "first partition that it scores; by default the one after the run's and after the newest published one"
    ] = None,
    decision: Annotated[Path | None, "decision.json of decide; without it, a person promotes"] = None,
    comparison: Annotated[Path | None, "comparison.json of evaluate"] = None,
    evaluation: Annotated[Path | None, "evaluation.json of evaluate_encoder, which decides about an encoder"] = None,
    approver: Annotated[str, "the person who approved, if the decision was to ask"] = "",
    actor: Annotated[str | None, "the person or stage that decides; by default the approver, otherwise decide"] = None,
    reason: Annotated[str | None, "why, for readers of the ledger; by default the reasons of the decision"] = None,
) -> None:
    run, ledger, journal = load_run(), Ledger(home.ledger_url()), Journal(home.ledger_url())
    version = parse_section(read_yaml(registered), Registered, registered.name)
    evidence = gather(run, version, decision=decision, evaluation=evaluation, comparison=comparison, approver=approver)
    decided = decision or evaluation  # a new decision counts, even if the version was refused before
    reason = reason or evidence.reason
    actor = actor or approver or (("decide" if decision else "evaluate_encoder") if decided else "")
    if not (actor and reason):
        raise ConfigError("--actor or --reason is missing; give both, or the --decision of a retraining")
    champion = ledger.champion(version.name)
    live_from = choose_live_from(run, version.name, champion, live_from)
    client = connect()  # before the ledger changes: if MLflow is down, the champion stays
    if not decided and not (champion and champion.version == version.version):
        require_not_refused(client, journal, version)
    with tempfile.TemporaryDirectory() as scratch:
        fetch(version, Path(scratch) / "model.onnx")
    pinned = {"expect": run.model.champion or NOBODY, "sequence": run.model.ledger_sequence, "run_ref": run.run_ref}
    fence: dict[str, Any] = {"expect": expect} if expect else pinned
    subject = (version.name, run.run_id, run.partition, run.model.champion, version.version)
    try:
        entry = promote(ledger, version, **fence, live_from=live_from, actor=actor, reason=reason, evidence=evidence.to_json())
    except LedgerConflict as error:
        if decided:
            withdraw(client, version)
            project_aliases(client, ledger, version.name)
            journal.record_verdict(Verdict(*subject, "refused", str(error), actor))
        raise
    project_aliases(client, ledger, version.name)
    clear_marks(client, version)
    if decided:
        journal.record_verdict(Verdict(*subject, "promoted", reason, actor))
        stage.write_report("promote", {"note": f"promoted version {entry.version}, live from {entry.live_from}, by {entry.actor}"})


if __name__ == "__main__":
    sys.exit(main())
