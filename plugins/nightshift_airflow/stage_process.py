"""A stage as a process: its command in a workspace, its environment, the report that it leaves, and what its failure means."""

import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from airflow.sdk.exceptions import AirflowFailException

from nightshift_airflow import disk, dvc_lock, places, process
from nightshift_airflow.json_files import read_json, write_json
from nightshift_airflow.retries import StageError
from nightshift_airflow.run_note import FAILURES
from nightshift_airflow.workspaces import Workspace

_UNREADABLE = re.compile(
    r"(SyntaxError|IndentationError|TabError): |ImportError: cannot import name .* from 'pipelines[.']|ModuleNotFoundError: No module named 'pipelines[.']"
)

log = logging.getLogger(__name__)


def run_stage(name: str, command: Sequence[str], workspace: Workspace, secrets: Mapping[str, str] | None = None) -> None:
    """Run `command` as stage `name` in `workspace`, keep its report for the pages, and turn a failure into the right exception.

    `secrets` are environment variables for this stage alone. Several stages may be running in a workspace: each tells its failure in a file of
    its own.
    """
    with disk.full_disk_is_said():
        _run(name, command, workspace, secrets or {})


def run_dvc(name: str, arguments: Sequence[str], workspace: Workspace) -> None:
    """Run ``dvc`` with `arguments` as `run_stage` does. `dvc_lock.attempt` keeps what DVC writes for all stages of the workspace."""
    with disk.full_disk_is_said(), dvc_lock.attempt(workspace):
        tail = _run(name, [sys.executable, "-m", "dvc", *arguments], workspace, {})
    if lost := [line for line in tail if line.startswith("ERROR: failed to transfer")]:  # DVC says so and still ends well
        said = disk.explain_full_disk("\n".join(lost), [workspace.path])
        raise StageError(f"{name} failed: {said or f'what it made did not reach the cache of DVC or its remote: {lost[0][:300]}'}")


def reproduce(stage: str, workspace: Workspace, *, always_run: bool = False) -> None:
    """Bring the DVC stage `stage` up to date, and nothing else; with `always_run`, run it even if DVC knows its result."""
    try:
        run_dvc(stage, ["--wait-for-lock", "repro", *(["--force"] if always_run else []), "--single-item", stage], workspace)
    except UntoldError:
        dvc_lock.forget_torn_outcomes()
        raise
    if not dvc_lock.is_kept(workspace, stage):
        raise StageError(f"another stage was killed while it wrote dvc.lock, and what {stage} had written there is lost; DVC restores it")


class UntoldError(StageError):
    """The process was killed, or failed before it could tell why."""


def _run(name: str, command: Sequence[str], workspace: Workspace, secrets: Mapping[str, str]) -> list[str]:
    """Run `command` to its good end and return its last lines; raise what its failure means."""
    failure = workspace.path / FAILURES / f"{name}.json"
    failure.parent.mkdir(parents=True, exist_ok=True)
    failure.unlink(missing_ok=True)
    environment = {**stage_environment(workspace), "NIGHTSHIFT_FAILURE_FILE": str(failure), **secrets}
    try:
        code, tail = process.run(command, cwd=workspace.path, env=environment, log=log)
    finally:
        keep_report(name, workspace)
    if code == 0:
        return tail
    report = read_json(failure)
    if not {"error", "message", "retryable"} <= set(report):
        if mistake := _unreadable_code(tail):
            tell_failure(workspace, name, mistake, retryable=False)
            raise AirflowFailException(f"{name} failed: {mistake}")
        said = disk.explain_full_disk("\n".join(tail), [workspace.path])
        last_lines = "\n".join([f"{name} ended with exit code {code}; its last lines were:", *tail])
        raise UntoldError(f"{name} failed: {said}" if said else last_lines)
    message = f"{name} failed: {report['error']}: {report['message']}"
    raise StageError(message) if report["retryable"] else AirflowFailException(message)


def _unreadable_code(tail: Sequence[str]) -> str | None:
    """Return what is wrong with the code of a stage that Python could not read, from the last lines of its process; None otherwise.

    Such a stage ends before its ``main`` can tell a failure. A module of another package that is missing may be the machine's fault.
    """
    error = next((number for number, line in enumerate(tail) if _UNREADABLE.match(line)), None)
    if error is None:
        return None
    place = next((line.strip() for line in reversed(tail[:error]) if line.lstrip().startswith("File ")), "no file is named")
    return f"{tail[error]} ({place}). This is a mistake in the code, which no retry fixes; correct the code, then trigger the run again"


def tell_failure(workspace: Workspace, task: str, message: str, *, retryable: bool = True) -> None:
    """Leave `message` where the run's note finds why `task` failed, and whether Airflow tries it again."""
    failure = {"stage": task, "error": "StageError", "message": message, "retryable": retryable}
    write_json(workspace.path / FAILURES / f"{task}.json", failure)


def stage_environment(workspace: Workspace) -> dict[str, str]:
    """Return the environment of a stage: this one without Airflow's settings (some are secrets), at home in `workspace`, telling nobody.

    The workspace itself says whose use case it is: a person's choice does not reach a stage.
    """
    inherited = {
        key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "_AIRFLOW", "GIT_", "NIGHTSHIFT_USE_CASE"))
    }
    return {
        **inherited,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(workspace.path),
        "NIGHTSHIFT_HOME": str(places.home()),
        "NIGHTSHIFT_REPOSITORY": str(places.REPOSITORY),
        "NIGHTSHIFT_RECORDED": str(workspace.path / dvc_lock.WHOLE),  # what a stage reads must be what this says
        "DVC_SITE_CACHE_DIR": str(workspace.path / ".dvc" / "tmp" / "site"),
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def keep_report(name: str, workspace: Workspace) -> None:
    """Copy ``data/reports/<name>`` to where the pages find it after the workspace is gone; no report is not an error."""
    source = workspace.path / "data" / "reports" / name
    if not source.is_dir():
        return
    target = places.reports_path(workspace.dag_id, workspace.run_id) / name
    temporary = target.with_name(f".{name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process of the same number that was killed
    shutil.copytree(source, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)
