"""Delta tables as a source: the rows that one version of the table has. A run is pinned to a version, and reads the same rows whenever it
is repeated.
"""

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.lib.core.errors import ConfigError, DataError, NightshiftError, TransientError
from pipelines.lib.core.run import DeltaVersion
from pipelines.lib.sources import delta_files, page_checksums
from pipelines.lib.tables.dataset import Dataset, Source

if TYPE_CHECKING:
    import pyarrow.dataset as ds
    from deltalake import DeltaTable


def current_versions(dataset: Dataset) -> dict[str, DeltaVersion]:
    """Return the version that each Delta table of `dataset` has now, by the name of the table."""
    found = {}
    for table, source in dataset.sources.items():
        if source.kind == "delta":
            opened = open_table(source)
            found[table] = DeltaVersion(table_id=str(opened.metadata().id), version=opened.version())
    return found


def at_versions(dataset: Dataset, versions: Mapping[str, DeltaVersion]) -> Dataset:
    """Return `dataset` whose Delta tables stay at `versions`. One that is not among them is read as it is, as on a laptop."""
    return dataset.with_sources({table: version.model_dump() for table, version in versions.items()})


def open_table(source: Source) -> "DeltaTable":
    """Return the table at the version of `source`, or the newest. Raises `DataError` if there is none, or not the one that was pinned."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError, TableNotFoundError

    path = source.path or ""
    address = path if "://" in path else str(Path(os.environ.get("NIGHTSHIFT_REPOSITORY", ".")) / path)
    try:
        table = DeltaTable(address, version=source.version)
    except TableNotFoundError:
        raise DataError(f"no Delta table is at {path}; deliver it, or correct dataset.source.path") from None
    except DeltaError as error:
        wanted = "" if source.version is None else f" at version {source.version}"
        raise DataError(f"the Delta table {path} cannot be opened{wanted}: {error}; {_remedy(source)}") from None
    except OSError as error:
        raise store_failure(str(error), f"the Delta table {path}") or TransientError(
            f"the Delta table {path} does not answer: {error}; it is tried again"
        ) from None
    if source.table_id is not None and str(table.metadata().id) != source.table_id:
        raise DataError(
            f"the Delta table {path} was recreated since the run was pinned to it; start another run, which is pinned to the new table"
        )
    if table.metadata().configuration.get("delta.columnMapping.mode", "none") != "none":
        raise DataError(
            f"the Delta table {path} maps its columns to other names, which is not read; rewrite it with delta.columnMapping.mode none"
        )
    return table


def rows_of(source: Source, columns: Iterable[str]) -> "ds.Dataset":
    """Return the rows of the table of `source`, to be read by DuckDB with page checksums compared.

    Raises `DataError` if a file of that version is gone, or is not what the log says in its size, its rows or its `columns`.
    """
    from deltalake.exceptions import DeltaError
    from pyarrow import fs

    table = open_table(source)
    try:
        dataset = table.to_pyarrow_dataset()
        listed = dataset.filesystem.get_file_info(dataset.files) if hasattr(dataset, "files") else []
    except OSError as error:
        raise store_failure(str(error), f"the Delta table {source.path}") or TransientError(
            f"the Delta table {source.path} does not answer: {error}; it is tried again"
        ) from None
    except DeltaError as error:  # deletion vectors, for one
        raise DataError(f"the Delta table {source.path} cannot be read: {error}; rewrite it without that feature") from None
    if not hasattr(dataset, "files"):  # a table without rows
        return dataset
    infos = dict(zip(dataset.files, listed, strict=True))
    gone = [info.path for info in infos.values() if info.type == fs.FileType.NotFound]
    if gone:
        raise DataError(
            f"version {table.version()} of the Delta table {source.path} has lost {len(gone)} of its {len(dataset.files)} files, such as {gone[0]}: "
            f"somebody vacuumed it; {_remedy(source)}"
        )
    where, logged_files = f"the Delta table {source.path}", delta_files.logged(table)
    delta_files.require_sizes(where, logged_files, {path: info.size for path, info in infos.items()})
    delta_files.require_footers(where, logged_files, dataset, columns)
    page_checksums.with_verification(dataset)
    return dataset


def store_failure(message: str, where: str) -> NightshiftError | None:
    """Return the error for the `message` of the object store that holds the table `where`; None if it is not one of a store."""
    lines = [re.sub(r"\x1b\[[0-9;]*m|↳", "", line).strip() for line in message.splitlines()]
    if not any(mark in message for mark in ("Generic S3 error", "Error performing", "necessary privileges")):
        return None
    fact = " ".join(line for line in lines if line)[:300]
    if "NoSuchBucket" in message:
        return DataError(f"nothing is at {where}: its bucket does not exist; correct dataset.source.path")
    if any(
        mark in message
        for mark in ("403 Forbidden", "401 Unauthorized", "necessary privileges", "169.254.169.254", "URL scheme is not allowed")
    ):
        return ConfigError(
            f"S3 gives no access to {where} ({fact}); set AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and, for an S3-compatible store, AWS_ENDPOINT_URL "
            "(without TLS also AWS_ALLOW_HTTP=true) in the environment of the workers"
        )
    return TransientError(f"{where} does not answer ({fact}); it is tried again")


def revision(source: Source) -> str:
    """Return a fingerprint of what `source` reads."""
    table = open_table(source)
    return f"{table.metadata().id}@{table.version()}"


def _remedy(source: Source) -> str:
    if source.version is None:
        return "restore it"
    return (
        "start another run, which reads the newest version, or restore the table and keep its versions for as long as nights are repeated"
    )
