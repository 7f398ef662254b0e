"""Alerts over HTTP: who may send them, what becomes of them, and what a storm of them does. Against a real API server."""

import concurrent.futures
import contextlib
import datetime as dt
import http.client
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import jwt
import pytest
import yaml

from deploy.embedded.client import FINISHED, ApiError, Client
from tests.servers import missing

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
DAG, MONITORING = "drift_triggered_retraining", "drift_monitoring"
STORM, IDS, THREADS = 1000, 5, 32


def alert(partition="2013-03-01", version="3", status="firing", name="ModelDrift", **labels):
    expected = {"alertname": name, "partition": partition, "champion_version": version, **labels}
    return {
        "status": status,
        "labels": {key: value for key, value in expected.items() if value is not None},
        "annotations": {"summary": "dep_delay has moved"},
        "startsAt": "2026-11-22T02:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "af1c",
    }


def webhook(*alerts, **other):
    return {
        "version": "4",
        "groupKey": '{}:{alertname="ModelDrift"}',
        "truncatedAlerts": 0,
        "status": "firing" if any(each["status"] == "firing" for each in alerts) else "resolved",
        "receiver": "nightshift",
        "groupLabels": {},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager",
        "alerts": list(alerts),
        **other,
    }


def post(airflow, body, token=None, cookie=None, path="/nightshift/alerts"):
    """Return the status and the decoded answer."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = urllib.request.Request(airflow.url + path, raw, {"Content-Type": "application/json"})
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    if cookie is not None:
        request.add_header("Cookie", f"_token={cookie}")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read() or b"null")


def run_ids(airflow):
    runs = airflow.client().call("GET", f"/dags/{DAG}/dagRuns?limit=200")
    assert runs["total_entries"] <= 200
    return {run["dag_run_id"] for run in runs["dag_runs"]}


def credentials(airflow, *arguments):
    """Run the command as an operator would, next to the running servers."""
    environment = airflow.environment() | {"PYTHONPATH": str(airflow.repository / "plugins")}
    command = [sys.executable, "-m", "nightshift_airflow.credentials", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def quiet(airflow):
    """Yield the DAG is paused, so that a run that exists is all that comes of an alert; what came of them is gone afterwards."""
    client = airflow.client()
    was_paused = client.call("GET", f"/dags/{DAG}")["is_paused"]
    client.unpause(DAG, paused=True)
    before = run_ids(airflow)
    yield airflow
    for run_id in run_ids(airflow) - before:
        client.call("DELETE", f"/dags/{DAG}/dagRuns/{run_id}")
    client.unpause(DAG, paused=was_paused)


@pytest.fixture(scope="module")
def token(quiet):
    """Yield a long-lived credential, made by the command."""
    made = credentials(quiet, "create", "--name", "alertmanager")
    assert made.returncode == 0, made.stderr
    yield made.stdout.strip()
    credentials(quiet, "revoke", "--name", "alertmanager")


# --- who may


def test_nobody_without_a_good_token(quiet):
    kept = json.loads((quiet.airflow_home / "secrets.json").read_text())
    claims = jwt.decode(quiet.client().token(), options={"verify_signature": False})
    hour = dt.timedelta(hours=1)
    now = dt.datetime.now(dt.UTC)

    def sign(secret, algorithm="HS512", **changes):
        return jwt.encode({**claims, **changes}, secret, algorithm=algorithm)

    assert post(quiet, webhook(alert()), sign(kept["jwt_secret"]))[0] == 200, "signed so, a token is good"
    forged = sign("x" * 64)
    expired = sign(kept["jwt_secret"], iat=now - 2 * hour, nbf=now - 2 * hour, exp=now - hour)
    unsigned = sign(None, "none")
    for bad in (None, "", "x.y.z", "nsa_", "nsa_" + "A" * 43, forged, expired, unsigned):
        assert post(quiet, webhook(alert(partition="2013-01-01")), bad)[0] == 401, bad
    assert "drift__3__2013-01-01" not in run_ids(quiet)


def test_a_cookie_is_not_enough(quiet):
    """Another site could make a browser send it."""
    assert post(quiet, webhook(alert()), cookie=quiet.client().token())[0] == 401


def test_a_viewer_may_not_and_a_user_may(quiet):
    passwords = json.loads((quiet.airflow_home / "passwords.json").read_text())
    tokens = {name: Client(quiet.url, name, passwords[name]).token() for name in ("viewer", "user")}
    assert post(quiet, webhook(alert(partition="2013-01-02")), tokens["viewer"]) == (403, {"detail": "Forbidden"})
    assert "drift__3__2013-01-02" not in run_ids(quiet)
    assert post(quiet, webhook(alert(partition="2013-01-02")), tokens["user"])[0] == 200


def test_a_credential_is_good_for_alerts_alone(quiet, token):
    assert post(quiet, webhook(alert()), token)[0] == 200
    body = {"logical_date": None, "partition_key": "2013-06-01"}
    for path in (f"/api/v2/dags/{DAG}/dagRuns", "/api/v2/variables", "/auth/token"):
        assert post(quiet, body, token, path=path)[0] in (401, 403, 422)
    for path in ("/api/v2/dags", f"/api/v2/dags/{DAG}/dagRuns", "/api/v2/variables", "/ui/config"):
        assert get(quiet, path, token) in (401, 403), "Airflow calls a token that is none a 403"
    for path in ("/nightshift/", f"/nightshift/reports/{DAG}/x/y", "/nightshift/models/Core/1"):
        assert get(quiet, path, token) == 401
    assert run_ids(quiet) == {run_id for run_id in run_ids(quiet) if run_id.startswith("drift__")}


def get(airflow, path, token):
    request = urllib.request.Request(airflow.url + path, headers={"Authorization": f"Bearer {token}", "Cookie": f"_token={token}"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_a_credential_ends_when_it_expires_and_when_it_is_revoked_at_once(quiet):
    made = credentials(quiet, "create", "--name", "short-lived").stdout.strip()
    key, client = "nightshift_credential_short-lived", quiet.client()
    kept = json.loads(client.call("GET", f"/variables/{key}")["value"])
    assert made not in kept.values()
    now = dt.datetime.now(dt.UTC)
    for expires, status in ((now - dt.timedelta(seconds=1), 401), (now + dt.timedelta(hours=1), 200)):
        client.call("PATCH", f"/variables/{key}", {"key": key, "value": json.dumps({**kept, "expires": expires.isoformat()})})
        assert post(quiet, webhook(alert()), made)[0] == status
    assert credentials(quiet, "revoke", "--name", "short-lived").returncode == 0
    assert post(quiet, webhook(alert()), made)[0] == 401


# --- what becomes of them


def test_a_firing_alert_becomes_the_run_of_its_champion_and_partition(quiet, token):
    status, answer = post(
        quiet, webhook(alert("2013-06-02"), alert("2013-06-02", name="OtherRule"), alert("2013-06-03", status="resolved")), token
    )
    assert status == 200
    assert answer == {
        "created": ["drift__3__2013-06-02"],
        "existed": [],
        "resolved": 1,
        "refused": [],
        "paused": f"{DAG} is paused: its runs wait until somebody unpauses it",
    }
    run = quiet.client().run(DAG, "drift__3__2013-06-02")
    assert (run["partition_key"], run["triggering_user_name"], run["triggered_by"]) == ("2013-06-02", "credential alertmanager", "rest_api")
    assert run["conf"] == {"champion_version": "3", "reason": "ModelDrift: dep_delay has moved", "source": "alertmanager"}
    assert "drift__3__2013-06-03" not in run_ids(quiet)


def test_hearing_it_again_changes_nothing(quiet, token):
    post(quiet, webhook(alert("2013-06-04")), token)
    before = quiet.client().run(DAG, "drift__3__2013-06-04")
    status, answer = post(quiet, webhook(alert("2013-06-04", name="InOtherWords")), token)
    assert (status, answer["created"], answer["existed"]) == (200, [], ["drift__3__2013-06-04"])
    assert quiet.client().run(DAG, "drift__3__2013-06-04") == before


def test_resolved_alerts_start_nothing(quiet, token):
    before = run_ids(quiet)
    status, answer = post(quiet, webhook(alert("2013-06-05", status="resolved"), alert(None, None, status="resolved")), token)
    assert (status, answer) == (200, {"created": [], "existed": [], "resolved": 2, "refused": []})
    assert run_ids(quiet) == before


def test_a_bad_alert_is_named_and_does_not_lose_the_good_ones(quiet, token):
    group = webhook(alert("2013-06-06"), alert("2013-02-30", name="Torn"), alert("2013-06-06", None, name="Nameless"))
    status, answer = post(quiet, group, token)
    assert status == 422
    assert answer["created"] == ["drift__3__2013-06-06"]
    assert [(fault["alert"], fault["label"]) for fault in answer["refused"]] == [("Torn", "partition"), ("Nameless", "champion_version")]
    status, answer = post(quiet, webhook(alert("2013-02-30")), token)
    assert (status, answer["created"], answer["existed"]) == (422, [], [])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"version": "4"}',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"version": "4", "alerts": [{"status": "firing", "labels": {"a": 1}}]}',
    ],
)
def test_a_body_that_is_not_a_webhook_gets_422(quiet, token, body):
    status, answer = post(quiet, body, token)
    assert status == 422
    assert answer["detail"]


def test_another_version_of_the_webhook_gets_422(quiet, token):
    assert post(quiet, webhook(alert(), version="3"), token)[0] == 422


def test_a_long_body_is_not_read_to_its_end(quiet, token):
    assert post(quiet, webhook(alert(padding="x" * 900_000)), token)[0] == 200
    assert post(quiet, webhook(alert(padding="x" * (1 << 20))), token)[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", quiet.port, timeout=30)
    connection.putrequest("POST", "/nightshift/alerts")
    connection.putheader("Content-Length", "900000")
    connection.endheaders()
    assert connection.getresponse().status == 401, "who is not known is not listened to: of the body nothing was sent yet"
    connection.close()


def test_a_run_of_that_id_for_something_else_is_reported(quiet, token):
    quiet.client().trigger(DAG, "2013-01-05", run_id="drift__3__2013-06-07")
    status, answer = post(quiet, webhook(alert("2013-06-07"), alert("2013-06-08")), token)
    assert (status, answer["created"]) == (422, ["drift__3__2013-06-08"])
    assert "exists for something else: partition 2013-01-05" in answer["refused"][0]["fault"]


def test_a_wrong_label_does_not_fill_the_queue(quiet, token):
    many = [alert((dt.date(2012, 1, 1) + dt.timedelta(days=day)).isoformat()) for day in range(30)]
    status, answer = post(quiet, webhook(*many), token)
    assert (status, len(answer["created"]), len(answer["refused"])) == (422, 20, 10)


def test_the_monitor_and_alertmanager_ask_for_the_same_run(quiet, token):
    """The call of `pipelines.monitoring.alert`, with the conf that it sends."""
    conf = {"champion_version": "3", "reason": "PSI 0.41", "source": "monitor"}
    quiet.client().trigger(DAG, "2013-06-09", run_id="drift__3__2013-06-09", conf=conf)
    assert post(quiet, webhook(alert("2013-06-09")), token)[1]["existed"] == ["drift__3__2013-06-09"]
    post(quiet, webhook(alert("2013-06-10")), token)
    with pytest.raises(ApiError) as caught:
        quiet.client().trigger(DAG, "2013-06-10", run_id="drift__3__2013-06-10", conf=conf)
    assert caught.value.status == 409


@pytest.mark.parametrize(
    ("field", "value"), [("champion_version", "x"), ("champion_version", 3), ("reason", "x" * 501), ("source", "elsewhere")]
)
def test_a_bad_conf_is_refused_with_the_field_named(quiet, field, value):
    with pytest.raises(ApiError) as caught:
        quiet.client().trigger(DAG, "2013-06-11", run_id="drift__3__2013-06-11", conf={field: value})
    assert caught.value.status in (400, 422)
    assert field in str(caught.value.detail)
    assert "drift__3__2013-06-11" not in run_ids(quiet)


# --- a storm


@pytest.mark.slow
def test_a_storm_makes_one_run_of_each_id_and_no_5xx(quiet, token):
    """1,000 webhooks, shuffled and repeated, as fast as they are answered; the ids are new to the server."""
    wanted = [f"2012-06-0{day}" for day in range(1, IDS + 1)]
    dice = random.Random(7)
    bodies = [
        json.dumps(
            webhook(*(alert(partition, status=dice.choice(["firing", "firing", "resolved"])) for partition in dice.sample(wanted, 2)))
        )
        for _ in range(STORM)
    ]
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}

    def send(part):
        connection, answers = http.client.HTTPConnection("127.0.0.1", quiet.port, timeout=120), []
        for body in part:
            connection.request("POST", "/nightshift/alerts", body, headers)
            with connection.getresponse() as answer:
                answers.append((answer.status, json.loads(answer.read())))
        connection.close()
        return answers

    with concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        answers = [answer for part in pool.map(send, (bodies[number::THREADS] for number in range(THREADS))) for answer in part]
    assert {status for status, _ in answers} == {200}
    created = [run_id for _, answer in answers for run_id in answer["created"]]
    assert sorted(created) == [f"drift__3__{partition}" for partition in wanted], "each told as created once"
    assert set(created) <= run_ids(quiet)
    quiet.check()


_RACE = """
import sys
from airflow.utils.session import create_session
from nightshift_airflow.drift_runs import Drift, create_run
drifts = [Drift(partition=f"2012-07-{day:02}", champion_version="3", reason="") for day in range(1, 11)]
print("ready", flush=True)
sys.stdin.readline()
print("made", *(drift.run_id for drift in drifts if create_run(drift.dag_id, drift.run_id, drift, "racer")), flush=True)
"""


@pytest.mark.slow
def test_several_api_servers_at_once_make_one_run(quiet):
    """The lock is one of a process; between processes the database decides."""
    environment = quiet.environment() | {"PYTHONPATH": f"{quiet.repository}:{quiet.repository / 'plugins'}"}
    racers = [
        subprocess.Popen([sys.executable, "-c", _RACE], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    def hear(racer, word):
        for line in racer.stdout:
            if line.startswith(word):
                return line.split()[1:]
        raise AssertionError(f"a racer ended with {racer.wait()}")

    for racer in racers:
        hear(racer, "ready")
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    made = [run_id for racer in racers for run_id in hear(racer, "made")]
    for racer in racers:
        racer.communicate()
    assert sorted(made) == [f"drift__3__2012-07-{day:02}" for day in range(1, 11)]


# --- from a night to a run


@pytest.mark.slow
def test_a_published_night_is_watched_and_a_yes_becomes_one_run(quiet):
    """Everything is real but what computes: the asset, the connection, the call, the run."""
    client, partition = quiet.client(), "2013-06-13"
    behave = quiet.home / "behave" / f"govern-{partition}"
    behave.parent.mkdir(exist_ok=True)
    behave.write_text("retrain")

    def watched():
        runs = client.call("GET", f"/dags/{MONITORING}/dagRuns?limit=100")["dag_runs"]
        return [run for run in runs if run["partition_key"] == partition and run["state"] in FINISHED]

    client.unpause(MONITORING)
    try:
        publish(quiet, partition)
        wait_until(watched, quiet.airflow_home / "logs" / "services" / "scheduler.log", 240)
        [run] = watched()
        assert run["state"] == "success"
        assert run["note"].startswith(f"MONITORED {partition}: retraining asked for: drift__1__{partition}")
        asked = client.run(DAG, f"drift__1__{partition}")
        assert (asked["partition_key"], asked["triggering_user_name"]) == (partition, "nightshift")
        assert asked["conf"] == {"champion_version": "1", "reason": "the test asked for it", "source": "monitor"}
    finally:
        client.unpause(MONITORING, paused=True)


@pytest.mark.slow
def test_the_monitor_asks_again_and_changes_nothing(quiet, tmp_path):
    decision = {"name": "Core", "retrain": True, "reason": "PSI 0.41", "champion_version": "3", "partition": "2013-05-14", "findings": []}
    (tmp_path / "decision.json").write_text(json.dumps(decision))
    shutil.copy(ROOT / "params.yaml", tmp_path)
    settings = {
        "NIGHTSHIFT_HOME": str(tmp_path / "home"),
        "NIGHTSHIFT_API_URL": quiet.url,
        "NIGHTSHIFT_API_USER": "nightshift",
        "NIGHTSHIFT_API_PASSWORD": quiet.password,
    }
    command = [sys.executable, "-m", "pipelines.monitoring.alert", "--decision", "decision.json", "--report", "report"]

    def ask():
        environment = {**os.environ, **settings, "PYTHONPATH": str(ROOT)}
        subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
        return json.loads((tmp_path / "report" / "report.json").read_text())["state"], quiet.client().run(DAG, "drift__3__2013-05-14")

    first, made = ask()
    second, found = ask()
    assert (first, second) == ("created", "existed")
    assert made == found
    assert post(quiet, webhook(alert("2013-05-14")), quiet.client().token())[1]["existed"] == ["drift__3__2013-05-14"]


# --- as the documents say


def snippets(language, word):
    page = (ROOT / "docs" / "how-to" / "alerts.md").read_text()
    return [block for block in re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL) if word in block]


def test_the_shell_commands_of_the_document_work(quiet, token, tmp_path):
    (tmp_path / "token").write_text(token)
    here = {
        "http://localhost:8080": quiet.url,
        "<name>": "nightshift",
        "<password>": quiet.password,
        "/etc/alertmanager/nightshift-credential": str(tmp_path / "token"),
    }
    trigger, send = snippets("sh", "curl")
    for block, expected in ((trigger, '"dag_run_id":"drift__3__2013-06-01"'), (send, "drift__3__2013-06-02")):
        script = re.sub("|".join(map(re.escape, here)), lambda match: here[match[0]], block)
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=False)
        assert (done.returncode, expected in done.stdout) == (0, True), done.stdout + done.stderr


@pytest.mark.slow
def test_the_official_client_works_as_the_document_says(quiet):
    pytest.importorskip("airflow_client")
    [snippet] = snippets("python", "airflow_client")
    for _ in ("made", "made before"):
        done = subprocess.run(
            [sys.executable, "-c", snippet, quiet.url, "nightshift", quiet.password], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stdout) == (0, "drift__3__2013-06-01 queued\n"), done.stderr


@contextlib.contextmanager
def alertmanager(configuration: Path, directory: Path):
    """Start Debian's Alertmanager on loopback, in a process group of its own; yield its URL."""
    program = shutil.which("prometheus-alertmanager")
    if program is None:
        missing("Alertmanager is not installed; apt-get install prometheus-alertmanager")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, f"--config.file={configuration}", f"--storage.path={directory / 'data'}", f"--web.listen-address=127.0.0.1:{port}"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([*command, "--cluster.listen-address="], stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def test_a_real_alertmanager_starts_a_real_run(quiet, token, tmp_path):
    """With the file from deploy/: only address, credential and waiting times are other ones."""
    (tmp_path / "credential").write_text(token + "\n")
    settings = yaml.safe_load((ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text())
    settings["route"]["routes"][0] |= {"group_wait": "0s", "group_interval": "1s"}
    [receiver] = [each for each in settings["receivers"] if each["name"] == "nightshift"]
    receiver["webhook_configs"][0]["url"] = f"{quiet.url}/nightshift/alerts"
    receiver["webhook_configs"][0]["http_config"]["authorization"]["credentials_file"] = str(tmp_path / "credential")
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(settings))
    labels = {"alertname": "ModelScoreDrift", "nightshift": "retrain", "champion_version": "4", "partition": "2013-06-12"}
    with alertmanager(tmp_path / "alertmanager.yml", tmp_path) as url:
        fired = [
            {"labels": labels, "annotations": {"summary": "PSI 0.41"}},
            {"labels": {**labels, "nightshift": "look", "champion_version": "5"}},
        ]
        wait_until(lambda: push(url, fired), tmp_path / "log")
        wait_until(lambda: "drift__4__2013-06-12" in run_ids(quiet), tmp_path / "log")
    assert quiet.client().run(DAG, "drift__4__2013-06-12")["conf"]["reason"] == "ModelScoreDrift: PSI 0.41"
    assert "drift__5__2013-06-12" not in run_ids(quiet), "an alert that does not ask for it"


def test_a_real_alertmanager_repeats_an_alert_that_comes_before_its_night(quiet, token, tmp_path):
    """Within one notification: with `group_interval` as shipped, what was answered with 4xx would be heard again after five minutes."""
    early, late = "2014-02-01", "2014-02-02"
    publish(quiet, "2014-01-31")
    (tmp_path / "credential").write_text(token + "\n")
    settings = yaml.safe_load((ROOT / "deploy" / "alertmanager" / "alertmanager.yml").read_text())
    settings["route"]["routes"][0] |= {"group_wait": "0s"}
    [receiver] = [each for each in settings["receivers"] if each["name"] == "nightshift"]
    receiver["webhook_configs"][0]["url"] = f"{quiet.url}/nightshift/alerts"
    receiver["webhook_configs"][0]["http_config"]["authorization"]["credentials_file"] = str(tmp_path / "credential")
    (tmp_path / "alertmanager.yml").write_text(yaml.safe_dump(settings))
    labels = {"alertname": "ModelScoreDrift", "nightshift": "retrain", "champion_version": "4", "partition": early}
    with alertmanager(tmp_path / "alertmanager.yml", tmp_path) as url:
        wait_until(lambda: push(url, [{"labels": labels}]), tmp_path / "log")
        wait_until(lambda: failed_notifications(url) > 0, tmp_path / "log")
        assert f"drift__4__{early}" not in run_ids(quiet)
        publish(quiet, early)
        wait_until(lambda: f"drift__4__{early}" in run_ids(quiet), tmp_path / "log", 120)
    assert post(quiet, webhook(alert(early, "4")), token)[1]["existed"] == [f"drift__4__{early}"]
    status, answer = post(quiet, webhook(alert(late, "4")), token)
    assert (status, [each["run"] for each in answer["waiting"]]) == (503, [f"drift__4__{late}"])
    with pytest.raises(ApiError) as caught:
        quiet.client().trigger(DAG, late, run_id=f"drift__4__{late}")
    assert (caught.value.status, caught.value.detail) == (
        400,
        f"night {late} is not published yet, the newest that this Airflow has published is {early}; ask again once it is published",
    )
    assert f"drift__4__{late}" not in run_ids(quiet)


def publish(airflow, partition):
    """Tell the asset, as publishing a night does."""
    found = airflow.client().call("GET", "/assets?name_pattern=scores")["assets"]
    [scores] = [asset for asset in found if asset["name"] == "scores"]  # each other use case has an asset of its own
    airflow.client().call("POST", "/assets/events", {"asset_id": scores["id"], "partition_key": partition})


def failed_notifications(url):
    """Return how often Alertmanager was not given a 2xx by the webhook."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=5) as answer:
        expected = answer.read().decode()
    counts = re.findall(r'^alertmanager_notification_requests_failed_total\{integration="webhook".*\} (\d+)$', expected, re.MULTILINE)
    return sum(map(int, counts))


def push(url, alerts):
    request = urllib.request.Request(f"{url}/api/v2/alerts", json.dumps(alerts).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status == 200
    except urllib.error.URLError as error:
        if isinstance(error, urllib.error.HTTPError):
            raise
        return False  # not up yet


def wait_until(condition, log, timeout_s=60):
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, log.read_text()[-3000:]
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("tool", "package", "arguments"),
    [
        ("amtool", "prometheus-alertmanager", ["check-config", "alertmanager/alertmanager.yml"]),
        ("promtool", "prometheus", ["check", "rules", "prometheus/rules.yml"]),
    ],
)
def test_the_examples_are_valid(tool, package, arguments):
    if shutil.which(tool) is None:
        missing(f"{tool} is not installed; apt-get install {package}")
    done = subprocess.run([tool, *arguments], cwd=ROOT / "deploy", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
