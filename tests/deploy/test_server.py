"""Embedded Airflow as a process: a port that is taken, Ctrl-C, a second start, and kill -9."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.embedded.installation import InstallationInUse
from deploy.embedded.server import Server
from tests.real_repository import SOURCE
from tests.stub_repository import make_stub_repository

pytestmark = [pytest.mark.integration, pytest.mark.faults]

_START_S, _STOP_S = 240, 60
_HOLD = """
import json, signal, sys
from pathlib import Path
from deploy.embedded.server import Server

repository = Path(sys.argv[1])
with Server(repository / "var", repository=repository, port=int(sys.argv[2]), schedule=False) as server:
    print(json.dumps({"url": server.url}), flush=True)
    signal.pause()
"""


class Holder:
    """Run embedded Airflow over `repository` until it is asked to end; nothing of it outlives the test."""

    def __init__(self, repository: Path, port: int) -> None:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("NIGHTSHIFT", "AIRFLOW"))}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(repository), str(port)],
            cwd=SOURCE,
            env={**kept, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE / "plugins")])},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.family: list[psutil.Process] = []

    def wait_for_url(self) -> str:
        """Return the URL of Airflow, once it runs."""
        assert self.process.stdout is not None
        assert select.select([self.process.stdout], [], [], _START_S)[0], "Airflow did not start in time"
        url = json.loads(self.process.stdout.readline())["url"]
        self.family = psutil.Process(self.process.pid).children(recursive=True)
        assert any("api-server" in " ".join(process.cmdline()) for process in self.family)
        return str(url)

    def clean_up(self) -> None:
        for process in self.family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.kill()
        self.process.wait()


@pytest.fixture
def holders() -> Iterator[list[Holder]]:
    started: list[Holder] = []
    yield started
    for holder in started:
        holder.clean_up()


def test_it_gives_way_to_a_taken_port_and_leaves_no_process_behind_after_ctrl_c(tmp_path: Path, holders: list[Holder]) -> None:
    repository = make_stub_repository(tmp_path / "repository", with_airflow=True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        holders.append(Holder(repository, port))
        chosen = int(holders[0].wait_for_url().rpartition(":")[2])
        assert chosen not in (0, port)
        holders[0].process.send_signal(signal.SIGINT)
        holders[0].process.wait(_STOP_S)
        assert psutil.wait_procs(holders[0].family, timeout=0)[1] == []
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", chosen)) != 0


def test_a_second_start_is_refused_and_changes_nothing_until_the_first_was_killed(tmp_path: Path, holders: list[Holder]) -> None:
    repository = make_stub_repository(tmp_path / "repository", with_airflow=True)
    holders.append(Holder(repository, 0))
    url, pid = holders[0].wait_for_url(), holders[0].process.pid
    config = repository / "var" / "airflow" / "airflow.cfg"
    before = (config.read_bytes(), config.stat().st_mtime_ns)
    with pytest.raises(InstallationInUse, match=rf"{url} \(pid {pid}\)"), Server(repository / "var", repository=repository, port=0):
        pass
    assert (config.read_bytes(), config.stat().st_mtime_ns) == before
    holders[0].process.kill()
    holders[0].process.wait()
    holders.append(Holder(repository, 0))
    holders[1].wait_for_url()
    services = [process for process in psutil.process_iter() if str(repository) in _airflow_home(process)]
    assert services
    assert [process for process in services if process.is_running() and holders[1].process.pid not in _ancestors(process)] == []


def _airflow_home(process: psutil.Process) -> str:
    try:
        return process.environ().get("AIRFLOW_HOME", "")
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def _ancestors(process: psutil.Process) -> list[int]:
    try:
        return [parent.pid for parent in process.parents()]
    except psutil.NoSuchProcess:
        return []
