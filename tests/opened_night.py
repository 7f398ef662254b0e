"""One night whose operators run one by one on real git and real DVC, with stages that compute nothing, and without Airflow."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from airflow.sdk import DAG, BaseOperator, Param
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import DvcStageOperator, StageOperator

DAG_ID = "nightly_batch_scoring"


class TaskInstance:
    """The parts of Airflow that the operators use: pushing a value, and asking for the states of the run's tasks."""

    def __init__(self, states: dict[str, str] | None = None) -> None:
        self.states = states or {}
        self.pushed: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        """Keep the value."""
        self.pushed[key] = value

    def get_task_states(self, dag_id: str, run_ids: list[str]) -> dict[str, dict[str, str]]:
        """Return the states that the test gave."""
        return {run_ids[0]: self.states}


class Night:
    """The operators of one night in `repository`: called with a task's id it runs that one, keeps its `result`, and returns the task
    instance.
    """

    def __init__(self, repository: Path) -> None:
        self.repository = repository
        self.result: Any = None
        with DAG(DAG_ID, params={"reason": Param("", type="string")}) as self.dag:
            self.operators: dict[str, BaseOperator] = {
                "open_run": OpenRunOperator(task_id="open_run"),
                "publish_scores": StageOperator(task_id="publish_scores", package="scoring"),
                "close_run": CloseRunOperator(task_id="close_run", retention_days=7),
                **{stage: DvcStageOperator(task_id=stage) for stage in ("ingest_batch", "validate_batch")},
            }

    def __call__(
        self,
        task_id: str,
        partition: object = "2013-04-01",
        conf: dict[str, Any] | None = None,
        states: dict[str, str] | None = None,
        run_id: object = "run",
        dag_id: str = DAG_ID,
    ) -> TaskInstance:
        """Run the operator of `task_id`."""
        instance = TaskInstance(states)
        start = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
        dag_run = SimpleNamespace(dag_id=dag_id, run_id=run_id, partition_key=partition, conf=conf, start_date=start, run_after=start)
        context: Any = {"dag_run": dag_run, "ti": instance}
        self.result = self.operators[task_id].execute(context)
        return instance


def behave(repository: Path, stage: str, what: str, partition: str = "2013-04-01") -> Path:
    """Have the stub of `stage` do `what` (tests/stub_repository.py); returns the file that says so."""
    file = repository / "var" / "behave" / f"{stage}-{partition}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(what)
    return file


def commands(repository: Path) -> list[str]:
    """Return the command lines of the processes that run in the workspaces of `repository`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(repository):
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
