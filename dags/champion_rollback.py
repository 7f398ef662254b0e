"""Make an earlier champion champion again, at once: to the one before, or to a named version.

Trigger it with the form. The ledger keeps who did it and why; the next night is scored by that version. It can be undone the same way, by
naming the version to roll forward to. The version's file is fetched and its digest verified before anything moves.
"""

from airflow.sdk import DAG, Param
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.stage_operators import StageOperator
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("champion_rollback")

    with DAG(
        dag_id=use_case.dag_id("champion_rollback"),
        dag_display_name=use_case.title("2.2 Champion rollback"),
        doc_md=__doc__,
        schedule=None,
        params={
            "version": Param(
                "previous",
                type="string",
                pattern=r"^(previous|[1-9][0-9]{0,8})$(?!\n)",
                description="previous, or the number of a version that was champion before.",
            ),
            "reason": Param(type="string", minLength=1, maxLength=500, description="Why; it goes into the ledger."),
        },
        default_args=task_defaults(settings),
        tags=["nightshift", "registry", use_case.name],
    ):
        rollback = StageOperator(
            task_id="rollback",
            package="registry",
            in_workspace=False,
            arguments={
                "to": "{{ params.version }}",
                "actor": "{{ dag_run.triggering_user_name or dag_run.run_type.value }}",
                "reason": "{{ params.reason }}",
                "request": "{{ dag_run.dag_id }}/{{ dag_run.run_id }}",
            },
            outlets=[use_case.champion_model],
        )
