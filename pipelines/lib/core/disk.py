"""Say that a disk is full, which one, and what to free: libraries bury it under messages of their own."""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.lib.core import home
from pipelines.lib.core.errors import TransientError
from pipelines.lib.core.kept import cache_root

_ERRNO = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SAID = re.compile(
    r"no space left on device|disk quota exceeded|file too large|database or disk is full|not enough (disk )?space|os error 28\b|errno 28\b",
    re.I,
)


def full_disk(error: BaseException) -> TransientError | None:
    """Return what to raise instead of `error` where a full disk is its cause; None if it is not."""
    for one in _chain(error):
        if (isinstance(one, OSError) and one.errno in _ERRNO) or _SAID.search(str(one)):
            named = one.filename if isinstance(one, OSError) and isinstance(one.filename, str) else None
            place, free = fullest([Path(named)] if named else places())
            said = next(iter(str(one).strip().splitlines()), type(one).__name__)
            return TransientError(
                f"the disk of {place} is full, or its quota or a limit on file sizes is used up ({free:,} bytes are free): {said[:300]}. "
                "Free space there (docs/how-to/production.md, Free disk space), then clear the task"
            )
    return None


def places() -> list[Path]:
    """Return the directories that a stage writes to."""
    published = home.published_url()
    local = [] if "://" in published else [Path(published)]
    return [Path.cwd(), home.home(), cache_root(), home.index_root(), Path(tempfile.gettempdir()), *local]


def fullest(candidates: list[Path]) -> tuple[Path, int]:
    """Return the mount point among those of `candidates` with the least free space, and its free bytes for this user."""
    found = [(shutil.disk_usage(existing).free, mount_of(existing)) for existing in map(_existing, candidates)]
    free, place = min(found)
    return place, free


def mount_of(path: Path) -> Path:
    """Return the directory at which the file system of `path` is mounted."""
    path = path.resolve()
    while not os.path.ismount(path) and path != path.parent:
        path = path.parent
    return path


def _existing(path: Path) -> Path:
    path = path.absolute()
    return next(one for one in (path, *path.parents) if one.exists())


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop(0)
        if one is not None and one not in seen:
            seen.append(one)
            yield one
            pending += [one.__cause__, one.__context__, getattr(one, "orig", None)]
