"""The DAG as Airflow reads it."""

import datetime as dt
from pathlib import Path

import pendulum
import pytest

from pipelines.lib.core.yaml_text import parse_yaml

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dag():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / "weekly_index_rebuild.py")
    assert not bag.import_errors
    return bag.dags["weekly_index_rebuild"]


def test_its_one_task_says_that_an_index_is_due(dag):
    assert {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks} == {"ask": ["index_due"]}


def test_a_monday_asks_for_the_monday_that_the_nights_replay(dag):
    settings = parse_yaml((ROOT / "params.yaml").read_text())
    nights = settings["nightly_batch_scoring"]["replay_offset_days"]
    assert settings["weekly_index_rebuild"]["replay_offset_days"] == nights
    date, key = dag.timetable._get_partition_info(pendulum.datetime(2026, 11, 23, 4))
    assert key == "2013-04-08"
    assert date.weekday() == dt.date(2026, 11, 23).weekday() == 0


def test_missed_weeks_are_not_made_up_for(dag):
    assert not dag.catchup
    assert dag.max_active_runs == 1


def test_the_task_may_be_tried_again_and_has_an_end(dag):
    (task,) = dag.tasks
    assert task.retries == 3
    assert task.retry_policy is not None
    assert task.execution_timeout


def test_the_docstring_is_shown(dag):
    assert dag.doc_md.startswith("Ask for a new generation")
