"""Run a command and kill its whole process tree when the process that started it dies.

``python -IS supervisor.py COMMAND…``, with a pipe as standard input that only the starter holds open. When the starter dies,
however abruptly, the pipe ends, and the supervisor kills the command with everything it has started. The same happens to what a command
leaves behind when it ends by itself. SIGTERM and SIGINT are passed on to the command. Exits as the command does, 128 + n for signal n.

On Linux the supervisor is the *subreaper* of its descendants: each process without a parent becomes a child of the supervisor, so that killing children
until there are none reaches all of them, those included that made a process group of their own. Elsewhere it kills its own
process group. Standard library only, and a script rather than a module, since it starts before every stage.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_LINUX = sys.platform == "linux"
_ending = threading.Lock()


def main(command: Sequence[str]) -> int:
    """Run `command`; return its exit code once nothing of it is left."""
    if _LINUX:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, preexec_fn=_die_with_the_supervisor if _LINUX else None)  # noqa: PLW1509  no thread yet
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: child.send_signal(received))
    threading.Thread(target=_kill_at_end_of_pipe, daemon=True).start()
    code = child.wait()
    with _ending:  # where the pipe has ended, the code may be that of a child reaped elsewhere, 0: the other thread has the last word
        _kill_descendants()
        return code if code >= 0 else 128 - code


def _die_with_the_supervisor() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _kill_at_end_of_pipe() -> None:
    while os.read(0, 4096):
        pass
    _ending.acquire()
    _kill_descendants()
    os._exit(128 + signal.SIGKILL)


def _kill_descendants() -> None:
    if not _LINUX:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.killpg(0, signal.SIGTERM)
        return
    while True:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):  # the other thread has reaped it
                os.kill(pid, signal.SIGKILL)
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return
        time.sleep(0.005)  # then look again: what the killed had started is ours now


def _children() -> list[int]:
    """Return the pids of the direct children that still run or wait to be reaped."""
    mine = str(os.getpid())
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text()
            except OSError:  # the process has ended
                continue
            if status.rpartition(")")[2].split()[1] == mine:
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
