"""Ask for a new generation of the vector index once per week, with the partition of that morning.

A DAG that waits for assets has no clock of its own, so this one has the clock and nothing else: its one task updates the asset *index_due*, for which
`vector_index_rebuild` waits. To have no weekly rebuild, pause this DAG.

The schedule can replay a table of the past, as that of `nightly_batch_scoring` does: `replay_offset_days` days ago.
"""

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG
from nightshift_airflow.assets import index_due
from nightshift_airflow.partitions import run_params
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.settings import load_settings
from nightshift_airflow.timetable import NightTimetable

settings = load_settings("weekly_index_rebuild")

with DAG(
    dag_id="weekly_index_rebuild",
    dag_display_name="3.3 Weekly index rebuild",
    doc_md=__doc__,
    schedule=NightTimetable(settings["cron"], timezone=settings["timezone"], days_back=settings["replay_offset_days"]),
    catchup=False,
    max_active_runs=1,
    params=run_params(200),
    default_args=task_defaults(settings),
    tags=["nightshift", "index"],
):
    ask = EmptyOperator(task_id="ask", outlets=[index_due])
