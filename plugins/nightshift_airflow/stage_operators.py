"""The operators that run a stage: one for stages of DVC, one for stages with an effect outside the workspace.

They hold no logic of their own: a process comes from `nightshift_airflow.stage_process`, and what is computed is a stage's business.
"""

import datetime as dt
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator, SkipMixin
from airflow.sdk.exceptions import AirflowFailException

from nightshift_airflow import disk, places, process, run_note, run_record, workspaces
from nightshift_airflow.json_files import read_json, write_json
from nightshift_airflow.links import GateReport, ModelCard
from nightshift_airflow.retries import StageError
from nightshift_airflow.stage_process import reproduce, run_stage
from nightshift_airflow.task_context import require_workspace, task_order

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)

_SHARD = re.compile(r"\d{4}-\d{2}", re.ASCII)


class _StageTask(BaseOperator):
    """A task that runs the stage of its name in the run's workspace."""

    operator_extra_links = (GateReport(), ModelCard())

    def on_kill(self) -> None:
        """End the stage too when Airflow ends the task."""
        process.stop_running()


class StageOperator(_StageTask):
    """Run the stage named like the task, ``python -m pipelines.<package>.<task_id>``, in the run's workspace.

    For stages with an effect outside the workspace; a stage that only makes files is a `DvcStageOperator`. `arguments` are the
    stage's options by name. With `records` the run's ref is written first, for what the stage makes public names it. `connection` is an
    Airflow connection that the stage is given as ``NIGHTSHIFT_API_URL``, ``_USER`` and ``_PASSWORD``. A stage that needs nothing of a run
    (`in_workspace` False) works in a directory of its own with the repository's ``params.yaml`` and ``run.yaml``.
    """

    template_fields: Sequence[str] = ("arguments",)

    def __init__(
        self,
        *,
        package: str,
        arguments: Mapping[str, str] | None = None,
        records: bool = False,
        connection: str | None = None,
        in_workspace: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.package = package
        self.arguments = arguments or {}
        self.records = records
        self.connection = connection
        self.in_workspace = in_workspace

    def command(self) -> Sequence[str]:
        """Return the argument list of the process that is the stage."""
        options = [f"--{name}={value}" for name, value in self.arguments.items()]  # in one word: a value may begin with a dash
        return [sys.executable, "-m", f"pipelines.{self.package}.{self.task_id}", *options]

    def execute(self, context: "Context") -> None:
        """Run the stage; raise `AirflowFailException` for what a retry cannot fix, `StageError` for the rest."""
        if not self.in_workspace:
            self._execute_alone(context)
            return
        workspace = require_workspace(context)
        if self.records:
            with disk.full_disk_is_said():
                run_record.record_run(workspace, "running")
        run_stage(self.task_id, self.command(), workspace, self.secrets())

    def _execute_alone(self, context: "Context") -> None:
        """Run the stage in a directory of its own, and describe the run, which is this one task."""
        dag_run = context["dag_run"]
        shown = places.reports_path(dag_run.dag_id, dag_run.run_id) / "run.json"
        if not shown.exists():
            opened_at = (dag_run.start_date or dag_run.run_after).astimezone(dt.UTC).isoformat()
            write_json(shown, {"run_id": dag_run.run_id, "opened_at": opened_at, "tasks": task_order(self)})
        with workspaces.scratch(dag_run.dag_id, dag_run.run_id) as scratch:
            note = ""
            try:
                run_stage(self.task_id, self.command(), scratch, self.secrets())
            except (AirflowFailException, StageError) as error:
                note = str(error)
                raise
            finally:
                description = run_note.describe_single(self.task_id, dag_run.dag_id, dag_run.run_id, scratch.path, note)
                context["ti"].xcom_push(key="note", value=description)

    def secrets(self) -> dict[str, str]:
        """Return what `connection` says, as environment variables: in a command line everybody on the machine could read it."""
        if self.connection is None:
            return {}
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        try:
            found = BaseHook.get_connection(self.connection)
        except AirflowNotFoundException:
            raise AirflowFailException(
                f"there is no connection {self.connection}; add it in Airflow (docs/how-to/production.md, Close the loop), then clear this task"
            ) from None
        port = f":{found.port}" if found.port else ""
        url = f"{found.schema or found.conn_type or 'http'}://{found.host}{port}"
        return {"NIGHTSHIFT_API_URL": url, "NIGHTSHIFT_API_USER": found.login or "", "NIGHTSHIFT_API_PASSWORD": found.password or ""}


class DvcStageOperator(_StageTask):
    """Bring the DVC stage named like the task up to date; what is unchanged is skipped, what was seen before is restored.

    Of a stage with a matrix a task does one `shard`, a month such as ``2013-01``; mapped, its shards run side by side in the one workspace.
    `returns` names a list in a file of the workspace, ``<path>:<key>`` of YAML or JSON, for other tasks to be mapped over. A stage that measures the
    machine is run each time (`always_run`), even if DVC knows its result.
    """

    template_fields: Sequence[str] = ("shard",)

    def __init__(self, *, shard: str | None = None, returns: str | None = None, always_run: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shard = shard
        self.returns = returns
        self.always_run = always_run

    @property
    def stage(self) -> str:
        """The name of the stage in DVC; `AirflowFailException` where the shard is not a month."""
        if self.shard is None:
            return str(self.task_id)
        if not isinstance(self.shard, str) or not _SHARD.fullmatch(self.shard):
            raise AirflowFailException(f"shard is {str(self.shard)[:40]!r}; it must be a month such as 2013-01")
        return f"{self.task_id}@{self.shard}"

    def execute(self, context: "Context") -> list[str] | None:
        """Run the stage as `StageOperator` does; return the list that `returns` names."""
        workspace = require_workspace(context)
        reproduce(self.stage, workspace, always_run=self.always_run)
        if self.returns is None:
            return None
        import yaml  # not at module level: the scheduler imports this module

        path, _, key = self.returns.partition(":")
        content = yaml.safe_load((workspace.path / path).read_text(encoding="utf-8"))
        return list(content[key])


class BatchGateOperator(DvcStageOperator, SkipMixin):
    """Run the gate of a night, and then either score the night or, if it rightly has no rows, run the task `without_rows` alone.

    The tasks that are not run are skipped. The verdict of the gate decides, not the data: a night without rows that is not allowed fails here.
    """

    def __init__(self, *, without_rows: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.without_rows = without_rows

    def execute(self, context: "Context") -> None:
        """Run the stage as `DvcStageOperator` does, then skip what is not to be run."""
        super().execute(context)
        verdict = read_json(require_workspace(context).path / "data" / "reports" / self.task_id / "verdict.json")
        if "rows" not in verdict:
            raise StageError(f"{self.task_id} left no verdict with the number of rows; clear it")
        after = [task for task in self.downstream_list if not task.is_teardown]
        self.skip(context["ti"], [task for task in after if (task.task_id == self.without_rows) != (verdict["rows"] == 0)])
