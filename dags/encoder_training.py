"""Train the encoder of the vector index as of a partition, and make it champion where its gate lets it pass.

Trigger it with a *Partition*, or over REST with a `partition_key`: the encoder learns from what was known that day. *quantize* gives it weights of eight bits
where hardly a neighbour changes, *evaluate_encoder* is the gate: AUC, sound vectors, and no worse than the champion on rows that neither has seen.

* *promote* is fenced: where another version has become champion since the run opened, it fails and changes nothing.
* A new champion makes the asset `encoder`, which starts a rebuild of the index: vectors of two encoders cannot be compared. Until that is
  published, the index goes on with the encoder that it was built with.
* Back to an earlier encoder: `python -m pipelines.registry.rollback --encoder --actor <you> --reason <why>`, then a rebuild.
"""

from airflow.sdk import DAG
from nightshift_airflow.partitions import run_params
from nightshift_airflow.pushing import push_tasks
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import DvcStageOperator, StageOperator
from nightshift_airflow.timetable import OnRequestTimetable
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("encoder_training")
    registered = {"registered": "data/encoder/registered.json"}

    with DAG(
        dag_id=use_case.dag_id("encoder_training"),
        dag_display_name=use_case.title("3.1 Encoder training"),
        doc_md=__doc__,
        schedule=OnRequestTimetable(),
        max_active_runs=settings["max_active_runs"],
        params=run_params(500),
        default_args=task_defaults(settings),
        tags=["nightshift", "training", "index", use_case.name],
    ):
        open_run = OpenRunOperator(task_id="open_run", model="encoder-or-none", scored=True).as_setup()
        ingest_history = DvcStageOperator(task_id="ingest_history")
        validate_history = DvcStageOperator(task_id="validate_history")
        featurize_history = DvcStageOperator(task_id="featurize_history")
        train_encoder = DvcStageOperator(task_id="train_encoder")
        quantize = DvcStageOperator(task_id="quantize")
        evaluate_encoder = DvcStageOperator(task_id="evaluate_encoder")
        register = StageOperator(
            task_id="register",
            package="registry",
            arguments={"encoder": "data/encoder/encoder.onnx", "report": "data/reports/evaluate_encoder", **registered},
        )
        promote = StageOperator(
            task_id="promote",
            package="registry",
            arguments={**registered, "evaluation": "data/reports/evaluate_encoder/evaluation.json"},
            outlets=[use_case.encoder],
        )
        close_run = CloseRunOperator(task_id="close_run", retention_days=settings["retention_days"]).as_teardown(setups=open_run)

        (
            open_run
            >> ingest_history
            >> validate_history
            >> featurize_history
            >> train_encoder
            >> quantize
            >> evaluate_encoder
            >> register
            >> promote
            >> close_run
        )
        for push_run in push_tasks():  # where the repository has a DVC remote
            promote >> push_run >> close_run
