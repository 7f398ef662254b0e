"""The partition of a run: asked for in the trigger form or over REST, checked before the run is made, and again when it opens.

The form has a parameter `partition`, since Airflow hides its own field, *Partition Key*, under *Advanced*. A run is for its `partition_key` alone: what
the parameter says becomes the key while the run is made (docs/adr/0015).
"""

import datetime as dt
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Param
from sqlalchemy import Connection, event
from sqlalchemy.orm import Mapper

from nightshift_airflow.refusals import RunRefusedError
from nightshift_airflow.use_cases import kind_of, settings_of, suffix_of
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.partition import parse_partition

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

PARTITIONED = frozenset(
    {
        "nightly_batch_scoring",
        "drift_monitoring",
        "drift_triggered_retraining",
        "encoder_training",
        "vector_index_rebuild",
        "weekly_index_rebuild",
    }
)
"""The kinds of DAG whose runs are for a partition."""

UNPARTITIONED = frozenset({"champion_rollback", "champion_replay", "index_rollback"})
"""The kinds of DAG whose runs are for a version or a generation. A rollback whose `version` is misspelt must not go to the previous one."""

AFTER_PUBLICATION = frozenset({"drift_triggered_retraining", "encoder_training"})
"""The kinds of DAG that refuse a night that is not published yet."""

_ASKED_FOR = frozenset({"manual", "operator_triggered", "asset_materialization"})
"""Types of runs that a request makes, which can be answered with an error. The scheduler must not be stopped by one: `open_run` refuses
its runs.
"""


def run_params(longest_reason: int) -> dict[str, Param]:
    """Return the parameters that the trigger form of every partitioned DAG begins with."""
    return {
        "partition": Param(
            None,
            type=["null", "string"],
            format="date",
            pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
            title="Partition",
            description="The night that the run is for. Fill in this field, or Partition Key under Advanced Options.",
        ),
        "reason": Param(
            None,
            type=["null", "string"],
            maxLength=longest_reason,
            title="Reason",
            description="Why you trigger this run, for people who read it later. Optional.",
        ),
    }


def check_partition(key: object) -> str:
    """Return `key` if it is a date of the calendar, written ``2013-06-01``; else `RunRefusedError`."""
    shown = repr(key) if len(repr(key)) <= 40 else f"{repr(key)[:40]}… ({len(repr(key))} characters)"
    try:
        return parse_partition(key).isoformat()
    except ConfigError:
        raise RunRefusedError(f"partition_key is {shown}; trigger the run with a date of the calendar, such as 2013-06-01") from None


def choose_partition(key: str | None, conf: Mapping[str, Any] | None) -> str:
    """Return the partition of a run with partition key `key` and `conf`. Raises `RunRefusedError` if there is none, two that differ, or
    no date.
    """
    asked = (conf or {}).get("partition")
    if key is None and asked is None:
        raise RunRefusedError("no partition is given; pick a night under Partition, or send partition_key, such as 2013-06-01")
    partition = check_partition(asked if key is None else key)
    if asked not in (None, partition):
        raise RunRefusedError(
            f"partition_key is {partition!r}, but the parameter partition is {str(asked)[:40]!r}; give one of them, or the same"
        )
    return partition


def check_conf(conf: Mapping[str, Any] | None, params: Collection[str]) -> None:
    """Refuse keys that the DAG does not declare: a misspelt one that is silently ignored is worse than none."""
    if unknown := sorted(set(conf or {}) - set(params)):
        names = ", ".join(repr(name[:40]) for name in unknown[:5])
        raise RunRefusedError(f"conf holds {names}, which this DAG does not know; it takes {', '.join(sorted(params)) or 'nothing'}")


def settle_partition(mapper: "Mapper[Any] | None", connection: Connection, run: "DagRun") -> None:
    """Check the conf of a run that somebody asks for, and give it its partition key; or refuse to make it: every error here is a `ValueError`, which Airflow answers with 400.

    A listener of SQLAlchemy for new rows, since Airflow 3.3 has none for new runs; it ignores all runs that are not ours. The
    monitor is not asked whether its night is published: it has read it in the table.
    """
    if getattr(run, "__tablename__", "") != "dag_run" or run.run_type not in _ASKED_FOR:
        return
    kind = kind_of(run.dag_id)
    if kind not in PARTITIONED | UNPARTITIONED:
        return
    settings = _settings_of(run.dag_id)
    conf = run.conf or {}
    partition = choose_partition(run.partition_key, conf) if kind in PARTITIONED else None
    if names := _param_names(run):
        check_conf(conf, names)
    if partition is None:
        return
    if kind in AFTER_PUBLICATION and conf.get("source") != "monitor":
        from nightshift_airflow.publication import newest_published, require_published

        require_published(partition, newest_published(connection, suffix_of(run.dag_id)), dt.datetime.now(dt.UTC).date())
    if run.partition_key is None:
        run.partition_key, run.partition_date = partition, _partition_date(settings, partition)


def watch_new_runs() -> None:
    """Have `settle_partition` called for every run that this process makes. Airflow's models are not imported for it: tasks load the
    plugin too.
    """
    if not event.contains(Mapper, "before_insert", settle_partition):
        event.listen(Mapper, "before_insert", settle_partition)


def _param_names(run: "DagRun") -> set[str]:
    """Return the names of the parameters that the DAG of `run` declares; none if the DAG is not known."""
    from airflow.models.serialized_dag import SerializedDagModel
    from sqlalchemy.orm import object_session

    session = object_session(run)
    found = SerializedDagModel.get(run.dag_id, session=session) if session else None
    return set(found.dag.params) if found else set()


def _settings_of(dag_id: str) -> dict[str, Any]:
    """Return the settings of a DAG. Raises `RunRefusedError` if its use case is broken: Airflow keeps its DAG for some time, but no run of it can open."""
    try:
        return settings_of(dag_id)
    except ConfigError as error:
        raise RunRefusedError(
            f"the use case of {dag_id} is broken: {error}. Correct that first; the page Nightshift shows when it is sound"
        ) from None


def _partition_date(settings: Mapping[str, Any], partition: str) -> dt.datetime | None:
    """Return the moment that Airflow would keep next to the key: midnight for a DAG with a clock, none for the others."""
    from nightshift_airflow.timetable import NightTimetable

    if "cron" not in settings:
        return None
    return NightTimetable(settings["cron"], timezone=settings["timezone"]).resolve_partition_date(partition)
