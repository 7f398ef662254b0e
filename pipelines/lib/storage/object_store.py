"""The places that hold DVC's objects: the cache that all workspaces share, and the default remote. They are listed, read and freed
alike.
"""

import contextlib
import datetime as dt
import fcntl
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipelines.lib.core.errors import ConfigError, TransientError

if TYPE_CHECKING:
    from dvc_data.hashfile.db import HashFileDB

LOCK = "nightshift.lock"
"""In the cache: held shared by anyone who has DVC running in a workspace, alone by anyone who frees space. The plugin knows it by the
same name.
"""

_OBJECT = re.compile(r"([0-9a-f]{2})[/\\]([0-9a-f]{30}(?:\.dir)?)$")


@dataclass(frozen=True)
class Object:
    """One object: its md5 (of a directory's listing with ``.dir``), its bytes, and when it was last written (UNIX time)."""

    md5: str
    size: int
    modified: float


class Store(Protocol):
    """A place with objects."""

    def objects(self) -> Iterator[Object]:
        """List all objects."""

    def read(self, md5: str) -> bytes | None:
        """Return the content of an object, None if it is not there."""

    def remove(self, objects: tuple[Object, ...]) -> None:
        """Remove these objects; one that is gone already is not a fault."""


class Cache:
    """DVC's cache at the directory `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def objects(self) -> Iterator[Object]:
        """List all objects."""
        for folder in sorted((self.path / "files" / "md5").glob("[0-9a-f][0-9a-f]")):
            with os.scandir(folder) as entries:
                for entry in entries:
                    if named := _OBJECT.search(entry.path):
                        with contextlib.suppress(FileNotFoundError):
                            status = entry.stat()
                            yield Object(named[1] + named[2], status.st_size, status.st_mtime)

    def read(self, md5: str) -> bytes | None:
        """Return the content of an object, None if it is not there."""
        try:
            return self._place(md5).read_bytes()
        except FileNotFoundError:
            return None

    def remove(self, objects: tuple[Object, ...]) -> None:
        """Remove these objects; one that is gone already is not a fault."""
        for one in objects:
            self._place(one.md5).unlink(missing_ok=True)

    def _place(self, md5: str) -> Path:
        return self.path / "files" / "md5" / md5[:2] / md5[2:]


class Bucket:
    """A DVC remote in an object store, which is not a directory here."""

    def __init__(self, odb: "HashFileDB") -> None:
        self._odb = odb

    def objects(self) -> Iterator[Object]:
        """List all objects. One without a time of writing counts as new."""
        with self._answers():
            listed: dict[str, dict[str, object]] = self._odb.fs.fs.find(self._odb.path, detail=True)  # fsspec's: DVC's passes no details on
        for path, status in listed.items():
            if named := _OBJECT.search(path):
                yield Object(named[1] + named[2], int(str(status.get("size") or 0)), _moment(status))

    def read(self, md5: str) -> bytes | None:
        """Return the content of an object, None if it is not there."""
        try:
            with self._answers():
                return bytes(self._odb.fs.cat_file(self._odb.oid_to_path(md5)))
        except FileNotFoundError:
            return None

    def remove(self, objects: tuple[Object, ...]) -> None:
        """Remove these objects; one that is gone already is not a fault."""
        for one in objects:
            with contextlib.suppress(FileNotFoundError), self._answers():
                self._odb.fs.remove(self._odb.oid_to_path(one.md5))

    @contextlib.contextmanager
    def _answers(self) -> Iterator[None]:
        """Raise `ConfigError` if the store refuses access, `TransientError` where it does not answer. A missing object is for the
        caller.
        """
        where = self._odb.fs.unstrip_protocol(self._odb.path)
        try:
            yield
        except FileNotFoundError:
            raise
        except PermissionError as error:
            raise ConfigError(f"{where} refuses access ({error}); correct the remote's credentials (dvc remote modify --local)") from error
        except Exception as error:  # every store's library has errors of its own
            raise TransientError(f"{where} did not answer ({type(error).__name__}: {error}); try again") from error


def remote_of(repository: Path) -> Store:
    """Return the default DVC remote of `repository`. Raises `ConfigError` if it has none."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(repository)) as opened:
            odb = opened.cloud.get_remote_odb()
    except DvcException as error:
        raise ConfigError(
            f"{repository} has no default DVC remote ({error}); leave out --remote, or configure one (docs/how-to/production.md)"
        ) from None
    return Cache(Path(odb.path).parents[1]) if odb.fs.protocol == "local" else Bucket(odb)


@contextlib.contextmanager
def alone(cache: Path, repository: Path, timeout_s: float) -> Iterator[None]:
    """Keep every DVC process of this installation from starting, once none is running any more. Raises `TransientError` after
    `timeout_s`.
    """
    cache.mkdir(parents=True, exist_ok=True)
    (repository / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + timeout_s
    with (cache / LOCK).open("a") as runs, (repository / ".dvc" / "tmp" / "lock").open("a") as laptop:  # the second is DVC's own
        for lock, who in ((runs, "runs have"), (laptop, "somebody has")):
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        raise TransientError(
                            f"{who} used DVC for {timeout_s:.0f} s without a pause; nothing was freed. Try again when fewer runs are active"
                        ) from None
                    time.sleep(0.1)
        yield


def _moment(status: dict[str, object]) -> float:
    """Return when an object was last written, by any of the names that stores give it; the end of time if none says so."""
    for key in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = status.get(key)
        if isinstance(value, str):
            value = dt.datetime.fromisoformat(value)
        if isinstance(value, dt.datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return float("inf")
