"""The DAG as Airflow reads it."""

import itertools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ORDER = [
    "open_run",
    "ingest_history",
    "validate_history",
    "featurize_history",
    "train_encoder",
    "quantize",
    "evaluate_encoder",
    "register",
    "promote",
    "close_run",
]


@pytest.fixture(scope="module")
def dag():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / "encoder_training.py")
    assert not bag.import_errors
    return bag.dags["encoder_training"]


def test_the_tasks_are_in_order(dag):
    assert [task.task_id for task in dag.topological_sort()] == ORDER
    for before, after in itertools.pairwise(ORDER):
        assert after in dag.get_task(before).downstream_task_ids


def test_it_starts_when_asked_with_a_partition_and_never_by_itself(dag):
    assert dag.timetable.partitioned
    assert not dag.timetable.can_be_scheduled


def test_open_is_the_setup_and_close_the_teardown_that_does_not_count(dag):
    assert dag.get_task("open_run").is_setup
    assert dag.get_task("open_run").model == "encoder-or-none", "the first encoder has no champion before it"
    assert dag.get_task("open_run").scored, "outcomes of nights that are not there yet cannot be learned from"
    close = dag.get_task("close_run")
    assert close.is_teardown
    assert not close.on_failure_fail_dagrun


def test_only_a_promotion_tells_the_asset_that_rebuilds_the_index(dag):
    assert {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets} == {"promote": ["encoder"]}


def test_the_gate_decides_about_the_promotion_and_no_actor_is_named(dag):
    arguments = dag.get_task("promote").arguments
    assert arguments == {
        "registered": "data/encoder/registered.json",
        "evaluation": "data/reports/evaluate_encoder/evaluation.json",
    }
    assert dag.get_task("register").arguments["registered"] == arguments["registered"]


def test_every_task_may_be_tried_again_and_has_an_end(dag):
    for task in dag.tasks:
        assert task.retries == 3
        assert task.retry_policy is not None
        assert task.execution_timeout
