"""The files of a source, local or on S3: those that its path names, each with what tells one version of it from another."""

import datetime as dt
import glob
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources import s3_files
from pipelines.lib.tables import source_paths
from pipelines.lib.tables.dataset import Source

SUFFIXES = {"parquet": (".parquet",), "csv": (".csv", ".csv.gz")}
"""The files of a folder that are read, by the kind of the source."""

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
"""Hive's folder of rows whose value is missing."""


@dataclass(frozen=True)
class SourceFile:
    """A file of a source: `name` as a person would write it, and the `path` where it can be opened (of an object on S3, after `at_hand`).

    `revision` changes with the content: size and modification time, or entity tag. `state` also tells a replaced file of one size and time. `partition` is the
    date of its rows, if the source's path says it; `values` are the columns that folders such as ``day=2024-01-05`` name (None: no value).
    It is `changed` if it is another one than when the run was opened, and `gone` if it is not there any more.
    """

    name: str
    path: Path
    revision: tuple[object, ...]
    state: tuple[object, ...]
    partition: dt.date | None = None
    values: Mapping[str, str | None] = field(default_factory=dict)
    stored: s3_files.S3Object | None = None
    changed: bool = False
    gone: bool = False


def files_of(source: Source) -> list[SourceFile]:
    """Return the files that `source` names, sorted by name; at least one.

    A relative path is relative to the repository where a run's workspace is elsewhere, on a laptop to the working directory.
    """
    pattern = source.path or ""
    if pattern.startswith(source_paths.S3):
        return [_on_s3(one, pattern) for one in _objects(source.kind, pattern)]
    root = Path(os.environ.get("NIGHTSHIFT_REPOSITORY", "."))
    return [_local(root / path, path, pattern) for path in _matches(source.kind, pattern, root)]


def named_by_date(source: Source, day: dt.date) -> SourceFile | None:
    """Return the file that `source` has for `day`, which need not exist; None if its path does not say the whole name of that file."""
    path = source_paths.path_of(source.path or "", day)
    if path is None:
        return None
    local = Path(os.environ.get("NIGHTSHIFT_REPOSITORY", ".")) / path
    name = path if path.startswith(source_paths.S3) else str(local)
    return SourceFile(name, local, (), (), partition=day, values=values_of(path))


def at_hand(files: Sequence[SourceFile], source: Source, scratch: Path) -> list[SourceFile]:
    """Return `files` with a `path` where each can be opened: objects on S3 are copied into the directory `scratch`."""
    stored = [file.stored for file in files if file.stored is not None]
    if not stored:
        return list(files)
    return [replace(file, path=path) for file, path in zip(files, s3_files.copied(source.path or "", stored, scratch), strict=True)]


def footers(files: Sequence[SourceFile], source: Source) -> dict[str, pq.FileMetaData]:
    """Return the footers of the Parquet `files` by their name, without those that have no whole footer."""
    stored = [file.stored for file in files if file.stored is not None]
    found = s3_files.footers(source.path or "", stored) if stored else [_footer(file.path) for file in files]
    return {file.name: footer for file, footer in zip(files, found, strict=True) if footer is not None}


def revision(files: Iterable[SourceFile]) -> str:
    """Return a fingerprint of `files` as they are now, from sizes and times: a night must not read a year to start."""
    return hashlib.sha256(repr([(file.name, *file.revision) for file in files]).encode()).hexdigest()


def _matches(kind: str, pattern: str, root: Path) -> list[str]:
    line, folder = f"`path: {pattern}` in params.yaml", root / pattern
    if pattern.endswith("/") and folder.is_file():
        raise DataError(f"{line} ends in a slash, but is a file and not a folder; write `path: {pattern.rstrip('/')}`")
    if folder.is_dir() and not source_paths.has_wildcard(pattern):
        return _beneath(kind, pattern, root, line)
    globbed = source_paths.glob_of(pattern)
    found = sorted(glob.glob(globbed, root_dir=root, recursive=True))  # noqa: PTH207 - a Path cannot glob an absolute pattern
    if not found:
        beginning = "" if Path(pattern).is_absolute() else ", which begins at the top of the repository"
        raise DataError(f"no file is at {line}; deliver it, or correct the path{beginning}")
    for path in found:
        file = root / path
        if file.is_dir() and file.suffix not in SUFFIXES[kind]:
            better = f"{pattern.rstrip('/')}/*{SUFFIXES[kind][0]}"
            raise DataError(f"{line} matches {path}, which is a folder and not a file; write `path: {better}` to read the files in it")
        if not file.is_file():
            raise DataError(f"{path} of {line} is not a regular file; deliver a file, or correct the path")
        _refuse_delta(file.parents, file, pattern)
    return found


def _beneath(kind: str, pattern: str, root: Path, line: str) -> list[str]:
    """Return the files of `kind` in the folder `pattern` and the folders in it. As in Spark, what begins with _ or . is not data."""
    folder = root / pattern
    _refuse_delta(folder.parents, folder, pattern)
    found: list[str] = []
    others: list[str] = []
    for parent, folders, names in os.walk(folder):
        if "_delta_log" in folders:
            _refuse_delta([Path(parent)], Path(parent), pattern)
        folders[:] = sorted(one for one in folders if not one.startswith(("_", ".")))
        if link := next((one for one in folders if Path(parent, one).is_symlink()), None):
            raise DataError(f"{line} holds {link}, a link to another folder, which is not followed; move its files here, or write a glob")
        for file in names:
            is_data = file.endswith(SUFFIXES[kind]) and not file.startswith(("_", "."))
            (found if is_data else others).append(f"{pattern}/{os.path.relpath(parent, folder)}/{file}")
    if not found:
        content = f"holds {len(others)} files, such as {Path(min(others)).name}, but" if others else "is empty:"
        raise DataError(
            f"{line} is a folder that {content} no file ends in {' or '.join(SUFFIXES[kind])}; deliver the files, or correct the path or the kind"
        )
    return sorted(map(os.path.normpath, found))


def _refuse_delta(folders: Iterable[Path], file: Path, pattern: str) -> None:
    if table := next((folder for folder in folders if (folder / "_delta_log").is_dir()), None):
        raise DataError(
            f"{file} belongs to the Delta table {table}, whose log says which files count: `path: {pattern}` would also read deleted rows. "
            f"Write `source: {{kind: delta, path: {table}}}` in params.yaml"
        )


def _objects(kind: str, pattern: str) -> list[s3_files.S3Object]:
    globbed, line = source_paths.glob_of(pattern), f"`path: {pattern}` in params.yaml"
    found = s3_files.objects(globbed)
    key = pattern.removeprefix(source_paths.S3).rstrip("/")
    if any("/_delta_log/" in f"/{one.key}" for one in found) or (found and _of_delta_on_s3(found[0].key)):
        raise DataError(
            f"{line} has files of a Delta table, whose log says which files count; write `kind: delta` and the folder of the table"
        )
    if source_paths.has_wildcard(globbed) or [one.key for one in found] == [key]:
        data = found
    else:
        inside = [(one, one.key.removeprefix(f"{key}/").split("/")) for one in found]
        data = [
            one for one, parts in inside if parts[-1].endswith(SUFFIXES[kind]) and not any(part.startswith(("_", ".")) for part in parts)
        ]
    if not data:
        others = f", but {len(found)} others, such as {found[0].key}" if found else ""
        raise DataError(
            f"no file ending in {' or '.join(SUFFIXES[kind])} is at {line}{others}; deliver it, or correct the path or the kind"
        )
    return data


def _of_delta_on_s3(key: str) -> bool:
    folders = key.split("/")[:-1]
    return any(s3_files.exists(f"{source_paths.S3}{'/'.join(folders[:depth])}/_delta_log") for depth in range(len(folders), 0, -1))


def _on_s3(one: s3_files.S3Object, pattern: str) -> SourceFile:
    name, revision = f"{source_paths.S3}{one.key}", (one.size, one.etag)
    copy = Path(s3_files.COPIES, one.key)
    return SourceFile(name, copy, revision, (*revision, one.modified), partition_of(pattern, name), values_of(name), stored=one)


def _footer(path: Path) -> pq.FileMetaData | None:
    try:
        return pq.read_metadata(path)
    except (pa.ArrowException, OSError, UnicodeDecodeError):
        return None  # the file is read, and the error then says what is wrong with it


def _local(file: Path, path: str, pattern: str) -> SourceFile:
    stat = file.stat()
    # The inode tells a replaced file of one size and time; the change time, unlike the modification time, cannot be set back.
    revision, state = (stat.st_size, stat.st_mtime_ns), (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return SourceFile(str(file), file, revision, state, partition_of(pattern, path), values_of(path))


def partition_of(pattern: str, path: str) -> dt.date | None:
    """Return the date of the rows of the file `path`, if `pattern` has a place for it. Raises `DataError` if no date is there."""
    if not source_paths.names_partition(pattern):
        return None
    if (found := source_paths.partition_of(pattern, path)) is None:
        raise DataError(
            f"{path} has no date where `path: {pattern}` in params.yaml has {{partition}}; rename the file, or write {{partition:FORMAT}} as in {{partition:%Y%m%d}}"
        )
    return found


def values_of(path: str) -> dict[str, str | None]:
    """Return the columns that the folders of `path` name, as in ``orders/day=2024-01-05/part-0.parquet``."""
    pairs = (part.partition("=") for part in path.split("/")[:-1] if "=" in part)
    return {unquote(column): None if value == _NO_VALUE else unquote(value) for column, _, value in pairs if column}
