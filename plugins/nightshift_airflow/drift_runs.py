"""The one run of `drift_triggered_retraining` for a champion and a partition: found, made, or started again.

A retraining learns from a night that is published. An alert that comes before is not lost: no run is made, the sender hears that the night is not
there yet and asks again. A run of that id that came too early all the same, and failed for it, is started again when the alert is repeated.
"""

import datetime as dt
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from airflow.api.common.trigger_dag import trigger_dag
from airflow.exceptions import DagNotFound, DagRunAlreadyExists
from airflow.models import DagModel, DagRun
from airflow.models.dagbag import DBDagBag
from airflow.sdk.exceptions import ParamValidationError
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunTriggeredByType
from pydantic import AfterValidator, BaseModel, StringConstraints
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from nightshift_airflow.publication import NotPublishedYetError, newest_published, published_since, require_published
from nightshift_airflow.use_cases import default_name, names, suffix_of
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.partition import parse_partition

DAG = "drift_triggered_retraining"
MOST_RUNS = 20  # new runs that one webhook may make: a rule with a wrong label must not fill the queue
LONGEST_REASON = 500

_creating = threading.Lock()  # anyone who makes runs in this process; another process is met by the unique constraint


def _calendar_date(text: str) -> str:
    try:
        return parse_partition(text).isoformat()
    except ConfigError:
        raise ValueError("must be a date like 2013-06-01") from None


def _declared(use_case: str) -> str:
    if use_case and use_case not in (known := names()):
        raise ValueError(f"there is no such use case; there are {', '.join(known)}")
    return use_case


class Drift(BaseModel):
    """The content of an alert: its partition, which version was champion, and the use case (empty: the default one). A version has one spelling, so
    that a run has one id.
    """

    partition: Annotated[str, AfterValidator(_calendar_date)]
    champion_version: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")]
    reason: str
    use_case: Annotated[str, StringConstraints(pattern=r"^([a-z][a-z0-9]*(_[a-z0-9]+)*)?$", max_length=40), AfterValidator(_declared)] = ""

    @property
    def dag_id(self) -> str:
        """The DAG of the use case that retrains; the default use case may be named, too."""
        return f"{DAG}__{self.use_case}" if self.use_case and self.use_case != default_name() else DAG

    @property
    def run_id(self) -> str:
        """The id of the one run for it, the same that `pipelines.monitoring.alert` gives."""
        return f"drift__{self.champion_version}__{self.partition}"

    def conf(self) -> dict[str, str]:
        """Return the run's conf."""
        return {"champion_version": self.champion_version, "reason": self.reason, "source": "alertmanager"}

    def is_for(self, run: DagRun) -> bool:
        """Return whether `run`, which has the id, is for the same. Its reason and source are those of anyone who asked first."""
        return run.partition_key == self.partition and (run.conf or {}).get("champion_version") == self.champion_version


@dataclass
class DriftRuns:
    """The results for the requested runs: ids, and for each that has no run why."""

    created: list[str] = field(default_factory=list)
    restarted: list[str] = field(default_factory=list)
    existed: list[str] = field(default_factory=list)
    waiting: list[dict[str, str]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)

    def add(self, other: "DriftRuns", prefix: str) -> None:
        """Add the results `other`, each id after `prefix`."""
        for mine, theirs in ((self.created, other.created), (self.restarted, other.restarted), (self.existed, other.existed)):
            mine += [f"{prefix}{run_id}" for run_id in theirs]
        for kept, given in ((self.waiting, other.waiting), (self.refused, other.refused)):
            kept += [{**one, "run": f"{prefix}{one['run']}"} for one in given]


def ensure_runs(dag_id: str, wanted: Mapping[str, Drift], caller: str) -> DriftRuns:
    """See to it that there is one run of `dag_id` for each id. Known ids cost two reads; only one thread of this process at a time makes runs."""
    outcome, found = DriftRuns(), find_runs(dag_id, wanted)
    unpublished = find_unpublished(dag_id, wanted)
    missing = [run_id for run_id in wanted if run_id not in found and run_id not in unpublished]
    without_dag: dict[str, str] = {}
    for run_id in missing[:MOST_RUNS]:
        try:
            with _creating:
                if create_run(dag_id, run_id, wanted[run_id], caller):
                    outcome.created.append(run_id)
        except DagNotFound:  # the alerts of other use cases go on
            without_dag[run_id] = f"Airflow has no sound {dag_id}; look at its import errors and at the page Nightshift"
        except (ParamValidationError, ValueError) as error:
            outcome.refused.append({"run": run_id, "fault": f"{dag_id} refuses it: {printable(str(error), LONGEST_REASON)}"})
    outcome.refused += [{"run": run_id, "fault": f"one webhook makes {MOST_RUNS} runs at most"} for run_id in missing[MOST_RUNS:]]
    found |= find_runs(dag_id, {run_id: wanted[run_id] for run_id in missing if run_id not in outcome.created})
    for run_id, run in found.items():
        if not wanted[run_id].is_for(run):
            shown = printable(f"partition {run.partition_key}, conf {run.conf}", LONGEST_REASON)
            fault = f"a run of this id exists for something else: {shown}; delete it, or trigger the DAG yourself"
            outcome.refused.append({"run": run_id, "fault": fault})
        elif run.state != DagRunState.FAILED:
            outcome.existed.append(run_id)
        elif run_id not in unpublished:
            with _creating:
                (outcome.restarted if restart_early(dag_id, run_id) else outcome.existed).append(run_id)
    outcome.waiting = [
        {"run": run_id, "fault": fault}
        for run_id, fault in {**unpublished, **without_dag}.items()
        if run_id not in found or found[run_id].state == DagRunState.FAILED
    ]
    return outcome


def find_unpublished(dag_id: str, wanted: Mapping[str, Drift]) -> dict[str, str]:
    """Return the `wanted` ids whose night is not published yet, each with a reason."""
    with create_session(scoped=False) as session:
        newest = newest_published(session, suffix_of(dag_id))
    refusals = {}
    for run_id, drift in wanted.items():
        try:
            require_published(drift.partition, newest, dt.datetime.now(dt.UTC).date())
        except NotPublishedYetError as error:
            refusals[run_id] = str(error)
        except ValueError:  # for good: the run is refused when it is made
            pass
    return refusals


def find_runs(dag_id: str, wanted: Mapping[str, Drift]) -> dict[str, DagRun]:
    """Return the runs that exist among the ids that are `wanted`."""
    if not wanted:
        return {}
    with create_session(scoped=False) as session:
        runs = session.scalars(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id.in_(list(wanted))))
        return {run.run_id: run for run in runs}


def create_run(dag_id: str, run_id: str, drift: Drift, caller: str) -> bool:
    """Create the run as Airflow's own API would, its conf checked against the DAG's Params. False if it exists, perhaps since just now.

    Raises `DagNotFound` if Airflow does not have the DAG, or not as its file is now.
    """
    try:
        with create_session(scoped=False) as session:
            model = session.scalar(select(DagModel).where(DagModel.dag_id == dag_id, ~DagModel.is_stale))
            if model is None or model.has_import_errors:
                raise DagNotFound
            trigger_dag(
                dag_id,
                triggered_by=DagRunTriggeredByType.REST_API,
                triggering_user_name=caller,
                run_id=run_id,
                conf=drift.conf(),
                partition_key=drift.partition,
                session=session,
            )
    except (DagRunAlreadyExists, IntegrityError):
        return False
    return True


def restart_early(dag_id: str, run_id: str) -> bool:
    """Clear the run if it failed before its night was published, since no attempt could succeed then. False if it is left as it is."""
    with create_session(scoped=False) as session:
        run = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id).with_for_update())
        if run is None or run.state != DagRunState.FAILED or run.end_date is None or run.partition_key is None:
            return False
        published, dag = (
            published_since(session, run.partition_key, suffix_of(dag_id)),
            DBDagBag().get_latest_version_of_dag(dag_id, session=session),
        )
        if published is None or run.end_date >= published or dag is None:
            return False
        dag.clear(run_id=run_id, session=session)
        return True


def is_paused(dag_id: str) -> bool:
    """Return whether runs of the DAG have to wait."""
    with create_session(scoped=False) as session:
        return bool(session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id)))


def printable(text: str, longest: int) -> str:
    """Return the first `longest` characters of `text`, each one that cannot be printed replaced by a space."""
    return "".join(letter if letter.isprintable() else " " for letter in text[:longest])
