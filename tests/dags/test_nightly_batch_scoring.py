"""The DAG as Airflow reads it."""

import datetime as dt
import itertools
import json
import subprocess
import sys
from pathlib import Path

import pendulum
import pytest

from pipelines.lib.core.yaml_text import parse_yaml
from tests.dag_tasks import task_ids

ROOT = Path(__file__).resolve().parents[2]
ORDER = list(task_ids("nightly_batch_scoring"))


@pytest.fixture(scope="module")
def dag():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / "nightly_batch_scoring.py")
    assert not bag.import_errors
    return bag.dags["nightly_batch_scoring"]


def test_the_tasks_are_in_order(dag):
    assert [task.task_id for task in dag.topological_sort()] == ORDER
    for before, after in itertools.pairwise(ORDER):
        assert after in dag.get_task(before).downstream_task_ids


def test_open_is_the_setup_and_close_the_teardown(dag):
    assert dag.get_task("open_run").is_setup
    close = dag.get_task("close_run")
    assert close.is_teardown
    assert not close.on_failure_fail_dagrun, "Airflow would take the teardown for the run's outcome, and a stopped night for a success"
    assert "open_run" in close.upstream_task_ids


def test_only_publishing_has_an_outlet_and_it_is_the_scores(dag):
    assert {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets} == {"publish_scores": ["scores"]}


def test_every_task_may_be_tried_again_and_has_an_end(dag):
    for task in dag.tasks:
        assert task.retries == 3
        assert task.retry_policy is not None
        assert task.execution_timeout


def test_the_docstring_is_shown_and_runs_may_overlap(dag):
    assert dag.doc_md.startswith("Score one night")
    assert dag.max_active_runs == 4
    assert not dag.catchup


def test_tonight_replays_a_night_after_the_training_window_on_the_same_weekday(dag):
    settings = parse_yaml((ROOT / "params.yaml").read_text())["nightly_batch_scoring"]
    assert settings["replay_offset_days"] % 7 == 0
    for run_date, partition in [((2026, 11, 23), "2013-04-08"), ((2027, 8, 17), "2013-12-31")]:
        date, key = dag.timetable._get_partition_info(pendulum.datetime(*run_date, 2))
        assert key == partition
        assert date.weekday() == dt.date(*run_date).weekday()


def test_params_have_a_schema(dag):
    from airflow.sdk.exceptions import ParamValidationError

    assert dag.params.get_param("reason").schema["maxLength"] == 200
    with pytest.raises(ParamValidationError):
        dag.params.get_param("reason").resolve(5)


def test_a_table_with_nights_without_rows_has_two_ways_after_its_gate(monkeypatch, dag):
    from airflow.dag_processing.dagbag import DagBag
    from nightshift_airflow import pushing, use_cases

    [flights] = [one for one in use_cases.use_cases() if not one.suffix]
    sparse = use_cases.UseCase("clinic", "__clinic", {**flights.params, "dataset": {**flights.params["dataset"], "nights_without_rows": 2}})
    weekly = use_cases.UseCase("market", "__market", {**flights.params, "dataset": {**flights.params["dataset"], "weekdays": ["monday"]}})
    monkeypatch.setattr(use_cases, "use_cases", lambda: [flights, sparse, weekly])
    monkeypatch.setattr(pushing.dvc_config, "has_remote", lambda _: True)
    bag = DagBag(ROOT / "dags" / "nightly_batch_scoring.py")
    assert not bag.import_errors
    for found in (bag.dags["nightly_batch_scoring__clinic"], bag.dags["nightly_batch_scoring__market"]):
        assert found.get_task("validate_batch").downstream_task_ids == {"featurize_batch", "publish_empty_night"}
        assert found.get_task("publish_empty_night").downstream_task_ids == {"close_run", "push_run"}
        assert found.get_task("publish_empty_night").outlets == [], "nobody watches a night without rows"
        assert found.get_task("push_run").trigger_rule == "none_failed_min_one_success"
        order = [task.task_id for task in found.topological_sort()]
        assert [task for task in order if task not in ("publish_empty_night", "push_run")] == ORDER
    assert "publish_empty_night" not in bag.dags["nightly_batch_scoring"].task_ids
    assert bag.dags["nightly_batch_scoring"].get_task("push_run").trigger_rule == "all_success"


@pytest.mark.costly
def test_parsing_imports_nothing_heavy():
    heavy = [
        "pandas",
        "numpy",
        "pyarrow",
        "mlflow",
        "faiss",
        "onnxruntime",
        "great_expectations",
        "sklearn",
        "duckdb",
        "dvc",
        "deltalake",
    ]
    code = (
        "import json, runpy, sys; import airflow; from airflow.sdk import DAG, BaseOperator; before = set(sys.modules);"
        f"runpy.run_path({str(ROOT / 'dags' / 'nightly_batch_scoring.py')!r}); import nightshift_airflow.plugin;"
        f"print(json.dumps([name for name in {heavy!r} + ['fastapi', 'airflow.api_fastapi.core_api.security'] if name in sys.modules and name not in before]"
        " + [name for name in sys.modules if name.startswith('pipelines.lib.') and name.split('.')[2] != 'core']))"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert json.loads(done.stdout.splitlines()[-1]) == []


def environment():
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT / "plugins")}
