"""One night whose operators run one by one on real git and real DVC, with stages that compute nothing, and without Airflow."""

import datetime as dt
from pathlib import Path
from types import SimpleNamespace

from airflow.sdk import DAG, Param
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import DvcStageOperator, StageOperator

DAG_ID = "nightly_batch_scoring"


class TaskInstance:
    """What the operators use of Airflow's: pushing a value, and asking for the states of the run's tasks."""

    def __init__(self, states=None):
        self.states, self.pushed = states or {}, {}

    def xcom_push(self, key, value):
        self.pushed[key] = value

    def get_task_states(self, dag_id, run_ids):
        return {run_ids[0]: self.states}


def one_night(repository):
    """A function that runs one operator of one night in `repository` and returns the task instance that it saw."""
    with DAG(DAG_ID, params={"reason": Param("", type="string")}) as dag:
        operators = {
            "open_run": OpenRunOperator(task_id="open_run"),
            "publish_scores": StageOperator(task_id="publish_scores", room="scoring"),
            "close_run": CloseRunOperator(task_id="close_run", retention_days=7),
            **{stage: DvcStageOperator(task_id=stage) for stage in ("ingest_batch", "validate_batch")},
        }

    def run(task_id, partition="2013-04-01", conf=None, states=None, run_id="run"):
        instance = TaskInstance(states)
        start = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
        dag_run = SimpleNamespace(dag_id=DAG_ID, run_id=run_id, partition_key=partition, conf=conf, start_date=start, run_after=start)
        run.result = operators[task_id].execute({"dag_run": dag_run, "ti": instance})
        return instance

    run.dag = dag
    run.repository = repository
    return run


def behave(repository: Path, stage: str, what: str, partition: str = "2013-04-01") -> Path:
    file = repository / "var" / "behave" / f"{stage}-{partition}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(what)
    return file


def commands(repository: Path) -> list[str]:
    """Command lines of the processes that run in the workspaces of `repository`."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(repository):
                found.append((entry / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found
