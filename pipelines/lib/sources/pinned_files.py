"""The files of a source as a run found them when it was opened: it reads these, whenever it is repeated, and no others.

A file that is delivered later does not change a run. If a file that the run needs was replaced or removed, the run cannot be repeated with the
same source, and says so instead of computing something else (docs/adr/0029). Only where the path declares the date of a file can a run tell that it
does not need a file that is gone.
"""

import datetime as dt
import hashlib
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources.source_files import SourceFile, files_of, named_by_date
from pipelines.lib.tables.dataset import Dataset, Source

log = logging.getLogger("nightshift")

_DIGITS = 8
"""Hexadecimal digits of a digest, of which a file has two: of its name, and of its revision. A folder of 365 files takes 6 kB of run.yaml."""

_DAYS_AFTER, _DAYS_BEFORE = 366, 30 * 366
"""Among how many days after the last and before the first file that is there the date of a file that is gone is looked for."""

REMEDY = "A run reads the source as it was then: trigger another run of this partition, which reads the source as it is now"


def current_files(dataset: Dataset) -> dict[str, str]:
    """Return the digests of the files that each source of `dataset` has now, by the name of its table; a source without files has no entry."""
    return {table: digests(files_of(source)) for table, source in dataset.sources.items() if source.kind in ("parquet", "csv")}


def at_files(dataset: Dataset, pinned: Mapping[str, str]) -> Dataset:
    """Return `dataset` whose sources have the `pinned` files. A source that is not among them is read as it is, as on a laptop."""
    return dataset.with_sources({table: {"files": files} for table, files in pinned.items()})


def pinned_files(source: Source) -> list[SourceFile]:
    """Return the files with which the run was opened, sorted by name. One that was replaced since then is `changed`, one that was removed is `gone`.

    Raises `DataError` if the source has no files now, or if one is gone whose date the path does not declare.
    """
    found = files_of(source)
    if source.files is None:
        return found
    whole = {source.files[at : at + 2 * _DIGITS] for at in range(0, len(source.files), 2 * _DIGITS)}
    names = {digest[:_DIGITS] for digest in whole}
    present = {digests([file]): file for file in found}
    missing = names - {digest[:_DIGITS] for digest in present}
    gone = _gone(source, missing, [file.partition for file in found if file.partition is not None]) if missing else []
    if len(gone) < len(missing):
        raise DataError(f"{len(missing)} of the {len(whole)} files that {source.path} had when the run was opened are gone. {REMEDY}")
    kept = [replace(file, changed=digest not in whole) for digest, file in present.items() if digest[:_DIGITS] in names]
    if len(kept) < len(found):
        log.info("%d files of %s came after the run was opened: they are not read", len(found) - len(kept), source.path)
    return sorted([*kept, *gone], key=lambda file: file.name)


def require_unchanged(files: Iterable[SourceFile]) -> None:
    """Raise `DataError` if one of `files`, which a run is about to read, is another one than when the run was opened, or is not there any more."""
    files = list(files)
    if gone := [file.name for file in files if file.gone]:
        others = f" and {len(gone) - 1} other files are" if len(gone) > 1 else " is"
        raise DataError(f"{gone[0]}{others} gone since the run was opened. {REMEDY}")
    if changed := [file.name for file in files if file.changed]:
        others = f" and {len(changed) - 1} other files were" if len(changed) > 1 else " was"
        raise DataError(f"{changed[0]}{others} replaced or written after the run was opened. {REMEDY}")


def _gone(source: Source, missing: Iterable[str], present: Sequence[dt.date]) -> list[SourceFile]:
    """Return the files whose digests of the name are `missing`, if the path of `source` says the name for each date.

    A digest does not tell the date. So the names of the dates around those that are `present` are tried, the latest first.
    """
    wanted, found = set(missing), list[SourceFile]()
    if present:
        day, oldest = max(present) + dt.timedelta(days=_DAYS_AFTER), min(present) - dt.timedelta(days=_DAYS_BEFORE)
        while day > oldest and len(found) < len(wanted) and (file := named_by_date(source, day)) is not None:
            if digests([file])[:_DIGITS] in wanted:
                found.append(replace(file, gone=True))
            day -= dt.timedelta(days=1)
    return found


def digests(files: Iterable[SourceFile]) -> str:
    """Return the digests of the name and of the revision of each of `files`, one after another."""
    root = f"{os.environ.get('NIGHTSHIFT_REPOSITORY', '.')}/"  # a worker may have the repository elsewhere
    return "".join(f"{_digest(file.name.removeprefix(root))}{_digest(repr(file.revision))}" for file in files)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
