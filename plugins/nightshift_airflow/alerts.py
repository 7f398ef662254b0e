"""``POST /nightshift/alerts``: a webhook of Prometheus Alertmanager (version 4) starts the retraining that Nightshift's own monitor would start.

Every firing alert names a ``partition`` and a ``champion_version`` in its labels or annotations, and becomes the run
``drift__<champion version>__<partition>``: whoever asks, however often, there is one such run. Resolved alerts are acknowledged, no more.

Who may: a user whose login may trigger the DAG, or a credential of `nightshift_airflow.credentials`; always in the ``Authorization`` header, never
as the cookie of a browser, which other sites could make send it.
"""

import datetime as dt
import logging
import re
import threading
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from airflow.api.common.trigger_dag import trigger_dag
from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user, requires_access_dag
from airflow.exceptions import DagNotFound, DagRunAlreadyExists
from airflow.models import DagModel, DagRun
from airflow.sdk.exceptions import ParamValidationError
from airflow.utils.session import create_session
from airflow.utils.types import DagRunTriggeredByType
from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import AfterValidator, BaseModel, StringConstraints, ValidationError
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from nightshift_airflow import credentials

DAG_ID = "drift_triggered_retraining"
MOST_BYTES = 1 << 20  # some thousand alerts; Alertmanager's own limit (`max_alerts`) is none
MOST_RUNS = 20  # new runs that one webhook may make: a rule with a wrong label must not fill the queue
LONGEST_REASON = 500
LONGEST_PART = 100  # of a name or value of other people's in an answer

log = logging.getLogger(__name__)
_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_creating = threading.Lock()  # whoever makes runs in this process; another process is met by the unique constraint
_may_trigger = requires_access_dag(method="POST", access_entity=DagAccessEntity.RUN, param_dag_id=DAG_ID)

Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]


def _calendar_date(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        raise ValueError("must be a date like 2013-06-01")
    return dt.date.fromisoformat(text).isoformat()


class Alert(BaseModel):
    """One alert of a webhook; what else it holds is of no interest here."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @property
    def name(self) -> str:
        """What Prometheus calls it."""
        return _printable(self.labels.get("alertname", "an alert without alertname"), LONGEST_PART)


class Webhook(BaseModel):
    """A group of alerts, as https://prometheus.io/docs/alerting/latest/configuration/#webhook_config describes it."""

    version: Literal["4"]
    alerts: list[Alert]


class Drift(BaseModel):
    """What an alert has to say: the partition it speaks of, and which version was champion. A version has one spelling, so that a run has one id."""

    partition: Annotated[str, AfterValidator(_calendar_date)]
    champion_version: Annotated[str, StringConstraints(pattern=r"^[1-9][0-9]{0,8}$")]
    reason: str

    @property
    def run_id(self) -> str:
        """The id of the one run for it, the same that `pipelines.monitoring.alert` gives."""
        return f"drift__{self.champion_version}__{self.partition}"

    def conf(self) -> dict[str, str]:
        """The run's conf."""
        return {"champion_version": self.champion_version, "reason": self.reason, "source": "alertmanager"}

    def is_for(self, run: DagRun) -> bool:
        """Whether `run`, which has the id, is for the same. Its reason and source are those of whoever asked first."""
        return run.partition_key == self.partition and (run.conf or {}).get("champion_version") == self.champion_version


async def known_user(request: Request, bearer: Bearer) -> BaseUser:
    """Whom Airflow knows the caller as. A token that is none gets 401, where Airflow has 403, which would say that somebody is known and may not."""
    try:
        return await get_user(request, None, bearer)
    except HTTPException as error:
        raise HTTPException(401, error.detail, _CHALLENGE) from None


async def identify_caller(request: Request, bearer: Bearer) -> str:
    """Who calls: a user's name or a credential's. Raises 401 for a token that is missing or not good, 403 for a user who may not trigger."""
    if bearer is None:
        raise HTTPException(401, "no token; send one as Authorization: Bearer <token>", _CHALLENGE)
    if bearer.credentials.startswith(credentials.PREFIX):
        owner = await run_in_threadpool(credentials.find_owner, bearer.credentials, dt.datetime.now(dt.UTC))
        if owner is None:
            raise HTTPException(401, "this credential is unknown, revoked or expired; make a new one", _CHALLENGE)
        return f"credential {owner}"
    user = await known_user(request, bearer)
    await run_in_threadpool(_may_trigger, request, user)
    return str(user.get_name())


async def read_body(request: Request) -> bytes:
    """The body, never more of it than `MOST_BYTES` in memory; 413 for a longer one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"the body has more than {MOST_BYTES} bytes; set max_alerts on the receiver")
    return bytes(body)


def receive_alerts(caller: Annotated[str, Depends(identify_caller)], body: Annotated[bytes, Depends(read_body)]) -> JSONResponse:
    """Start what the firing alerts of a webhook ask for, and say what was created, what existed and what was refused.

    200 when every firing alert has its run. 422 when one has not, since Alertmanager counts and shows answers of 4xx and nobody reads its answers
    of 200; the others of its group have their runs all the same, and hear it again, without effect, with the group's next notification.
    """
    try:
        webhook = Webhook.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_input=False, include_context=False)[:10]) from None
    wanted: dict[str, Drift] = {}
    refused: list[dict[str, str]] = []
    for alert in webhook.alerts:
        if alert.status == "firing":
            drift, faults = read_drift(alert)
            refused += faults
            if drift is not None:
                wanted.setdefault(drift.run_id, drift)
    answer: dict[str, Any] = {"created": [], "existed": []}
    if wanted:
        answer = ensure_runs(wanted, caller)
        refused += answer.pop("refused")
    answer |= {"resolved": sum(alert.status == "resolved" for alert in webhook.alerts), "refused": refused}
    if answer["created"] or refused:
        log.info("alerts from %s: created %s, refused %s", caller, answer["created"], refused)
    return JSONResponse(answer, status_code=422 if refused else 200)


def read_drift(alert: Alert) -> tuple[Drift | None, list[dict[str, str]]]:
    """What `alert` says, or why it cannot be used: each fault with the alert's name and the label."""
    told = alert.annotations.get("summary") or alert.annotations.get("description") or ""
    reason = _printable(f"{alert.name}: {told}" if told else alert.name, LONGEST_REASON)
    try:
        return Drift.model_validate({**alert.annotations, **alert.labels, "reason": reason}), []
    except ValidationError as error:
        return None, [
            {"alert": alert.name, "label": str(fault["loc"][0]), "fault": _describe(fault["type"], fault["msg"], fault["input"])}
            for fault in error.errors(include_url=False)
        ]


def ensure_runs(wanted: Mapping[str, Drift], caller: str) -> dict[str, Any]:
    """See to it that there is one run for each id. Known ids cost one read; only one thread of this process at a time makes runs."""
    found = find_runs(wanted)
    missing = [run_id for run_id in wanted if run_id not in found]
    created: list[str] = []
    refused: list[dict[str, str]] = []
    for run_id in missing[:MOST_RUNS]:
        try:
            with _creating:
                if create_run(run_id, wanted[run_id], caller):
                    created.append(run_id)
        except (ParamValidationError, ValueError) as error:
            refused.append({"run": run_id, "fault": f"{DAG_ID} refuses it: {_printable(str(error), LONGEST_REASON)}"})
    refused += [{"run": run_id, "fault": f"one webhook makes {MOST_RUNS} runs at most"} for run_id in missing[MOST_RUNS:]]
    found |= find_runs({run_id: wanted[run_id] for run_id in missing if run_id not in created})
    for run_id, run in found.items():
        if not wanted[run_id].is_for(run):
            shown = _printable(f"partition {run.partition_key}, conf {run.conf}", LONGEST_REASON)
            refused.append({"run": run_id, "fault": f"a run of this id exists for something else: {shown}; delete it or trigger by hand"})
    existed = [run_id for run_id, run in found.items() if wanted[run_id].is_for(run)]
    paused = {"paused": f"{DAG_ID} is paused: its runs wait until somebody unpauses it"} if is_paused() else {}
    return {"created": created, "existed": existed, "refused": refused, **paused}


def find_runs(wanted: Mapping[str, Drift]) -> dict[str, DagRun]:
    """The runs that exist among the ids that are `wanted`."""
    if not wanted:
        return {}
    with create_session(scoped=False) as session:
        runs = session.scalars(select(DagRun).where(DagRun.dag_id == DAG_ID, DagRun.run_id.in_(list(wanted))))
        return {run.run_id: run for run in runs}


def create_run(run_id: str, drift: Drift, caller: str) -> bool:
    """Create the run as Airflow's own API would, its conf checked against the DAG's Params. False where it exists, perhaps since just now."""
    try:
        with create_session(scoped=False) as session:
            model = session.scalar(select(DagModel).where(DagModel.dag_id == DAG_ID, ~DagModel.is_stale))
            if model is None or model.has_import_errors:
                raise DagNotFound
            trigger_dag(
                DAG_ID,
                triggered_by=DagRunTriggeredByType.REST_API,
                triggering_user_name=caller,
                run_id=run_id,
                conf=drift.conf(),
                partition_key=drift.partition,
                session=session,
            )
    except (DagRunAlreadyExists, IntegrityError):
        return False
    except DagNotFound:
        raise HTTPException(503, f"Airflow has no sound {DAG_ID}; look at its import errors", {"Retry-After": "30"}) from None
    return True


def is_paused() -> bool:
    """Whether runs of the DAG have to wait."""
    with create_session(scoped=False) as session:
        return bool(session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == DAG_ID)))


def _describe(kind: str, message: str, value: object) -> str:
    if kind == "missing":
        return "missing; the rule has to set it"
    shown = _printable(str(value), LONGEST_PART)
    if kind == "string_pattern_mismatch":
        return f"is {shown!r}; must be the number of a version, such as 7"
    return f"is {shown!r}; {message.removeprefix('Value error, ')}"


def _printable(text: str, longest: int) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:longest])
