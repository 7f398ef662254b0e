"""``make demo``: a real model scores four real nights through real Airflow, and a page shows what happened.

Trains the first champion on the flights of January to March 2013, starts Airflow on loopback, has it train the encoder and publish a first vector
index of the same flights, triggers `nightly_batch_scoring` over REST for four nights, follows them and the monitoring that each publication starts,
prints and writes what was published, with the past flights that resemble the riskiest, and what the governor made of it, and stops everything that
it started.
"""

import datetime as dt
import json
import logging
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from typing import Any

from nightshift_airflow.workspaces import RunRefusedError

from deploy.embedded.client import ApiError
from deploy.embedded.first_champion import TrainingError, train_first_champion
from deploy.embedded.first_index import REBUILD, TRAINING, IndexingError, make_first_index, published_index
from deploy.embedded.nights import Night, collect_night, riskiest, with_decision
from deploy.embedded.server import Server, ServerError, stop_on_signals
from pipelines.lib import home
from pipelines.lib.dataset import load_dataset
from pipelines.lib.errors import NightshiftError
from pipelines.lib.published import scores_url
from pipelines.lib.run import load_run

DAG_ID, MONITORING = "nightly_batch_scoring", "drift_monitoring"
NIGHTS = 4
_TIMEOUT_S = 1200


def main() -> int:
    """Run the demo; 0 when every night was published."""
    started = time.monotonic()
    logging.getLogger().setLevel(logging.WARNING)  # what matters is told by `progress`; the rest is in the logs under var/
    stop_on_signals()
    progress = printer(started)
    directory = home.home() / "demo"
    directory.mkdir(parents=True, exist_ok=True)
    summary_file = directory / "demo.json"
    summary_file.write_text(json.dumps({"ok": False, "error": "the demo has not finished"}), encoding="utf-8")  # until it has
    first = load_run().date
    partitions = [(first + dt.timedelta(days=day)).isoformat() for day in range(NIGHTS)]
    try:
        champion = train_first_champion(progress)
        progress(f"champion: {champion.name} version {champion.version}, sha256 {champion.sha256[:12]}")
        with Server(schedule=False, progress=progress, wait_for_dags=(DAG_ID, MONITORING, TRAINING, REBUILD)) as server:
            progress(f"Airflow is at {server.url}")
            client = server.client()
            index = published_index() or make_first_index(
                client, partitions[0], progress=_follower(progress, lambda run_id: "index"), check=server.check, timeout_s=_TIMEOUT_S
            )
            progress(f"index: generation {index['generation']}, {index['count']:,} rows, encoder version {index['encoder_version']}")
            client.unpause(DAG_ID)
            client.unpause(MONITORING)
            since = dt.datetime.now(dt.UTC).isoformat()
            run_ids = [client.trigger(DAG_ID, partition, run_id=_run_id(partition)) for partition in partitions]
            progress(f"triggered {', '.join(partitions)} over REST")
            follow = _follower(progress, dict(zip(run_ids, partitions, strict=True)).__getitem__)
            client.follow(DAG_ID, run_ids, timeout_s=_TIMEOUT_S, progress=follow, check=server.check)
            nights = [collect_night(client, DAG_ID, run_id, partition) for run_id, partition in zip(run_ids, partitions, strict=True)]
            published = [night.partition for night in nights if night.state == "success"]
            progress(f"watching {', '.join(published)} for drift")
            watched = client.follow_partitions(MONITORING, published, since=since, timeout_s=_TIMEOUT_S, check=server.check)
            nights = [with_decision(night, watched) for night in nights]
            progress("stopping Airflow")
    except (ServerError, TrainingError, IndexingError, NightshiftError, ApiError, RunRefusedError, OSError) as error:
        summary_file.write_text(json.dumps({"ok": False, "error": str(error)}), encoding="utf-8")
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; everything that was started is stopped.", file=sys.stderr)
        return 130

    from deploy.embedded.report import write_report

    ok = all(night.state == "success" and night.decision and night.similar for night in nights)
    page = write_report(nights, directory / "report.html", index)
    wall_s = round(time.monotonic() - started, 1)
    summary = {
        "ok": ok,
        "wall_s": wall_s,
        "airflow_url": server.url,
        "published_path": scores_url(),
        "index": index,
        "nights": [night.as_json() for night in nights],
    }
    summary_file.write_text(json.dumps(summary, indent=2), encoding="utf-8")
    _print_nights(nights)
    print(
        f"\n{'Done' if ok else 'FAILED'} in {wall_s:.0f} s. The page of these nights: {page}\nmake up starts Airflow with them and stays."
    )
    return 0 if ok else 1


def _run_id(partition: str) -> str:
    return f"demo__{partition}__{dt.datetime.now(dt.UTC):%Y%m%dT%H%M%S}"


def printer(started: float) -> Callable[[str], None]:
    return lambda step: print(f"{time.monotonic() - started:5.0f} s  {step}", flush=True)


def _follower(progress: Callable[[str], None], of: Callable[[str], str]) -> Callable[[str, list[dict[str, Any]]], None]:
    """Tell each task once, when it has ended (or is to be tried again); `of` gives a run's name in a word."""
    told: set[tuple[str, str, str]] = set()

    def follow(run_id: str, tasks: list[dict[str, Any]]) -> None:
        for task in sorted(tasks, key=lambda task: task["end_date"] or ""):
            shard = f" {task['rendered_map_index'] or task['map_index']}" if task["map_index"] >= 0 else ""
            name = f"{task['task_id']}{shard}"
            event = (run_id, name, task["state"])
            if task["state"] in ("success", "failed", "up_for_retry", "upstream_failed") and event not in told:
                told.add(event)
                done = sum(1 for other in told if other[0] == run_id and other[2] == "success")
                progress(f"{of(run_id):<10}  {done}/{len(tasks)}  {name:<18} {task['state']:<8} {task['duration'] or 0:5.1f} s")

    return follow


def _print_nights(nights: Sequence[Night]) -> None:
    width = shutil.get_terminal_size((120, 24)).columns
    for night in nights:
        gates = ", ".join(f"{gate.removeprefix('validate_')} {'passed' if passed else 'FAILED'}" for gate, passed in night.gates.items())
        print(f"\n{night.partition}  {night.state}, {night.rows} rows, expected late share {night.expected_rate:.3f}, gates: {gates}")
        print(
            f"            {night.model_name} version {night.model_version}{' (DEGRADED)' if night.degraded else ''}, {night.duration_s:.0f} s"
        )
        print(f"            {', '.join(f'{task} {seconds:.1f} s' for task, seconds in night.tasks.items())}")
        print(f"            retrain? {night.decision or 'NOT WATCHED: ' + MONITORING + ' failed'}")
    columns, rows = riskiest(nights[-1].partition, 10)
    if rows:
        print(f"\nThe ten riskiest of {nights[-1].partition}:")
        widths = [max(len(str(value)) for value in (name, *(row[index] for row in rows))) for index, name in enumerate(columns)]
        for row in (columns, *rows):
            print("  " + "  ".join(f"{value!s:<{size}}" for value, size in zip(row, widths, strict=True))[: width - 2])
            if evidence := nights[-1].similar.get(tuple(row[1:])):
                print(textwrap.fill(_describe(evidence), width - 2, initial_indent=" " * 9, subsequent_indent=" " * 9))


def _describe(evidence: dict[str, Any]) -> str:
    """The neighbours of a row in a line: how many of them had the outcome, and the three nearest with theirs."""
    outcome, neighbours = load_dataset().label.name, evidence["neighbours"]
    nearest = [f"{' '.join(map(str, one['key']))} ({'' if one['outcome'] else 'not '}{outcome})" for one in neighbours[:3]]
    return f"{outcome} of {len(neighbours)} similar: {evidence['neighbour_rate']:.0%}; nearest: {', '.join(nearest)}"


if __name__ == "__main__":
    sys.exit(main())
