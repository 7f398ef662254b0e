"""How often each file of a folder is opened, as Linux reports it (inotify): no reader can hide from it, whether DuckDB, pyarrow or Python."""

import ctypes
import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_OPEN, _CLOSE_WRITE, _CLOSE_NOWRITE, _OVERFLOW = 0x20, 0x8, 0x10, 0x4000
_HEAD = struct.Struct("iIII")
_BUFFER = 1 << 20


@contextmanager
def opened_files(folder: Path) -> Iterator[Counter[str]]:
    """Count in the block how often each file directly in `folder` is opened, by its name. The counts are there after the block.

    Raises `OSError` if Linux cannot watch the folder, or if there were more events than it keeps.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    watch = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    if watch < 0:
        raise OSError(ctypes.get_errno(), f"inotify cannot watch {folder}")
    counts: Counter[str] = Counter()
    try:
        # Equal events in a row are one event: those of closing keep two openings apart.
        if libc.inotify_add_watch(watch, os.fsencode(folder), _OPEN | _CLOSE_WRITE | _CLOSE_NOWRITE) < 0:
            raise OSError(ctypes.get_errno(), f"inotify cannot watch {folder}")
        yield counts
        counts.update(_names(watch))
    finally:
        os.close(watch)


def _names(watch: int) -> Iterator[str]:
    """Yield the name of the file of each opening that `watch` has seen."""
    while True:
        try:
            events = os.read(watch, _BUFFER)
        except BlockingIOError:
            return
        at = 0
        while at < len(events):
            _, mask, _, length = _HEAD.unpack_from(events, at)
            at += _HEAD.size
            name = events[at : at + length].rstrip(b"\0")
            at += length
            if mask & _OVERFLOW:
                raise OSError("more files were opened than inotify keeps events of; watch a shorter read")
            if mask & _OPEN and name:  # an event without a name is one of the folder itself
                yield os.fsdecode(name)
