"""Decide about the challenger: promote, refuse, or ask a person; with every reason.

Reads   data/reports/evaluate/evaluation.json and golden.json, data/reports/latency.json, data/reports/shadow/report.json,
        data/models/registered.json, the challenger's file in the workspace and in the registry
Writes  data/reports/decide/: decision.json (verdict, reasons, table), report.json, report.html
Effect  the verdict in the journal and as tags of the version in MLflow
Fails   if a report is missing, or if MLflow or the journal does not answer. A refusal is not a failure: it is a result

It has an effect outside the workspace, so it is not a DVC stage: ``python -m pipelines.training.decide``.
"""

import sys
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

from pipelines.lib.challengers.agreement import Shadow
from pipelines.lib.challengers.decision import Decision
from pipelines.lib.challengers.evaluation import Evaluation, read_evaluation
from pipelines.lib.challengers.model_card import compared_of
from pipelines.lib.challengers.policy import Policy, Verdict, decide
from pipelines.lib.champions.registry import Registered, connect, fetch
from pipelines.lib.core import contract, home, stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import DataError, ModelError
from pipelines.lib.core.params import load_section, parse_section, read_yaml
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.models import costs
from pipelines.lib.models.golden import Golden, check
from pipelines.lib.models.inference import load_model
from pipelines.lib.pages import html as pages
from pipelines.lib.records.journal import Journal
from pipelines.lib.records.journal import Verdict as Recorded

REPORTS = Path("data/reports")
MODEL = Path("data/models/model.onnx")


def altered(version: Registered, evaluated: str | None, golden: Golden, scratch: Path) -> list[str]:
    """Return the differences between the registered version and the evaluated model, in the workspace and in the registry."""
    found = [
        f"{what} has sha256 {digest}, but {version.sha256} was registered"
        for what, digest in (("the model that was evaluated", evaluated), (f"the file {MODEL}", sha256_of(MODEL)))
        if digest != version.sha256
    ]
    try:
        fetch(version, scratch)
        return found + check(load_model(scratch, version.sha256), golden)
    except ModelError as error:
        return [*found, str(error)]


def measured(version: Registered, run: RunFile, golden: Golden) -> dict[str, costs.Costs | None]:
    """Return the costs of challenger and champion from the report of `evaluate`, or measure them now if DVC has restored the report."""
    path = REPORTS / "latency.json"
    models = {"challenger": (MODEL, version.sha256), "champion": (Path(run.model.path), run.model.sha256)}
    found = {name: costs.read(path, name, digest or "") for name, (_, digest) in models.items()}
    if None in found.values():
        found = {name: costs.measure(load_model(file), file, golden.features) for name, (file, _) in models.items()}
        costs.write(path, found)
    return found


def record(version: Registered, run: RunFile, verdict: Verdict) -> None:
    """Record the verdict in the journal and in tags of the version; a second call changes nothing."""
    reason = "; ".join(verdict.reasons)
    Journal(home.ledger_url()).record_verdict(
        Recorded(version.name, run.run_id, run.partition, run.model.champion, version.version, verdict.verdict, reason, "decide")
    )
    client = connect()
    tags = {"verdict": verdict.verdict, "verdict_basis": verdict.basis or "", "verdict_reasons": reason[:5000], "verdict_run": run.run_id}
    for tag, value in tags.items():
        client.set_model_version_tag(version.name, version.version, tag, value)


@stage.stage("decide")
def main(*, registered: Path = Path("data/models/registered.json")) -> None:
    run, policy = load_run(), load_section("decide", Policy)
    version = parse_section(read_yaml(registered), Registered, registered.name)
    evaluation = read_evaluation(REPORTS / "evaluate" / "evaluation.json")
    shadow = contract.from_json(Shadow, REPORTS / "shadow" / "report.json", "shadow")
    if shadow.challenger != version.version:
        raise DataError(f"the report of shadow is of version {shadow.challenger}, but {version.version} is registered; run shadow again")
    golden = Golden.from_json((REPORTS / "evaluate" / "golden.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as scratch:
        faults = altered(version, evaluation.sha256, golden, Path(scratch) / "model.onnx")
    evaluation = replace(evaluation, faults=(*evaluation.faults, *faults))
    verdict = decide(evaluation, shadow, policy, **measured(version, run, golden))
    record(version, run, verdict)
    decision = Decision(run.partition, run.model.champion, version.version, **vars(verdict))
    with replacing(REPORTS / "decide" / "decision.json") as temporary:
        temporary.write_text(decision.to_json(), encoding="utf-8")
    note = f"{verdict.verdict.upper()} version {version.version}: {'; '.join(verdict.reasons)}"
    comparison = evaluation.comparison if isinstance(evaluation, Evaluation) else None
    page = pages.render(
        "decide.html", decision=decision, name=version.name, comparison=comparison, policy=policy.model_dump(), **compared_of(comparison)
    )
    stage.write_report("decide", {"note": note, **asdict(decision)}, page)
    stage.log.info("%s", note)


if __name__ == "__main__":
    sys.exit(main())
