"""The fault campaign: real nights through real Airflow, and at every task of every night something is killed.

Each of four nights is killed once in each of its nine tasks: the stage's process, the task runner or the scheduler, in turn, at a moment
drawn from a seed. Every night must complete by its own retries, and the published table must equal that of undisturbed nights, row for row.
Writes ``var/faults/report.json``. Run with ``make faults``; ``make test`` holds a quick sample (tests/integration).
"""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import pytest

from deploy.embedded.server import Server
from pipelines.lib import home
from tests.real_repository import DAG_ID, TASKS, RealRepository

pytestmark = pytest.mark.campaign

PARTITIONS = ("2013-04-01", "2013-04-02", "2013-04-03", "2013-04-04")
VICTIMS = ("stage", "runner", "scheduler")
LONGEST_WAIT_S = 1.5  # into a task; the shortest task takes about as long
TIMEOUT_S = 900


Rows = dict[str, list[tuple[Any, ...]]]


@dataclass
class Kill:
    """One kill: where, what, how far into the task, and whether the victim was still at work then."""

    partition: str
    task: str
    victim: str
    after_s: float
    delivered: bool = False
    recovered: bool = False


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> RealRepository:
    return RealRepository(
        tmp_path_factory.mktemp("faults"), {"nightly_batch_scoring": {"retry_first_s": 1, "retry_longest_s": 5, "retries": 6}}
    )


@pytest.fixture(scope="module")
def expected(repository: RealRepository) -> Rows:
    """The published rows of undisturbed nights."""
    repository.train()
    with _airflow(repository, "undisturbed") as airflow:
        client = airflow.client()
        run_ids = [client.trigger(DAG_ID, partition, run_id=f"undisturbed_{partition}") for partition in PARTITIONS]
        assert set(client.follow(DAG_ID, run_ids, timeout_s=TIMEOUT_S, check=airflow.check).values()) == {"success"}
    return {partition: repository.published(partition) for partition in PARTITIONS}


@contextmanager
def _airflow(repository: RealRepository, name: str) -> Iterator[Server]:
    """Airflow with a DVC cache of its own: what an earlier night has computed must be computed again, not restored."""
    cache = {"NIGHTSHIFT_DVC_CACHE": str(repository.home / f"cache-{name}")}
    with Server(repository.home, repository=repository.root, schedule=False, env=cache) as server:
        server.client().unpause(DAG_ID)
        yield server


def test_nights_that_are_killed_at_every_task_publish_the_same_rows(expected: Rows, repository: RealRepository) -> None:
    assert all(expected.values())
    with _airflow(repository, "killed") as airflow:
        kills = [kill for number, partition in enumerate(PARTITIONS) for kill in _kill_through(airflow, repository, partition, number)]
    found = {partition: repository.published(partition) for partition in PARTITIONS}
    report = _report(kills, expected, found)
    assert found == expected
    assert report["kill_points"] >= 30
    assert report["recovered"] == report["kill_points"]


def _kill_through(airflow: Server, repository: RealRepository, partition: str, number: int) -> list[Kill]:
    """Run one night and kill something in each of its tasks."""
    chance = random.Random(number)
    run_id = airflow.client().trigger(DAG_ID, partition, run_id=f"killed_{partition}")
    plan = [
        Kill(partition, task, VICTIMS[(number + place) % 3], round(chance.uniform(0, LONGEST_WAIT_S), 2))
        for place, task in enumerate(TASKS)
    ]
    for kill in plan:
        _deliver(kill, airflow, run_id)
    state = airflow.client().follow(DAG_ID, [run_id], timeout_s=TIMEOUT_S, check=airflow.check)[run_id]
    for kill in plan:
        kill.recovered = state == "success" and repository.publisher(partition) == {run_id}
    return plan


def _report(kills: list[Kill], expected: Rows, found: Rows) -> dict[str, Any]:
    """What happened, as ``var/faults/report.json`` tells it."""
    delivered = [kill for kill in kills if kill.delivered]
    report = {
        "kill_points": len(delivered),
        "recovered": sum(kill.recovered for kill in delivered),
        "lost_rows": sum(len(set(expected[partition]) - set(found[partition])) for partition in PARTITIONS),
        "doubled_rows": sum(len(found[partition]) - len(set(found[partition])) for partition in PARTITIONS),
        "kills": [asdict(kill) for kill in kills],
    }
    path = home.home() / "faults" / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2), encoding="utf-8")
    return report


def _deliver(kill: Kill, airflow: Server, run_id: str) -> None:
    """Wait until the task of `kill` is at work, wait a little longer, and kill its victim, if it still lives."""
    task = _wait_for_start(airflow, run_id, kill.task)
    time.sleep(kill.after_s)  # the moment of the kill is the experiment; no condition stands for it
    runner = _runner(task["id"])
    if kill.victim == "scheduler":
        kill.delivered = runner is not None
        psutil.Process(airflow.pid("scheduler")).kill()
        airflow.restart("scheduler")
        return
    victim = runner
    if kill.victim == "stage" and runner is not None:
        victim = _stage(runner) or runner  # before its process has started, and in close_run, the runner is all there is
    if victim is not None:
        try:
            victim.kill()
            kill.delivered = True
        except psutil.NoSuchProcess:
            pass


def _wait_for_start(airflow: Server, run_id: str, task_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for task in airflow.client().tasks(DAG_ID, run_id):
            if task["task_id"] == task_id and task["state"] in ("running", "success", "failed"):
                return task
        airflow.check()
        time.sleep(0.1)
    raise AssertionError(f"{task_id} of {run_id} did not start in {TIMEOUT_S} s")


def _runner(task_instance_id: str) -> psutil.Process | None:
    """The process that runs a task instance: Airflow names it so."""
    for process in psutil.process_iter(["cmdline"]):
        if "".join(process.info["cmdline"] or []).strip() == f"airflow worker -- {task_instance_id}":
            return process
    return None


def _stage(runner: psutil.Process) -> psutil.Process | None:
    """The stage's own Python process below a task runner, if it has got so far."""
    try:
        below = runner.children(recursive=True)
        return next((process for process in below if any(part.startswith("pipelines.") for part in process.cmdline())), None)
    except psutil.NoSuchProcess:
        return None
