"""Open a run: resolve its inputs once, write them to run.yaml, and put the model into the workspace.

Reads   params.yaml, the ledger, the model's file in the registry, the source's fingerprint; with --model night the published table
Writes  run.yaml; data/champion/model.onnx (or encoder.onnx) and its .dvc file, so that the run's ref can restore it; an empty dvc.lock
Fails   if there is no champion, or not the expected one; if neither its file nor that of the version before it is the registered one; if
        params.yaml holds an unquoted date, which would end DVC without a reason, or another fault; if a rebuild has an older partition than
        the published index

With ``--model champion`` the run is pinned to the champion. If its file is missing or altered, it is pinned to the previous version, and
run.yaml says ``degraded``. With ``--model night`` it is pinned to the version that scored the partition, and to the ref of the scoring run.
With ``--model own`` it trains its own model, and with ``--model encoder`` it uses the encoder of the vector index. Opening the same run
again keeps all pins.
"""

import datetime as dt
import sys
from pathlib import Path
from typing import Annotated, Literal

from pipelines.lib.champions import pins
from pipelines.lib.champions.registry import Registry, load_registry
from pipelines.lib.core import home, stage
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import LedgerConflict
from pipelines.lib.core.params import read_params, refuse_dates
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import RUN_FILE, PinnedModel, RunFile, load_run, save_run
from pipelines.lib.declarations.config_check import require_sound
from pipelines.lib.records.ledger import Ledger
from pipelines.lib.sources.adapters import source_revision
from pipelines.lib.sources.delta_source import at_versions, current_versions
from pipelines.lib.sources.pinned_files import at_files, current_files
from pipelines.lib.tables.dataset import load_dataset

MODEL = Path("data/champion/model.onnx")
ENCODER = Path("data/champion/encoder.onnx")
LOCK = Path("dvc.lock")


def pin_run(run: RunFile, registry: Registry, ledger: Ledger, *, model: str, expect: str = "") -> RunFile:
    """Return `run` with the model or the encoder that it uses, after copying its file into the workspace.

    `model` is ``champion``, ``night`` (the version that scored the partition), ``own`` (the workspace trains it), ``encoder`` (the champion of
    the encoder's name) or ``encoder-or-none``, for the run that trains the first one. Raises `LedgerConflict` if `expect` is not champion.
    """
    if model == "own":
        return run
    if model == "night":
        pinned, night_ref = pins.pin_night(ledger, registry.name, run.partition, MODEL)
        return run.model_copy(update={"model": pinned, "night_ref": night_ref})
    if model == "champion":
        pinned = pins.pin_model(ledger, registry.name, MODEL)
        if expect not in ("", pinned.champion):
            raise LedgerConflict(f"the run is about version {expect}, but version {pinned.champion} is champion now: nothing to do")
        return run.model_copy(update={"model": pinned})
    if model == "encoder-or-none" and ledger.champion(registry.encoder) is None:
        pinned = PinnedModel(path=str(ENCODER), name=registry.encoder)
    else:
        pinned = pins.pin_model(ledger, registry.encoder, ENCODER, remedy=pins.FIRST_ENCODER)
    return run.model_copy(update={"model": pinned, "encoder": pinned})


@stage.stage("pin_run")
def main(
    *,
    partition: str,
    dag_id: str,
    run_id: str,
    run_ref: str,
    git_commit: str,
    opened_at: Annotated[str, "UTC, ISO 8601"],
    snapshot: Annotated[bool, "the commit holds uncommitted changes"] = False,
    model: Annotated[Literal["champion", "night", "own", "encoder", "encoder-or-none"], "which model the run uses"] = "champion",
    expect: Annotated[str, "version that must be champion; otherwise this run has nothing to do"] = "",
    scored: Annotated[bool, "refuse a partition after the newest published night"] = False,
    index: Annotated[bool, "the run uses the published vector index"] = False,
    rebuild: Annotated[Literal["auto", "full", "incremental"] | None, "how the run builds the vector index"] = None,
) -> None:
    date = parse_partition(partition)
    params = read_params()
    refuse_dates(params)
    ledger, present = Ledger(home.ledger_url()), load_run()
    if (present.dag_id, present.run_id) == (dag_id, run_id):
        stage.log.info("run %s is already pinned; %s was not changed", run_id, RUN_FILE)
        if present.model.version:
            pins.restore_model(present, ledger)
        return
    require_sound(params)
    with replacing(LOCK) as temporary:  # the commit's lock lists outputs of a laptop: the run's ref must list only those of this run
        temporary.write_text("schema: '2.0'\nstages: {}\n", encoding="utf-8")
    registry, dataset = load_registry(), load_dataset()
    delta, files = current_versions(dataset), current_files(dataset)
    if scored:
        from pipelines.lib.published.nights import require_no_future

        require_no_future(registry.name, partition)
    matured = date - dt.timedelta(days=dataset.label.delay_days + 1)
    run = RunFile(
        partition=partition,
        model=present.model,
        dag_id=dag_id,
        run_id=run_id,
        run_ref=run_ref,
        git_commit=git_commit,
        snapshot=snapshot,
        opened_at=opened_at,
        source_revision=source_revision(at_files(at_versions(dataset, delta), files), opened_at),
        delta=delta,
        files=files,
        encoder=present.encoder,
        shards=pins.months(params["ingest_history"].get("start"), matured) if rebuild else (),
        index=pins.pin_index(registry.encoder, digests=bool(rebuild)) if index else None,
        rebuild=rebuild or "auto",
    )
    if rebuild:
        pins.require_no_older(run)
    run = pin_run(run, registry, ledger, model=model, expect=expect)
    if (pinned := Path(run.model.path)).is_relative_to(MODEL.parent) and run.model.version:
        from dvc.repo import Repo

        Path(f"{pinned}.dvc").unlink(missing_ok=True)  # half a file, if an attempt was killed while it wrote
        Repo(".").add(str(pinned))
    save_run(run)
    stage.log.info("pinned partition %s to %s version %s, commit %.12s", run.partition, run.model.name, run.model.version, run.git_commit)


if __name__ == "__main__":
    sys.exit(main())
