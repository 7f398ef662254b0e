"""The DAG as Airflow reads it."""

import itertools
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.lib.core.yaml_text import parse_yaml

ROOT = Path(__file__).resolve().parents[2]
ORDER = [
    "open_run",
    "ingest_history",
    "validate_history",
    "featurize_history",
    "train",
    "export_onnx",
    "evaluate",
    "register",
    "shadow",
    "decide",
    "approve",
    "promote",
    "verify",
    "close_run",
]


@pytest.fixture(scope="module")
def dag():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / "drift_triggered_retraining.py")
    assert not bag.import_errors
    return bag.dags["drift_triggered_retraining"]


def test_the_tasks_are_in_order(dag):
    assert [task.task_id for task in dag.topological_sort()] == ORDER
    for before, after in itertools.pairwise(ORDER):
        assert after in dag.get_task(before).downstream_task_ids


def test_it_starts_when_asked_with_a_partition_and_never_by_itself(dag):
    assert dag.timetable.partitioned
    assert not dag.timetable.can_be_scheduled
    assert dag.max_active_runs == 2, "two may race: the ledger lets one of them promote"


def test_open_is_the_setup_and_close_the_teardown_that_does_not_count(dag):
    assert dag.get_task("open_run").is_setup
    assert dag.get_task("open_run").model == "champion"
    close = dag.get_task("close_run")
    assert close.is_teardown
    assert not close.on_failure_fail_dagrun


def test_only_a_promotion_tells_the_asset(dag):
    assert {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets} == {"promote": ["champion_model"]}


def test_every_task_may_be_tried_again_and_has_an_end(dag):
    for task in dag.tasks:
        assert task.retries == 3
        assert task.retry_policy is not None
        assert task.execution_timeout


def test_a_person_has_as_long_as_the_params_say_and_silence_is_a_no(dag):
    hours = parse_yaml((ROOT / "params.yaml").read_text())["drift_triggered_retraining"]["approval_hours"]
    approve = dag.get_task("approve")
    assert approve.response_timeout == timedelta(hours=hours)
    assert approve.defaults == ["Reject"]


@pytest.mark.parametrize(
    ("param", "good", "bad"),
    [
        ("champion_version", ["1", "999999999", None], ["", "1\n", "1" * 10, "../1", 3, "v1"]),
        ("partition", ["2013-06-01", None], ["", "2013-02-30", "20130601", "2013-06-01 ", 20130601]),
        ("reason", ["", "PSI .4", None], ["x" * 501, 5]),
        ("source", ["monitor", "alertmanager", "manual"], ["", "somebody", None]),
    ],
)
def test_params_have_a_schema(dag, param, good, bad):
    from airflow.sdk.exceptions import ParamValidationError

    for value in good:
        assert dag.params.get_param(param).resolve(value) == value
    for value in bad:
        with pytest.raises(ParamValidationError):
            dag.params.get_param(param).resolve(value)
