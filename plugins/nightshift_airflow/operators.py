"""The operators of every Nightshift DAG: open a run, run its stages in its workspace, close it.

They hold no logic of their own: a workspace comes from `nightshift_airflow.workspaces`, a process from `nightshift_airflow.process`, and what
is computed is a stage's business. A failed stage leaves ``failure.json``; what it says decides between failing and trying again.
"""

import contextlib
import datetime as dt
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from nightshift_airflow import disk, process, run_note, workspaces
from nightshift_airflow.links import GateReport, ModelCard
from nightshift_airflow.partitions import check_partition, choose_partition
from nightshift_airflow.retries import StageError
from nightshift_airflow.run_note import FAILURES, read_json

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

_SHARD = re.compile(r"\d{4}-\d{2}", re.ASCII)


class OpenRunOperator(BaseOperator):
    """Make the run's workspace and pin what the run uses; the setup of every run.

    `model` is the one that the run is pinned to: ``champion``, or ``night`` for the version that scored the partition. Where `expect`
    is a version, it must be champion still: what was to be done about it is done otherwise. With `scored`, a partition after the newest
    published night is refused: who trains as of a night to come would learn what nobody can know. `index` pins the published vector index too,
    and `rebuild` (``auto``, ``full``, ``incremental``) says that the run makes it anew, and how.
    Refuses, without retry and before a path is built of it, a partition key that is no date and a conf with unknown keys.
    """

    template_fields = ("expect", "rebuild")

    def __init__(
        self,
        *,
        model: str = "champion",
        expect: str = "",
        scored: bool = False,
        index: bool = False,
        rebuild: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.expect = expect
        self.scored = scored
        self.index = index
        self.rebuild = rebuild

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return what the run is pinned to: partition, commit, snapshot."""
        dag_run = context["dag_run"]
        try:
            partition = choose_partition(check_partition(dag_run.partition_key), dag_run.conf)
            check_conf(dag_run.conf, self.dag.params)
            with disk.full_disk_is_said():
                workspace = workspaces.open_workspace(dag_run.dag_id, dag_run.run_id)
        except workspaces.RunRefusedError as error:
            context["ti"].xcom_push(key="note", value=run_note.describe_unopened(error, refused=True))
            raise AirflowFailException(str(error)) from None
        opened_at = (dag_run.start_date or dag_run.run_after).astimezone(dt.UTC).isoformat()
        command = [sys.executable, "-m", "pipelines.registry.pin_run", "--partition", partition, "--dag-id", workspace.dag_id]
        command += ["--run-id", workspace.run_id, "--run-ref", workspace.ref, "--git-commit", workspace.commit, "--opened-at", opened_at]
        command += ["--model", self.model, f"--expect={self.expect}", *(["--scored"] if self.scored else [])]
        command += [*(["--index"] if self.index else []), *([f"--rebuild={self.rebuild}"] if self.rebuild else [])]
        try:
            run_stage("pin_run", [*command, "--snapshot"] if workspace.snapshot else command, workspace)
        except (AirflowFailException, StageError) as error:  # no teardown follows a setup that failed, so nobody else tells it
            context["ti"].xcom_push(key="note", value=run_note.describe_unopened(error, refused=isinstance(error, AirflowFailException)))
            raise
        if workspaces.is_recorded(workspace):  # a task in the middle may be all that runs again: it finds what the others made
            # By force: what lies there and is not in the cache, a stage that did not finish has left.
            run_stage("checkout", [sys.executable, "-m", "dvc", "checkout", "--allow-missing", "--force"], workspace)
        pinned = {"partition": partition, "run_id": workspace.run_id, "commit": workspace.commit, "snapshot": workspace.snapshot}
        shown = workspaces.reports_path(workspace.dag_id, workspace.run_id) / "run.json"
        if not shown.exists():  # a run that is opened again was opened when it was
            with disk.full_disk_is_said():
                write_json(shown, {**pinned, "opened_at": opened_at, "tasks": task_order(self), "model": _pinned_model(workspace.path)})
        return pinned

    def on_kill(self) -> None:
        """Airflow ends the task: end its process too."""
        process.stop_running()


class StageOperator(BaseOperator):
    """Run the stage named like the task, ``python -m pipelines.<room>.<task_id>``, in the run's workspace.

    For stages with an effect outside the workspace; whatever only makes files is a `DvcStageOperator`. `arguments` are the
    stage's options by name. With `records` the run's ref is written first, for what the stage makes public names it. `connection` is an
    Airflow connection that the stage is given as ``NIGHTSHIFT_API_URL``, ``_USER`` and ``_PASSWORD``. A stage that needs nothing of a run
    (`in_workspace` False) works in a directory of its own with the repository's ``params.yaml`` and ``run.yaml``.
    """

    template_fields: Sequence[str] = ("arguments",)
    operator_extra_links = (GateReport(), ModelCard())

    def __init__(
        self,
        *,
        room: str,
        arguments: Mapping[str, str] | None = None,
        records: bool = False,
        connection: str | None = None,
        in_workspace: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.room = room
        self.arguments = arguments or {}
        self.records = records
        self.connection = connection
        self.in_workspace = in_workspace

    def command(self) -> Sequence[str]:
        """The argument list of the process that is the stage."""
        options = [f"--{name}={value}" for name, value in self.arguments.items()]  # in one word: a value may begin with a dash
        return [sys.executable, "-m", f"pipelines.{self.room}.{self.task_id}", *options]

    def execute(self, context: "Context") -> Any:
        """Run the stage; raise `AirflowFailException` for what no retry mends, `StageError` for the rest."""
        dag_run = context["dag_run"]
        if not self.in_workspace:
            shown = workspaces.reports_path(dag_run.dag_id, dag_run.run_id) / "run.json"
            if not shown.exists():
                opened_at = (dag_run.start_date or dag_run.run_after).astimezone(dt.UTC).isoformat()
                write_json(shown, {"run_id": dag_run.run_id, "opened_at": opened_at, "tasks": task_order(self)})
            with workspaces.scratch(dag_run.dag_id, dag_run.run_id) as scratch:
                note = ""
                try:
                    run_stage(self.stage, self.command(), scratch, self.secrets())
                except (AirflowFailException, StageError) as error:
                    note = str(error)
                    raise
                finally:
                    told = run_note.describe_single(self.stage, dag_run.dag_id, dag_run.run_id, scratch.path, note)
                    context["ti"].xcom_push(key="note", value=told)
            return
        workspace = require_workspace(context)
        if self.records:
            with disk.full_disk_is_said():
                workspaces.record_run(workspace, "running")
        run_stage(self.stage, self.command(), workspace, self.secrets())

    @property
    def stage(self) -> str:
        """The stage that the task is."""
        return str(self.task_id)

    def secrets(self) -> dict[str, str]:
        """What `connection` says, as environment variables: in a command line everybody on the machine could read it."""
        if self.connection is None:
            return {}
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            found = BaseHook.get_connection(self.connection)
        except AirflowNotFoundException:
            raise AirflowFailException(
                f"there is no connection {self.connection}; add it in Airflow (docs/production.md, Close the loop), then clear this task"
            ) from None
        port = f":{found.port}" if found.port else ""
        url = f"{found.schema or found.conn_type or 'http'}://{found.host}{port}"
        return {"NIGHTSHIFT_API_URL": url, "NIGHTSHIFT_API_USER": found.login or "", "NIGHTSHIFT_API_PASSWORD": found.password or ""}

    def on_kill(self) -> None:
        """Airflow ends the task: end the stage too."""
        process.stop_running()


class DvcStageOperator(StageOperator):
    """Bring the DVC stage named like the task up to date; what is unchanged is skipped, what was seen before is restored.

    Of a stage with a matrix a task does one `shard`, a month such as ``2013-01``; mapped, its shards run side by side in the one workspace.
    `returns` names a list in a file of the workspace, ``<path>:<key>`` of YAML or JSON, for other tasks to be mapped over. A stage that measures the
    machine is run `anew` each time, also where DVC knows its result.
    """

    template_fields: Sequence[str] = (*StageOperator.template_fields, "shard")

    def __init__(self, *, shard: str | None = None, returns: str | None = None, anew: bool = False, **kwargs: Any) -> None:
        super().__init__(room="", **kwargs)
        self.shard = shard
        self.returns = returns
        self.anew = anew

    def command(self) -> Sequence[str]:
        """The argument list of ``dvc repro`` for this one stage."""
        force = ["--force"] if self.anew else []
        return [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *force, "--single-item", self.stage]

    @property
    def stage(self) -> str:
        """What DVC calls the stage; `AirflowFailException` where the shard is no month."""
        if self.shard is None:
            return self.task_id
        if not isinstance(self.shard, str) or not _SHARD.fullmatch(self.shard):
            raise AirflowFailException(f"shard is {str(self.shard)[:40]!r}; it must be a month such as 2013-01")
        return f"{self.task_id}@{self.shard}"

    def execute(self, context: "Context") -> list[str] | None:
        """Run the stage as `StageOperator` does; return the list that `returns` names."""
        super().execute(context)
        if self.returns is None:
            return None
        import yaml  # not at module level: the scheduler imports this module

        path, _, key = self.returns.partition(":")
        content = yaml.safe_load((require_workspace(context).path / path).read_text(encoding="utf-8"))
        return list(content[key])


class CloseRunOperator(BaseOperator):
    """Record the run at its ref and clean up; the teardown of every run.

    The workspace of a run that failed is kept for inspection, `retention_days` at most.
    """

    def __init__(self, *, retention_days: float = 7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.retention_days = retention_days

    def execute(self, context: "Context") -> str | None:
        """Return the commit that records the run, or None where there was nothing to record."""
        dag_run, instance = context["dag_run"], context["ti"]
        workspaces.collect_workspaces(self.retention_days)
        workspace = workspaces.find_workspace(dag_run.dag_id, dag_run.run_id)
        if workspace is None:
            log.info("run %s has no workspace: it was closed before", dag_run.run_id)
            return None
        states = instance.get_task_states(dag_id=dag_run.dag_id, run_ids=[dag_run.run_id]).get(dag_run.run_id, {})
        partition = read_json(workspaces.reports_path(dag_run.dag_id, dag_run.run_id) / "run.json").get("partition", "")
        tasks = [task for task in task_order(self) if task != self.task_id]
        states = {task: state for task, state in states.items() if task != self.task_id}
        run = run_note.Run(dag_run.dag_id, dag_run.run_id, partition, tasks, states)
        failed = run.unwell()
        instance.xcom_push(key="note", value=run_note.describe_run(run, workspace.path))
        with disk.full_disk_is_said():
            commit = workspaces.record_run(workspace, "failed" if failed else "success")
        if failed:
            log.warning("%s failed: keeping %s for %s days", ", ".join(failed), workspace.path, self.retention_days)
        else:
            workspaces.remove_workspace(workspace.path)
        return commit

    def on_kill(self) -> None:
        """Airflow ends the task: end its process too."""
        process.stop_running()


def require_workspace(context: "Context") -> workspaces.Workspace:
    """The run's workspace; `AirflowFailException` where there is none."""
    dag_run = context["dag_run"]
    if workspace := workspaces.find_workspace(dag_run.dag_id, dag_run.run_id):
        return workspace
    path = workspaces.workspace_path(dag_run.dag_id, dag_run.run_id)
    raise AirflowFailException(f"the workspace {path} is missing or incomplete; clear open_run, which rebuilds it")


def task_order(operator: BaseOperator) -> list[str]:
    """The tasks of the operator's DAG in the order in which they run."""
    return [task.task_id for task in operator.dag.topological_sort()]


def _pinned_model(workspace: Path) -> dict[str, str] | None:
    """Name and version of the model that a run is pinned to; None where it is pinned to none, or to a laptop's own."""
    import yaml  # not at module level: the scheduler imports this module

    model = yaml.safe_load((workspace / "run.yaml").read_text(encoding="utf-8")).get("model") or {}
    return {"name": model["name"], "version": model["version"]} if model.get("version") else None


def check_conf(conf: Mapping[str, Any] | None, params: Mapping[str, Any]) -> None:
    """Refuse keys that the DAG does not declare: a misspelt one that is silently ignored is worse than none."""
    if unknown := sorted(set(conf or {}) - set(params)):
        names = ", ".join(repr(name[:40]) for name in unknown[:5])
        raise workspaces.RunRefusedError(
            f"conf holds {names}, which this DAG does not know; it takes {', '.join(sorted(params)) or 'nothing'}"
        )


@disk.full_disk_is_said()
def run_stage(name: str, command: Sequence[str], workspace: workspaces.Workspace, secrets: Mapping[str, str] | None = None) -> None:
    """Run `command` as stage `name` in `workspace`, keep its report for the pages, and turn a failure into the right exception.

    `secrets` are environment variables for this stage alone. Several stages may be at work in a workspace: each tells its failure in a file of
    its own, and `workspaces.attempt` keeps what DVC writes for all of them.
    """
    failure = workspace.path / FAILURES / f"{name}.json"
    failure.parent.mkdir(parents=True, exist_ok=True)
    failure.unlink(missing_ok=True)
    environment = {**stage_environment(workspace), "NIGHTSHIFT_FAILURE_FILE": str(failure), **(secrets or {})}
    try:
        with workspaces.attempt(workspace) if "dvc" in command else contextlib.nullcontext():
            code, tail = process.run(command, cwd=workspace.path, env=environment, log=log)
    finally:
        keep_report(name, workspace)
    if code == 0:
        if lost := [line for line in tail if line.startswith("ERROR: failed to transfer")]:  # DVC says so and still ends well
            said = disk.explain_full_disk("\n".join(lost), [workspace.path])
            raise StageError(f"{name} failed: {said or f'what it made did not reach the cache of DVC or its remote: {lost[0][:300]}'}")
        if "repro" in command and not workspaces.is_kept(workspace, name):
            raise StageError(
                f"another stage was killed while it wrote dvc.lock, and what {name} had written there is lost; DVC restores it"
            )
        return
    told = read_json(failure)
    if {"error", "message", "retryable"} <= set(told):
        message, retryable = f"{name} failed: {told['error']}: {told['message']}", bool(told["retryable"])
    else:  # killed, or failed before it could tell
        if "repro" in command:
            workspaces.forget_torn_outcomes()
        said = disk.explain_full_disk("\n".join(tail), [workspace.path])
        message = f"{name} failed: {said}" if said else "\n".join([f"{name} ended with exit code {code}; its last lines were:", *tail])
        retryable = True
    raise StageError(message) if retryable else AirflowFailException(message)


def tell_failure(workspace: workspaces.Workspace, task: str, message: str) -> None:
    """Leave `message` where the run's note finds why `task` failed."""
    write_json(workspace.path / FAILURES / f"{task}.json", {"stage": task, "error": "StageError", "message": message, "retryable": True})


def stage_environment(workspace: workspaces.Workspace) -> dict[str, str]:
    """The environment of a stage: this one without Airflow's settings (some are secrets), at home in `workspace`, telling nobody."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "_AIRFLOW", "GIT_"))}
    return {
        **inherited,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": str(workspace.path),
        "NIGHTSHIFT_HOME": str(workspaces.home()),
        "NIGHTSHIFT_REPOSITORY": str(workspaces.REPOSITORY),
        "NIGHTSHIFT_RECORDED": str(workspace.path / workspaces.WHOLE),  # what a stage reads must be what this says
        "DVC_SITE_CACHE_DIR": str(workspace.path / ".dvc" / "tmp" / "site"),
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }


def keep_report(name: str, workspace: workspaces.Workspace) -> None:
    """Copy ``data/reports/<name>`` to where the pages find it after the workspace is gone; no report is no error."""
    source = workspace.path / "data" / "reports" / name
    if not source.is_dir():
        return
    target = workspaces.reports_path(workspace.dag_id, workspace.run_id) / name
    temporary = target.with_name(f".{name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)  # of a process of the same number that was killed
    shutil.copytree(source, temporary)
    shutil.rmtree(target, ignore_errors=True)
    temporary.replace(target)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=2), encoding="utf-8")
    temporary.replace(path)
