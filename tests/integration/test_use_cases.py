"""Several use cases in one Airflow: their nights run at the same time, and what one does, its faults and its removal change nothing of another one."""

import hashlib
import shutil
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.embedded.client import ApiError, Client
from deploy.embedded.server import Server
from tests.stub_repository import git

pytestmark = [pytest.mark.integration, pytest.mark.slow]

DAGS = ("nightly_batch_scoring", "nightly_batch_scoring__shop")
FLIGHTS, FRAUD, ORDERS = ("nightly_batch_scoring", "nightly_batch_scoring__fraud", "nightly_batch_scoring__orders")
HELD, OTHER_NIGHT, REFUSED, AFTER = "2013-10-01", "2013-10-02", "2013-10-03", "2013-10-04"
NIGHT, EMPTY_NIGHT, FULL_NIGHT = "2013-09-17", "2013-09-18", "2013-09-19"
_PATIENCE_S = 240


def test_nights_of_two_use_cases_run_at_once_and_record_their_own_parameters(airflow: Server) -> None:
    client = airflow.client()
    sleeping = airflow.home / "behave" / f"score-{NIGHT}"  # both wait in this stage, until both have reached it
    sleeping.parent.mkdir(exist_ok=True)
    sleeping.write_text("sleep")
    for dag_id in DAGS:
        client.unpause(dag_id)
        client.trigger(dag_id, NIGHT, run_id="together")
    deadline = time.monotonic() + _PATIENCE_S
    while not all(_is_running(client.tasks(dag_id, "together"), "score") for dag_id in DAGS):
        airflow.check()
        assert time.monotonic() < deadline, [client.tasks(dag_id, "together") for dag_id in DAGS]
        time.sleep(0.2)
    sleeping.unlink()
    for dag_id in DAGS:
        assert client.follow(dag_id, ["together"], timeout_s=_PATIENCE_S, check=airflow.check) == {"together": "success"}
    assert {task["pool"] for task in client.tasks(DAGS[0], "together")} == {"default_pool"}
    assert {task["pool"] for task in client.tasks(DAGS[1], "together")} == {"shop"}
    assert client.call("GET", "/pools/shop")["slots"] == 2
    recorded = [yaml.safe_load(git(airflow.repository, "show", f"refs/runs/{dag_id}/together:params.yaml")) for dag_id in DAGS]
    assert [params.get("use_case") for params in recorded] == [None, {"name": "shop", "default": False}]
    assert [params["dataset"]["name"] for params in recorded] == ["flights", "shop"]
    assert "nightly_batch_scoring__shop" in _front_page(airflow)
    assert "<td>nightly_batch_scoring</td>" not in (page := _front_page(airflow, "?use_case=shop"))
    assert "<td>nightly_batch_scoring__shop</td>" in page


@pytest.fixture(scope="module")
def three(airflow: Server) -> Server:
    """The three use cases that ship have scored a night: flights waited in a stage until the others had finished theirs."""
    client = airflow.client()
    held = airflow.home / "behave" / f"score-{HELD}"
    held.parent.mkdir(exist_ok=True)
    held.write_text("sleep")
    for dag_id in (FLIGHTS, FRAUD, ORDERS):
        client.unpause(dag_id)
    client.trigger(FLIGHTS, HELD, run_id="one")
    _wait(airflow, lambda: _is_running(client.tasks(FLIGHTS, "one"), "score"))
    for dag_id in (FRAUD, ORDERS):
        client.trigger(dag_id, OTHER_NIGHT, run_id="one")
    for dag_id in (FRAUD, ORDERS):
        assert client.follow(dag_id, ["one"], timeout_s=_PATIENCE_S, check=airflow.check) == {"one": "success"}
    assert _is_running(client.tasks(FLIGHTS, "one"), "score"), "it has waited all the time"
    held.unlink()
    assert client.follow(FLIGHTS, ["one"], timeout_s=_PATIENCE_S, check=airflow.check) == {"one": "success"}
    return airflow


def test_no_use_case_waits_for_another_and_each_has_its_own_table(three: Server) -> None:
    recorded = [yaml.safe_load(git(three.repository, "show", f"refs/runs/{dag_id}/one:params.yaml")) for dag_id in (FLIGHTS, FRAUD, ORDERS)]
    assert [(params["dataset"]["name"], params["dataset"]["label"]["delay_days"]) for params in recorded] == [
        ("flights", 1),
        ("fraud", 7),
        ("orders", 3),
    ]
    assert [params["registry"]["name"] for params in recorded[1:]] == ["fraud_model", "orders_model"]
    assert recorded[1]["validate_batch"] != recorded[2]["validate_batch"], "what was derived for each is recorded too"


def test_nothing_of_a_use_case_changes_if_another_one_runs_fails_breaks_or_is_removed(three: Server) -> None:
    """A removed use case leaves its history, and goes on from there when it returns."""
    client, folder = three.client(), three.repository / "use_cases" / "fraud"
    others, whole = {dag_id: _all_of(three, dag_id) for dag_id in (FLIGHTS, ORDERS)}, (folder / "params.yaml").read_text()
    client.trigger(FRAUD, AFTER, run_id="two")
    assert client.follow(FRAUD, ["two"], timeout_s=_PATIENCE_S, check=three.check) == {"two": "success"}
    refused = three.home / "behave" / f"validate_scores-{REFUSED}"
    refused.write_text("gate")
    client.trigger(FRAUD, REFUSED, run_id="refused")
    assert client.follow(FRAUD, ["refused"], timeout_s=_PATIENCE_S, check=three.check) == {"refused": "failed"}
    refused.unlink()
    assert {dag_id: _all_of(three, dag_id) for dag_id in others} == others, "it ran, and a gate stopped it"

    (folder / "params.yaml").write_text(whole + "nightly_batch_scoring: {retries: few}\n")
    assert "use_cases/fraud/params.yaml: nightly_batch_scoring.retries" in _front_page(three)
    _wait_for_parsing(three)
    assert [_knows(three, dag_id) for dag_id in others] == [True, True]
    assert {dag_id: _all_of(three, dag_id) for dag_id in others} == others, "its file was broken"

    (folder / "params.yaml").write_text(whole)
    history = _all_of(three, FRAUD)
    git(three.repository, "rm", "--quiet", "-r", "use_cases/fraud")
    git(three.repository, "commit", "--quiet", "--message", "Stop scoring fraud")
    try:
        dags = [f"{path.stem}__fraud" for path in (three.repository / "dags").glob("*.py")]
        _wait(three, lambda: not any(_knows(three, dag_id) for dag_id in dags))
        assert {dag_id: _all_of(three, dag_id) for dag_id in others} == others, "it was removed"
        client.trigger(ORDERS, AFTER, run_id="without")
        assert client.follow(ORDERS, ["without"], timeout_s=_PATIENCE_S, check=three.check) == {"without": "success"}
        assert _all_of(three, FRAUD) == history, "it can be read as before"
        assert f"<td>{FRAUD}</td>" in _front_page(three, "?use_case=fraud")
        assert f"<h1>score {OTHER_NIGHT}</h1>" in _front_page(three, f"reports/{FRAUD}/one/score")
        assert "params.yaml" in git(three.repository, "ls-tree", "--name-only", f"refs/runs/{FRAUD}/one")
    finally:
        git(three.repository, "checkout", "--quiet", "HEAD~", "--", "use_cases/fraud")
        git(three.repository, "commit", "--quiet", "--message", "Score fraud again")
    _wait(three, lambda: _knows(three, FRAUD))
    client.trigger(FRAUD, HELD, run_id="again")
    assert client.follow(FRAUD, ["again"], timeout_s=_PATIENCE_S, check=three.check) == {"again": "success"}


def _all_of(airflow: Server, dag_id: str) -> dict[str, Any]:
    """Return all that a use case has left by its DAG `dag_id`: tasks, runs and their states in Airflow, the refs of its runs, and their reports."""
    client, reports = airflow.client(), airflow.home / "reports" / dag_id
    tasks = [(task["task_id"], task["pool"], task["downstream_task_ids"]) for task in client.call("GET", f"/dags/{dag_id}/tasks")["tasks"]]
    runs = client.call("GET", f"/dags/{dag_id}/dagRuns?limit=100&order_by=id")["dag_runs"]
    return {
        "tasks": sorted(tasks),
        "runs": [(run["dag_run_id"], run["partition_key"], run["state"], run["note"], run["end_date"]) for run in runs],
        "states": {
            run["dag_run_id"]: sorted(
                (task["task_id"], task["state"], task["try_number"]) for task in client.tasks(dag_id, run["dag_run_id"])
            )
            for run in runs
        },
        "refs": git(airflow.repository, "for-each-ref", f"refs/runs/{dag_id}/").splitlines(),
        "reports": {
            str(path.relative_to(reports)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(reports.rglob("*"))
            if path.is_file()
        },
    }


def _wait(airflow: Server, condition: Callable[[], bool]) -> None:
    """Wait until `condition` holds. Raises `AssertionError` if it does not for long, or if a service of `airflow` has ended."""
    deadline = time.monotonic() + _PATIENCE_S
    while not condition():
        airflow.check()
        assert time.monotonic() < deadline, airflow.client().call("GET", "/importErrors")
        time.sleep(0.5)


def test_a_night_without_rows_is_recorded_and_nothing_is_scored_or_watched(airflow: Server) -> None:
    client, dag_id = airflow.client(), DAGS[1]
    client.unpause(dag_id)
    behave = airflow.home / "behave" / f"validate_batch-{EMPTY_NIGHT}"
    behave.parent.mkdir(exist_ok=True)
    behave.write_text("empty")
    client.trigger(dag_id, EMPTY_NIGHT, run_id="empty")
    assert client.follow(dag_id, ["empty"], timeout_s=_PATIENCE_S, check=airflow.check) == {"empty": "success"}
    states = {task["task_id"]: task["state"] for task in client.tasks(dag_id, "empty")}
    done = ("open_run", "ingest_batch", "validate_batch", "publish_empty_night", "close_run")
    assert states == {task: "success" if task in done else "skipped" for task in states}
    assert client.run(dag_id, "empty")["note"].startswith(f"NO ROWS (allowed) {EMPTY_NIGHT}: night 1 in a row without rows, of at most 2")
    assert _events(client, EMPTY_NIGHT) == [], "nobody watches the night"

    client.trigger(dag_id, FULL_NIGHT, run_id="full")
    assert client.follow(dag_id, ["full"], timeout_s=_PATIENCE_S, check=airflow.check) == {"full": "success"}
    states = {task["task_id"]: task["state"] for task in client.tasks(dag_id, "full")}
    assert [task for task, state in states.items() if state != "success"] == ["publish_empty_night"]
    assert client.run(dag_id, "full")["note"].startswith(f"PUBLISHED {FULL_NIGHT}: 945 rows")
    assert len(_events(client, FULL_NIGHT)) == 1


def _events(client: Client, partition: str) -> list[dict[str, object]]:
    """Return the events of the asset that the shop's scores are, for the night `partition`."""
    found = client.call("GET", f"/assets/events?source_dag_id={DAGS[1]}&limit=100")["asset_events"]
    return [event for event in found if event["partition_key"] == partition]


def _is_running(tasks: list[dict[str, object]], name: str) -> bool:
    return any(task["task_id"] == name and task["state"] == "running" for task in tasks)


@pytest.fixture
def churn(airflow: Server) -> Iterator[Path]:
    """The declaration of a third use case, which does not exist yet."""
    declaration = airflow.repository / "use_cases" / "churn" / "params.yaml"
    declaration.parent.mkdir()
    yield declaration
    shutil.rmtree(declaration.parent)


def test_a_broken_use_case_is_named_and_returns_without_a_restart(airflow: Server, churn: Path) -> None:
    sound = {"dataset": {"event_time": "at"}, "features": {}, "first_run": {"partition": "2013-01-01"}}
    churn.write_text(yaml.safe_dump({**sound, "nightly_batch_scoring": {"retries": "few"}}))
    assert "use_cases/churn/params.yaml: nightly_batch_scoring.retries" in _front_page(airflow)
    _wait_for_parsing(airflow)
    assert airflow.client().call("GET", "/importErrors")["total_entries"] == 0
    assert [_knows(airflow, dag_id) for dag_id in (*DAGS, "nightly_batch_scoring__churn")] == [True, True, False]
    churn.write_text(yaml.safe_dump(sound))
    assert "churn" not in _front_page(airflow)
    deadline = time.monotonic() + _PATIENCE_S
    while not _knows(airflow, "nightly_batch_scoring__churn"):
        airflow.check()
        assert time.monotonic() < deadline, airflow.client().call("GET", "/importErrors")
        time.sleep(0.5)


def _front_page(airflow: Server, query: str = "") -> str:
    request = urllib.request.Request(f"{airflow.url}/nightshift/{query}", headers={"Authorization": f"Bearer {airflow.client().token()}"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return str(answer.read().decode())


def _wait_for_parsing(airflow: Server) -> None:
    """Wait until the file of the scoring DAGs has been parsed again."""
    client, deadline = airflow.client(), time.monotonic() + _PATIENCE_S
    parsed = client.call("GET", f"/dags/{DAGS[0]}")["last_parsed_time"]
    for _ in range(2):  # the first parsing may have begun before the use case was written
        while (now := client.call("GET", f"/dags/{DAGS[0]}")["last_parsed_time"]) == parsed:
            airflow.check()
            assert time.monotonic() < deadline, parsed
            time.sleep(0.5)
        parsed = now


def _knows(airflow: Server, dag_id: str) -> bool:
    try:
        return not airflow.client().call("GET", f"/dags/{dag_id}")["is_stale"]
    except ApiError as error:
        assert error.status == 404
        return False
