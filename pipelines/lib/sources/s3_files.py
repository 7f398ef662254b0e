"""Files on S3 as a source, with the credentials of the environment (``AWS_ACCESS_KEY_ID``, ``AWS_ENDPOINT_URL``, …).

Objects are listed, footers are read as ranges, and the objects that a run needs are copied into its scratch directory, where they are read like local files.
"""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.tables import source_paths

COPIES = "s3-objects"
"""The folder in a scratch directory that holds copies: their paths have it where the URL has ``s3://``."""

_COPY = re.compile(rf"[^\s'\"\[(]*/{COPIES}/")

_TAIL = 65_536
"""Bytes at the end of a Parquet file that are read first: the footer of most files is smaller."""

_WRONG = (errno.EINVAL, errno.ENOSYS, errno.EPERM, 78)
"""s3fs has these numbers for requests that the store refuses, such as those for a bucket of another region (78)."""


@dataclass(frozen=True)
class S3Object:
    """An object: its key with the bucket, its size, and its entity tag, which changes with the content."""

    key: str
    size: int
    etag: str
    modified: str


@contextmanager
def answering(url: str) -> Iterator[None]:
    """Raise errors of the store as ours: `TransientError` if it does not answer, `ConfigError` if it refuses access, `DataError` if nothing is there."""
    from botocore import exceptions  # type: ignore[import-untyped]  # it has no types

    refused = (exceptions.NoCredentialsError, exceptions.PartialCredentialsError, exceptions.ProfileNotFound, exceptions.NoRegionError)
    try:
        yield
    except (*refused, PermissionError) as error:
        raise ConfigError(
            f"S3 gives no access to `path: {url}` ({_first_line(error)}); set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for an S3-compatible store, "
            "AWS_ENDPOINT_URL in the environment of the workers, and allow these keys to list and read the bucket"
        ) from None
    except (exceptions.ParamValidationError, ValueError) as error:
        raise ConfigError(f"S3 cannot be asked for `path: {url}` ({_first_line(error)}); correct the path or AWS_ENDPOINT_URL") from None
    except FileNotFoundError as error:
        raise DataError(
            f"nothing is at `path: {url}` ({_first_line(error)}); deliver it, or correct bucket and key in params.yaml"
        ) from None
    except (exceptions.BotoCoreError, exceptions.ClientError, OSError) as error:
        if isinstance(error, OSError) and error.errno in _WRONG:
            raise ConfigError(
                f"S3 refuses the request for `path: {url}` ({_first_line(error)}); correct the bucket or AWS_REGION"
            ) from None
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise TransientError(f"the disk is full while {url} is copied; free some space: {error}") from None
        raise TransientError(f"S3 does not answer for {url}: {_first_line(error)}; it is tried again") from None


def objects(path: str) -> list[S3Object]:
    """Return the objects that the S3 URL `path` names, a glob or everything beneath it, sorted by key."""
    with answering(path):
        found = _store().glob(path, detail=True) if source_paths.has_wildcard(path) else _store().find(path, detail=True)
    infos = (info for info in found.values() if info["type"] == "file")
    return sorted((_object(info) for info in infos), key=lambda one: one.key)


def exists(url: str) -> bool:
    """Return whether an object is at `url` or beneath it."""
    with answering(url):
        return bool(_store().exists(url))


def footers(path: str, objects: Sequence[S3Object]) -> list[pq.FileMetaData | None]:
    """Return the footers of the Parquet files `objects`; None for one that has no whole footer."""
    tails = _ends(path, objects, [min(one.size, _TAIL) for one in objects])
    longer = {index: size for index, tail in enumerate(tails) if len(tail) < (size := _footer_size(tail)) <= objects[index].size}
    read_again = _ends(path, [objects[index] for index in longer], list(longer.values()))
    for index, tail in zip(longer, read_again, strict=True):
        tails[index] = tail
    return [_footer(tail) for tail in tails]


def copied(path: str, objects: Sequence[S3Object], scratch: Path) -> list[Path]:
    """Copy `objects` into the directory `scratch`; returns their paths there. Raises `TransientError` if one has changed since it was listed."""
    for one in objects:
        if {"", ".", ".."} & set(one.key.split("/")):
            raise DataError(f"the key of s3://{one.key} is not a path of folders and a file; rename the object")
    copies = [scratch / COPIES / one.key for one in objects]
    for copy in copies:
        copy.parent.mkdir(parents=True, exist_ok=True)
    with answering(path):
        _store().get([one.key for one in objects], [str(copy) for copy in copies])
    for one, copy in zip(objects, copies, strict=True):
        if not copy.is_file() or copy.stat().st_size != one.size:
            raise TransientError(f"s3://{one.key} was replaced or removed while it was read; it is read again at the next try")
    return copies


def named(message: str) -> str:
    """Return `message` with the URLs of objects in place of the paths of their copies."""
    return _COPY.sub(source_paths.S3, message)


def _store() -> Any:
    import s3fs  # type: ignore[import-untyped]  # it has no types

    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    # s3fs keeps a store with its connections as long as it is asked for with the same arguments.
    return s3fs.S3FileSystem(
        key=os.environ.get("AWS_ACCESS_KEY_ID"),
        secret=os.environ.get("AWS_SECRET_ACCESS_KEY"),
        token=os.environ.get("AWS_SESSION_TOKEN"),
        endpoint_url=os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"),
        client_kwargs={"region_name": region} if region else {},
        use_listings_cache=False,
    )


def _object(info: dict[str, Any]) -> S3Object:
    return S3Object(info["name"], int(info["size"]), str(info.get("ETag")), str(info.get("LastModified")))


def _ends(path: str, objects: Sequence[S3Object], lengths: Sequence[int]) -> list[bytes]:
    if not objects:
        return []
    with answering(path):
        starts = [one.size - length for one, length in zip(objects, lengths, strict=True)]
        return list(_store().cat_ranges([one.key for one in objects], starts, [one.size for one in objects], on_error="raise"))


def _footer_size(tail: bytes) -> int:
    return int.from_bytes(tail[-8:-4], "little") + 8 if tail[-4:] == b"PAR1" else 0


def _footer(tail: bytes) -> pq.FileMetaData | None:
    try:
        return pq.read_metadata(pa.BufferReader(tail))
    except (pa.ArrowException, OSError):
        return None


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
