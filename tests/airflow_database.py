"""Airflow's own database code on SQLite: parse DAGs, ask for a backfill, let the scheduler make and start runs. No process is started."""

import atexit
import contextlib
import datetime as dt
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG
from nightshift_airflow.partitions import settle_partition
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Mapper, scoped_session, sessionmaker

BUNDLE = "tests"
PLUGINS = Path(__file__).resolve().parents[1] / "plugins"


@contextlib.contextmanager
def airflow_database(directory: Path, monkeypatch: pytest.MonkeyPatch, start: Path | None = None) -> Iterator[None]:
    """Give Airflow a database of its own in `directory`, and have it load the plugin as each of its processes does.

    The database is a copy of the file `start`, by default an empty one.
    """
    from airflow import plugins_manager, settings

    monkeypatch.setattr(settings, "PLUGINS_FOLDER", str(PLUGINS))
    caches = (plugins_manager._get_plugins, plugins_manager.get_timetables_plugins)
    for known in caches:
        known.cache_clear()
    plugins_manager.ensure_plugins_loaded()
    shutil.copy(start or _empty_database(), directory / "airflow.db")
    engine = _connect(directory / "airflow.db", lambda name, value: monkeypatch.setattr(settings, name, value))
    yield
    engine.dispose()
    for known in caches:
        known.cache_clear()
    event.remove(Mapper, "before_insert", settle_partition)


@cache
def _empty_database() -> Path:
    """Make Airflow's tables with their first content. Made once per process, since it takes longer than most tests do afterwards."""
    from airflow import settings
    from airflow.models import Base
    from airflow.models.dagbundle import DagBundleModel
    from airflow.utils.db import add_default_pool_if_not_exists, import_all_models, synchronize_log_template
    from airflow.utils.session import create_session

    directory = Path(tempfile.mkdtemp(prefix="airflow-database-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    import_all_models()
    with pytest.MonkeyPatch.context() as patch:
        engine = _connect(directory / "airflow.db", lambda name, value: patch.setattr(settings, name, value))
        Base.metadata.create_all(engine)
        with create_session(scoped=False) as session:
            add_default_pool_if_not_exists(session=session)
            synchronize_log_template(session=session)
            session.add(DagBundleModel(name=BUNDLE))
        engine.dispose()
    return directory / "airflow.db"


def _connect(database: Path, set_: Callable[[str, object], None]) -> Engine:
    """Have Airflow use the SQLite file `database`, by way of its settings."""
    engine = create_engine(f"sqlite:///{database}")
    sessions = sessionmaker(engine, autoflush=False, expire_on_commit=False)

    @event.listens_for(engine, "connect")
    def _without_waiting_for_the_disk(connection: Any, _: object) -> None:
        connection.execute("PRAGMA synchronous = OFF")  # no test of it outlives a power cut

    for name, value in (("engine", engine), ("Session", scoped_session(sessions)), ("NonScopedSession", sessions)):
        set_(name, value)
    return engine


def parse(dag: DAG) -> None:
    """Store `dag`, and when its next run is due, as the DAG processor does with each parse. It is active afterwards."""
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.models import DagModel
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session(scoped=False) as session:
        update_dag_parsing_results_in_db(BUNDLE, None, [LazyDeserializedDAG.from_dag(dag)], {}, None, set(), session)
    with create_session(scoped=False) as session:
        session.execute(update(DagModel).where(DagModel.dag_id == dag.dag_id).values(is_paused=False))


def schedule() -> None:
    """Make the runs that are due by their cron expression or their assets, and start what is queued, as one turn of the scheduler does."""
    from airflow.executors.base_executor import BaseExecutor
    from airflow.jobs.job import Job
    from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
    from airflow.utils.session import create_session
    from airflow.utils.sqlalchemy import prohibit_commit

    runner = SchedulerJobRunner(Job(), executors=[BaseExecutor()])
    with create_session(scoped=False) as session, prohibit_commit(session) as guard:
        runner._create_dagruns_for_dags(guard, session)
        runner._start_queued_dagruns(session)
        guard.commit()


def backfill(dag_id: str, first: str, last: str) -> None:
    """Ask for a backfill of the partitions from `first` to `last`, as ``POST /api/v2/backfills`` does."""
    from airflow.models.backfill import ReprocessBehavior, _create_backfill

    begin, end = (dt.datetime.fromisoformat(f"{day}T00:00:00+00:00") for day in (first, last))
    _create_backfill(
        dag_id=dag_id,
        from_date=begin,
        to_date=end,
        max_active_runs=2,
        reverse=False,
        dag_run_conf=None,
        triggering_user_name="a person",
        reprocess_behavior=ReprocessBehavior.NONE,
    )


def trigger(dag_id: str, partition_key: str | None = None, conf: dict[str, Any] | None = None, **values: Any) -> None:
    """Trigger the DAG as ``POST /api/v2/dags/<dag_id>/dagRuns`` does."""
    from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
    from airflow.api_fastapi.core_api.routes.public.dag_run import trigger_dag_run
    from airflow.models.dagbag import DBDagBag
    from airflow.utils.session import create_session

    body = TriggerDAGRunPostBody(logical_date=None, partition_key=partition_key, conf=conf or {}, **values)
    user: Any = SimpleNamespace(get_name=lambda: "a person", get_id=lambda: 1)
    request: Any = SimpleNamespace(headers={})
    with create_session(scoped=False) as session:
        trigger_dag_run(dag_id, body, DBDagBag(), user, session, request)


def runs(dag_id: str) -> list[Any]:
    """Return all runs of the DAG, the first that was made first."""
    from airflow.models import DagRun
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        found = list(session.scalars(select(DagRun).where(DagRun.dag_id == dag_id).order_by(DagRun.id)))
        for run in found:
            run.task_instances  # noqa: B018 - loaded while there is a session
        session.expunge_all()
    return found


def publish(partition: str, *, uri: str = "nightshift://published/scores", at: dt.datetime | None = None) -> None:
    """Record the event that publishing night `partition` leaves, `at` a moment, by default now."""
    from airflow.models.asset import AssetEvent, AssetModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session(scoped=False) as session:
        asset = session.scalar(select(AssetModel).where(AssetModel.uri == uri))
        if asset is None:
            asset = AssetModel(name=uri, uri=uri)
            session.add(asset)
            session.flush()
        session.add(AssetEvent(asset_id=asset.id, partition_key=partition, timestamp=at or dt.datetime.now(dt.UTC)))
