"""Look at the new champion as production will see it; what is not as it was promoted is rolled back at once.

Reads   the alias `champion` in MLflow, the file behind it, the ledger; data/models/registered.json and the golden set of evaluate; the
        newest published night: its features and its scores, from the run that made them
Writes  data/reports/verify/report.json
Effect  none where all is well. Else a rollback to the champion before, in the ledger, the aliases, the journal and the version's tags
Fails   when anything is wrong with the champion, ``ROLLED BACK`` in the message; when a store does not answer (tried again, nothing rolled back)

It acts outside the workspace, so it is no DVC stage: ``python -m pipelines.registry.verify``.
"""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.lib import golden, home, nights, stage
from pipelines.lib.errors import DataError, GateFailed, LedgerConflict, ModelError
from pipelines.lib.journal import Journal, Verdict
from pipelines.lib.ledger import Entry, Ledger
from pipelines.lib.params import Section, load_section, parse_section, read_yaml
from pipelines.lib.registry import Registered, connect, fetch, make_champion, next_night, project_aliases
from pipelines.lib.run import RunFile, load_run
from pipelines.lib.signature import signature_of_features

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipelines.lib.inference import Model

ACTOR = "verify"


class Verify(Section):
    """`minimum_correlation`: the least rank correlation of the new champion's scores with those that were published of the same night."""

    minimum_correlation: float = Field(ge=-1, le=1)


def verify(client: "MlflowClient", entry: Entry, expected: Path, scratch: Path, until: str, params: Verify) -> list[str]:
    """What is wrong with the champion that the ledger's `entry` made; empty where all is well.

    `expected` is the golden set that the model was registered with. The shadow night is the newest that is published up to `until`.
    """
    found = client.get_model_version_by_alias(entry.name, "champion").version
    if str(found) != entry.version:
        return [f"the alias champion says version {found}, the ledger version {entry.version}"]
    uri = f"{client.get_model_version_download_uri(entry.name, entry.version)}/model.onnx"
    version = Registered(name=entry.name, version=entry.version, sha256=entry.sha256, model_uri=uri)
    try:
        fetch(version, scratch / "model.onnx")
        from pipelines.lib.inference import load_model

        model = load_model(scratch / "model.onnx", entry.sha256)
        faults = golden.check(model, golden.Golden.from_json(expected.read_text(encoding="utf-8")))
        return faults + shadow_faults(model, entry.name, until, scratch, params)
    except OSError as error:
        return [f"the golden set {expected} cannot be read ({error.strerror})"]
    except (ModelError, DataError) as error:
        return [str(error)]


def shadow_faults(model: "Model", name: str, until: str, scratch: Path, params: Verify) -> list[str]:
    """What is wrong with the scores that `model` gives the newest published night; nothing where there is no night of its features."""
    from scipy.stats import spearmanr

    from pipelines.lib.inference import score_parquet

    newest = nights.published_nights(name, until=until, count=1)
    if not newest:
        stage.log.info("no night is published up to %s: nothing to hold the scores against", until)
        return []
    night = newest[0]
    nights.fetch(night.run_ref, nights.FEATURES, scratch / "features.parquet")
    if signature_of_features(scratch / "features.parquet") != model.signature:
        stage.log.info("%s has features of another declaration: nothing to hold the scores against", night.partition)
        return []
    nights.fetch(night.run_ref, nights.SCORES, scratch / "published.parquet")
    rows = score_parquet(model, scratch / "features.parquet", scratch / "scores.parquet", key=(), threshold=0.5)
    if rows < 2:
        return []
    import pyarrow.parquet as pq

    ours, theirs = (
        pq.read_table(scratch / file, columns=["score"])["score"].to_numpy() for file in ("scores.parquet", "published.parquet")
    )
    found = float(spearmanr(ours, theirs).statistic)
    stage.log.info("%s: %d rows scored, rank correlation with what was published %.3f", night.partition, rows, found)
    if not found >= params.minimum_correlation:  # a constant score has none: NaN
        return [
            f"its scores of {night.partition} have a rank correlation of {found:.3f} with those published by version {night.model_version}, "
            f"below {params.minimum_correlation}"
        ]
    return []


def roll_back(ledger: Ledger, entry: Entry, run: RunFile, reason: str) -> str:
    """Make the champion before `entry` champion again, and say in words what became of it."""
    line = ledger.line(entry.name)
    if len(line) < 2:
        return f"NOT rolled back: there is no champion before version {entry.version}; train another one, nights go on with this one"
    try:
        back = make_champion(
            ledger,
            line[-2],
            entry,
            action="rollback",
            live_from=next_night(entry.name, entry.live_from),
            actor=ACTOR,
            reason=reason,
            evidence={"run_id": run.run_id},
        )
    except LedgerConflict:
        return f"not rolled back: somebody has moved the champion of {entry.name} at this very moment"
    return f"ROLLED BACK to version {back.version}, live from {back.live_from}"


def rolled_back_before(ledger: Ledger, name: str, version: str, run: RunFile) -> Entry | None:
    """The rollback from `version` that an earlier attempt of this run has made, if there was one and nobody promoted it again."""
    entries = [entry for entry in ledger.history(name) if version in (entry.version, entry.from_version)]
    last = entries[-1] if entries else None
    return last if last and last.actor == ACTOR and last.evidence.get("run_id") == run.run_id else None


@stage.stage("verify", "registered", "golden")
def main(paths: stage.Paths) -> None:
    run, ledger, client = load_run(), Ledger(home.ledger_url()), connect()
    version = parse_section(read_yaml(paths.registered), Registered, paths.registered.name)
    project_aliases(client, ledger, version.name)  # a promotion that was killed before it came so far
    champion = ledger.champion(version.name)
    if champion and champion.version == version.version:
        with tempfile.TemporaryDirectory() as scratch:
            faults = verify(client, champion, paths.golden, Path(scratch), run.partition, load_section("verify", Verify))
        if not faults:
            stage.write_report("verify", {"note": f"verified version {version.version}", "faults": []})
            return
        reason = "; ".join(faults)
        told = roll_back(ledger, champion, run, reason)
        project_aliases(client, ledger, version.name)
    elif before := rolled_back_before(ledger, version.name, version.version, run):
        reason, told = before.reason, f"ROLLED BACK to version {before.version} by an earlier attempt"
    else:
        told = f"version {champion.version if champion else 'none'} is champion by now, so version {version.version} is not verified"
        stage.write_report("verify", {"note": told, "faults": []})
        return
    stage.write_report("verify", {"note": told, "faults": [reason]})
    client.set_model_version_tag(version.name, version.version, "rolled_back", reason[:5000])
    Journal(home.ledger_url()).record_verdict(
        Verdict(version.name, run.run_id, run.partition, run.model.champion, version.version, "rolled_back", reason, ACTOR)
    )
    raise GateFailed(f"{told}: version {version.version} is not as it was promoted: {reason}. See docs/runbooks/rollback.md")


if __name__ == "__main__":
    sys.exit(main())
