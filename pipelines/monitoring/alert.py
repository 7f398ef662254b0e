"""Ask Airflow for a retraining, over its REST API, where the governor has decided for one.

Reads   data/reports/govern/decision.json; NIGHTSHIFT_API_URL, NIGHTSHIFT_API_USER and NIGHTSHIFT_API_PASSWORD from the environment
Effect  the run ``drift__<champion version>__<partition>`` of drift_triggered_retraining; there is one of it, however often it is asked for
Writes  data/reports/alert/report.json: what was asked for and what came of it
Fails   for good when the API refuses the call or a run of that id is for something else; is retried when the API does not answer

An answer that was lost on its way is no reason to ask for a second run: the run is read back by its id.
"""

import http.client
import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from pydantic import ConfigDict

from pipelines.lib.atomic import replacing
from pipelines.lib.errors import ConfigError, DataError, TransientError
from pipelines.lib.params import Section, load_section, parse_section
from pipelines.lib.partition import parse_partition
from pipelines.lib.stage import Paths, log, stage

DAG_ID = "drift_triggered_retraining"
LONGEST_REASON = 500
LONGEST_ANSWER = 1 << 20  # bytes; what answers more is not Airflow
LATER = (408, 425, 429)


class Alert(Section):
    """`timeout_s`: how long the API may leave a call without a sign of life."""

    timeout_s: float


class Decision(Section):
    """What the governor wrote, as far as it matters here."""

    model_config = ConfigDict(extra="ignore")

    retrain: bool
    reason: str
    partition: str
    champion_version: str | None = None


class Api:
    """Airflow's REST API at `url`, as `user`. Redirects are not followed: a password goes where it was sent, and a POST stays one."""

    def __init__(self, url: str, user: str, password: str, timeout_s: float) -> None:
        if not re.match(r"https?://\S+$", url) or not user or not password:
            raise ConfigError(
                f"NIGHTSHIFT_API_URL is {url!r}, NIGHTSHIFT_API_USER {user!r}, the password is {'set' if password else 'missing'}; "
                "set all three, in Airflow with the connection nightshift_api"
            )
        self.url, self.user, self.timeout_s = url.rstrip("/"), user, timeout_s
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._token: str | None = None
        status, answer = self.call("POST", "/auth/token", {"username": user, "password": password})
        self._token = str(answer["access_token"]) if status in (200, 201) and "access_token" in answer else None
        if self._token is None:
            raise _refusal(status, f"{self.url} does not let {user!r} in: {status} {_detail(answer)}; correct user, password or URL")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """The status and the JSON object (empty for anything else) with which `path` was answered. Raises `TransientError` where it was not."""
        headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {self._token}"} if self._token else {})}
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, content, headers, method=method)  # noqa: S310  the scheme was checked
        try:
            with self._open(request) as response:
                status, raw = int(response.status), response.read(LONGEST_ANSWER)
        except (OSError, http.client.HTTPException) as error:
            raise TransientError(f"{method} {self.url}{path} was not answered ({type(error).__name__}: {error}); try again") from None
        try:
            answer = json.loads(raw)
        except ValueError:
            answer = {}
        return status, answer if isinstance(answer, dict) else {}

    def _open(self, request: urllib.request.Request) -> Any:
        try:
            return self._opener.open(request, timeout=self.timeout_s)
        except urllib.error.HTTPError as answer:  # an answer like any other
            return answer


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def alert(decision: Decision, api: Api) -> str:
    """See to it that the run which `decision` asks for exists; return ``created`` or ``existed``."""
    run_id, runs = run_id_of(decision), f"/api/v2/dags/{DAG_ID}/dagRuns"
    conf = {"champion_version": decision.champion_version, "reason": decision.reason[:LONGEST_REASON], "source": "monitor"}
    body = {"dag_run_id": run_id, "logical_date": None, "partition_key": decision.partition, "conf": conf}
    try:
        status, answer = api.call("POST", runs, body)
        told = f"{status} {_detail(answer)}"
    except TransientError as error:
        status, answer, told = 0, {}, str(error)
    if status in (200, 201) and answer.get("dag_run_id") == run_id:
        return "created"
    if 300 <= status < 500 and status not in (409, *LATER):
        raise ConfigError(f"{api.url} refuses to start {run_id}: {told}; mend what it names, and trigger {DAG_ID} by hand if it is urgent")
    status, run = api.call("GET", f"{runs}/{run_id}")
    if status != 200:
        raise TransientError(f"{run_id} was not started ({told}), and reading it back gave {status} {_detail(run)}; try again")
    found, wanted = (
        (run.get("partition_key"), (run.get("conf") or {}).get("champion_version")),
        (decision.partition, conf["champion_version"]),
    )
    if found != wanted:
        raise ConfigError(f"{run_id} exists and is for partition and champion {found}, wanted are {wanted}; delete it and clear this task")
    return "existed"


def run_id_of(decision: Decision) -> str:
    """The id of the run: the same for everybody who asks for it. Raises `DataError` for a version that is no number, `ConfigError` for no date."""
    if not re.fullmatch(r"[1-9][0-9]{0,8}", decision.champion_version or "", re.ASCII):
        raise DataError(f"the decision names champion version {decision.champion_version!r}; run govern again")
    return f"drift__{decision.champion_version}__{parse_partition(decision.partition).isoformat()}"


def _refusal(status: int, message: str) -> Exception:
    return TransientError(message) if status >= 500 or status in LATER else ConfigError(message)


def _detail(answer: dict[str, Any]) -> str:
    return str(answer.get("detail", "without a reason"))[:LONGEST_REASON]


@stage(
    "alert",
    decision={"type": Path, "default": Path("data/reports/govern/decision.json"), "help": "what the governor wrote"},
    report={"type": Path, "default": Path("data/reports/alert"), "help": "directory of the record of what was asked for"},
)
def main(paths: Paths) -> None:
    """Act on the decision, or say that there is nothing to do."""
    try:
        decision = parse_section(json.loads(paths.decision.read_text(encoding="utf-8")), Decision, paths.decision.name)
    except (OSError, ValueError) as error:
        raise DataError(f"{paths.decision} is no decision ({type(error).__name__}: {error}); run govern first") from None
    record: dict[str, Any] = {"retrain": decision.retrain, "run_id": None, "state": "not asked", "note": "no retraining asked for"}
    if decision.retrain:
        params = load_section("alert", Alert)
        url, user, password = (os.environ.get(f"NIGHTSHIFT_API_{name}", "") for name in ("URL", "USER", "PASSWORD"))
        run_id, state = run_id_of(decision), alert(decision, Api(url, user, password, params.timeout_s))
        told = "asked for" if state == "created" else "was asked for before"
        record |= {"run_id": run_id, "state": state, "note": f"retraining {told}: {run_id}"}
    log.info("%s", record["note"])
    with replacing(paths.report / "report.json") as temporary:
        temporary.write_text(json.dumps(record, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
