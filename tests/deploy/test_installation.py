"""One embedded Nightshift per home: real processes take the lock, are refused, and are killed."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from deploy.embedded.installation import FILE, Installation, InstallationInUse
from tests.real_repository import SOURCE

_HOLD = """
import sys, time
from pathlib import Path
from deploy.embedded.installation import Installation
from deploy.embedded.services import Services

home = Path(sys.argv[1])
with Installation(home) as installation:
    installation.announce("http://127.0.0.1:1234")
    services = Services(home / "logs", keep=[installation.fileno()])
    services.launch("web", ["http.server", "--bind", "127.0.0.1", "0"], cwd=home, env={})
    while True:
        try:
            services.pid("web")
            break
        except IndexError:  # the supervisor is only just starting it
            time.sleep(0.01)
    print("held", flush=True)
    time.sleep(600)
"""
_WAIT_S = 30


@pytest.fixture
def holder(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that runs the installation at `tmp_path`, with a service under a supervisor."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE / "plugins")])}
    process = subprocess.Popen([sys.executable, "-c", _HOLD, str(tmp_path)], env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert select.select([process.stdout], [], [], _WAIT_S)[0]
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_second_start_is_refused_with_the_url_and_pid_of_the_first(
    holder: "subprocess.Popen[str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, waits = (tmp_path / FILE).read_bytes(), list[float]()
    monkeypatch.setattr(time, "sleep", waits.append)
    with (
        pytest.raises(InstallationInUse, match=rf"already runs in .*http://127\.0\.0\.1:1234 \(pid {holder.pid}\)"),
        Installation(tmp_path),
    ):
        pass
    assert waits == [], "a living owner is not waited for"
    assert (tmp_path / FILE).read_bytes() == before


def test_another_name_of_the_same_home_is_the_same_home(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    link = tmp_path.parent / f"{tmp_path.name}-link"
    link.symlink_to(tmp_path)
    with pytest.raises(InstallationInUse), Installation(link):
        pass


def test_after_kill_9_the_next_start_waits_for_the_services_and_succeeds(holder: "subprocess.Popen[str]", tmp_path: Path) -> None:
    family = psutil.Process(holder.pid).children(recursive=True)
    assert len(family) >= 2, "a supervisor and its service"
    holder.kill()
    holder.wait()
    with Installation(tmp_path):
        assert [process for process in family if is_alive(process)] == []
        assert json.loads((tmp_path / FILE).read_text())["pid"] == os.getpid()


@pytest.mark.costly
def test_a_service_that_outlives_its_starter_keeps_the_lock(
    holder: "subprocess.Popen[str]", tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A supervisor that is stopped cannot kill its service: nobody may start a second scheduler next to that."""
    monkeypatch.setattr("deploy.embedded.installation._PATIENCE_S", 0.3)
    [supervisor] = psutil.Process(holder.pid).children()
    supervisor.suspend()
    try:
        holder.kill()
        holder.wait()
        with pytest.raises(InstallationInUse, match=f"pid {holder.pid}"), Installation(tmp_path):
            pass
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            supervisor.resume()
    monkeypatch.undo()
    with Installation(tmp_path):
        pass


def test_it_can_be_taken_again_after_it_was_released(tmp_path: Path) -> None:
    for _ in range(2):
        with Installation(tmp_path) as installation:
            assert installation.is_held
        assert not installation.is_held
