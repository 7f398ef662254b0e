"""Rebuild the champion from the ref of the run that made it, and prove that it is the same model, byte for byte.

Of a champion whose card says that it is not reproducible to the byte, the predictions of the golden set are compared.

Each month, or for any version by hand. A run that turns red says which input is not what it was: its report tells the rest.
"""

from airflow.sdk import DAG, Param
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.stage_operators import StageOperator
from nightshift_airflow.timetable import ClockTimetable
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("champion_replay")

    with DAG(
        dag_id=use_case.dag_id("champion_replay"),
        dag_display_name=use_case.title("2.3 Champion replay"),
        doc_md=__doc__,
        schedule=ClockTimetable(settings["cron"], timezone=settings["timezone"]),
        catchup=False,
        max_active_runs=1,
        params={
            "version": Param(
                "champion",
                type="string",
                pattern=r"^(champion|[1-9][0-9]{0,8})$(?!\n)",
                description="champion, or the number of a registered version.",
            ),
        },
        default_args=task_defaults(settings),
        tags=["nightshift", "registry", use_case.name],
    ):
        replay = StageOperator(task_id="replay", package="registry", in_workspace=False, arguments={"version": "{{ params.version }}"})
