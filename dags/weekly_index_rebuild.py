"""Ask for a new generation of the vector index once per week, with the partition of that morning.

A DAG that waits for assets has no clock of its own, so this one has the clock and nothing else: its one task updates the asset *index_due*, for which
`vector_index_rebuild` waits. To have no weekly rebuild, pause this DAG.

The schedule can replay a table of the past, as that of `nightly_batch_scoring` does: `replay_offset_days` days ago.
"""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from nightshift_airflow.partitions import run_params
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.timetable import NightTimetable
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("weekly_index_rebuild")

    with DAG(
        dag_id=use_case.dag_id("weekly_index_rebuild"),
        dag_display_name=use_case.title("3.3 Weekly index rebuild"),
        doc_md=__doc__,
        schedule=NightTimetable(settings["cron"], timezone=settings["timezone"], days_back=settings["replay_offset_days"]),
        catchup=False,
        max_active_runs=1,
        params=run_params(200),
        default_args=task_defaults(settings),
        tags=["nightshift", "index", use_case.name],
    ):
        ask = EmptyOperator(task_id="ask", outlets=[use_case.index_due])
