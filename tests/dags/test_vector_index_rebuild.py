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
    "shard_history",
    "embed",
    "validate_vectors",
    "plan_index",
    "fill_shard",
    "build_index",
    "evaluate_index",
    "publish_index",
    "close_run",
]
MAPPED = {"embed": "shard_history", "fill_shard": "plan_index"}


@pytest.fixture(scope="module")
def dag():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / "vector_index_rebuild.py")
    assert not bag.import_errors
    return bag.dags["vector_index_rebuild"]


def test_the_tasks_are_in_order(dag):
    assert [task.task_id for task in dag.topological_sort()] == ORDER
    for before, after in itertools.pairwise(ORDER):
        assert after in dag.get_task(before).downstream_task_ids


def test_open_is_the_setup_and_close_the_teardown(dag):
    assert dag.get_task("open_run").is_setup
    assert dag.get_task("close_run").is_teardown
    assert not dag.get_task("close_run").on_failure_fail_dagrun


def test_a_new_encoder_or_the_week_starts_it_with_their_partition(dag):
    from airflow.sdk import AssetAny, PartitionedAssetTimetable

    assert isinstance(dag.timetable, PartitionedAssetTimetable)
    assert isinstance(dag.timetable.asset_condition, AssetAny), "either is enough"
    assert {asset.name for asset in dag.timetable.asset_condition.objects} == {"encoder", "index_due"}


def test_what_it_waits_for_is_made_by_somebody(dag):
    from airflow.dag_processing.dagbag import DagBag

    made = {
        asset.name
        for name in ("encoder_training", "weekly_index_rebuild")
        for task in DagBag(ROOT / "dags" / f"{name}.py").dags[name].tasks
        for asset in task.outlets
    }
    assert {asset.name for asset in dag.timetable.asset_condition.objects} <= made


def test_only_the_verdict_on_speed_is_made_in_every_run(dag):
    assert [task.task_id for task in dag.tasks if getattr(task, "always_run", False)] == ["evaluate_index"]


def test_rebuilds_wait_for_each_other(dag):
    assert dag.max_active_runs == 1
    assert not dag.catchup


@pytest.mark.parametrize(("task", "over"), MAPPED.items())
def test_a_task_for_each_shard_shows_its_month(dag, task, over):
    from airflow.sdk.definitions.mappedoperator import MappedOperator

    mapped = dag.get_task(task)
    assert isinstance(mapped, MappedOperator)
    assert {reference.task_id for reference in mapped.iter_mapped_dependencies()} == {over}
    assert mapped.map_index_template == "{{ task.shard }}"
    assert mapped.max_active_tis_per_dagrun == 4
    assert dag.get_task(over).returns


def test_no_shard_to_embed_or_fill_stops_nobody(dag):
    for task in MAPPED:
        for following in dag.get_task(task).downstream_task_ids:
            assert dag.get_task(following).trigger_rule == "none_failed"
    others = [task for task in dag.tasks if task.trigger_rule == "none_failed"]
    assert len(others) == len(MAPPED), "elsewhere a skipped task would be a night that nobody built"


def test_only_publishing_has_an_outlet_and_names_the_ref(dag):
    assert {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets} == {
        "publish_index": ["vector_index"]
    }
    assert dag.get_task("publish_index").records


def test_the_run_is_pinned_to_the_encoder_and_to_what_is_published(dag):
    opens = dag.get_task("open_run")
    assert (opens.model, opens.index, opens.rebuild) == ("encoder", True, "{{ params.rebuild }}")


def test_every_task_may_be_tried_again_and_has_an_end(dag):
    for task in dag.tasks:
        assert task.retries == 3
        assert task.retry_policy is not None
        assert task.execution_timeout


def test_params_have_a_schema(dag):
    from airflow.sdk.exceptions import ParamValidationError

    assert dag.params.get_param("reason").schema["maxLength"] == 500
    for fine in ("auto", "full", "incremental"):
        assert dag.params.get_param("rebuild").resolve(fine) == fine
    for wrong in ("all", "", None, 1):
        with pytest.raises(ParamValidationError):
            dag.params.get_param("rebuild").resolve(wrong)


def test_the_docstring_is_shown(dag):
    assert dag.doc_md.startswith("Build the vector index")
