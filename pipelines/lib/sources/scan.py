"""The result of every adapter of a source: a table that DuckDB can read, and how it writes its values."""

import glob
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources.reach import Reach
from pipelines.lib.tables.engine import text

if TYPE_CHECKING:
    import pyarrow.dataset as ds


FILE = "__nightshift_file"
"""The column that holds the path of a row's file, while a source of files is read."""


@dataclass(frozen=True)
class Notation:
    """How a source writes numbers and times as text: the `decimal` sign, and formats of ``strptime`` (None: as ISO 8601 has them)."""

    decimal: str = "."
    date_format: str | None = None
    timestamp_format: str | None = None


@dataclass(frozen=True)
class Scan:
    """A table that DuckDB can read: `relation` follows FROM, `columns` are its names and DuckDB types, `where` names it to a person.

    `reach` is of the window's column in the whole source (None: no window), `skipped` in those files alone that the relation leaves out. `dataset` is what pyarrow reads for DuckDB (None: DuckDB reads alone).
    """

    relation: str
    columns: Mapping[str, str]
    where: str
    reach: Reach | None = None
    skipped: Reach = field(default_factory=Reach)
    notation: Notation = Notation()
    dataset: "ds.Dataset | None" = None


def require_columns(columns: Iterable[str], available: Iterable[str], where: str) -> None:
    """Raise `DataError` unless all `columns` are among those `available` in the source `where`."""
    present = list(available)
    if missing := [column for column in columns if column not in present]:
        raise DataError(
            f"{where} has no column {', '.join(map(repr, missing))}; it has {', '.join(present)}. "
            "Deliver the column, or take it out of `columns` in params.yaml"
        )


def require_one_each(columns: Iterable[str], present: list[str], file: Path) -> None:
    """Refuse a file in which one of `columns` is there twice. SQL takes names that differ only by case for one."""
    by_name: dict[str, list[str]] = {}
    for found in present:
        by_name.setdefault(found.lower(), []).append(found)
    for column in columns:
        alike = by_name.get(column.lower(), [])
        if len(alike) > 1:
            raise DataError(
                f"{file} has more than one column {', '.join(map(repr, dict.fromkeys(alike)))}; give each a name of its own, also without regard to case"
            )


def file_literal(file: Path) -> str:
    """Return `file` as an SQL literal that DuckDB does not take for a pattern again."""
    return text(glob.escape(str(file)))
