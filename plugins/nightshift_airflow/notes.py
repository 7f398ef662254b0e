"""Put a line on what a run did onto the run, where the UI lists it.

A task cannot set its run's note (Airflow's task API has no such call), but a listener runs in the scheduler, with the run in its hands:
`CloseRunOperator`, or `OpenRunOperator` where it refuses a run, pushes the line as XCom ``note``, and here it becomes the run's note.
"""

from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun


@hookimpl
def on_dag_run_success(dag_run: "DagRun", msg: str) -> None:
    """Take over the note of a run that succeeded."""
    _take_over_note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: "DagRun", msg: str) -> None:
    """Take over the note of a run that failed."""
    _take_over_note(dag_run)


def _take_over_note(dag_run: "DagRun") -> None:
    """Set the note, and say first where the teardown has failed, which does not count for the state of the run."""
    from airflow.models.xcom import XComModel
    from sqlalchemy import select
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None:
        return
    of_run = select(XComModel.value).where(XComModel.dag_id == dag_run.dag_id, XComModel.run_id == dag_run.run_id)
    note = session.scalars(of_run.where(XComModel.key == "note").order_by(XComModel.timestamp.desc())).first()
    unrecorded = any(task.task_id == "close_run" and task.state == "failed" for task in dag_run.task_instances)
    parts = [*(["NOT RECORDED: close_run failed"] if unrecorded else []), *([note] if isinstance(note, str) else [])]
    if parts:
        dag_run.note = ". ".join(parts)[:1000]
