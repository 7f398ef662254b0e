"""The operators that open a run and close it: the first and the last task of every DAG whose runs have a workspace."""

import datetime as dt
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from nightshift_airflow import disk, places, process, refusals, run_note, run_record, workspaces
from nightshift_airflow.json_files import read_json, write_json
from nightshift_airflow.partitions import check_conf, check_partition, choose_partition
from nightshift_airflow.retries import StageError
from nightshift_airflow.stage_process import run_dvc, run_stage
from nightshift_airflow.task_context import task_order

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class OpenRunOperator(BaseOperator):
    """Make the run's workspace and pin what the run uses; the setup of every run.

    `model` is the one that the run is pinned to: ``champion``, or ``night`` for the version that scored the partition. Where `expect`
    is a version, it must be champion still: what was to be done about it is done otherwise. With `scored`, a partition after the newest
    published night is refused: who trains as of a night to come would learn what nobody can know. `index` pins the published vector index too,
    and `rebuild` (``auto``, ``full``, ``incremental``) says that the run makes it again, and how.
    Refuses, without retry and before a path is built of it, a partition key that is not a date and a conf with unknown keys.
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
        except refusals.RunRefusedError as error:
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
        if run_record.is_recorded(workspace):  # a task in the middle may be all that runs again: it finds what the others made
            # By force: what is there and is not in the cache, a stage that did not finish has left.
            run_dvc("checkout", ["checkout", "--allow-missing", "--force"], workspace)
        pinned = {"partition": partition, "run_id": workspace.run_id, "commit": workspace.commit, "snapshot": workspace.snapshot}
        shown = places.reports_path(workspace.dag_id, workspace.run_id) / "run.json"
        if not shown.exists():  # a run that is opened again was opened when it was
            with disk.full_disk_is_said():
                write_json(shown, {**pinned, "opened_at": opened_at, "tasks": task_order(self), "model": _pinned_model(workspace.path)})
        return pinned

    def on_kill(self) -> None:
        """End the process too when Airflow ends the task."""
        process.stop_running()


class CloseRunOperator(BaseOperator):
    """Record the run at its ref and clean up; the teardown of every run.

    The workspace of a run that failed is kept for inspection, `retention_days` at most.
    """

    def __init__(self, *, retention_days: float = 7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.retention_days = retention_days

    def execute(self, context: "Context") -> str | None:
        """Return the commit that records the run, or None if there was nothing to record."""
        dag_run, instance = context["dag_run"], context["ti"]
        workspaces.collect_workspaces(self.retention_days)
        workspace = workspaces.find_workspace(dag_run.dag_id, dag_run.run_id)
        if workspace is None:
            log.info("run %s has no workspace: it was closed before", dag_run.run_id)
            return None
        states = instance.get_task_states(dag_id=dag_run.dag_id, run_ids=[dag_run.run_id]).get(dag_run.run_id, {})
        partition = read_json(places.reports_path(dag_run.dag_id, dag_run.run_id) / "run.json").get("partition", "")
        tasks = [task for task in task_order(self) if task != self.task_id]
        states = {task: state for task, state in states.items() if task != self.task_id}
        run = run_note.Run(dag_run.dag_id, dag_run.run_id, partition, tasks, states)
        failed = run.unwell()
        instance.xcom_push(key="note", value=run_note.describe_run(run, workspace.path))
        with disk.full_disk_is_said():
            commit = run_record.record_run(workspace, "failed" if failed else "success")
        if failed:
            log.warning("%s failed: keeping %s for %s days", ", ".join(failed), workspace.path, self.retention_days)
        else:
            workspaces.remove_workspace(workspace.path)
        return commit

    def on_kill(self) -> None:
        """End the process too when Airflow ends the task."""
        process.stop_running()


def _pinned_model(workspace: Path) -> dict[str, str] | None:
    """Name and version of the model that a run is pinned to; None if it is pinned to none, or to a laptop's own."""
    import yaml  # not at module level: the scheduler imports this module

    model = yaml.safe_load((workspace / "run.yaml").read_text(encoding="utf-8")).get("model") or {}
    return {"name": model["name"], "version": model["version"]} if model.get("version") else None
