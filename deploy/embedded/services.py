"""The long-running processes of an installation, each under a supervisor (`plugins/nightshift_airflow/supervisor.py`): none outlives this
process.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SUPERVISOR = Path(__file__).resolve().parents[2] / "plugins" / "nightshift_airflow" / "supervisor.py"
_STOP_S = 10  # how long a service may take to end by itself


class ServerError(Exception):
    """Airflow did not start, or one of its services ended; the message holds the end of its log."""


class Services:
    """Processes by name, each with a log of its own in `logs`. Their supervisors inherit the descriptors `keep`, and hold them until they
    end.
    """

    def __init__(self, logs: Path, keep: Sequence[int] = ()) -> None:
        self._logs, self._keep = logs, tuple(keep)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._optional: set[str] = set()

    def launch(self, name: str, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], optional: bool = False) -> None:
        """Start ``python -m`` with `arguments` as the service `name`; without an `optional` one the others go on."""
        if optional:
            self._optional.add(name)
        with self.log(name).open("ab") as output:
            self._processes[name] = subprocess.Popen(
                [sys.executable, "-IS", os.fspath(SUPERVISOR), sys.executable, "-m", *arguments],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=self._keep,
                start_new_session=True,  # Ctrl-C reaches this process alone, which stops the services in order
            )

    def stop(self, *names: str) -> None:
        """Stop the services `names`, by default all; return when nothing of them is left."""
        processes = [self._processes.pop(name) for name in names or tuple(self._processes)]
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + _STOP_S
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, deadline - time.monotonic()))
            _release(process)

    def kill(self, name: str) -> None:
        """Kill the service `name` with everything it has started."""
        _release(self._processes.pop(name))

    def check(self) -> list[str]:
        """Raise `ServerError` if a service has ended. Return a message for each optional service that has ended since the last call."""
        messages = []
        for name, process in tuple(self._processes.items()):
            if (code := process.poll()) is None:
                continue
            if name not in self._optional:
                raise ServerError(f"the service {name} ended with exit code {code}; the end of {self.log(name)}:\n{tail(self.log(name))}")
            self.kill(name)
            messages.append(f"the service {name} ended with exit code {code}; the others go on. Its log: {self.log(name)}")
        return messages

    def pid(self, name: str) -> int:
        """Return the process id of the service `name` itself (its parent is the supervisor)."""
        children = Path(f"/proc/{self._processes[name].pid}/task/{self._processes[name].pid}/children").read_text().split()
        return int(children[0])

    def log(self, name: str) -> Path:
        """Return the log file of the service `name`."""
        self._logs.mkdir(parents=True, exist_ok=True)
        return self._logs / f"{name}.log"


def _release(process: "subprocess.Popen[bytes]") -> None:
    assert process.stdin is not None
    process.stdin.close()  # the supervisor kills what is left
    process.wait()


def tail(path: Path, lines: int = 25) -> str:
    """Return the last `lines` of the file at `path`."""
    try:
        return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
    except OSError:
        return "(no log was written)"
