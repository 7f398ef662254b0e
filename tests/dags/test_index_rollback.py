"""The DAG as Airflow reads it: a form, one task, an asset."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def dag():
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(ROOT / "dags" / "index_rollback.py")
    assert not bag.import_errors
    return bag.dags["index_rollback"]


def test_one_task_needs_no_workspace_and_tells_the_asset(dag):
    [task] = dag.tasks
    assert task.task_id == "rollback_index"
    assert not task.in_workspace
    assert [asset.name for asset in task.outlets] == ["vector_index"]
    assert task.retry_policy is not None
    assert task.execution_timeout


def test_a_rollback_without_a_reason_is_none(dag):
    from airflow.sdk.exceptions import ParamValidationError

    with pytest.raises(ParamValidationError):
        dag.params.get_param("reason").resolve()


@pytest.mark.parametrize(
    ("param", "good", "bad"),
    [
        (
            "generation",
            ["previous", "2013-06-01-0123456789ab"],
            [
                "",
                "2013-06-01",
                "2013-06-01-0123456789AB",
                "2013-06-01-0123456789ab\n",
                "../2013-06-01-0123456789ab",
                "previous; rm",
                "--to",
                None,
                3,
            ],
        ),
        ("reason", ["it missed the storm"], ["", "x" * 501, None]),
    ],
)
def test_the_form_has_a_schema(dag, param, good, bad):
    from airflow.sdk.exceptions import ParamValidationError

    for value in good:
        assert dag.params.get_param(param).resolve(value) == value
    for value in bad:
        with pytest.raises(ParamValidationError):
            dag.params.get_param(param).resolve(value)
