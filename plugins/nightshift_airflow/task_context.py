"""Facts that a task needs about its run and its DAG."""

import logging
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from nightshift_airflow import places, workspaces

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


def require_workspace(context: "Context") -> workspaces.Workspace:
    """Return the run's workspace; `AirflowFailException` where there is none."""
    dag_run = context["dag_run"]
    if workspace := workspaces.find_workspace(dag_run.dag_id, dag_run.run_id):
        return workspace
    path = places.workspace_path(dag_run.dag_id, dag_run.run_id)
    raise AirflowFailException(f"the workspace {path} is missing or incomplete; clear open_run, which rebuilds it")


def task_order(operator: BaseOperator) -> list[str]:
    """Return the tasks of the operator's DAG in the order in which they run."""
    return [task.task_id for task in operator.dag.topological_sort()]
