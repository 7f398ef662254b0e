"""Build the vector index of all rows with a known outcome, and publish it as a new generation.

Runs when a new *encoder* has become champion, once per week, or when somebody triggers it with a *Partition*: the index then holds what
was known that day. Each month of rows is a **shard**, embedded by a task of its own, and only once while it stays the same.

* *validate_vectors* stops bad vectors before an index is made of them, *evaluate_index* an index that does not find what exact search finds, or not
  fast enough. Nothing is published then, and the generation before goes on serving.
* *plan_index* says whether the nights since the published generation can be appended to it (**incremental**) or all is built again (**full**), and why.
  The param `rebuild` asks for one of them. Another encoder, other parameters or changed rows always mean a full one.
* *fill_shard* adds the months to the lists of an IVF-PQ index; other indexes and incremental rebuilds have nothing to fill, and skip it.
* *publish_index* makes a whole new generation, switches the pointer to it in one step, and collects the oldest that nobody reads.
"""

from airflow.sdk import DAG, Param, PartitionedAssetTimetable, TriggerRule
from nightshift_airflow.partitions import run_params
from nightshift_airflow.pushing import push_tasks
from nightshift_airflow.retries import task_defaults
from nightshift_airflow.run_operators import CloseRunOperator, OpenRunOperator
from nightshift_airflow.stage_operators import DvcStageOperator, StageOperator
from nightshift_airflow.use_cases import use_cases

for use_case in use_cases():
    settings = use_case.settings("vector_index_rebuild")
    a_shard_each = {"map_index_template": "{{ task.shard }}", "max_active_tis_per_dagrun": settings["shards_at_once"]}

    with DAG(
        dag_id=use_case.dag_id("vector_index_rebuild"),
        dag_display_name=use_case.title("3.2 Vector index rebuild"),
        doc_md=__doc__,
        schedule=PartitionedAssetTimetable(assets=use_case.encoder | use_case.index_due),
        catchup=False,
        max_active_runs=1,
        params={
            **run_params(500),
            "rebuild": Param(
                "auto",
                type="string",
                enum=["auto", "full", "incremental"],
                title="Rebuild",
                description="auto: append where that gives the same index; full: build all again; incremental: append, or fail where that cannot be done.",
            ),
        },
        default_args=task_defaults(settings),
        tags=["nightshift", "index", use_case.name],
    ):
        open_run = OpenRunOperator(task_id="open_run", model="encoder", index=True, rebuild="{{ params.rebuild }}").as_setup()
        ingest_history = DvcStageOperator(task_id="ingest_history")
        validate_history = DvcStageOperator(task_id="validate_history")
        featurize_history = DvcStageOperator(task_id="featurize_history")
        shard_history = DvcStageOperator(task_id="shard_history", returns="run.yaml:shards")
        embed = DvcStageOperator.partial(task_id="embed", **a_shard_each).expand(shard=shard_history.output)
        # A mapped task without a shard is skipped, and that shall stop nobody.
        validate_vectors = DvcStageOperator(task_id="validate_vectors", trigger_rule=TriggerRule.NONE_FAILED)
        plan_index = DvcStageOperator(task_id="plan_index", returns="data/index/plan/plan.json:fill")
        fill_shard = DvcStageOperator.partial(task_id="fill_shard", **a_shard_each).expand(shard=plan_index.output)
        build_index = DvcStageOperator(task_id="build_index", trigger_rule=TriggerRule.NONE_FAILED)
        evaluate_index = DvcStageOperator(task_id="evaluate_index", always_run=True)  # speed is part of the verdict
        publish_index = StageOperator(
            task_id="publish_index",
            package="index",
            arguments={"build": "data/index/build", "report": "data/reports/evaluate_index"},
            records=True,  # the manifest names the run's ref: nobody shall find it missing
            outlets=[use_case.vector_index],
        )
        close_run = CloseRunOperator(task_id="close_run", retention_days=settings["retention_days"]).as_teardown(setups=open_run)

        (
            open_run
            >> ingest_history
            >> validate_history
            >> featurize_history
            >> shard_history
            >> embed
            >> validate_vectors
            >> plan_index
            >> fill_shard
            >> build_index
            >> evaluate_index
            >> publish_index
            >> close_run
        )
        for push_run in push_tasks():  # where the repository has a DVC remote
            publish_index >> push_run >> close_run
