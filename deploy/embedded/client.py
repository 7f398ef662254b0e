"""A small client of Airflow's REST API: log in, trigger a night, follow it."""

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any

FINISHED = ("success", "failed")
_TIMEOUT_S = 30
_BUSY_WAITS_S = (0.2, 0.5, 1.0, 2.0, 4.0)


class ApiError(Exception):
    """The API answered with an error; `status` is its HTTP code, `detail` what it said."""

    def __init__(self, method: str, path: str, status: int, detail: Any) -> None:
        super().__init__(f"{method} {path} was answered with {status}: {detail}")
        self.status, self.detail = status, detail

    @property
    def is_busy(self) -> bool:
        """Whether Airflow could not write to its database, and so did nothing.

        SQLite has one writer. Airflow's API server writes its audit log on its event loop, on which another request may be waiting with the
        lock in its hands: then neither moves on, and after SQLite's five seconds this one is answered with an error.
        """
        return self.status == 500 and isinstance(self.detail, Mapping) and self.detail.get("reason") == "Database error"


class Client:
    """Airflow's API at `url`, as `username`; logs in with its first call, and again when the token has expired."""

    def __init__(self, url: str, username: str, password: str) -> None:
        self.url, self._username, self._password = url.rstrip("/"), username, password
        self._token: str | None = None

    def token(self) -> str:
        """Return a bearer token for this user."""
        if self._token is None:
            answer = self._send("POST", "/auth/token", {"username": self._username, "password": self._password}, token=None)
            self._token = str(answer["access_token"])
        return self._token

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Call `path` below ``/api/v2`` and return the decoded answer. Raises `ApiError` for a 4xx or 5xx.

        It calls again while the database is busy. It also asks again where a GET got no answer in time: a GET changes nothing.
        """
        for wait_s in _BUSY_WAITS_S:
            try:
                return self._call(method, path, body)
            except ApiError as error:
                if not error.is_busy:
                    raise
            except OSError as error:
                if method != "GET" or not isinstance(getattr(error, "reason", error), TimeoutError):
                    raise
            time.sleep(wait_s)
        return self._call(method, path, body)

    def unpause(self, dag_id: str, *, paused: bool = False) -> None:
        """Let the runs of a DAG start (or, with `paused`, no longer)."""
        self.call("PATCH", f"/dags/{_part(dag_id)}?update_mask=is_paused", {"is_paused": paused})

    def make_pool(self, name: str, slots: int) -> None:
        """Make the pool `name`, or give an existing one these `slots`."""
        body = {"slots": slots, "description": f"The tasks of the use case {name}", "include_deferred": False}
        try:
            self.call("POST", "/pools", {"name": name, **body})
        except ApiError as error:
            if error.status != 409:
                raise
            self.call("PATCH", f"/pools/{_part(name)}?update_mask=slots", {"pool": name, **body})

    def trigger(self, dag_id: str, partition_key: str, *, run_id: str | None = None, conf: Mapping[str, Any] | None = None) -> str:
        """Trigger a run for `partition_key`; return its run id. A repeated `run_id` is answered with 409."""
        body: dict[str, Any] = {"logical_date": None, "partition_key": partition_key, "conf": dict(conf or {})}
        if run_id is not None:
            body["dag_run_id"] = run_id
        return str(self.call("POST", f"/dags/{_part(dag_id)}/dagRuns", body)["dag_run_id"])

    def clear(self, dag_id: str, run_id: str) -> None:
        """Have every task of a run run again."""
        self.call("POST", f"/dags/{_part(dag_id)}/clearTaskInstances", {"dry_run": False, "only_failed": False, "dag_run_id": run_id})

    def run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Return a DAG run as the API gives it."""
        answer: dict[str, Any] = self.call("GET", f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}")
        return answer

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        """Return the task instances of a run."""
        instances: list[dict[str, Any]] = self.call("GET", f"/dags/{_part(dag_id)}/dagRuns/{_part(run_id)}/taskInstances")["task_instances"]
        return instances

    def follow(
        self,
        dag_id: str,
        run_ids: Sequence[str],
        *,
        timeout_s: float,
        progress: Callable[[str, list[dict[str, Any]]], None] = lambda run_id, tasks: None,
        check: Callable[[], None] = lambda: None,
        interval_s: float = 0.5,
    ) -> dict[str, str]:
        """Wait until all runs have finished; return their states.

        Each look passes the task instances of each unfinished run to `progress`. `check` may raise to give up. Raise `TimeoutError`.
        """
        states = dict.fromkeys(run_ids, "queued")
        deadline = time.monotonic() + timeout_s
        while True:
            for run_id in [run_id for run_id, state in states.items() if state not in FINISHED]:
                states[run_id] = str(self.run(dag_id, run_id)["state"])
                progress(run_id, self.tasks(dag_id, run_id))
            if all(state in FINISHED for state in states.values()):
                return states
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {timeout_s:.0f} s the runs of {dag_id} stand at {states}; see the logs of their tasks in the UI")
            check()
            time.sleep(interval_s)

    def follow_partitions(
        self,
        dag_id: str,
        partitions: Sequence[str],
        *,
        since: str,
        timeout_s: float,
        progress: Callable[[str, list[dict[str, Any]]], None] | None = None,
        check: Callable[[], None] = lambda: None,
    ) -> dict[str, dict[str, Any]]:
        """Wait until a run that began at `since` (ISO 8601) or later has finished for each of `partitions`; return these runs.

        For runs that somebody else starts, such as those of an asset. `progress` and `check` as in `follow`. Raises `TimeoutError`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            runs = self.call("GET", f"/dags/{_part(dag_id)}/dagRuns?limit=100&order_by=-run_after&run_after_gte={_part(since)}")["dag_runs"]
            found = {run["partition_key"]: run for run in reversed(runs) if run["state"] in FINISHED}
            for run in runs:
                if progress and run["partition_key"] in partitions:
                    progress(run["dag_run_id"], self.tasks(dag_id, run["dag_run_id"]))
            if missing := [partition for partition in partitions if partition not in found]:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"after {timeout_s:.0f} s {dag_id} has not finished {', '.join(missing)}; see its runs in the UI")
                check()
                time.sleep(0.5)
                continue
            return {partition: found[partition] for partition in partitions}

    def _call(self, method: str, path: str, body: Mapping[str, Any] | None) -> Any:
        try:
            return self._send(method, f"/api/v2{path}", body, token=self.token())
        except ApiError as error:
            if error.status != 401:
                raise
            self._token = None
            return self._send(method, f"/api/v2{path}", body, token=self.token())

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, token: str | None) -> Any:
        request = urllib.request.Request(self.url + path, method=method, data=None if body is None else json.dumps(body).encode())  # noqa: S310  our own server
        request.add_header("Content-Type", "application/json")
        if token is not None:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:  # noqa: S310
                content = answer.read()
        except urllib.error.HTTPError as error:
            text = error.read().decode("utf-8", "replace")
            try:
                raise ApiError(method, path, error.code, json.loads(text).get("detail", text)) from None
            except (ValueError, AttributeError):
                raise ApiError(method, path, error.code, text[:500]) from None
        return json.loads(content) if content else None


def _part(text: str) -> str:
    return urllib.parse.quote(text, safe="")
