"""Watch each published night, and ask for a retraining where the world has moved.

Runs when a night's scores are published, with the same **partition**: count the night's features into the profile that came with its model,
measure how well earlier nights were predicted as far as their outcomes are known by now, decide; then raise the alert, and draw the report.

* The run is pinned to the model that **scored** the night, which need not be the champion of today.
* A model that is too old is retrained as well, if `govern.refresh_days` says so: this nightly look is the schedule of retrainings.
* Every decision is recorded with its reason, a *no* too. A *yes* starts `drift_triggered_retraining` over Airflow's REST API, as the
  connection `nightshift_api`, once for a champion and a partition however often this run is repeated. A *yes* that did not get through is
  said again the next night. The report stands next to the alert, not before it: a picture that cannot be drawn holds no alarm back.
* *watch* compares a champion that was promoted because it is fresher with the former champion on the nights since then, and **rolls back by itself** if it clearly loses.
* Nights are watched one after another: a window of nights is read from what earlier runs have counted.
* *check_index* is red where the published vector index is stale, broken, or not of the champion among encoders; it waits for nothing else, and stops nothing.

To watch a night again, clear its run; to watch one that was never watched, trigger the DAG and pick the night under *Partition*.
"""

from airflow.sdk import DAG, PartitionedAssetTimetable
from nightshift_airflow.partitions import run_params
from nightshift_airflow.pushing import push_tasks
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import StageOperator
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("drift_monitoring")

    with DAG(
        dag_id=use_case.dag_id("drift_monitoring"),
        dag_display_name=use_case.title("1.2 Drift monitoring"),
        doc_md=__doc__,
        schedule=PartitionedAssetTimetable(assets=use_case.scores),
        catchup=False,
        max_active_runs=1,
        params=run_params(200),
        default_args=task_defaults(settings),
        tags=["nightshift", "monitoring", use_case.name],
    ):
        open_run = OpenRunOperator(task_id="open_run", model="night").as_setup()
        detect_drift = StageOperator(task_id="detect_drift", package="monitoring")
        measure_performance = StageOperator(task_id="measure_performance", package="monitoring")
        watch = StageOperator(task_id="watch", package="monitoring")
        govern = StageOperator(task_id="govern", package="monitoring")
        report_drift = StageOperator(task_id="report_drift", package="monitoring")
        alert = StageOperator(task_id="alert", package="monitoring", connection="nightshift_api")
        check_index = StageOperator(task_id="check_index", package="monitoring")
        close_run = CloseRunOperator(task_id="close_run", retention_days=settings["retention_days"]).as_teardown(setups=open_run)

        open_run >> detect_drift >> measure_performance >> watch >> govern >> [report_drift, alert] >> close_run
        open_run >> check_index >> close_run
        for push_run in push_tasks():  # where the repository has a DVC remote
            govern >> push_run >> close_run
