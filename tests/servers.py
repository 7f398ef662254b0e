"""Real servers for integration tests, each on a unix socket of its own, gone with the test."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def postgres() -> Iterator[Path]:
    """A fresh PostgreSQL whose superuser is ``postgres`` and asks for no password; yields the directory of its socket.

    It refuses to run as root, so root starts it as ``nobody``. Skips the test where PostgreSQL is not installed, unless
    ``NIGHTSHIFT_REQUIRE_SERVERS`` is set.
    """
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not binaries:
        if os.environ.get("NIGHTSHIFT_REQUIRE_SERVERS"):
            pytest.fail("PostgreSQL is not installed; apt-get install postgresql")
        pytest.skip("PostgreSQL is not installed")
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
