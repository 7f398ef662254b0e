"""The DAG as Airflow reads it."""

import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINE = ["open_run", "detect_drift", "measure_performance", "watch", "govern"]


@pytest.fixture(scope="module")
def dag():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / "drift_monitoring.py")
    assert not bag.import_errors
    return bag.dags["drift_monitoring"]


def test_the_tasks_are_in_order(dag):
    assert [task.task_id for task in dag.topological_sort() if task.task_id in LINE] == LINE
    for before, after in itertools.pairwise(LINE):
        assert after in dag.get_task(before).downstream_task_ids


def test_the_alert_waits_for_no_picture_and_no_picture_for_the_alert(dag):
    for name in ("alert", "report_drift"):
        task = dag.get_task(name)
        assert task.upstream_task_ids == {"govern"}
        assert task.downstream_task_ids == {"close_run"}


def test_the_index_is_checked_after_any_result_of_drift(dag):
    assert dag.get_task("check_index").upstream_task_ids == {"open_run"}
    assert dag.get_task("check_index").downstream_task_ids == {"close_run"}


def test_a_published_night_starts_it_and_hands_it_its_partition(dag):
    from airflow.sdk import PartitionedAssetTimetable

    assert isinstance(dag.timetable, PartitionedAssetTimetable)
    assert dag.timetable.asset_condition.name == "scores"


def test_nights_are_watched_one_after_another(dag):
    assert dag.max_active_runs == 1
    assert not dag.catchup


def test_it_looks_at_the_model_that_scored_the_night(dag):
    assert dag.get_task("open_run").model == "night"
    assert dag.get_task("open_run").is_setup
    assert dag.get_task("close_run").is_teardown
    assert not dag.get_task("close_run").on_failure_fail_dagrun


def test_only_the_alert_is_given_a_password(dag):
    given = {task.task_id: getattr(task, "connection", None) for task in dag.tasks}
    assert {name: connection for name, connection in given.items() if connection} == {"alert": "nightshift_api"}


def test_it_has_no_outlet(dag):
    """Its findings are not an asset: a DAG that waited for it would be started by every night."""
    assert not [task.task_id for task in dag.tasks if task.outlets]


def test_every_task_may_be_tried_again_and_has_an_end(dag):
    for task in dag.tasks:
        assert task.retries == 5
        assert task.retry_policy is not None
        assert task.execution_timeout


def test_the_docstring_is_shown(dag):
    assert dag.doc_md.startswith("Watch each published night")
