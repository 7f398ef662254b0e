"""The listener on Airflow's own tables: what a run's note says."""

import datetime as dt
from collections.abc import Iterator
from uuid import uuid4

import pytest
from nightshift_airflow import notes
from sqlalchemy import create_engine
from sqlalchemy.orm import Session


@pytest.fixture
def session() -> Iterator[Session]:
    from airflow.models import import_all_models
    from airflow.models.base import Base

    import_all_models()
    engine = create_engine("sqlite://")
    Base.metadata.create_all(engine)
    with Session(engine) as session:
        yield session


def run_in(session: Session, *, closed: str, note: str | None):
    """Return a run whose close_run ended as `closed`, having told `note`."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from airflow.utils.types import DagRunType

    now = dt.datetime(2026, 1, 1, 2, tzinfo=dt.UTC)
    run = DagRun("nightly_batch_scoring", "run", run_type=DagRunType.MANUAL, run_after=now)
    session.add(run)
    session.flush()
    common = {"dag_id": run.dag_id, "run_id": run.run_id, "task_id": "close_run", "map_index": -1}
    session.execute(
        TaskInstance.__table__.insert().values(
            **common, id=uuid4(), state=closed, try_number=4, max_tries=3, pool="default_pool", pool_slots=1
        )
    )
    if note:
        session.execute(XComModel.__table__.insert().values(**common, dag_run_id=run.id, key="note", value=note, timestamp=now))
    return run


@pytest.mark.parametrize(
    ("closed", "note", "shown"),
    [
        ("success", "2013-04-01: 945 rows", "2013-04-01: 945 rows"),
        ("failed", "2013-04-01: 945 rows", "NOT RECORDED: close_run failed. 2013-04-01: 945 rows"),
        ("failed", None, "NOT RECORDED: close_run failed"),
    ],
)
def test_a_run_that_was_not_recorded_says_so_though_it_succeeded(session, closed, note, shown):
    run = run_in(session, closed=closed, note=note)
    for ended in (notes.on_dag_run_success, notes.on_dag_run_success, notes.on_dag_run_failed):  # a run that is cleared ends again
        ended(run, "")
        assert run.note == shown
