"""``dvc.lock`` of a workspace, kept whole while several processes of DVC write it and some of them are killed."""

import contextlib
import fcntl
import json
import logging
from collections.abc import Iterator
from pathlib import Path

from nightshift_airflow import places
from nightshift_airflow.cache_lock import cache_in_use
from nightshift_airflow.workspaces import Workspace, write_text

log = logging.getLogger(__name__)

WHOLE = Path(".dvc/tmp/dvc.lock.whole")  # the last dvc.lock that was seen whole
_IN_FLIGHT = Path(".dvc/tmp/in-flight.lock")  # held shared by anyone who has DVC running in the workspace
_END = "\ndatasets: []\n"  # of a whole dvc.lock: DVC leaves it where it is, after all stages; half a file may be good YAML, but does not end so


@contextlib.contextmanager
def attempt(workspace: Workspace) -> Iterator[None]:
    """Let DVC work in `workspace`, next to its other processes, and keep ``dvc.lock`` whole: before, afterwards, and however it ends.

    DVC writes ``dvc.lock`` and its own list of readers and writers in place: killed at that moment, it leaves half a file, on which
    every later attempt would fail, or which a sibling takes for whole and completes. A stage that ended by itself while ``dvc.lock`` was whole is in
    the last whole copy; a sibling whose entry was lost with the torn file sees that by `is_kept`, and DVC restores its outputs in a second.
    """
    flight = workspace.path / _IN_FLIGHT
    flight.parent.mkdir(parents=True, exist_ok=True)
    with cache_in_use(places.cache()), flight.open("a") as file:  # the kernel releases it however this process ends
        with _dvc_waits(workspace):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                alone = False
            _repair(workspace, alone=alone)
            fcntl.flock(file, fcntl.LOCK_SH)
        try:
            yield
        finally:
            with _dvc_waits(workspace):
                _repair(workspace, alone=False)


def forget_torn_outcomes() -> None:
    """Remove what killed processes have left half-written among DVC's records of what stages have made (its run cache).

    DVC takes the newest file of a folder there for the latest record, with any name, and fails on it in every workspace, as it does on an
    empty folder. A process that is writing one at the same time fails too, and tries again.
    """
    for folder in (places.cache() / "runs").glob("*/*"):
        for torn in folder.glob(".*.tmp"):
            log.warning("%s is torn, since DVC was killed while it wrote: removing it", torn)
            torn.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it holds records
            folder.rmdir()


def is_kept(workspace: Workspace, stage: str) -> bool:
    """Return whether the last whole copy of ``dvc.lock`` has an entry of `stage`, so that nothing can lose it any more."""
    return f"\n  {stage}:\n" in (workspace.path / WHOLE).read_text(encoding="utf-8")


def keep_whole(workspace: Workspace) -> None:
    """Put ``dvc.lock`` back where it is torn, else keep a copy of it."""
    with _dvc_waits(workspace):
        _repair(workspace, alone=False)


@contextlib.contextmanager
def _dvc_waits(workspace: Workspace) -> Iterator[None]:
    """Hold the lock without which no DVC process of the workspace touches ``dvc.lock``. Processes do not need it while they run the
    command of a stage.
    """
    with (workspace.path / ".dvc" / "tmp" / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # as zc.lockfile does, which is DVC's
        yield


def _repair(workspace: Workspace, *, alone: bool) -> None:
    """Keep a copy of ``dvc.lock`` where it is whole, else put the copy back; `alone` where nobody else has DVC running in the workspace."""
    lock, whole, claims = (workspace.path / name for name in ("dvc.lock", WHOLE, ".dvc/tmp/rwlock"))
    if claims.exists() and (alone or not _is_json(claims)):  # of the dead, whose number another process may have by now
        claims.unlink()
    text = lock.read_text(encoding="utf-8", errors="replace") if lock.exists() else ""
    if not whole.exists() and not text.endswith(_END):  # nobody has worked here yet
        text = (text or "schema: '2.0'\nstages: {}\n").rstrip("\n") + _END
        write_text(lock, text)
    if text.endswith(_END):
        write_text(whole, text)
    else:
        log.warning("%s is torn, since DVC was killed while it wrote: putting the last whole one back", lock)
        write_text(lock, whole.read_text(encoding="utf-8"))


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True
