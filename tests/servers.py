"""Real servers for integration tests, each on a socket or a port of loopback of its own, gone with the test."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest


def missing(fact: str) -> NoReturn:
    """Skip the test for `fact`, what is not installed and how to install it; fail it where ``NIGHTSHIFT_REQUIRE_SERVERS`` is set, as CI does."""
    if os.environ.get("NIGHTSHIFT_REQUIRE_SERVERS"):
        pytest.fail(fact)
    pytest.skip(fact)


@contextmanager
def postgres() -> Iterator[Path]:
    """Yield a fresh PostgreSQL whose superuser is ``postgres`` and asks for no password; yields the directory of its socket.

    It refuses to run as root, so root starts it as ``nobody``. Skips the test where PostgreSQL is `missing`.
    """
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        missing("PostgreSQL is not installed; apt-get install postgresql")
    with tempfile.TemporaryDirectory(prefix="pg", dir="/tmp") as name:  # the path of a socket must be short
        directory = Path(name)
        user = ["runuser", "-u", "nobody", "--"] if os.geteuid() == 0 else []
        if user:
            shutil.chown(directory, "nobody")
        cluster = directory / "cluster"

        def run(*command: str) -> None:
            subprocess.run([*user, *command], check=True, cwd=directory, stdout=subprocess.DEVNULL)

        run(str(binaries[-1] / "initdb"), "-D", str(cluster), "-U", "postgres", "--auth=trust", "--no-sync", "--encoding=UTF8")
        control = [str(binaries[-1] / "pg_ctl"), "-D", str(cluster), "-w", "-l", str(directory / "log")]
        run(*control, "-o", f"-c listen_addresses='' -c unix_socket_directories='{directory}' -c fsync=off", "start")
        try:
            yield directory
        finally:
            run(*control, "-m", "immediate", "stop")


def free_port() -> int:
    """Return a port of loopback on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def s3(log: Path, port: int = 0) -> Iterator[str]:
    """Yield an empty S3 server that takes every key, on `port` or a free one; yields its URL. Its output goes to `log`.

    It is ``moto_server`` of the package ``moto[server]``, which speaks HTTP and keeps objects in memory. Skips the test where it is `missing`.
    """
    program = shutil.which("moto_server")
    if program is None:
        missing("moto_server is not on the PATH; make .venv/tests installs it")
    port = port or free_port()
    # Another environment than this one, perhaps: nothing of this one's modules belongs into it.
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    with log.open("wb") as output:
        process = subprocess.Popen([program, "-H", "127.0.0.1", "-p", str(port)], env=environment, stdout=output, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 60
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def require_chromium() -> str:
    """Return the path of Chromium. Skip the test if it, or what drives it, is `missing`."""
    found = shutil.which("chromium")
    needed = [] if found else ["Chromium (apt-get install chromium)"]
    needed += [f"{name} (tests/requirements.txt)" for name in ("playwright", "axe_playwright_python") if not importlib.util.find_spec(name)]
    if needed or found is None:
        missing(f"not installed: {', '.join(needed)}")
    return found
