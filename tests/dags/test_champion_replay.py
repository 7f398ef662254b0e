"""The DAG as Airflow reads it: monthly, for the champion, or any version by hand."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dag():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / "champion_replay.py")
    assert not bag.import_errors
    return bag.dags["champion_replay"]


@pytest.mark.costly
def test_one_task_each_month_needs_no_workspace(dag):
    [task] = dag.tasks
    assert task.task_id == "replay"
    assert not task.in_workspace
    assert dag.timetable.serialize()["expression"] == "0 6 1 * *"
    assert not dag.catchup
    assert task.execution_timeout


def test_by_itself_it_is_the_champion(dag):
    from airflow.sdk.exceptions import ParamValidationError

    param = dag.params.get_param("version")
    assert param.resolve() == "champion"
    assert param.resolve("12") == "12"
    for bad in ("", "previous", "--version", "1" * 10, "12\n", "champion\n", "0", "07"):
        with pytest.raises(ParamValidationError):
            param.resolve(bad)
