"""Embedded Airflow as a process: a port that is taken, and Ctrl-C."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.real_repository import SOURCE
from tests.stub_repository import make_stub_repository

pytestmark = pytest.mark.integration

_START_S, _STOP_S = 240, 60
_HOLD = """
import json, signal, sys
from pathlib import Path
from deploy.embedded.server import Server

repository = Path(sys.argv[1])
with Server(repository / "var", repository=repository, port=int(sys.argv[2]), schedule=False) as server:
    print(json.dumps({"port": server.port}), flush=True)
    signal.pause()
"""


def test_it_gives_way_to_who_has_its_port_and_leaves_nobody_behind_after_ctrl_c(tmp_path: Path) -> None:
    repository = make_stub_repository(tmp_path / "repository", with_airflow=True)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NIGHTSHIFT", "AIRFLOW"))}
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        holder = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(repository), str(port)],
            cwd=SOURCE,
            env={**kept, "PYTHONPATH": os.pathsep.join([str(SOURCE), str(SOURCE / "plugins")])},
            stdout=subprocess.PIPE,
            text=True,
        )
        family: list[psutil.Process] = []
        try:
            assert holder.stdout is not None
            assert select.select([holder.stdout], [], [], _START_S)[0], "Airflow did not start in time"
            chosen = json.loads(holder.stdout.readline())["port"]
            assert chosen not in (0, port)
            family = psutil.Process(holder.pid).children(recursive=True)
            assert any("api-server" in " ".join(process.cmdline()) for process in family)
            holder.send_signal(signal.SIGINT)
            holder.wait(_STOP_S)
            assert psutil.wait_procs(family, timeout=0)[1] == []
        finally:
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            holder.kill()
            holder.wait()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", chosen)) != 0
