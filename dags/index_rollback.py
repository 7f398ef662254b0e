"""Make an earlier generation of the vector index current again, at once: the one before, or a named one.

Trigger it with the form. The generation's files are verified before anything moves; then the pointer is switched in one step, and says who did it and
why. Runs that have opened already keep the generation that they are pinned to. It can be undone the same way, by naming the generation to go forward to,
until the next one is published.
"""

from airflow.sdk import DAG, Param
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.stage_operators import StageOperator
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("index_rollback")

    with DAG(
        dag_id=use_case.dag_id("index_rollback"),
        dag_display_name=use_case.title("3.4 Index rollback"),
        doc_md=__doc__,
        schedule=None,
        params={
            "generation": Param(
                "previous",
                type="string",
                pattern=r"^(previous|[0-9]{4}-[0-9]{2}-[0-9]{2}-[0-9a-f]{12})$(?!\n)",
                description="previous, or the id of a generation that is kept, such as 2013-06-01-0123456789ab.",
            ),
            "reason": Param(type="string", minLength=1, maxLength=500, description="Why; it goes into the pointer."),
        },
        default_args=task_defaults(settings),
        tags=["nightshift", "index", use_case.name],
    ):
        rollback_index = StageOperator(
            task_id="rollback_index",
            package="index",
            in_workspace=False,
            arguments={
                "to": "{{ params.generation }}",
                "actor": "{{ dag_run.triggering_user_name or dag_run.run_type.value }}",
                "reason": "{{ params.reason }}",
                "request": "{{ dag_run.dag_id }}/{{ dag_run.run_id }}",
            },
            outlets=[use_case.vector_index],
        )
