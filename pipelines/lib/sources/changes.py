"""Notice that the files of a source were replaced or written while they were read: the rows would be of two versions."""

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.lib.core.errors import DataError, TransientError
from pipelines.lib.sources.pinned_files import pinned_files
from pipelines.lib.tables.dataset import Source


@contextmanager
def unchanged(source: Source) -> Iterator[None]:
    """Raise `TransientError` if the files of `source` change inside the block, instead of any error that the changed files caused there.

    Read a source inside the block from its first byte to its last. Databases and the packaged flights have no files to compare.
    """
    before = _state(source)
    try:
        yield
    except DataError as error:
        if _state(source) == before:
            raise
        raise _changed(source) from error
    if _state(source) != before:
        raise _changed(source)


def _changed(source: Source) -> TransientError:
    return TransientError(
        f"{source.path} was replaced or written while it was read, or a file of it was removed, so its rows may be of two versions. The next try reads it again, if these are the files that the run was opened with; "
        "if this comes back, write each file under another name that the path does not match, and rename it when it is whole"
    )


def _state(source: Source) -> object:
    if source.kind not in ("parquet", "csv"):
        return None
    try:
        return [(file.name, *file.state) for file in pinned_files(source)]
    except (DataError, OSError):  # a file may be missing for a moment between its two versions
        return "no file"
