"""Files and directories that appear whole or not at all."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a temporary path next to `target`; when the block ends well, flush it to disk and rename it over `target`.

    The block may make a file or a directory at that path. If it raises, `target` is as it was and nothing is left over.
    An old directory is removed just before the rename: who dies or looks between the two finds none, never a half one.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    _remove(temporary)
    try:
        yield temporary
        _flush(temporary)
        if target.is_dir():  # a directory cannot be renamed over a full one
            _remove(target)
        os.replace(temporary, target)
        _flush(target.parent, recursive=False)
    finally:
        _remove(temporary)


def _flush(path: Path, *, recursive: bool = True) -> None:
    for file in [*path.rglob("*"), path] if recursive and path.is_dir() else [path]:
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
