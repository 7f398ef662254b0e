"""Parquet files as a source: their columns by name, of one type in all files, and their pages compared with their checksums."""

import logging
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources import page_checksums
from pipelines.lib.sources.reach import Window
from pipelines.lib.sources.scan import FILE, file_literal, require_columns, require_one_each
from pipelines.lib.tables.engine import open_parquet, text

log = logging.getLogger("nightshift")


def relation(files: list[Path], columns: Iterable[str], window: Window | None) -> str:
    """Return SQL that reads `files`, with the path of each row's file as `FILE`. Raises `DataError` for a torn or damaged file, one without one of
    `columns`, and for a column of two types.
    """
    kinds: dict[str, tuple[str, Path]] = {}
    for file in files:
        _refuse_text(file)
        schema = open_parquet(file).schema_arrow
        require_columns(columns, schema.names, str(file))
        require_one_each(columns, schema.names, file)
        for column in columns:
            _require_one_kind(kinds, column, _kind(schema.field(column).type), file)
    unverified = [file for file in files if not page_checksums.verify(file, columns, window)]
    if unverified:
        log.info(
            "%d of %d files have no page checksums, such as %s: damage to their values would not be noticed",
            len(unverified),
            len(files),
            unverified[0],
        )
    return (
        f"read_parquet([{', '.join(map(file_literal, files))}], union_by_name = true, hive_partitioning = false, filename = {text(FILE)})"
    )


def _refuse_text(file: Path) -> None:
    with file.open("rb") as content:
        head = content.read(200)
    if head[:4] not in (b"PAR1", b"PARE") and head.strip() and head.isascii() and b"\0" not in head:
        first = head.decode("ascii").splitlines()[0][:60]
        raise DataError(
            f"{file} is not a Parquet file: it begins with the text {first!r}. If it is a CSV, write `kind: csv` in params.yaml"
        )


def _require_one_kind(kinds: dict[str, tuple[str, Path]], column: str, kind: str, file: Path) -> None:
    """Refuse a file in which `column` is of another kind than in the files before it: DuckDB would convert the values of both to a common
    type.
    """
    if kind == "duration":
        raise DataError(
            f"column {column!r} of {file} is a duration, which is not a declared type; deliver a number of seconds, for example"
        )
    if kind.startswith("decimal256"):
        raise DataError(f"column {column!r} of {file} is of type {kind}, which would be read as a rounded float; deliver at most 38 digits")
    if kind == "null":  # not a single value
        return
    first, where = kinds.setdefault(column, (kind, file))
    if first != kind:
        raise DataError(f"column {column!r} is of type {kind} in {file}, but of type {first} in {where}; deliver all files with one type")


def _kind(arrow_type: pa.DataType) -> str:
    """Return the types between which a conversion loses nothing have one name."""
    if pa.types.is_dictionary(arrow_type):
        return _kind(arrow_type.value_type)
    kinds = {
        "integer": pa.types.is_integer,
        "float": pa.types.is_floating,
        "string": lambda one: pa.types.is_string(one) or pa.types.is_large_string(one) or pa.types.is_string_view(one),
        "duration": pa.types.is_duration,
        "null": pa.types.is_null,
    }
    return next((name for name, test in kinds.items() if test(arrow_type)), str(arrow_type))
