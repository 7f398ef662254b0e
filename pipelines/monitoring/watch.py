"""Compare a champion that was promoted because it is fresher with the former champion, and roll it back if it clearly loses.

Reads   the ledger, the published table, the features that the runs of the nights have recorded, the files of both versions, and the source's
        outcomes as known at the start of the partition
Writes  data/reports/watch/report.json
Effect  none without a clear loss. Otherwise a rollback to the former champion: in the ledger, the aliases, the journal and the version's tags. A
        second run changes nothing
Fails   if the source, the published table, MLflow or the database does not answer. A former champion that is gone ends the watch, and the note
        says so

A watch ends after `decide.watch_nights` nights, and with any other change of the champion: ``python -m pipelines.monitoring.watch``.
"""

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pipelines.lib.challengers.comparison import mean_loss
from pipelines.lib.challengers.policy import Policy
from pipelines.lib.champions.registry import connect, fetch, project_aliases, roll_back
from pipelines.lib.core import home, stage
from pipelines.lib.core.errors import ConfigError, DataError, LedgerConflict, ModelError, TransientError
from pipelines.lib.core.params import load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import RunFile, load_run
from pipelines.lib.loop.watch import ACTOR, NightLoss, judge, watched_promotion
from pipelines.lib.measures.tasks import BINARY
from pipelines.lib.models.inference import Model, feature_columns, load_model
from pipelines.lib.published import nights
from pipelines.lib.records.journal import Journal, Verdict
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.lib.sources.outcomes import known_outcomes
from pipelines.lib.tables.dataset import load_dataset


def load_both(entry: Entry, former: Entry, scratch: Path) -> tuple[Model, Model]:
    """Return the models of both versions. Raises `ModelError` if one of them is gone, from the registry or from its store."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST, ErrorCode

    try:
        connect().get_model_version(former.name, former.version)
    except MlflowException as error:
        if error.error_code == ErrorCode.Name(RESOURCE_DOES_NOT_EXIST):
            raise ModelError(f"{former.name} version {former.version} was deleted from the registry") from None
        raise TransientError(f"MLflow did not answer about {former.name} version {former.version} ({error}); try again") from error
    models = []
    for version in (entry, former):
        fetch(version, scratch / "model.onnx")
        models.append(load_model(scratch / "model.onnx", version.sha256))
    return models[0], models[1]


def losses(run: RunFile, published: list[nights.PublishedNight], models: tuple[Model, Model], scratch: Path) -> Iterator[NightLoss]:
    """Yield the losses of both models on each of the `published` nights that has outcomes. A night that cannot be read is left out."""
    with known_outcomes(load_dataset(), partition=run.date, first=parse_partition(published[0].partition)) as known:
        for night in published:
            if night.partition not in known.partitions:
                continue
            try:
                nights.fetch(night.run_ref, nights.FEATURES, scratch / "features.parquet")
            except (ConfigError, DataError) as error:
                stage.log.warning("%s is left out of the watch: %s", night.partition, error)
                continue
            rows = known.join_outcomes(night.partition, scratch / "features.parquet")
            if not rows.num_rows:
                continue
            labels, task = rows["outcome"].to_numpy(), models[0].task
            mine, theirs = (
                mean_loss(labels, model.score(np.stack(feature_columns(rows, model.signature.names, model.categories), axis=1)), task)
                for model in models
            )
            yield NightLoss(night.partition, rows.num_rows, int(labels.sum()) if task is BINARY else None, mine, theirs)


def record(entry: Entry, reason: str, journal: Journal, ledger: Ledger) -> None:
    """Record the rollback of `entry` where people look for it. A second call changes nothing.

    It belongs to the retraining that has made the version: as a run of its own, it would count as another retraining.
    """
    client, decision = connect(), entry.evidence["decision"]
    project_aliases(client, ledger, entry.name)
    client.set_model_version_tag(entry.name, entry.version, "rolled_back", reason[:5000])
    promoted = [row.run_id for row in journal.verdicts(entry.name) if (row.challenger, row.verdict) == (entry.version, "promoted")]
    run_id = promoted[-1] if promoted else str(entry.evidence.get("run_ref"))
    journal.record_verdict(
        Verdict(entry.name, run_id, decision["partition"], entry.from_version, entry.version, "rolled_back", reason, ACTOR)
    )


@stage.stage("watch")
def main() -> None:
    run, policy, ledger, journal = load_run(), load_section("decide", Policy), Ledger(home.ledger_url()), Journal(home.ledger_url())
    history = ledger.history(run.model.name)
    if history and history[-1].actor == ACTOR and history[-1].evidence.get("watch_partition") == run.partition:  # an attempt of before
        back = history[-1]
        record(history[back.sequence - 2], back.reason, journal, ledger)
        stage.write_report("watch", {"note": f"ROLLED BACK to version {back.version}, live from {back.live_from}: {back.reason}"})
        return
    found = watched_promotion(history, run.partition)
    if isinstance(found, str):
        stage.log.info("%s", found)
        stage.write_report("watch", {"finding": found, "nights": []})
        return
    entry, former = found
    # A night waits for its outcome as long as the watch lasts, so the watch is over after twice as many nights.
    scored = nights.published_nights(entry.name, until=run.partition, count=2 * policy.watch_nights + 1, version=entry.version)
    scored = [night for night in scored if night.partition >= entry.live_from]
    if not scored or len(scored) > 2 * policy.watch_nights:
        finding = f"the watch of version {entry.version} is over" if scored else f"version {entry.version} has scored no night yet"
        stage.log.info("%s", finding)
        stage.write_report("watch", {"finding": finding, "nights": []})
        return
    with tempfile.TemporaryDirectory() as name:
        try:
            models = load_both(entry, former, Path(name))
            measured = list(losses(run, scored[: policy.watch_nights], models, Path(name)))
        except ModelError as error:
            note = f"the watch of version {entry.version} ended without a result: {error}"
            stage.log.warning("%s", note)
            stage.write_report("watch", {"note": note, "nights": []})
            return
    last = len(measured) == policy.watch_nights or len(scored) == 2 * policy.watch_nights
    lost, finding = judge(measured, policy, last=last, loss_name=models[0].task.loss_name)
    note = f"watch of version {entry.version} against version {former.version}: {finding}"
    if lost:
        try:
            back = roll_back(ledger, former, entry, actor=ACTOR, reason=finding, evidence={"watch_partition": run.partition})
        except LedgerConflict:
            note = f"NOT rolled back: somebody has just changed the champion ({note})"
        else:
            record(entry, finding, journal, ledger)
            note = f"ROLLED BACK to version {back.version}, live from {back.live_from}: {finding}"
    stage.log.info("%s", note)
    stage.write_report("watch", {"note": note, "nights": [asdict(night) for night in measured]})


if __name__ == "__main__":
    sys.exit(main())
