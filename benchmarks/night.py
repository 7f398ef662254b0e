"""One night through real Airflow: wall time from trigger to published, and how much of it no stage spends computing.

A night is run to warm the machine up, then one is measured, then the same run is cleared and run again. The computation of a stage is
the time in its log (``took … s``: from its first line to its last, without interpreter and DVC). All of it runs in a clone and a home of its own.
"""

import datetime as dt
import re
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from deploy.embedded.client import Client
from deploy.embedded.server import Server
from tests.real_repository import DAG_ID, TASKS, RealRepository

TARGETS = {"night_wall_s": ("<=", 60.0), "rerun_wall_s": ("<=", 20.0)}
MEASURED = ("2013-04-02", "2013-04-03", "2013-04-04")
_TIMEOUT_S = 600
_TOOK = re.compile(r"(\w+): took ([0-9.]+) s")


def main() -> dict[str, Any]:
    """Return medians of three nights, one after the other; seconds."""
    with tempfile.TemporaryDirectory(prefix="nightshift-night-") as directory:
        repository = RealRepository(Path(directory))
        repository.train()
        with Server(repository.home, repository=repository.root, schedule=False) as server:
            client = server.client()
            client.unpause(DAG_ID)
            _run(client, server, "2013-04-01")
            nights = [_run(client, server, partition) for partition in MEASURED]
            computed = [computed_by(repository.home, f"bench_{partition}") for partition in MEASURED]
            reruns = [_rerun(client, server, f"bench_{partition}") for partition in MEASURED]
            tasks = {task: _median([night["tasks"][task] for night in nights]) for task in TASKS}
    walls = [night["wall_s"] for night in nights]
    return {
        "night_wall_s": _median(walls),
        "overhead_s": _median([wall - sum(stages.values()) for wall, stages in zip(walls, computed, strict=True)]),
        "rerun_wall_s": _median(reruns),
        "tasks_s": tasks,
        "computed_s": {stage: _median([stages[stage] for stages in computed]) for stage in computed[0]},
    }


def _run(client: Client, server: Server, partition: str) -> dict[str, Any]:
    """Trigger a night and follow it: seconds until published, and of each task."""
    started = dt.datetime.now(dt.UTC)
    run_id = client.trigger(DAG_ID, partition, run_id=f"bench_{partition}")
    state = client.follow(DAG_ID, [run_id], timeout_s=_TIMEOUT_S, check=server.check)[run_id]
    if state != "success":
        raise RuntimeError(f"{run_id} ended as {state}; its logs are gone with its home, run make demo and look there")
    tasks = {task["task_id"]: task for task in client.tasks(DAG_ID, run_id)}
    published = dt.datetime.fromisoformat(tasks["publish_scores"]["end_date"])
    return {"wall_s": (published - started).total_seconds(), "tasks": {name: float(task["duration"]) for name, task in tasks.items()}}


def _rerun(client: Client, server: Server, run_id: str) -> float:
    """Clear a finished night; seconds until every task has run again."""
    started = time.monotonic()
    before = client.run(DAG_ID, run_id)["end_date"]
    client.clear(DAG_ID, run_id)
    while (run := client.run(DAG_ID, run_id))["state"] not in ("success", "failed") or run["end_date"] == before:
        server.check()
        if time.monotonic() - started > _TIMEOUT_S:
            raise TimeoutError(f"{run_id} was cleared and stands at {run['state']} after {_TIMEOUT_S} s")
        time.sleep(0.1)
    return time.monotonic() - started


def computed_by(home: Path, run_id: str) -> dict[str, float]:
    """Return the seconds that each stage of a run reports, from the logs of its tasks."""
    text = "\n".join(
        log.read_text(encoding="utf-8") for log in (home / "airflow" / "logs").rglob("*.log") if f"run_id={run_id}" in str(log)
    )
    return {stage: float(seconds) for stage, seconds in _TOOK.findall(text)}


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 2)
