"""``POST /nightshift/alerts``: a webhook of Prometheus Alertmanager (version 4) starts the retraining that Nightshift's own monitor would start.

Every firing alert names a ``partition`` and a ``champion_version`` in its labels or annotations, and the ``use_case`` if it is not the default one. It
becomes the run ``drift__<champion version>__<partition>`` of that use case: anyone who asks, however often, there is one such run. Resolved alerts are acknowledged, no more.

Allowed is a user whose login may trigger the DAG, or a credential of `nightshift_airflow.credentials`; always in the ``Authorization`` header, never
as the cookie of a browser, which other sites could make send it.
"""

import datetime as dt
import logging
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import bearer_scheme, get_user, requires_access_dag
from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import BaseModel, ValidationError

from nightshift_airflow import credentials
from nightshift_airflow.drift_runs import DAG, LONGEST_REASON, Drift, DriftRuns, ensure_runs, is_paused, printable

MOST_BYTES = 1 << 20  # some thousand alerts; Alertmanager's own limit (`max_alerts`) is none
RETRY_AFTER_S = "60"  # Alertmanager does not read it: it waits for at most a minute on its own
LONGEST_PART = 100  # of a name or value of other people's in an answer

log = logging.getLogger(__name__)
_CHALLENGE = {"WWW-Authenticate": "Bearer"}

Bearer = Annotated[HTTPAuthorizationCredentials | None, Depends(bearer_scheme)]


class Alert(BaseModel):
    """One alert of a webhook; what else it holds is of no interest here."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    @property
    def name(self) -> str:
        """The name of the alert in Prometheus."""
        return printable(self.labels.get("alertname", "an alert without alertname"), LONGEST_PART)


class Webhook(BaseModel):
    """A group of alerts, as https://prometheus.io/docs/alerting/latest/configuration/#webhook_config describes it."""

    version: Literal["4"]
    alerts: list[Alert]


async def known_user(request: Request, bearer: Bearer) -> BaseUser:
    """Return the user of the caller's token. An invalid token gets 401, not Airflow's 403, which would mean a known user without permission."""
    try:
        return await get_user(request, None, bearer)
    except HTTPException as error:
        raise HTTPException(401, error.detail, _CHALLENGE) from None


@dataclass(frozen=True)
class Caller:
    """The sender of a webhook: the `name` of a user or of a credential; `user` is None for a credential, which may trigger each use case."""

    name: str
    user: BaseUser | None = None
    request: Request | None = None

    def require_trigger(self, dag_id: str) -> None:
        """Raise 403 for a user who may not trigger the DAG."""
        if self.user is not None and self.request is not None:
            requires_access_dag(method="POST", access_entity=DagAccessEntity.RUN, param_dag_id=dag_id)(self.request, self.user)


async def identify_caller(request: Request, bearer: Bearer) -> Caller:
    """Return the caller. Raises 401 for a token that is missing or not good. Permissions of a user depend on the use case of each alert."""
    if bearer is None:
        raise HTTPException(401, "no token; send one as Authorization: Bearer <token>", _CHALLENGE)
    if bearer.credentials.startswith(credentials.PREFIX):
        owner = await run_in_threadpool(credentials.find_owner, bearer.credentials, dt.datetime.now(dt.UTC))
        if owner is None:
            raise HTTPException(401, "this credential is unknown, revoked or expired; make a new one", _CHALLENGE)
        return Caller(f"credential {owner}")
    user = await known_user(request, bearer)
    return Caller(str(user.get_name()), user, request)


async def read_body(request: Request) -> bytes:
    """Return the body, never more of it than `MOST_BYTES` in memory; 413 for a longer one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MOST_BYTES:
            raise HTTPException(413, f"the body has more than {MOST_BYTES} bytes; set max_alerts on the receiver")
    return bytes(body)


def receive_alerts(caller: Annotated[Caller, Depends(identify_caller)], body: Annotated[bytes, Depends(read_body)]) -> JSONResponse:
    """Start what the firing alerts of a webhook ask for, and say what was created, what existed and what was refused.

    200 when every firing alert has its run. 503 when the night of one is not published yet, since Alertmanager repeats what was answered with 5xx.
    422 when an alert cannot be used, since Alertmanager counts and shows answers of 4xx and nobody reads its answers of 200. The others of the group
    have their runs all the same, and hear it again, without effect, with the group's next notification.
    Raises 403 for a user who may trigger none of the DAGs that the webhook asks for.
    """
    try:
        webhook = Webhook.model_validate_json(body)
    except ValidationError as error:
        raise HTTPException(422, error.errors(include_url=False, include_input=False, include_context=False)[:10]) from None
    wanted: dict[str, dict[str, Drift]] = {}
    refused: list[dict[str, str]] = []
    for alert in webhook.alerts:
        if alert.status == "firing":
            drift, faults = read_drift(alert)
            refused += faults
            if drift is not None:
                wanted.setdefault(drift.dag_id, {}).setdefault(drift.run_id, drift)
    runs, paused, denied = DriftRuns(), [], 0
    for dag_id, drifts in wanted.items():
        try:
            caller.require_trigger(dag_id)
        except HTTPException:
            denied += 1
            if denied == len(wanted):
                raise
            refused += [{"run": run_id, "fault": f"{caller.name} may not trigger {dag_id}"} for run_id in drifts]
            continue
        runs.add(ensure_runs(dag_id, drifts, caller.name), "" if dag_id == DAG else f"{dag_id}/")
        paused += [dag_id] if is_paused(dag_id) else []
    refused += runs.refused
    answer: dict[str, Any] = {"created": runs.created, "existed": runs.existed}
    answer |= {"resolved": sum(alert.status == "resolved" for alert in webhook.alerts), "refused": refused}
    answer |= {name: summary for name, summary in (("restarted", runs.restarted), ("waiting", runs.waiting)) if summary}
    if paused:
        answer["paused"] = f"{', '.join(paused)} is paused: its runs wait until somebody unpauses it"
    if runs.created or runs.restarted or runs.waiting or refused:
        log.info("alerts from %s: %s", caller.name, answer)
    if runs.waiting:
        return JSONResponse(answer, 503, {"Retry-After": RETRY_AFTER_S})
    return JSONResponse(answer, 422 if refused else 200)


def read_drift(alert: Alert) -> tuple[Drift | None, list[dict[str, str]]]:
    """Return what `alert` says, or why it cannot be used: each fault with the alert's name and the label."""
    summary = alert.annotations.get("summary") or alert.annotations.get("description") or ""
    reason = printable(f"{alert.name}: {summary}" if summary else alert.name, LONGEST_REASON)
    try:
        return Drift.model_validate({**alert.annotations, **alert.labels, "reason": reason}), []
    except ValidationError as error:
        return None, [
            {
                "alert": alert.name,
                "label": str(fault["loc"][0]),
                "fault": _describe(str(fault["loc"][0]), fault["type"], fault["msg"], fault["input"]),
            }
            for fault in error.errors(include_url=False)
        ]


def _describe(label: str, kind: str, message: str, value: object) -> str:
    if kind == "missing":
        return "missing; the rule has to set it"
    shown = printable(str(value), LONGEST_PART)
    if kind == "string_pattern_mismatch":
        return f"is {shown!r}; must be {'the name of a use case' if label == 'use_case' else 'the number of a version, such as 7'}"
    return f"is {shown!r}; {message.removeprefix('Value error, ')}"
