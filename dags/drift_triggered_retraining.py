"""Train a challenger as of a partition, and make it champion where it is the better one.

A drift alert starts this DAG over REST with a `partition_key`, or a person with the form and its *Partition*: the challenger learns from what was known that day.
It is compared with the champion on rows that neither has seen, scores the last published nights in its shadow, and then
*decide* says **promote**, **refuse** or **ask**.

* **ask** waits at *approve* for a person: *Required actions* in the UI shows the comparison. No answer in time is a refusal.
* A refusal, by the evidence or by a person, is on record in MLflow and in the journal; *promote* and *verify* are then skipped.
* *promote* is fenced: where another version has become champion since the run opened, it fails and changes nothing.
* *verify* looks at the new champion as production will see it, and **rolls back by itself** what is not as it was promoted.
* An alert about a version that is no longer champion (`champion_version`) ends at *open_run*. For a night that is not published yet no run is made:
  the sender is asked to repeat its alert.

The night of the partition is scored already, so a new champion is live from the day after.
"""

from datetime import timedelta

from airflow.sdk import DAG, Param
from nightshift_airflow.approval import ApproveOperator
from nightshift_airflow.partitions import run_params
from nightshift_airflow.pushing import push_tasks
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import DvcStageOperator, StageOperator
from nightshift_airflow.timetable import OnRequestTimetable
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("drift_triggered_retraining")
    registered = {"registered": "data/models/registered.json"}
    decided = {"decision": "data/reports/decide/decision.json"}
    compared = {"comparison": "data/reports/evaluate/comparison.json"}

    with DAG(
        dag_id=use_case.dag_id("drift_triggered_retraining"),
        dag_display_name=use_case.title("2.1 Drift-triggered retraining"),
        doc_md=__doc__,
        schedule=OnRequestTimetable(),
        max_active_runs=settings["max_active_runs"],
        params={
            **run_params(500),
            "champion_version": Param(
                None,
                type=["null", "string"],
                pattern=r"^[1-9][0-9]{0,8}$(?!\n)",
                title="Champion version",
                description="The champion that the alert is about. If another version is champion by now, nothing is done. Empty: any champion.",
            ),
            "source": Param(
                "manual",
                type="string",
                enum=["monitor", "alertmanager", "manual"],
                title="Source",
                description="The person or service that triggers the run.",
            ),
        },
        default_args=task_defaults(settings),
        tags=["nightshift", "training", use_case.name],
    ):
        open_run = OpenRunOperator(
            task_id="open_run", model="champion", expect="{{ params.champion_version or '' }}", scored=True
        ).as_setup()
        ingest_history = DvcStageOperator(task_id="ingest_history")
        validate_history = DvcStageOperator(task_id="validate_history")
        featurize_history = DvcStageOperator(task_id="featurize_history")
        train = DvcStageOperator(task_id="train")
        export_onnx = DvcStageOperator(task_id="export_onnx")
        evaluate = DvcStageOperator(task_id="evaluate")
        register = StageOperator(
            task_id="register",
            package="registry",
            arguments={
                "model": "data/models/model.skops",
                "onnx": "data/models/model.onnx",
                "report": "data/reports/evaluate",
                **registered,
            },
        )
        shadow = StageOperator(task_id="shadow", package="training")
        decide = StageOperator(task_id="decide", package="training")
        approve = ApproveOperator(task_id="approve", response_timeout=timedelta(hours=settings["approval_hours"]))
        promote = StageOperator(
            task_id="promote",
            package="registry",
            arguments={
                **registered,
                **decided,
                **compared,
                "approver": "{{ ti.xcom_pull(task_ids='approve')['approver'] }}",
                "reason": "{{ ti.xcom_pull(task_ids='approve')['reason'] }}",
            },
            outlets=[use_case.champion_model],
        )
        verify = StageOperator(
            task_id="verify", package="registry", arguments={**registered, "golden": "data/reports/evaluate/golden.json"}
        )
        close_run = CloseRunOperator(task_id="close_run", retention_days=settings["retention_days"]).as_teardown(setups=open_run)

        (
            open_run
            >> ingest_history
            >> validate_history
            >> featurize_history
            >> train
            >> export_onnx
            >> evaluate
            >> register
            >> shadow
            >> decide
            >> approve
            >> promote
            >> verify
            >> close_run
        )
        for push_run in push_tasks():  # where the repository has a DVC remote; a person's answer is not waited for
            decide >> push_run >> close_run
