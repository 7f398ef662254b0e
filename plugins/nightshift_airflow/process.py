"""Run a stage as a process of its own, from which nothing can escape."""

import logging
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

SUPERVISOR = Path(__file__).with_name("supervisor.py")
_LONGEST_LINE = 65_536  # characters; a process that never ends its line must not fill the memory of the task
_TAIL = 20  # lines of output that an error message can quote
_running: "set[subprocess.Popen[str]]" = set()


def start(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], output: int = subprocess.PIPE) -> "subprocess.Popen[str]":
    """Start `command` (never through a shell) under a supervisor, in a process group of its own.

    `output` takes standard output and standard error together, as in `subprocess`. The command and all that it starts are killed when
    `stdin` of the returned process is closed, so also when this process dies.
    """
    return subprocess.Popen(
        [sys.executable, "-IS", os.fspath(SUPERVISOR), *command],
        cwd=cwd,
        env=dict(env),
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        text=True,
        encoding="utf-8",
        errors="replace",
    )


def stop(process: "subprocess.Popen[str]") -> int:
    """Close the pipe to the supervisor: kill what is left of the command, and return its exit code."""
    assert process.stdin is not None
    process.stdin.close()
    return process.wait()


def run(command: Sequence[str], *, cwd: Path, env: Mapping[str, str], log: logging.Logger) -> tuple[int, list[str]]:
    """Run `command` to its end, each line of its output to `log` as it comes; return its exit code and last lines.

    Anything that interrupts the wait (a timeout, a signal handler that raises) kills the command with everything it has started.
    """
    process = start(command, cwd=cwd, env=env)
    _running.add(process)
    tail: deque[str] = deque(maxlen=_TAIL)
    try:
        output = process.stdout
        assert output is not None
        for line in iter(lambda: output.readline(_LONGEST_LINE), ""):
            tail.append(line.rstrip())
            log.info("%s", tail[-1])
        return process.wait(), list(tail)
    finally:
        _running.discard(process)
        stop(process)


def stop_running() -> None:
    """Kill the command that `run` is waiting for in this process; safe to call from a signal handler."""
    for process in list(_running):
        stop(process)
