"""The lock on an installation: one embedded Nightshift per `NIGHTSHIFT_HOME` at a time.

Two schedulers on one SQLite database start each other's tasks and kill them. The lock is a `flock` on ``<NIGHTSHIFT_HOME>/running.lock``, which the
kernel releases when the process dies. Every supervised service inherits it. So a killed process frees its installation only when the last of
its services is gone too.
"""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Self

FILE = "running.lock"
_PATIENCE_S = 20.0  # how long the services of a killed process may take to end


class InstallationInUse(Exception):
    """Another process runs this installation; the message names its URL and pid."""


class Installation:
    """The exclusive right to run the installation at `home`, as a context manager. Raises `InstallationInUse` on entry."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()

    @property
    def is_held(self) -> bool:
        """Whether this process holds the lock."""
        return self._file is not None

    def acquire(self) -> None:
        """Take the lock before anything is written. Raises `InstallationInUse` if another process has it."""
        self.home.mkdir(parents=True, exist_ok=True)
        file = (self.home / FILE).open("a+", encoding="utf-8")
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid, url = _read_owner(file)
                if (
                    pid is None or not _is_alive(pid)
                ) and time.monotonic() < deadline:  # its services are just ending, or it has just begun
                    time.sleep(0.05)
                    continue
                file.close()
                raise InstallationInUse(_describe(self.home, pid, url)) from None
            break
        self._file = file
        self.announce("")

    def announce(self, url: str) -> None:
        """Write who runs the installation, for the process that is refused: this pid, and the `url` once it is known."""
        assert self._file is not None
        self._file.seek(0)
        self._file.truncate()
        self._file.write(json.dumps({"pid": os.getpid(), "url": url}))
        self._file.flush()

    def release(self) -> None:
        """Give the lock back. The file stays: removing it would let two processes lock two files of one name."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.truncate(0)
            self._file.close()
            self._file = None

    def fileno(self) -> int:
        """Return the descriptor for a process that keeps the lock as long as it lives."""
        assert self._file is not None
        return self._file.fileno()


def _read_owner(file: IO[str]) -> tuple[int | None, str]:
    file.seek(0)
    try:
        content = json.loads(file.read())
        return int(content["pid"]), str(content["url"])
    except (ValueError, KeyError, TypeError):  # between the lock and its first line
        return None, ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # of another user
        return True
    return True


def _describe(home: Path, pid: int | None, url: str) -> str:
    where = f"at {url}" if url else "and is still starting"
    process, stop = (f"pid {pid}", f"stop it with Ctrl-C or `kill {pid}`") if pid else ("pid unknown", "stop it")
    return f"Nightshift already runs in {home}, {where} ({process}). Use that one, {stop}, or set NIGHTSHIFT_HOME to another directory."
