"""Nothing that a stage starts outlives the task."""

import logging
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from nightshift_airflow import process

log = logging.getLogger("test")

# Leaves a grandchild in a session of its own that holds no pipe of ours, the way a daemon would.
FAMILY = """
import os, subprocess, sys, time
grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
with open(sys.argv[1] + ".tmp", "w") as file:
    file.write(f"{os.getpid()} {grandchild.pid}")
os.rename(sys.argv[1] + ".tmp", sys.argv[1])
time.sleep(float(sys.argv[2]))
"""


def wait_until(condition, timeout_s: float = 120) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited without effect"
        time.sleep(0.02)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def pids_in(file: Path) -> list[int]:
    wait_until(file.exists)
    return [int(pid) for pid in file.read_text().split()]


def run(code: str, *arguments: str, cwd: Path) -> tuple[int, list[str]]:
    return process.run([sys.executable, "-c", code, *arguments], cwd=cwd, env=os.environ, log=log)


def test_output_is_streamed_to_the_log_and_its_end_returned(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    code, tail = run("import sys; print('one'); print('zwei ü', file=sys.stderr); sys.exit(3)", cwd=tmp_path)
    assert code == 3
    assert sorted(tail) == ["one", "zwei ü"]
    assert {record.getMessage() for record in caplog.records} == {"one", "zwei ü"}


def test_a_line_without_end_is_cut_rather_than_held(tmp_path):
    code, tail = run("print('x' * 1_000_000, end='')", cwd=tmp_path)
    assert code == 0
    assert max(len(line) for line in tail) <= 65_536


def test_a_killed_command_says_so(tmp_path):
    code, _ = run("import os; os.kill(os.getpid(), 9)", cwd=tmp_path)
    assert code == 128 + signal.SIGKILL


def test_a_missing_command_says_so(tmp_path):
    code, tail = process.run(["/does/not/exist"], cwd=tmp_path, env=os.environ, log=log)
    assert code == 127
    assert "cannot start /does/not/exist" in tail[-1]


def test_nothing_is_interpreted_by_a_shell(tmp_path):
    code, tail = run("import sys; print(sys.argv[1])", "$(touch pwned); `touch pwned`", cwd=tmp_path)
    assert (code, tail) == (0, ["$(touch pwned); `touch pwned`"])
    assert not (tmp_path / "pwned").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
def test_what_a_command_leaves_behind_is_killed_when_it_ends(tmp_path):
    file = tmp_path / "pids"
    run(FAMILY, str(file), "0", cwd=tmp_path)
    assert all(is_gone(pid) for pid in pids_in(file))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_no_grandchild_survives_the_runner(tmp_path, number):
    file = tmp_path / "pids"
    runner = textwrap.dedent(
        f"""
        import logging, os, pathlib, signal, sys
        from nightshift_airflow import process
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for a command in the background
        process.run([sys.executable, "-c", {FAMILY!r}, {str(file)!r}, "600"], cwd=pathlib.Path("."), env=os.environ, log=logging.getLogger())
        """
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    runner_process = subprocess.Popen([sys.executable, "-c", runner], cwd=tmp_path, env=env, stderr=subprocess.DEVNULL)
    pids = pids_in(file)
    assert not any(is_gone(pid) for pid in pids)
    runner_process.send_signal(number)
    runner_process.wait()
    wait_until(lambda: all(is_gone(pid) for pid in pids))


@pytest.mark.costly
@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
def test_an_exception_in_the_wait_kills_the_command(tmp_path):
    """How Airflow's execution timeout ends a task: an exception out of a signal handler."""
    file = tmp_path / "pids"

    def expire(*_):
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, expire)
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        with pytest.raises(TimeoutError):
            run(FAMILY, str(file), "600", cwd=tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(is_gone(pid) for pid in pids_in(file))


@pytest.mark.costly
@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
def test_stop_running_ends_the_wait(tmp_path):
    """Do as an operator's on_kill does, from within a signal handler."""
    file = tmp_path / "pids"
    before = signal.signal(signal.SIGALRM, lambda *_: process.stop_running())
    try:
        signal.setitimer(signal.ITIMER_REAL, 1.0)
        code, _ = run(FAMILY, str(file), "600", cwd=tmp_path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert code == 128 + signal.SIGKILL
    assert all(is_gone(pid) for pid in pids_in(file))


@pytest.mark.skipif(sys.platform != "linux", reason="needs a subreaper")
def test_a_child_that_another_thread_has_reaped_is_not_an_error(tmp_path):
    """Two threads of the supervisor end its children: the pid of one may be gone before it is killed."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    code = f"import supervisor; supervisor._children = lambda: [{gone.pid}]; supervisor._kill_descendants()"
    subprocess.run([sys.executable, "-c", code], cwd=process.SUPERVISOR.parent, check=True)
