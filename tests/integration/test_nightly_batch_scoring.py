"""Nights through real Airflow: REST, security, concurrency, kills. The stages compute nothing, so that what is tested is the rest."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

from deploy.embedded.client import ApiError
from tests.dag_tasks import task_ids
from tests.stub_repository import git

pytestmark = pytest.mark.integration

DAG = "nightly_batch_scoring"
TIMEOUT_S = 240
PUBLIC = {"/api/v2/monitor/health", "/api/v2/version", "/api/v2/auth/login", "/api/v2/auth/logout"}


def follow(airflow, *run_ids):
    return list(airflow.client().follow(DAG, run_ids, timeout_s=TIMEOUT_S, check=airflow.check).values())


def behave(state: Path, stage: str, partition: str, what: str) -> Path:
    file = state / "behave" / f"{stage}-{partition}"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(what)
    return file


def slug_in(state: Path, run_id: str) -> str:
    for run in (state / "reports" / DAG).glob("*/run.json"):
        if json.loads(run.read_text())["run_id"] == run_id:
            return run.parent.name
    raise AssertionError(f"{run_id} has left no report")


def fetch(url: str, *, token: str | None = None, cookie: str | None = None, method: str = "GET") -> tuple[int, str, dict[str, str]]:
    request = urllib.request.Request(url, method=method)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    if cookie:
        request.add_header("Cookie", f"_token={cookie}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode(), {key.lower(): value for key, value in answer.headers.items()}
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(), {}


@pytest.fixture(scope="module")
def night(airflow):
    """Return one finished night, shared by the tests that only look."""
    run_id = airflow.client().trigger(DAG, "2013-04-01", run_id="night", conf={"reason": "a test"})
    assert follow(airflow, run_id) == ["success"]
    return run_id


def test_a_night_is_published_recorded_noted_and_cleaned_up(airflow, state, night):
    assert (state / "published" / "2013-04-01").read_text() == night
    assert airflow.client().run(DAG, night)["note"].startswith("PUBLISHED 2013-04-01: 945 rows, Core version 1. Report: [")
    assert not (state / "workspaces" / DAG / "night").exists()
    pinned = git(airflow.repository, "show", f"refs/runs/{DAG}/{night}:run.yaml")
    assert "partition: '2013-04-01'" in pinned
    assert "index: true" in pinned, "the night is pinned to the published index too"
    tasks = airflow.client().tasks(DAG, night)
    assert {task["task_id"] for task in tasks} == set(task_ids(DAG))
    assert {task["state"] for task in tasks} == {"success"}


def test_publishing_tells_the_asset_which_partition(airflow, night):
    events = airflow.client().call("GET", f"/assets/events?source_dag_id={DAG}&source_run_id={night}")["asset_events"]
    assert [event["partition_key"] for event in events] == ["2013-04-01"]


@pytest.mark.slow
def test_a_finished_night_runs_again_and_computes_nothing(airflow, state, night):
    commit = git(airflow.repository, "rev-parse", f"refs/runs/{DAG}/{night}")
    airflow.client().clear(DAG, night)
    deadline = time.monotonic() + TIMEOUT_S
    while airflow.client().run(DAG, night)["state"] == "success" and time.monotonic() < deadline:
        time.sleep(0.1)  # until the clearing is seen
    assert follow(airflow, night) == ["success"]
    assert git(airflow.repository, "rev-parse", f"refs/runs/{DAG}/{night}") == commit


@pytest.mark.parametrize(
    "key",
    [
        *("../../etc", "2013-02-30", "x'; DROP TABLE dag; --", "x" * 10_000, 20130401, "", "2013-04-01T00:00:00", ["2013-04-01"], {"a": 1}),
        *("2013-4-2", "２０１３-04-02", None),
    ],
)
def test_a_bad_partition_key_gets_a_4xx(airflow, key):
    with pytest.raises(ApiError) as caught:
        airflow.client().trigger(DAG, key)
    assert caught.value.status in (400, 422)


@pytest.mark.parametrize(
    "conf", [{"reason": 5}, {"reason": "x" * 10_000}, "text", [1], {"raeson": "x"}, {"partition": "2013-04-03"}, {"partition": ""}]
)
def test_a_bad_conf_gets_a_4xx(airflow, conf):
    with pytest.raises(ApiError) as caught:
        airflow.client().call("POST", f"/dags/{DAG}/dagRuns", {"logical_date": None, "partition_key": "2013-04-02", "conf": conf})
    assert caught.value.status in (400, 422)


@pytest.mark.parametrize("run_id", ["../../etc", "a/b", "a b", "a..b", "ü", "$(id)"])
def test_a_bad_run_id_gets_a_4xx(airflow, run_id):
    with pytest.raises(ApiError) as caught:
        airflow.client().trigger(DAG, "2013-04-02", run_id=run_id)
    assert caught.value.status in (400, 422)


def test_what_comes_in_by_another_door_fails_when_the_run_opens_and_makes_no_path(airflow, state):
    """A backfill's runs are made by the scheduler's rules, which no error may stop."""
    client = airflow.client()
    made = {"dag_id": DAG, "from_date": "2013-04-03T00:00:00Z", "to_date": "2013-04-03T00:00:00Z", "dag_run_conf": {"raeson": "x"}}
    client.call("POST", "/backfills", made)
    [run] = [run for run in client.call("GET", f"/dags/{DAG}/dagRuns?limit=200")["dag_runs"] if run["run_type"] == "backfill"]
    run_id = run["dag_run_id"]
    assert follow(airflow, run_id) == ["failed"]
    assert client.run(DAG, run_id)["note"].startswith("REFUSED: conf holds 'raeson'")
    states = {task["task_id"]: (task["state"], task["try_number"]) for task in client.tasks(DAG, run_id)}
    assert states["open_run"] == ("failed", 1), "no retry can fix it"
    assert not list((state / "workspaces").glob("*/*backfill*"))


@pytest.mark.slow
def test_a_night_is_scored_for_the_partition_of_the_form(airflow, state):
    """As the form sends it: every parameter, and no partition key."""
    form = {"logical_date": None, "dag_run_id": "form", "conf": {"partition": "2013-04-07", "reason": None}}
    made = airflow.client().call("POST", f"/dags/{DAG}/dagRuns", form)
    assert made["partition_key"] == "2013-04-07"
    assert follow(airflow, "form") == ["success"]
    assert (state / "published" / "2013-04-07").read_text() == "form"
    events = airflow.client().call("GET", f"/assets/events?source_dag_id={DAG}&source_run_id=form")["asset_events"]
    assert [event["partition_key"] for event in events] == ["2013-04-07"], "so that the night is watched"


def test_a_repeated_run_id_gets_409(airflow, night):
    with pytest.raises(ApiError) as caught:
        airflow.client().trigger(DAG, "2013-04-01", run_id=night)
    assert caught.value.status == 409


def test_a_failed_gate_fails_the_run_without_retry_and_publishes_nothing(airflow, state):
    behave(state, "validate_batch", "2013-05-01", "gate")
    run_id = airflow.client().trigger(DAG, "2013-05-01", run_id="gate")
    assert follow(airflow, run_id) == ["failed"]
    assert (
        airflow.client().run(DAG, run_id)["note"].startswith("NOT PUBLISHED 2013-05-01: validate_batch: column carrier: 3 nulls. Report: [")
    )
    states = {task["task_id"]: (task["state"], task["try_number"]) for task in airflow.client().tasks(DAG, run_id)}
    assert states["validate_batch"] == ("failed", 1)
    assert states["close_run"][0] == "success"
    assert not (state / "published" / "2013-05-01").exists()
    assert (state / "workspaces" / DAG / run_id).exists(), "kept for inspection"


@pytest.mark.slow
@pytest.mark.parametrize(("stage", "partition"), [("attach_evidence", "2013-05-02"), ("publish_evidence", "2013-05-03")])
def test_evidence_that_fails_leaves_the_scores_published(airflow, state, stage, partition):
    behave(state, stage, partition, "gate")
    run_id = airflow.client().trigger(DAG, partition, run_id=f"fails_{stage}")
    assert follow(airflow, run_id) == ["failed"], "and everybody sees it"
    note = airflow.client().run(DAG, run_id)["note"]
    assert note.startswith(f"PUBLISHED {partition}, but this failed: {stage}: column carrier: 3 nulls; 945 rows, Core version 1. ")
    assert (state / "published" / partition).read_text() == run_id
    events = airflow.client().call("GET", f"/assets/events?source_dag_id={DAG}&source_run_id={run_id}")["asset_events"]
    assert [event["partition_key"] for event in events] == [partition], "the night is watched as any other"


@pytest.mark.slow
def test_the_same_night_twice_and_four_nights_at_once(airflow, state):
    client = airflow.client()
    partitions = ["2013-06-01", "2013-06-01", "2013-06-02", "2013-06-03", "2013-06-04"]
    behave(state, "score", "2013-06-03", "once")
    run_ids = [client.trigger(DAG, partition, run_id=f"many_{number}") for number, partition in enumerate(partitions)]
    assert follow(airflow, *run_ids) == ["success"] * 5
    assert (state / "published" / "2013-06-01").read_text() in run_ids[:2]
    assert [(state / "published" / partition).read_text() for partition in partitions[2:]] == run_ids[2:]
    assert {task["task_id"]: task["try_number"] for task in client.tasks(DAG, run_ids[3])}["score"] == 2
    assert not [path for run_id in run_ids for path in (state / "workspaces" / DAG).glob(f"{run_id}*")]


# --- pages


def paths(state, night):
    report = f"/nightshift/reports/{DAG}/{slug_in(state, night)}/validate_batch"
    return ["/nightshift/", report, f"/nightshift/reports/{DAG}/none/none", "/nightshift/models/Core/1"]


def test_no_page_without_a_login(airflow, state, night):
    for path in paths(state, night):
        assert fetch(airflow.url + path)[0] == 401
        assert fetch(airflow.url + path, token="x.y.z")[0] == 401
        assert fetch(airflow.url + path, cookie="x.y.z")[0] == 401
    for path in ("docs", "redoc", "openapi.json"):
        assert fetch(f"{airflow.url}/nightshift/{path}")[0] == 404
    assert fetch(f"{airflow.url}/api/v2/dags")[0] == 401
    assert fetch(f"{airflow.url}/api/v2/dags/{DAG}/dagRuns", method="POST")[0] == 401


def test_no_route_of_the_pages_without_a_login(airflow):
    """For all routes: one that is added without a check fails here."""
    listed = "f'{method}:{route.path}' for route in make_app().routes for method in route.methods"
    code = f"from nightshift_airflow.pages import make_app; print('routes', *({listed}))"
    environment = airflow.environment() | {"PYTHONPATH": str(airflow.repository / "plugins")}
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    [routes] = [line.split()[1:] for line in printed.splitlines() if line.startswith("routes ")]
    assert len(routes) >= 4
    asked = {route: route.split(":", 1) for route in routes}
    answers = {route: fetch(f"{airflow.url}/nightshift{filled(path)}", method=method)[0] for route, (method, path) in asked.items()}
    assert answers == dict.fromkeys(routes, 401)


def test_no_path_of_the_api_without_a_login(airflow):
    described = json.loads(fetch(f"{airflow.url}/openapi.json")[1])["paths"]
    asked = [path for path, methods in described.items() if path.startswith("/api/v2/") and "get" in methods]
    assert len(asked) > 50
    answers = {path: fetch(airflow.url + filled(path))[0] for path in asked}
    assert {path for path, status in answers.items() if status != 401} == PUBLIC


def filled(path: str) -> str:
    """Return `path` with something in place of each parameter."""
    return re.sub(r"\{\w+(:path)?\}", "1", path)


def test_the_pages_open_with_a_token_and_with_the_cookie_of_the_ui(airflow, state, night):
    token = airflow.client().token()
    index, report, missing, model = paths(state, night)
    for login in ({"token": token}, {"cookie": token}):
        status, body, headers = fetch(airflow.url + index, **login)
        assert status == 200
        assert f'href="{report}"' in body
        status, body, headers = fetch(airflow.url + report, **login)
        assert status == 200
        assert body.endswith("<h1>validate_batch 2013-04-01</h1>")
        assert f'href="/dags/{DAG}/runs/{quote(night)}"' in body
        assert fetch(airflow.url + "/nightshift/runbooks/gate-failed", **login)[0] == 200
        assert fetch(airflow.url + "/nightshift/runbooks/none", **login)[0] == 404
        assert "default-src 'none'" in headers["content-security-policy"]
        assert fetch(airflow.url + missing, **login)[0] == 404
        assert fetch(airflow.url + model, **login)[0] == 404
    card = state / "reports" / "models" / "Core" / "1" / "model_card.html"
    card.parent.mkdir(parents=True, exist_ok=True)
    card.write_text("<h1>the card</h1>")
    status, body, _ = fetch(airflow.url + model, token=token)
    assert (status, body.endswith("<h1>the card</h1>")) == (200, True)


@pytest.mark.parametrize("part", ["..", "%2e%2e", "..%2f..%2fairflow", "%2e%2e%2f%2e%2e%2fsecrets.json", "a%00b", "x" * 300, "A%20B"])
def test_no_path_leads_out_of_the_reports(airflow, state, night, part):
    token = airflow.client().token()
    slug = slug_in(state, night)
    for path in (
        f"reports/{DAG}/{slug}/{part}",
        f"reports/{DAG}/{part}/score",
        f"reports/{part}/{slug}/score",
        f"models/{part}/1",
        f"models/Core/{part}",
        f"runbooks/{part}",
        f"docs/{part}",
    ):
        status, body, _ = fetch(f"{airflow.url}/nightshift/{path}", token=token)
        assert status in (404, 422) or "<title>Airflow</title>" in body  # a path that the client has shortened is the UI's
        assert "jwt_secret" not in body


def test_tasks_link_to_report_and_model(airflow, state, night):
    path = f"/dags/{DAG}/dagRuns/{quote(night)}/taskInstances/validate_batch/links"
    links = airflow.client().call("GET", path)["extra_links"]
    assert links["Report"] == f"/nightshift/reports/{DAG}/{slug_in(state, night)}/validate_batch"
    assert links["Model"] == "/nightshift/models/Core/1"


# --- the installation


def test_secrets_are_for_their_owners_eyes(airflow):
    for name in ("airflow.cfg", "secrets.json", "passwords.json"):
        assert stat.S_IMODE((airflow.airflow_home / name).stat().st_mode) == 0o600
    assert stat.S_IMODE(airflow.airflow_home.stat().st_mode) == 0o700
    assert len(airflow.password) >= 20


def test_everything_listens_on_loopback_only(airflow):
    addresses = listening(descendants(os.getpid()))
    assert ("127.0.0.1", airflow.port) in addresses
    assert {address for address, _ in addresses} == {"127.0.0.1"}


@pytest.mark.faults
@pytest.mark.parametrize("stage", ["featurize_batch", "publish_scores"])
def test_a_killed_scheduler_takes_its_tasks_along_and_the_night_completes(airflow, state, stage):
    partition = {"featurize_batch": "2013-07-01", "publish_scores": "2013-07-02"}[stage]
    sleeping = behave(state, stage, partition, "sleep")
    run_id = airflow.client().trigger(DAG, partition, run_id=f"killed_{stage}")
    wait_until(lambda: stage_processes(stage))
    os.kill(airflow.pid("scheduler"), signal.SIGKILL)
    wait_until(lambda: not stage_processes(stage))
    sleeping.unlink()
    airflow.restart("scheduler")
    assert follow(airflow, run_id) == ["success"]
    assert (state / "published" / partition).read_text() == run_id


@pytest.mark.faults
def test_a_killed_task_runner_is_tried_again(airflow, state):
    sleeping = behave(state, "score", "2013-07-03", "sleep")
    run_id = airflow.client().trigger(DAG, "2013-07-03", run_id="killed_runner")
    wait_until(lambda: stage_processes("score"))
    supervisor = next(pid for pid in stage_processes("score") if "supervisor.py" in command_of(pid))
    os.kill(parent_of(supervisor), signal.SIGKILL)
    wait_until(lambda: not stage_processes("score"))
    sleeping.unlink()
    assert follow(airflow, run_id) == ["success"]


def wait_until(condition, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited without effect"
        time.sleep(0.05)


def command_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descendants(root: int) -> list[int]:
    parents = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(entry.name)] = parent_of(int(entry.name))
        except OSError:
            continue
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found[1:]


def stage_processes(stage: str) -> list[int]:
    """Return the processes that belong to `stage`, while the stage itself is running; empty before and after."""
    commands = {pid: command_of(pid) for pid in descendants(os.getpid())}
    modules = [f"pipelines.{package}.{stage}" for package in ("data", "scoring")]
    if not any(module in command for command in commands.values() for module in modules):
        return []
    return [pid for pid, command in commands.items() if any(name in command for name in (*modules, f"--single-item {stage}"))]


def listening(pids: list[int]) -> set[tuple[str, int]]:
    done = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True)
    found = set()
    for line in done.stdout.splitlines():
        if any(f"pid={pid}," in line for pid in pids):
            address, _, port = line.split()[3].rpartition(":")
            found.add((address, int(port)))
    return found
