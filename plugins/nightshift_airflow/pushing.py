"""Push what a run made to the DVC remote, as a task of its own: a run that cannot be replayed elsewhere must not look like a success.

The task exists only where the repository has a default remote when the DAG is parsed, so a night without a remote has no task more.
"""

import logging
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator

from nightshift_airflow import dvc_config, places, process
from nightshift_airflow.retries import StageError
from nightshift_airflow.stage_process import run_dvc, tell_failure
from nightshift_airflow.task_context import require_workspace

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class PushRunOperator(BaseOperator):
    """Push what the run's ``dvc.lock`` names to the default remote; a remote that does not answer is tried again.

    The task fails where the retries are spent, and `close_run` then keeps the workspace. Published rows stay published. Clear the task when the
    remote answers.
    """

    def execute(self, context: "Context") -> None:
        """Raise `StageError` if DVC could not push."""
        workspace = require_workspace(context)
        if not dvc_config.has_remote(workspace.path):
            log.info("the repository has no default DVC remote any more: nothing is pushed")
            return
        try:
            run_dvc("push_run", ["--wait-for-lock", "push"], workspace)
        except StageError as error:
            cause = next((line for line in str(error).splitlines() if line.startswith("ERROR: ")), str(error).splitlines()[-1])
            message = f"NOT PUSHED: the outputs of the run did not reach the DVC remote ({cause.removeprefix('ERROR: ')}). Published rows stay; clear push_run when the remote answers"
            tell_failure(workspace, "push_run", message)
            raise StageError(f"{message}\n{error}") from error

    def on_kill(self) -> None:
        """End the process too when Airflow ends the task."""
        process.stop_running()


def push_tasks() -> list[PushRunOperator]:
    """Return the task `push_run` of the DAG that is being made, where the repository has a default DVC remote; else none."""
    return [PushRunOperator(task_id="push_run")] if dvc_config.has_remote(places.REPOSITORY) else []
