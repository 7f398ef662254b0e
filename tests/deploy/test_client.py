"""The client of Airflow's API, against a server that answers as a busy Airflow does."""

import http.server
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from deploy.embedded import client as module
from deploy.embedded.client import ApiError, Client

BUSY = (500, {"detail": {"reason": "Database error", "statement": "hidden", "orig_error": "hidden", "message": "Serious error"}})


@contextmanager
def airflow(*answers: tuple[int, Any] | None) -> Iterator[tuple[Client, list[str]]]:
    """Yield a server on loopback that logs anybody in, and then gives `answers` one after another; with the paths that it was asked for.

    For None it gives no answer until the end.
    """
    left, asked = list(answers), []
    end = threading.Event()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = (201, {"access_token": "token"}) if self.path == "/auth/token" else left.pop(0)
            asked.append(self.path)
            if answer is None:
                end.wait()
                return
            status, body = answer
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_GET = do_PATCH = do_POST  # noqa: N815  its base names them

        def log_message(self, format: str, *args: Any) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    try:
        yield Client(f"http://127.0.0.1:{server.server_port}", "somebody", "secret"), asked
    finally:
        end.set()
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BUSY_WAITS_S", (0.0, 0.0))


def test_a_trigger_is_repeated_while_the_database_is_busy() -> None:
    with airflow(BUSY, BUSY, (200, {"dag_run_id": "run"})) as (client, asked):
        assert client.trigger("nightly_batch_scoring", "2013-04-01", run_id="run") == "run"
    assert asked.count("/api/v2/dags/nightly_batch_scoring/dagRuns") == 3


def test_a_database_that_stays_busy_is_an_error_in_the_end() -> None:
    with airflow(BUSY, BUSY, BUSY) as (client, _), pytest.raises(ApiError, match="Database error"):
        client.trigger("nightly_batch_scoring", "2013-04-01")


@pytest.mark.parametrize(
    "answer", [(500, {"detail": "Internal Server Error"}), (409, {"detail": {"reason": "Unique constraint violation"}})]
)
def test_any_other_error_is_not_repeated(answer: tuple[int, Any]) -> None:
    with airflow(answer, (200, {"dag_run_id": "run"})) as (client, asked):
        with pytest.raises(ApiError):
            client.trigger("nightly_batch_scoring", "2013-04-01")
        assert len(asked) == 2, "the login and one call"


@pytest.mark.costly
def test_a_get_without_an_answer_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make up` gave up its first nights because one look at a run was not answered."""
    with airflow(None, (200, {"state": "running"})) as (client, asked):
        client.token()
        monkeypatch.setattr(module, "_TIMEOUT_S", 2.0)
        assert client.run("nightly_batch_scoring", "run") == {"state": "running"}
    assert asked[1:] == ["/api/v2/dags/nightly_batch_scoring/dagRuns/run"] * 2


def test_a_trigger_without_an_answer_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    with airflow(None, (200, {"dag_run_id": "run"})) as (client, asked):
        client.token()
        monkeypatch.setattr(module, "_TIMEOUT_S", 0.2)
        with pytest.raises(TimeoutError):
            client.trigger("nightly_batch_scoring", "2013-04-01")
        assert len(asked) == 2, "the login and one call"


def test_a_pool_that_is_new_is_made() -> None:
    with airflow((201, {})) as (client, asked):
        client.make_pool("fraud", 2)
    assert asked == ["/auth/token", "/api/v2/pools"]


def test_a_pool_that_exists_gets_its_slots() -> None:
    with airflow((409, {"detail": {"reason": "Unique constraint violation"}}), (200, {})) as (client, asked):
        client.make_pool("fraud", 2)
    assert asked == ["/auth/token", "/api/v2/pools", "/api/v2/pools/fraud?update_mask=slots"]
