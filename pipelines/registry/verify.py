"""Check the new champion as production will see it, and roll it back immediately if it is not the model that was promoted.

Reads   the alias `champion` in MLflow, the file behind it, the ledger; data/models/registered.json and the golden set of evaluate; the
        newest published night: its features and its scores, from the run that made them
Writes  data/reports/verify/report.json
Effect  none if the champion is sound. Otherwise a rollback to the champion before, after its file was verified: in the ledger, the aliases, the
        journal and the version's tags
Fails   if the champion has a fault: the message says ``ROLLED BACK``, or ``NOT rolled back`` and why; if a store does not answer or a disk is full
        (Airflow tries again, nothing is rolled back). A night that cannot be read is not a fault: the note says so, and the stage passes
"""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from pipelines.lib.champions.registry import Registered, connect, fetch, project_aliases, roll_back
from pipelines.lib.core import home, stage
from pipelines.lib.core.errors import ConfigError, DataError, GateFailed, LedgerConflict, ModelError, TransientError
from pipelines.lib.core.params import Section, load_section, parse_section, read_yaml
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.models import golden
from pipelines.lib.published import nights
from pipelines.lib.records.journal import Journal, Verdict
from pipelines.lib.records.ledger import Entry, Ledger

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from pipelines.lib.models.inference import Model

ACTOR = "verify"
NOTHING = "without a night to compare its scores with"


class Verify(Section):
    """`minimum_correlation`: the least rank correlation of the new champion's scores with the published ones of the same night."""

    minimum_correlation: float = Field(ge=-1, le=1)


def verify(client: "MlflowClient", entry: Entry, expected: Path, scratch: Path, until: str, params: Verify) -> tuple[list[str], str]:
    """Return the faults of the champion that the ledger's `entry` made, and the night that its scores were compared with, in words.

    `expected` is the golden set that the model was registered with. The night is the newest published one up to `until`.
    """
    found = client.get_model_version_by_alias(entry.name, "champion").version
    if str(found) != entry.version:
        return [f"the alias champion points to version {found}, but the ledger says version {entry.version}"], ""
    try:
        written = expected.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        return [f"the golden set {expected} cannot be read ({error.strerror})"], ""
    uri = f"{client.get_model_version_download_uri(entry.name, entry.version)}/model.onnx"
    version = Registered(name=entry.name, version=entry.version, sha256=entry.sha256, model_uri=uri)
    try:
        fetch(version, scratch / "model.onnx")
        from pipelines.lib.models.inference import load_model

        model = load_model(scratch / "model.onnx", entry.sha256)
        faults = golden.check(model, golden.Golden.from_json(written))
        more, compared = shadow_faults(model, entry.name, until, scratch, params)
        return faults + more, compared
    except (ModelError, DataError) as error:
        return [str(error)], ""


def shadow_faults(model: "Model", name: str, until: str, scratch: Path, params: Verify) -> tuple[list[str], str]:
    """Return the faults of the scores that `model` gives the newest published night, and that night, in words.

    There is no fault if no night has the model's features, or if the night cannot be read. Raises `ModelError` for a score that is not a number.
    """
    import pyarrow.parquet as pq
    from scipy.stats import spearmanr

    from pipelines.lib.models.inference import score_parquet

    newest = nights.published_nights(name, until=until, count=1)
    if not newest:
        return [], f"{NOTHING}: no night is published up to {until}"
    night, features, scores, published = newest[0], *(scratch / f"{file}.parquet" for file in ("features", "scores", "published"))
    try:
        nights.fetch(night.run_ref, nights.FEATURES, features)
        if signature_of_features(features) != model.signature:
            return [], f"{NOTHING}: {night.partition} has features of another declaration"
        nights.fetch(night.run_ref, nights.SCORES, published)
        rows = score_parquet(model, features, scores, key=(), threshold=0.5)
    except (DataError, ConfigError) as error:  # the night's run made no such files, or this repository lacks its ref
        return [], f"{NOTHING}: {error}"
    if rows < 2:
        return [], f"{NOTHING}: {night.partition} has {rows} rows"
    ours, theirs = (
        pq.read_table(file, columns=["score"], page_checksum_verification=True)["score"].to_numpy() for file in (scores, published)
    )
    found = float(spearmanr(ours, theirs).statistic)
    compared = f"rank correlation {found:.3f} with the {rows} scores of {night.partition} that version {night.model_version} has published"
    fine = found >= params.minimum_correlation  # constant scores have no correlation: NaN
    return [] if fine else [f"{compared}, below {params.minimum_correlation}"], compared


def go_back(ledger: Ledger, entry: Entry, run: RunFile, reason: str) -> tuple[Entry | None, str]:
    """Make the champion before `entry` champion again. Return the new entry, or None if nothing was rolled back, and the result in words."""
    line = ledger.line(entry.name)
    if len(line) < 2:
        return None, f"NOT rolled back: there is no champion before version {entry.version}; train another one. Until then, this one scores"
    try:
        back = roll_back(ledger, line[-2], entry, actor=ACTOR, reason=reason, evidence={"run_id": run.run_id})
    except ModelError as error:
        return None, f"NOT rolled back: the champion before is broken too ({error}); restore its file, or roll back to another version"
    except LedgerConflict:
        return None, f"NOT rolled back: somebody has just changed the champion of {entry.name}; look at the ledger"
    except TransientError as error:
        raise TransientError(f"NOT rolled back yet: version {entry.version} differs from the promoted model ({reason}): {error}") from error
    return back, f"ROLLED BACK to version {back.version}, live from {back.live_from}"


def rolled_back_before(ledger: Ledger, name: str, version: str, run: RunFile) -> Entry | None:
    """Return the rollback from `version` by an earlier attempt of this run, unless somebody promoted the version again."""
    entries = [entry for entry in ledger.history(name) if version in (entry.version, entry.from_version)]
    last = entries[-1] if entries else None
    return last if last and last.actor == ACTOR and last.evidence.get("run_id") == run.run_id else None


@stage.stage("verify")
def main(*, registered: Path, golden: Path) -> None:
    run, ledger, client = load_run(), Ledger(home.ledger_url()), connect()
    version = parse_section(read_yaml(registered), Registered, registered.name)
    project_aliases(client, ledger, version.name)  # a promotion may have been killed before this step
    champion = ledger.champion(version.name)
    back: Entry | None
    if champion and champion.version == version.version:
        try:
            with tempfile.TemporaryDirectory() as scratch:
                faults, compared = verify(client, champion, golden, Path(scratch), run.partition, load_section("verify", Verify))
            reason = "; ".join(faults)
            back, note = go_back(ledger, champion, run, reason) if faults else (None, f"verified version {version.version}, {compared}")
        except OSError as error:  # of the published table or a disk: it says nothing about the champion
            raise TransientError(f"NOT verified, NOT rolled back: version {version.version}: {error}; check stores and disk") from error
        project_aliases(client, ledger, version.name)
    elif back := rolled_back_before(ledger, version.name, version.version, run):
        faults, reason, note = [back.reason], back.reason, f"ROLLED BACK to version {back.version} by an earlier attempt"
    else:
        present = champion.version if champion else "none"
        faults, note = [], f"NOT verified: version {version.version} is no longer champion; version {present} is"
    stage.log.info("%s", note)
    stage.write_report("verify", {"note": note, "faults": faults})
    if back:
        client.set_model_version_tag(version.name, version.version, "rolled_back", reason[:5000])
        Journal(home.ledger_url()).record_verdict(
            Verdict(version.name, run.run_id, run.partition, run.model.champion, version.version, "rolled_back", reason, ACTOR)
        )
    if faults:
        raise GateFailed(f"{note}: version {version.version} differs from the promoted model: {reason}. See docs/runbooks/rollback.md")


if __name__ == "__main__":
    sys.exit(main())
