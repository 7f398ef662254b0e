"""Train, register and promote the model that the first nights are scored with.

It goes the way of every run: a workspace of the pinned commit, DVC stages in it, `register` and `promote`, and a ref that records it all.
Where the same commit has been trained before, DVC restores it in seconds and nothing new is registered.
"""

import datetime as dt
import logging
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import closing

from nightshift_airflow import dvc_lock, process, repository, run_record, workspaces
from nightshift_airflow.stage_process import stage_environment

from deploy.embedded.chosen import dag_id, demo_directory
from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core import home
from pipelines.lib.core.run import load_run
from pipelines.lib.records.ledger import Entry, Ledger

DAG_ID = "first_champion"
ACTOR = "make demo"
"""The actor in the ledger. If the tree has changed, it replaces its own champion, and nobody else's."""

_STAGE = re.compile(r"(?:Running stage|Stage) '(\w+)'")


class TrainingError(Exception):
    """A step ended with an error; the message holds the end of what it printed."""


def train_first_champion(progress: Callable[[str], None]) -> Entry:
    """Make the model of the present tree champion and return the ledger's entry; report each step to `progress`.

    A champion that somebody else has promoted, or rolled back to, stays.
    """
    champion = Ledger(home.ledger_url()).champion(load_registry().name)
    if champion and champion.actor != ACTOR:
        progress(f"keeping version {champion.version}, which {champion.actor} made champion ({champion.reason})")
        return champion
    partition = load_run().partition
    if champion and partition < champion.live_from:
        raise TrainingError(
            f"the first night is {partition}, but {champion.name} is champion from {champion.live_from} on, so no model would be live that night. "
            f"Set first_run.partition (of the default use case: partition in run.yaml) to {champion.live_from} or later, or begin again with make clean"
        )
    pinned = commit, snapshot = repository.pin_commit()
    if snapshot:
        progress(f"the working tree has uncommitted changes: using the snapshot {commit[:12]} of it")
    workspace = workspaces.open_workspace(dag_id(DAG_ID), f"{partition}-{commit[:12]}", pinned)
    pin = ["pin_run", "--model", "own", "--partition", partition, "--dag-id", workspace.dag_id, "--run-id", workspace.run_id]
    pin += ["--run-ref", workspace.ref, "--git-commit", workspace.commit, "--opened-at", dt.datetime.now(dt.UTC).isoformat()]
    _run(workspace, _module("registry", *pin, *(["--snapshot"] if workspace.snapshot else [])), progress)
    with dvc_lock.attempt(workspace):  # before register records the digest of dvc.lock: it does not change afterwards
        _run(workspace, [sys.executable, "-m", "dvc", "repro", "evaluate"], progress)
    models, registered = "data/models", "data/models/registered.json"
    register = ["register", "--model", f"{models}/model.skops", "--onnx", f"{models}/model.onnx", "--report", "data/reports/evaluate"]
    progress("register")
    _run(workspace, _module("registry", *register, "--registered", registered), progress)
    promote = ["promote", "--registered", registered, "--expect", champion.version if champion else "none"]
    if champion:  # it also replaces its own champion on the nights that it scores again
        promote += ["--live-from", max(partition, champion.live_from)]
    progress("promote")
    _run(workspace, _module("registry", *promote, "--actor", ACTOR, "--reason", "first champion"), progress)
    run_record.record_run(workspace, "success")
    workspaces.remove_workspace(workspace.path)
    entry = Ledger(home.ledger_url()).champion(load_registry().name)
    assert entry is not None
    return entry


def _module(package: str, name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"pipelines.{package}.{name}", *arguments]


def _run(workspace: workspaces.Workspace, command: Sequence[str], progress: Callable[[str], None]) -> None:
    log = logging.getLogger("nightshift.first_champion")
    log.propagate = False
    log.setLevel(logging.INFO)
    file = demo_directory() / "first_champion.log"
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(logging.FileHandler(file, encoding="utf-8")) as handler:
        log.handlers = [handler, _Steps(progress)]
        code, tail = process.run(command, cwd=workspace.path, env=stage_environment(workspace), log=log)
    if code != 0:
        output = "\n".join(tail)
        raise TrainingError(f"{' '.join(command[1:4])} ended with exit code {code}; all of it is in {file}:\n{output}")


class _Steps(logging.Handler):
    """Tells `progress` which DVC stage is running."""

    def __init__(self, progress: Callable[[str], None]) -> None:
        super().__init__()
        self._progress = progress

    def emit(self, record: logging.LogRecord) -> None:
        if found := _STAGE.match(record.getMessage()):
            self._progress(found[1])
