"""The fault campaign: real nights through real Airflow, and at every task of every night something is killed.

Each of four nights is killed once in each of its eleven tasks: the stage's process, the task runner or the scheduler, in turn, at a moment
drawn from a seed, at any point of the work that the process does in an undisturbed night. Every night must complete by its own retries,
and the published table must equal that of undisturbed nights, row for row.
Writes ``var/faults/report.json``. Run with ``make faults``; ``make test`` holds a quick sample (tests/integration).
"""

import json
import math
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import pytest

from benchmarks.measure import origin
from deploy.embedded.server import Server
from pipelines.lib.core import home
from tests.real_repository import DAG_ID, TASKS, RealRepository

pytestmark = pytest.mark.campaign

PARTITIONS = ("2013-04-01", "2013-04-02", "2013-04-03", "2013-04-04")
VICTIMS = ("stage", "runner", "scheduler")
WITHOUT_STAGE = "close_run"  # runs no `pipelines` module: its runner is killed instead
LATEST = 0.85  # of undisturbed work: what comes later may come too late
TIMEOUT_S = 900

Rows = dict[str, list[tuple[Any, ...]]]
Work = dict[tuple[str, str], float]
"""Processor seconds that a process works, with all that it starts, by its task and by "stage" or "runner"."""


@dataclass
class Kill:
    """One kill: where, of what, after how many processor seconds; `killed` is the command line of what died, empty if it had ended."""

    partition: str
    task: str
    victim: str
    after_s: float
    killed: str = ""
    recovered: bool = False


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> RealRepository:
    return RealRepository(
        tmp_path_factory.mktemp("faults"), {"nightly_batch_scoring": {"retry_first_s": 1, "retry_longest_s": 5, "retries": 6}}
    )


@pytest.fixture(scope="module")
def undisturbed(repository: RealRepository) -> tuple[Rows, Work]:
    """Return the published rows of undisturbed nights, and how long their processes work."""
    repository.train()
    work: Work = {}
    with _airflow(repository, "undisturbed") as airflow:
        for number, partition in enumerate(PARTITIONS):
            run_id = airflow.client().trigger(DAG_ID, partition, run_id=f"undisturbed_{partition}")
            for task in TASKS:
                victim = _victim(task, number % 2)
                process = _wait_for(airflow, run_id, task, victim)
                if worked := process and _watch(process, math.inf):  # close_run may be gone before it is seen
                    work[task, victim] = min(worked, work.get((task, victim), worked))
            assert _state(airflow, run_id) == "success"
    return {partition: repository.published(partition) for partition in PARTITIONS}, work


@contextmanager
def _airflow(repository: RealRepository, name: str) -> Iterator[Server]:
    """Start Airflow with a DVC cache of its own: outputs of an earlier night must be computed again, not restored."""
    cache = {"NIGHTSHIFT_DVC_CACHE": str(repository.home / f"cache-{name}")}
    with Server(repository.home, repository=repository.root, schedule=False, parse_every_s=120, env=cache) as server:
        server.client().unpause(DAG_ID)
        yield server


def test_nights_that_are_killed_at_every_task_publish_the_same_rows(undisturbed: tuple[Rows, Work], repository: RealRepository) -> None:
    expected, work = undisturbed
    assert all(expected.values())
    with _airflow(repository, "killed") as airflow:
        kills = [
            kill for number, partition in enumerate(PARTITIONS) for kill in _kill_through(airflow, repository, partition, number, work)
        ]
    found = {partition: repository.published(partition) for partition in PARTITIONS}
    report = _report(kills, expected, found)
    assert found == expected
    assert report["kill_points"] >= 30
    assert report["recovered"] == report["kill_points"]
    assert {kill.task for kill in kills if "pipelines." in kill.killed} == set(TASKS) - {WITHOUT_STAGE}


def _kill_through(airflow: Server, repository: RealRepository, partition: str, number: int, work: Work) -> list[Kill]:
    """Run one night and kill something in each of its tasks."""
    chance = random.Random(number)
    run_id = airflow.client().trigger(DAG_ID, partition, run_id=f"killed_{partition}")
    plan = []
    for place, task in enumerate(TASKS):
        victim = _victim(task, number + place)
        whole = work[task, "runner" if victim == "scheduler" else victim]
        plan.append(Kill(partition, task, victim, round(chance.uniform(0, LATEST * whole), 2)))
    for kill in plan:
        _deliver(kill, airflow, run_id)
    state = _state(airflow, run_id)
    for kill in plan:
        kill.recovered = state == "success" and repository.publisher(partition) == {run_id}
    return plan


def _victim(task: str, turn: int) -> str:
    victim = VICTIMS[turn % len(VICTIMS)]
    return "runner" if (task, victim) == (WITHOUT_STAGE, "stage") else victim


def _state(airflow: Server, run_id: str) -> str:
    """Return how the run ended, once it has."""
    return airflow.client().follow(DAG_ID, [run_id], timeout_s=TIMEOUT_S, check=airflow.check)[run_id]


def _report(kills: list[Kill], expected: Rows, published: Rows) -> dict[str, Any]:
    """Return what happened, as ``var/faults/report.json`` tells it."""
    delivered = [kill for kill in kills if kill.killed]
    report = {
        "kill_points": len(delivered),
        "victims": Counter(kill.victim for kill in delivered),
        "recovered": sum(kill.recovered for kill in delivered),
        "lost_rows": sum(len(set(expected[partition]) - set(published[partition])) for partition in PARTITIONS),
        "doubled_rows": sum(len(published[partition]) - len(set(published[partition])) for partition in PARTITIONS),
        "kills": [asdict(kill) for kill in kills],
        **origin(),
    }
    path = home.home() / "faults" / "report.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(report, indent=2), encoding="utf-8")
    return report


def _deliver(kill: Kill, airflow: Server, run_id: str) -> None:
    """Wait until the task of `kill` is running, watch it for a while, and kill its victim, if the work still goes on."""
    process = _wait_for(airflow, run_id, kill.task, kill.victim)
    if process is None:
        return
    _watch(process, kill.after_s)
    with suppress(psutil.NoSuchProcess):  # a zombie, which has ended too, is one of these
        process.cmdline()
        victim = psutil.Process(airflow.pid("scheduler")) if kill.victim == "scheduler" else process
        command = " ".join(victim.cmdline()).strip()
        victim.kill()
        kill.killed = command
    if kill.killed and kill.victim == "scheduler":
        airflow.restart("scheduler")


def _watch(process: psutil.Process, work_s: float) -> float:
    """Wait until `process` has worked for `work_s` or ended, and return how long it has worked.

    In processor seconds, with all that it has started: on a clock of its own, which runs slower where others keep the machine busy.
    """
    worked = 0.0
    with suppress(psutil.NoSuchProcess):
        while worked < work_s:
            time.sleep(0.01)
            now = sum(process.cpu_times()[:4])  # its own, and that of its children that have ended
            for below in process.children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    now += sum(below.cpu_times()[:4])
            worked = max(worked, now)
    return worked


def _wait_for(airflow: Server, run_id: str, task_id: str, victim: str) -> psutil.Process | None:
    """Return the process running on a task: its stage's own if `victim` is the stage, else its runner; None if the task ends without
    one.
    """
    client = airflow.client()
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        task = next(task for task in client.tasks(DAG_ID, run_id) if task["task_id"] == task_id)
        if task["state"] in ("success", "failed", "upstream_failed"):
            return None
        airflow.check()
        for _ in range(20):  # the runner of close_run lives for a tenth of a second: look more often than the API can be asked
            runner = _runner(task["id"])
            if process := _stage(runner) if victim == "stage" and runner else runner:
                return process
            time.sleep(0.01)
    raise AssertionError(f"{task_id} of {run_id} did not start in {TIMEOUT_S} s")


def _runner(task_instance_id: str) -> psutil.Process | None:
    """Return the process that runs a task instance: Airflow names it so."""
    title = f"airflow worker -- {task_instance_id}"
    return next((process for process in psutil.process_iter(["cmdline"]) if " ".join(process.info["cmdline"] or []).strip() == title), None)


def _stage(runner: psutil.Process) -> psutil.Process | None:
    """Return the stage's own Python process below a task runner, if it has got so far; its supervisor and DVC are above it."""
    with suppress(psutil.NoSuchProcess):
        for process in runner.children(recursive=True):
            match process.cmdline():
                case [_, "-m", module, *_] if module.startswith("pipelines."):
                    return process
    return None
