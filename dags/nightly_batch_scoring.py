"""Score one night of the table.

Each night at 02:00 this DAG scores one **partition**, a date, with the model that is champion when the run opens:
read the night's batch, check it, make its features, check them, score, check the scores, publish them in one commit. Then the riskiest rows are given
**evidence**, the past rows that resemble them most and how these ended, which is published next to the scores.

* A **gate** that fails stops the run without a retry, says what it found on its report page, and publishes nothing.
* The scores never wait for the evidence: where it fails, they stay published; where no vector index is, the night goes on without, with a note.
* A table may have nights without rows, if its declaration says so. Such a night ends after *validate_batch*: *publish_empty_night* records it, and
  the tasks that score are skipped.
* Every task can be cleared and run again at any time; what is unchanged costs a second, and the published rows stay the same.
* To score a night yourself, trigger the DAG and pick the night under *Partition*.

The schedule can replay a table of the past: with `replay_offset_days` in params.yaml, a run scores the night of that number of days ago.
"""

from airflow.sdk import DAG, TriggerRule
from nightshift_airflow.partitions import run_params
from nightshift_airflow.pushing import push_tasks
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import BatchGateOperator, DvcStageOperator, StageOperator
from nightshift_airflow.timetable import NightTimetable
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("nightly_batch_scoring")

    with DAG(
        dag_id=use_case.dag_id("nightly_batch_scoring"),
        dag_display_name=use_case.title("1.1 Nightly batch scoring"),
        doc_md=__doc__,
        schedule=NightTimetable(settings["cron"], timezone=settings["timezone"], days_back=settings["replay_offset_days"]),
        catchup=False,
        max_active_runs=settings["max_active_runs"],
        params=run_params(200),
        default_args=task_defaults(settings),
        tags=["nightshift", "scoring", use_case.name],
    ):
        open_run = OpenRunOperator(task_id="open_run", index=True).as_setup()
        ingest_batch = DvcStageOperator(task_id="ingest_batch")
        validate_batch = (
            BatchGateOperator(task_id="validate_batch", without_rows="publish_empty_night")
            if use_case.has_empty_nights
            else DvcStageOperator(task_id="validate_batch")
        )
        featurize_batch = DvcStageOperator(task_id="featurize_batch")
        validate_features = DvcStageOperator(task_id="validate_features")
        score = DvcStageOperator(task_id="score")
        validate_scores = DvcStageOperator(task_id="validate_scores")
        publish_scores = StageOperator(
            task_id="publish_scores",
            package="scoring",
            arguments={"scores": "data/scores/scores.parquet", "gate": "data/reports/validate_scores"},
            records=True,  # every row names the run's ref: nobody shall find it missing
            outlets=[use_case.scores],
        )
        attach_evidence = DvcStageOperator(task_id="attach_evidence")
        publish_evidence = StageOperator(
            task_id="publish_evidence",
            package="scoring",
            arguments={"evidence": "data/evidence/evidence.parquet", "report": "data/reports/attach_evidence"},
        )
        close_run = CloseRunOperator(task_id="close_run", retention_days=settings["retention_days"]).as_teardown(setups=open_run)

        (
            open_run
            >> ingest_batch
            >> validate_batch
            >> featurize_batch
            >> validate_features
            >> score
            >> validate_scores
            >> publish_scores
            >> attach_evidence
            >> publish_evidence
            >> close_run
        )
        if use_case.has_empty_nights:
            publish_empty_night = StageOperator(
                task_id="publish_empty_night",
                package="scoring",
                arguments={"gate": "data/reports/validate_batch"},
                records=True,  # as the scores do, the record names the run's ref
            )
            validate_batch >> publish_empty_night >> close_run
        for push_run in push_tasks():  # where the repository has a DVC remote
            publish_evidence >> push_run >> close_run
            if use_case.has_empty_nights:
                push_run.trigger_rule = TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS  # one of the two before it is always skipped
                publish_empty_night >> push_run
