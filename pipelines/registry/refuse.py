"""Record that a challenger was refused, by whom and why.

Reads   data/models/registered.json, run.yaml, the ledger; the decision of decide, unless `--reason` and `--actor` replace it
Effect  tags of the version in MLflow (``refused``, ``refused_by``), without the alias `challenger`; a verdict in the journal. The ledger does
        not change, and a second run changes nothing
Writes  data/reports/refuse/report.json
Fails   if the decision is not a whole one, or is on another version; if MLflow or the journal does not answer

It acts outside the workspace, so it is not a DVC stage: ``python -m pipelines.registry.refuse``.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pipelines.lib.challengers.decision import decision_on
from pipelines.lib.champions.registry import Registered, connect, project_aliases, withdraw
from pipelines.lib.core import home, stage
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section, read_yaml
from pipelines.lib.core.run import load_run
from pipelines.lib.records.journal import Journal, Verdict
from pipelines.lib.records.ledger import Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient


def refuse(client: "MlflowClient", ledger: Ledger, version: Registered, *, reason: str, actor: str) -> None:
    """Tag `version` as refused and remove its alias `challenger`.

    If `version` is the champion, nothing changes: a retraining can give the champion's bytes again, and only its second promotion is refused.
    """
    champion = ledger.champion(version.name)
    if champion and champion.version == version.version:
        stage.log.info("%s version %s is the champion itself; nothing was changed", version.name, version.version)
        return
    client.set_model_version_tag(version.name, version.version, "refused", reason[:5000])  # MLflow's limit of a tag
    client.set_model_version_tag(version.name, version.version, "refused_by", actor)
    withdraw(client, version)
    stage.log.info("%s version %s was refused by %s: %s", version.name, version.version, actor, reason)


@stage.stage("refuse")
def main(
    *,
    registered: Path,
    decision: Annotated[Path | None, "decision.json of decide: its reasons are those of the refusal"] = None,
    actor: Annotated[str, "the person or stage that refuses"] = "decide",
    reason: Annotated[str | None, "why, for readers of the registry; by default the reasons of the decision"] = None,
) -> None:
    run, ledger = load_run(), Ledger(home.ledger_url())
    version = parse_section(read_yaml(registered), Registered, registered.name)
    reason = reason or ("; ".join(decision_on(version.version, decision).reasons) if decision else "")
    if not reason:
        raise ConfigError("the refusal has no reason; give --reason or --decision")
    client = connect()
    refuse(client, ledger, version, reason=reason, actor=actor)
    if ledger.champion(version.name):
        project_aliases(client, ledger, version.name)
    Journal(home.ledger_url()).record_verdict(
        Verdict(version.name, run.run_id, run.partition, run.model.champion, version.version, "refused", reason, actor)
    )
    stage.write_report("refuse", {"note": f"REFUSED version {version.version} ({actor}): {reason}"})


if __name__ == "__main__":
    sys.exit(main())
