"""``make demo``: a real model scores four nights of a table through real Airflow, and a page shows what happened.

``make demo use_case=fraud`` does so for the table of that use case, by default for the one of params.yaml. If it is a worked example without data, its
data are made; if nobody has derived its parameters yet, they are; and a fault in its files stops the demo before anything starts.

Trains the first champion on what was known on the first partition, starts Airflow on loopback, and has it train the encoder and publish a first
vector index of the same rows. Then it scores four nights over REST and has each of them watched for drift. It prints and writes what was published,
the past rows that resemble the riskiest ones, and the governor's decisions, and stops everything that it started.
"""

import argparse
import json
import logging
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from nightshift_airflow.refusals import RunRefusedError

from deploy.embedded.chosen import choosing, dag_id, demo_directory
from deploy.embedded.client import ApiError
from deploy.embedded.first_champion import TrainingError, train_first_champion
from deploy.embedded.first_index import REBUILD, TRAINING, IndexingError, make_first_index, published_index
from deploy.embedded.first_nights import MONITORING, SCORING, first_partitions, follower, score_nights
from deploy.embedded.installation import Installation, InstallationInUse
from deploy.embedded.nights import Night, riskiest
from deploy.embedded.preparation import prepare
from deploy.embedded.relocation import relocate
from deploy.embedded.server import Server, stop_on_signals
from deploy.embedded.services import ServerError
from pipelines.lib.core import home
from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.core.use_cases import VARIABLE, UseCase, find
from pipelines.lib.published.store import scores_url
from pipelines.lib.tables.dataset import load_dataset

_TIMEOUT_S = 1200


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 0 when every night was published and watched, and has evidence."""
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.demo", description="Score four nights of a table through Airflow.")
    parser.add_argument("--use-case", default=os.environ.get(VARIABLE, ""), help="whose table; by default that of params.yaml")
    given = parser.parse_args(arguments)
    started = time.monotonic()
    logging.getLogger().setLevel(logging.WARNING)  # `progress` tells people what matters; the rest is in the logs under var/
    stop_on_signals()
    try:
        use_case = find(given.use_case, Path())
        with Installation(home.home()) as installation, choosing(use_case):
            prepare(use_case, printer(started))
            return _run(use_case, installation, started)
    except (InstallationInUse, NightshiftError) as error:
        print(f"The demo did not start: {error}", file=sys.stderr)
        return 1


def _run(use_case: UseCase, installation: Installation, started: float) -> int:
    progress = printer(started)
    directory = demo_directory()
    directory.mkdir(parents=True, exist_ok=True)
    summary_file = directory / "demo.json"
    summary_file.write_text(
        json.dumps({"ok": False, "error": "the demo has not finished", "use_case": use_case.name}), encoding="utf-8"
    )  # until it has
    try:
        relocate(progress)
        partitions = first_partitions()
        champion = train_first_champion(progress)
        progress(f"champion: {champion.name} version {champion.version}, sha256 {champion.sha256[:12]}")
        dags = tuple(map(dag_id, (SCORING, MONITORING, TRAINING, REBUILD)))
        with Server(schedule=False, parse_every_s=120, progress=progress, wait_for_dags=dags, installation=installation) as server:
            progress(f"Airflow is at {server.url}")
            client = server.client()
            index = published_index() or make_first_index(
                client, partitions[0], progress=follower(progress, lambda run_id: "index"), check=server.check, timeout_s=_TIMEOUT_S
            )
            progress(f"index: generation {index['generation']}, {index['count']:,} rows, encoder version {index['encoder_version']}")
            nights = score_nights(client, partitions, progress=progress, check=server.check)
            progress("stopping Airflow")
    except (ServerError, TrainingError, IndexingError, NightshiftError, ApiError, RunRefusedError, OSError) as error:
        summary_file.write_text(json.dumps({"ok": False, "error": str(error), "use_case": use_case.name}), encoding="utf-8")
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
        "use_case": use_case.name,
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


def printer(started: float) -> Callable[[str], None]:
    """Print each step with the seconds since `started`."""
    return lambda step: print(f"{time.monotonic() - started:5.0f} s  {step}", flush=True)


def _print_nights(nights: Sequence[Night]) -> None:
    width, outcome = shutil.get_terminal_size((120, 24)).columns, load_dataset().label.name
    for night in nights:
        gates = "; ".join(f"{gate.removeprefix('validate_')} {verdict}" for gate, verdict in night.gates.items())
        print(f"\n{night.partition}  {night.state}, {night.rows} rows, expected {outcome} {night.expected_rate:.3f}, gates: {gates}")
        print(
            f"            {night.model_name} version {night.model_version}{' (DEGRADED)' if night.degraded else ''}, {night.duration_s:.0f} s"
        )
        print(f"            {', '.join(f'{task} {seconds:.1f} s' for task, seconds in night.tasks.items())}")
        print(f"            retrain? {night.decision or 'NOT WATCHED: ' + dag_id(MONITORING) + ' failed'}")
    columns, rows = riskiest(nights[-1].partition, 10)
    if rows:
        scores = "forecasts" if load_dataset().label.task == "regression" else "scores"
        print(f"\nThe ten highest {scores} of {nights[-1].partition}:")
        widths = [max(len(str(value)) for value in (name, *(row[index] for row in rows))) for index, name in enumerate(columns)]
        for row in (columns, *rows):
            print("  " + "  ".join(f"{value!s:<{size}}" for value, size in zip(row, widths, strict=True))[: width - 2])
            if evidence := nights[-1].similar.get(tuple(row[1:])):
                print(textwrap.fill(_describe(evidence), width - 2, initial_indent=" " * 9, subsequent_indent=" " * 9))


def _describe(evidence: dict[str, Any]) -> str:
    """Describe the neighbours of a row in a line: how many of them had the outcome, or its mean, and the three nearest with theirs."""
    label, neighbours = load_dataset().label, evidence["neighbours"]
    if label.task == "regression":
        nearest = [f"{' '.join(map(str, one['key']))} ({label.name} {one['outcome']:.4g})" for one in neighbours[:3]]
        return f"mean {label.name} of {len(neighbours)} similar: {evidence['neighbour_rate']:.4g}; nearest: {', '.join(nearest)}"
    outcome = label.name
    nearest = [f"{' '.join(map(str, one['key']))} ({'' if one['outcome'] else 'not '}{outcome})" for one in neighbours[:3]]
    return f"{outcome} of {len(neighbours)} similar: {evidence['neighbour_rate']:.0%}; nearest: {', '.join(nearest)}"


if __name__ == "__main__":
    sys.exit(main())
