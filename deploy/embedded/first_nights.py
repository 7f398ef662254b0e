"""Score the first nights through Airflow, all at once, and have them watched for drift one after another in their order."""

import datetime as dt
from collections.abc import Callable, Sequence
from typing import Any

from deploy.embedded.chosen import dag_id
from deploy.embedded.client import FINISHED, Client
from deploy.embedded.nights import Night, collect_night, pages_of, with_decision
from pipelines.lib.core.params import read_params
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import load_run

SCORING, MONITORING = "nightly_batch_scoring", "drift_monitoring"
COUNT = 4
_TIMEOUT_S = 1200


def first_partitions() -> list[str]:
    """Return the partitions that the first champion is trained for: those that section ``first_run`` names, or that of its run and the days
    after it.
    """
    first = load_run().date
    if named := (read_params().get("first_run") or {}).get("nights"):
        return [str(parse_partition(night)) for night in named]
    return [(first + dt.timedelta(days=day)).isoformat() for day in range(COUNT)]


def score_nights(client: Client, partitions: Sequence[str], *, progress: Callable[[str], None], check: Callable[[], None]) -> list[Night]:
    """Score `partitions`, watch those that were published, and return the nights in the order of `partitions`.

    A publication starts the monitoring of its night, and nights that are scored together are published in any order. The governor then turns
    down a night because a later one has been decided on. So monitoring is paused until all have ended, and then begins in order.
    """
    scoring, monitoring = dag_id(SCORING), dag_id(MONITORING)
    client.unpause(monitoring, paused=True)
    client.unpause(scoring)
    by_run = {client.trigger(scoring, partition, run_id=run_id_of(partition)): partition for partition in partitions}
    progress(f"triggered {', '.join(partitions)} over REST")
    client.follow(scoring, list(by_run), timeout_s=_TIMEOUT_S, progress=follower(progress, by_run.__getitem__), check=check)
    nights = [collect_night(client, scoring, run_id, partition) for run_id, partition in by_run.items()]
    watched = watch_nights(client, [night.partition for night in nights if night.rows])
    progress(f"watching {', '.join(watched)} for drift")
    states = client.follow(monitoring, list(watched.values()), timeout_s=_TIMEOUT_S, check=check)
    finished = {partition: pages_of(monitoring, run_id) for partition, run_id in watched.items() if states[run_id] == "success"}
    return [with_decision(night, finished) for night in nights]


def watch_nights(client: Client, partitions: Sequence[str]) -> dict[str, str]:
    """Start the monitoring of published nights in their order, and let it run; return the run ids by partition."""
    watched = {partition: client.trigger(dag_id(MONITORING), partition, run_id=run_id_of(partition)) for partition in sorted(partitions)}
    client.unpause(dag_id(MONITORING))
    return watched


def run_id_of(partition: str) -> str:
    """Return the id of a run of `partition` that is triggered now."""
    return f"demo__{partition}__{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"


def follower(progress: Callable[[str], None], of: Callable[[str], str]) -> Callable[[str, list[dict[str, Any]]], None]:
    """Report each task once, when it has ended or is to be tried again; `of` names a run in a word."""
    reported: set[tuple[str, str, str]] = set()

    def follow(run_id: str, tasks: list[dict[str, Any]]) -> None:
        for task in sorted(tasks, key=lambda task: task["end_date"] or ""):
            shard = f" {task['rendered_map_index'] or task['map_index']}" if task["map_index"] >= 0 else ""
            name = f"{task['task_id']}{shard}"
            event = (run_id, name, task["state"])
            if task["state"] in (*FINISHED, "up_for_retry", "upstream_failed") and event not in reported:
                reported.add(event)
                done = sum(1 for other in reported if other[0] == run_id and other[2] == "success")
                progress(f"{of(run_id):<10}  {done}/{len(tasks)}  {name:<18} {task['state']:<8} {task['duration'] or 0:5.1f} s")

    return follow
