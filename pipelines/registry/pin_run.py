"""Open a run: resolve once what it uses, write it to run.yaml and put the model into the workspace.

Reads   params.yaml, the ledger, the model's file in the registry, the source's fingerprint; with --model night the published table
Writes  run.yaml; data/champion/model.onnx and its .dvc file, so that the run's ref gives the model back; an empty dvc.lock
Fails   when there is no champion or another one than is expected, or neither its file nor that of the version before it is what was registered; when
        params.yaml holds an unquoted date, at which DVC would end without a reason

With ``--model champion`` the run is pinned to the champion; when its file is missing or altered, to the previous version, and says
``degraded``. With ``--model night`` it is pinned to the version that scored the partition, and to the ref of the run that did; with
``--model own`` it trains its own. Opening the same run again keeps what is pinned.
"""

import sys
from pathlib import Path

from pipelines.lib import home, stage
from pipelines.lib.atomic import replacing
from pipelines.lib.dataset import load_dataset, source_revision
from pipelines.lib.digest import sha256_of
from pipelines.lib.errors import LedgerConflict, ModelError
from pipelines.lib.ledger import Entry, Ledger
from pipelines.lib.params import PARAMS_FILE, read_yaml, refuse_dates
from pipelines.lib.partition import parse_partition
from pipelines.lib.registry import fetch, load_registry
from pipelines.lib.run import RUN_FILE, PinnedModel, RunFile, load_run, save_run

MODEL = Path("data/champion/model.onnx")
LOCK = Path("dvc.lock")


def pin_model(ledger: Ledger, name: str, target: Path) -> PinnedModel:
    """Copy the champion's file to `target`, or the previous version's where the champion's cannot be trusted."""
    champion = ledger.champion(name)
    if champion is None:
        raise ModelError(
            f"{name} has no champion; register a version and promote it (make demo does, see docs/runbooks/champion-broken.md)"
        )
    faults = []
    for entry in filter(None, (champion, ledger.previous(name))):
        try:
            fetch(entry, target)
        except ModelError as error:
            faults.append(str(error))
            stage.log.warning("%s", error)
            continue
        if faults:
            stage.log.warning(
                "DEGRADED: scoring with %s version %s instead of the champion, version %s", name, entry.version, champion.version
            )
        degraded = entry.version != champion.version
        return PinnedModel(
            path=str(target),
            name=name,
            version=entry.version,
            sha256=entry.sha256,
            degraded=degraded,
            instead_of=champion.version if degraded else None,
            ledger_sequence=champion.sequence,
        )
    raise ModelError(
        f"no model to score with: {'; '.join(faults)}. Restore the file or promote another version (docs/runbooks/champion-broken.md)"
    )


def pin_night(ledger: Ledger, name: str, partition: str, target: Path) -> tuple[PinnedModel, str]:
    """Copy the file of the version that scored the published night `partition` to `target`; it, and the ref of the run that did."""
    from pipelines.lib.nights import published_night

    night = published_night(name, partition)
    entry = _entry_of(ledger, name, night.model_version)
    fetch(entry, target)
    return PinnedModel(path=str(target), name=name, version=entry.version, sha256=entry.sha256, degraded=night.degraded), night.run_ref


def restore_model(run: RunFile, ledger: Ledger) -> None:
    """Bring the file of an already pinned run back, from DVC's cache or else from the registry."""
    target = Path(run.model.path)
    if target.exists() and sha256_of(target) == run.model.sha256:
        return
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        Repo(".").checkout(targets=[f"{target}.dvc"], force=True)
    except DvcException as error:
        stage.log.warning("the pinned model is not in DVC's cache (%s); taking it from the registry", error)
    if target.exists() and sha256_of(target) == run.model.sha256:
        return
    fetch(_entry_of(ledger, run.model.name, run.model.version), target)


def _entry_of(ledger: Ledger, name: str, version: str | None) -> Entry:
    for entry in ledger.history(name):
        if entry.version == version:
            return entry
    raise ModelError(f"the ledger does not know {name} version {version}, to which this run is pinned; restore the ledger's database")


@stage.stage(
    "pin_run",
    partition={"required": True},
    dag_id={"required": True},
    run_id={"required": True},
    run_ref={"required": True},
    git_commit={"required": True},
    opened_at={"required": True, "help": "UTC, ISO 8601"},
    snapshot={"action": "store_true", "help": "the commit holds uncommitted changes"},
    model={"choices": ["champion", "night", "own"], "default": "champion", "help": "which model the run uses"},
    expect={"default": "", "help": "version that must be champion, else there is nothing to do for this run"},
    scored={"action": "store_true", "help": "refuse a partition after the newest published night"},
)
def main(options: stage.Paths) -> None:
    parse_partition(options.partition)
    refuse_dates(read_yaml(PARAMS_FILE))
    ledger, present = Ledger(home.ledger_url()), load_run()
    if (present.dag_id, present.run_id) == (options.dag_id, options.run_id):
        stage.log.info("run %s is pinned already; %s stays as it is", options.run_id, RUN_FILE)
        if present.model.version:
            restore_model(present, ledger)
        return
    with replacing(LOCK) as temporary:  # the commit's lock is a laptop's: the run's ref must list what this run made, and no more
        temporary.write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    model, night_ref, name = present.model, None, load_registry().name
    if options.scored:
        from pipelines.lib.nights import require_no_future

        require_no_future(name, options.partition)
    if options.model == "champion":
        model = pin_model(ledger, name, MODEL)
        if options.expect not in ("", model.champion):
            raise LedgerConflict(f"the run is about version {options.expect}, but {model.champion} is champion by now: nothing to do")
    elif options.model == "night":
        model, night_ref = pin_night(ledger, name, options.partition, MODEL)
    if options.model != "own":
        from dvc.repo import Repo

        Path(f"{MODEL}.dvc").unlink(missing_ok=True)  # half a file, if an attempt was killed while it wrote
        Repo(".").add(str(MODEL))
    save_run(
        RunFile(
            partition=options.partition,
            model=model,
            dag_id=options.dag_id,
            run_id=options.run_id,
            run_ref=options.run_ref,
            git_commit=options.git_commit,
            snapshot=options.snapshot,
            opened_at=options.opened_at,
            source_revision=source_revision(load_dataset(), options.opened_at),
            night_ref=night_ref,
        )
    )
    stage.log.info("pinned partition %s to %s version %s, commit %.12s", options.partition, model.name, model.version, options.git_commit)


if __name__ == "__main__":
    sys.exit(main())
