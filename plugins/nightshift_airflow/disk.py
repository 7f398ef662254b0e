"""Tell a full disk from other failures of git, DVC and the file system, and say which disk it is and what to free.

Git says *unable to write file* a hundred times and never why, and has removed what it wrote by then: so little room is a cause too.
"""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from nightshift_airflow import places
from nightshift_airflow.retries import StageError

_ERRNO = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAID = re.compile(
    r"no space left on device|disk quota exceeded|file too large|database or disk is full|disk of .* is full|errno 28\b", re.IGNORECASE
)
_FAILED_WRITE = re.compile(
    r"unable to (write|create|append)|cannot create|could not write|disk i/o error|failed to (write|transfer|insert)", re.IGNORECASE
)
_LITTLE = 32 * 2**20
"""Bytes. A workspace takes some ten mebibytes: with less than this free, a write that failed had no room."""


def explain_full_disk(text: str, directories: Iterable[Path] = ()) -> str | None:
    """Return a sentence with the remedy if `text`, the output of a failed command, means a full disk; otherwise None.

    `directories` are checked in addition to the state, the repository, DVC's cache and the directory for temporary files.
    """
    free, mount = _fullest([*directories, places.home(), places.REPOSITORY, places.cache(), Path(tempfile.gettempdir())])
    said = _SAID.search(text)
    if not said and not (_FAILED_WRITE.search(text) and free < _LITTLE):
        return None
    line = next((line for line in text.splitlines() if (_SAID if said else _FAILED_WRITE).search(line)), "").strip()
    return (
        f"the disk of {mount} is full, or its quota or a limit on file sizes is used up ({free:,} bytes are free): {line[:300]}. Free space there: old "
        f"workspaces in {places.home() / 'workspaces'}, or what python -m pipelines.registry.free_space lists. Then clear the task"
    )


@contextlib.contextmanager
def full_disk_is_said() -> Iterator[None]:
    """Raise `StageError`, which is tried again, with a clear message in the place of an `OSError` that a full disk has caused."""
    try:
        yield
    except OSError as error:
        text = f"{os.strerror(error.errno)}: {error}" if error.errno in _ERRNO else str(error)
        message = explain_full_disk(text)
        if message is None:
            raise
        raise StageError(message) from None  # the hundred lines that git wrote say no more


def _fullest(directories: Iterable[Path]) -> tuple[int, Path]:
    existing = [next(one for one in (place.absolute(), *place.absolute().parents) if one.exists()) for place in directories]
    return min((shutil.disk_usage(place).free, _mount_of(place)) for place in existing)


def _mount_of(path: Path) -> Path:
    path = path.resolve()
    while not os.path.ismount(path) and path != path.parent:
        path = path.parent
    return path
