"""The alert asks once, after any fault of the network: against a real HTTP server that plays Airflow and fails as the test asks."""

import contextlib
import json
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.home import ledger_url
from pipelines.lib.records.journal import Journal
from pipelines.monitoring import alert as stage
from pipelines.monitoring.alert import Api, Decision, alert, run_id_of

RUNS = "/api/v2/dags/drift_triggered_retraining/dagRuns"
RUN_ID = "drift__3__2013-06-01"
DECISION = {
    "name": "Core",
    "retrain": True,
    "reason": "dep_delay: PSI 0.41",
    "findings": [],
    "champion_version": "3",
    "partition": "2013-06-01",
}


class Airflow(ThreadingHTTPServer):
    """Keeps runs by id. `script` holds, for each coming POST of a run, what goes wrong; nothing goes wrong when it is empty."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.runs, self.script, self.seen = {}, [], []
        self.hold = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body, self.headers["Authorization"]))
        if self.path == "/auth/token":
            good = body == {"username": "monitor", "password": "right"}
            return self.answer(201, {"access_token": "t"}) if good else self.answer(401, {"detail": "Invalid credentials"})
        wrong = self.server.script.pop(0) if self.server.script else None
        if isinstance(wrong, int):
            return self.answer(wrong, {"detail": f"Params: something about {wrong}"})
        if wrong == "redirect":
            self.send_response(302)
            self.send_header("Location", f"{self.server.url}/elsewhere")
            return self.end_headers()
        if wrong != "lost before":
            if body["dag_run_id"] in self.server.runs:
                return self.answer(409, {"detail": "the run exists"})
            self.server.runs[body["dag_run_id"]] = body
        if wrong in ("lost before", "lost after"):  # the answer never comes: the connection is reset
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            return self.connection.close()
        if wrong == "torn":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            return self.wfile.write(b'{"dag_run')
        if wrong == "silent":
            return self.server.hold.wait(30)
        return self.answer(200, body)

    def do_GET(self):
        run = self.server.runs.get(self.path.rpartition("/")[2])
        self.answer(200, run) if run else self.answer(404, {"detail": "there is no such run"})

    def answer(self, status, content):
        raw = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_):
        pass

    def finish(self):
        with contextlib.suppress(OSError):  # the connection that was reset on purpose
            super().finish()


@pytest.fixture
def airflow():
    server = Airflow()
    server.handle_error = lambda *_: None  # a connection that was closed under the handler
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.hold.set()
    server.shutdown()
    server.server_close()
    thread.join()


def ask(airflow, *, timeout_s=10.0, **other):
    return alert(Decision(**{key: value for key, value in {**DECISION, **other}.items() if key != "findings"}), api(airflow, timeout_s))


def api(airflow, timeout_s=10.0):
    return Api(airflow.url, "monitor", "right", timeout_s)


def test_one_authenticated_call_starts_the_run(airflow):
    assert ask(airflow) == "created"
    path, body, authorization = airflow.seen[-1]
    assert (path, authorization) == (RUNS, "Bearer t")
    assert body == {
        "dag_run_id": RUN_ID,
        "logical_date": None,
        "partition_key": "2013-06-01",
        "conf": {"champion_version": "3", "reason": "dep_delay: PSI 0.41", "source": "monitor"},
    }
    assert len(airflow.seen) == 2


def test_a_replay_changes_nothing(airflow):
    ask(airflow)
    kept = dict(airflow.runs)
    assert ask(airflow, reason="in other words") == "existed"
    assert airflow.runs == kept


def test_a_run_that_alertmanager_has_started_is_the_same_run(airflow):
    airflow.runs[RUN_ID] = {"partition_key": "2013-06-01", "conf": {"champion_version": "3", "reason": "x", "source": "alertmanager"}}
    assert ask(airflow) == "existed"


@pytest.mark.parametrize(
    "other",
    [
        {"partition_key": "2013-05-01", "conf": {"champion_version": "3"}},
        {"partition_key": "2013-06-01", "conf": {"champion_version": "2"}},
        {"partition_key": None, "conf": None},
    ],
)
def test_a_run_of_that_id_for_something_else_is_an_error_and_stays(airflow, other):
    airflow.runs[RUN_ID] = other
    with pytest.raises(ConfigError, match=f"{RUN_ID} exists and is for .*; delete it"):
        ask(airflow)
    assert airflow.runs == {RUN_ID: other}


@pytest.mark.costly
@pytest.mark.parametrize("wrong", ["lost after", "torn", "silent"])
def test_a_lost_answer_is_resolved_by_reading_the_run_back(airflow, wrong):
    airflow.script = [wrong]
    assert ask(airflow, timeout_s=0.5) == "existed"
    assert list(airflow.runs) == [RUN_ID]


@pytest.mark.parametrize("wrong", ["lost before", 500, 502, 503, 429, 408])
def test_a_call_that_did_not_arrive_is_tried_again(airflow, wrong):
    airflow.script = [wrong]
    with pytest.raises(TransientError, match="try again"):
        ask(airflow)
    assert airflow.runs == {}
    assert ask(airflow) == "created"


def test_a_retry_after_a_lost_answer_finds_the_run(airflow):
    ask(airflow)
    airflow.script = [503]
    assert ask(airflow) == "existed"


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_a_refusal_is_reported_and_not_tried_again(airflow, status):
    airflow.script = [status]
    with pytest.raises(ConfigError, match=f"refuses to start {RUN_ID}: {status} Params: something about {status}"):
        ask(airflow)


def test_a_redirect_is_not_followed(airflow):
    airflow.script = ["redirect"]
    with pytest.raises(ConfigError, match="302"):
        ask(airflow)
    assert [path for path, _, _ in airflow.seen] == ["/auth/token", RUNS]


def test_a_wrong_password_is_not_tried_again_and_not_shown(airflow):
    with pytest.raises(ConfigError, match="does not let 'monitor' in: 401 Invalid credentials") as caught:
        Api(airflow.url, "monitor", "wr0ng-one", 10)
    assert "wr0ng-one" not in str(caught.value)


def test_nobody_listening_is_tried_again():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(TransientError, match="was not answered"):
            Api(f"http://127.0.0.1:{taken.getsockname()[1]}", "monitor", "right", 5)


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [("", "", ""), ("file:///etc/passwd", "a", "b"), ("http://a:b@host", "a", "b"), ("http://host", "", "b"), ("http://host", "a", "")],
)
def test_missing_settings_are_named(url, user, password):
    with pytest.raises(ConfigError, match=r"NIGHTSHIFT_API_URL is .* set all three"):
        Api(url, user, password, 5)


@pytest.mark.parametrize("version", [None, "", "03", "0", "x", "3/../4", "3\n", "٣", "1234567890"])
def test_a_version_that_is_not_a_number_makes_no_id(version):
    with pytest.raises(DataError, match="run govern again"):
        run_id_of(Decision(name="Core", retrain=True, reason="", partition="2013-06-01", champion_version=version))


@pytest.mark.parametrize("partition", ["2013-6-1", "2013-02-30", "../../etc", ""])
def test_a_partition_that_is_not_a_date_makes_no_id(partition):
    with pytest.raises(ConfigError):
        run_id_of(Decision(name="Core", retrain=True, reason="", partition=partition, champion_version="3"))


# --- the stage


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    Path("run.yaml").write_text(
        yaml.safe_dump({"partition": "2013-06-01", "model": {"path": "model.onnx", "name": "Core", "version": "3"}})
    )
    Path("params.yaml").write_text(yaml.safe_dump({"alert": {"timeout_s": 10}}))
    for name in ("URL", "USER", "PASSWORD"):
        monkeypatch.delenv(f"NIGHTSHIFT_API_{name}", raising=False)
    return tmp_path


def run_stage(decision):
    Path("decision.json").write_text(json.dumps(decision))
    code = stage.main(["--decision", "decision.json", "--report", "data/reports/alert"])
    report = Path("data/reports/alert/report.json")
    return code, json.loads(report.read_text() if code == 0 else Path("failure.json").read_text())


def test_a_no_asks_nobody(workspace):
    assert run_stage({**DECISION, "retrain": False, "champion_version": None}) == (
        0,
        {"retrain": False, "run_id": None, "state": "not asked", "note": "no retraining asked for"},
    )


def test_a_yes_is_asked_for_once_and_noted(workspace, airflow, monkeypatch):
    for name, value in {"URL": airflow.url + "/", "USER": "monitor", "PASSWORD": "right"}.items():
        monkeypatch.setenv(f"NIGHTSHIFT_API_{name}", value)
    assert run_stage(DECISION)[1]["note"] == f"retraining asked for: {RUN_ID}"
    assert run_stage(DECISION)[1] == {
        "retrain": True,
        "run_id": RUN_ID,
        "state": "existed",
        "note": f"retraining was asked for before: {RUN_ID}",
    }
    assert list(airflow.runs) == [RUN_ID]
    assert asked() == [(RUN_ID, "2013-06-01", "3", "", "asked", "dep_delay: PSI 0.41", "monitor")]


def test_what_did_not_get_through_was_not_asked(workspace, airflow, monkeypatch):
    for name, value in {"URL": airflow.url, "USER": "monitor", "PASSWORD": "right"}.items():
        monkeypatch.setenv(f"NIGHTSHIFT_API_{name}", value)
    airflow.script = ["lost before", 403]
    for retryable in (True, False):
        assert run_stage(DECISION)[1]["retryable"] is retryable
        assert asked() == []
    assert run_stage(DECISION)[1]["state"] == "created"
    assert [row[0] for row in asked()] == [RUN_ID]


def test_a_run_that_the_journal_does_not_know_yet_is_noted_by_the_next_attempt(workspace, airflow, monkeypatch):
    """The database was down when the run had been made."""
    for name, value in {"URL": airflow.url, "USER": "monitor", "PASSWORD": "right"}.items():
        monkeypatch.setenv(f"NIGHTSHIFT_API_{name}", value)
    monkeypatch.setenv("NIGHTSHIFT_LEDGER_URL", "postgresql+psycopg://nobody@127.0.0.1:1/none")
    code, failure = run_stage(DECISION)
    assert (code, failure["error"], list(airflow.runs)) == (1, "TransientError", [RUN_ID])
    monkeypatch.delenv("NIGHTSHIFT_LEDGER_URL")
    assert run_stage(DECISION)[1]["state"] == "existed"
    assert [row[0] for row in asked()] == [RUN_ID]


def asked():
    rows = Journal(ledger_url()).verdicts("Core")
    return [(row.run_id, row.partition, row.champion, row.challenger, row.verdict, row.reason, row.actor) for row in rows]


def test_a_yes_without_settings_fails_for_good(workspace):
    code, failure = run_stage(DECISION)
    assert (code, failure["error"], failure["retryable"]) == (1, "ConfigError", False)


@pytest.mark.parametrize("decision", [{}, [], {**DECISION, "retrain": "yes"}, {**DECISION, "partition": None}])
def test_a_file_that_is_not_a_decision_fails_without_a_retry(workspace, decision):
    code, failure = run_stage(decision)
    assert (code, failure["retryable"]) == (1, False)
