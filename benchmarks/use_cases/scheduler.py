"""How much a real Airflow with fifty use cases, one of which is broken, works while nothing is due, and how soon it knows a new use case.

All DAGs are unpaused and the schedule is on, but no run is due: the cron of each clock names one date, half a year from now. With the clocks that ship, the weekly DAGs
would start runs on a Monday, and the nights after two o'clock. A share is processor time per time, in percent of one core: that of a service and of all
processes that it starts, such as the dag processor's, one for each file that it parses.
"""

import datetime as dt
import re
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

from benchmarks.use_cases.parsing import COUNT, REPOSITORY, declare
from deploy.embedded.client import ApiError, Client
from deploy.embedded.server import Server

SERVICES = ("scheduler", "dag-processor", "api-server")
WATCHED_S = 180.0
CALLS = 20
TARGETS: dict[str, tuple[str, float]] = {}

_NEW = "table_new"
_PATIENCE_S = 600.0


def main() -> dict[str, Any]:
    """Return the share of each service, the seconds until a new use case has its DAG, and the seconds of the list of DAGs."""
    with tempfile.TemporaryDirectory(prefix="nightshift-scheduler-") as directory:
        repository = Path(directory) / "repository"
        repository.mkdir()
        declare(repository)
        _let_nothing_be_due(repository)
        for part in ("dags", "plugins"):
            shutil.copytree(REPOSITORY / part, repository / part, ignore=shutil.ignore_patterns("__pycache__"))
        with Server(Path(directory) / "home", repository=repository, port=0) as server:
            client = server.client()
            dags = _wait_for_all(client, server)
            found: dict[str, Any] = {"dags": len(dags)}
            for dag_id in dags:
                client.unpause(dag_id)
            found |= _shares(server)
            found["list_of_dags_s"] = _seconds_of_list(client)
            found["new_use_case_s"] = _seconds_until_known(client, server, repository)
    return found


def _let_nothing_be_due(repository: Path) -> None:
    """Give each schedule of the defaults, and of the default use case, the one date half a year from now."""
    month = (dt.datetime.now(dt.UTC).month + 5) % 12 + 1
    for path in (repository / "params.yaml", repository / "pipelines" / "defaults.yaml"):
        text, found = re.subn(r'^  cron: "[^"]+"', f'  cron: "0 0 1 {month} *"', path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        if not found:
            raise ValueError(f'{path.name} has no schedule of the form cron: "..."; the benchmark would count runs that are due')
        path.write_text(text, encoding="utf-8")


def _wait_for_all(client: Client, server: Server) -> list[str]:
    """Return the ids of all DAGs, once there are as many as the sound use cases have."""
    files, sound = len(list((REPOSITORY / "dags").glob("*.py"))), COUNT - 1
    deadline = time.monotonic() + _PATIENCE_S
    while (total := client.call("GET", "/dags?limit=1")["total_entries"]) < files * sound:
        server.check()
        if time.monotonic() > deadline:
            raise TimeoutError(f"after {_PATIENCE_S:.0f} s Airflow knows {total} of {files * sound} DAGs")
        time.sleep(0.5)
    pages = [client.call("GET", f"/dags?limit=50&offset={offset}&order_by=dag_id")["dags"] for offset in range(0, total, 50)]
    return [dag["dag_id"] for page in pages for dag in page]


def _shares(server: Server) -> dict[str, float]:
    """Return how many percent of a core each service takes, with all that it starts, over `WATCHED_S`."""
    before, began = {name: _worked(server.pid(name)) for name in SERVICES}, time.monotonic()
    time.sleep(WATCHED_S)
    seconds = time.monotonic() - began
    return {f"{name.replace('-', '_')}_percent": round((_worked(server.pid(name)) - before[name]) / seconds * 100, 1) for name in SERVICES}


def _worked(pid: int) -> float:
    """Return the processor seconds of the process `pid`, of its children that have ended, and of those that live."""
    service = psutil.Process(pid)
    seconds = sum(service.cpu_times()[:4])
    for child in service.children(recursive=True):
        try:
            seconds += sum(child.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return float(seconds)


def _seconds_of_list(client: Client) -> float:
    """Return the median seconds of one page of the list of DAGs, as many as the UI shows."""
    seconds = []
    for _ in range(CALLS):
        began = time.monotonic()
        client.call("GET", "/dags?limit=50")
        seconds.append(time.monotonic() - began)
    return round(statistics.median(seconds), 3)


def _seconds_until_known(client: Client, server: Server, repository: Path) -> float:
    """Return the seconds from writing a use case until Airflow knows its DAG."""
    folder = repository / "use_cases" / _NEW
    shutil.copytree(repository / "use_cases" / "table_1", folder)
    began = time.monotonic()
    while time.monotonic() < began + _PATIENCE_S:
        try:
            client.call("GET", f"/dags/nightly_batch_scoring__{_NEW}")
        except ApiError as error:
            if error.status != 404:
                raise
        else:
            return round(time.monotonic() - began, 1)
        server.check()
        time.sleep(0.2)
    raise TimeoutError(f"after {_PATIENCE_S:.0f} s Airflow does not know the DAG of {_NEW}")
