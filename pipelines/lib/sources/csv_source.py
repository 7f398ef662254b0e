"""CSV files as a source: read as text, in the dialect that is declared. None is guessed: a guess could change from night to night."""

import codecs
import csv
import gzip
import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources.scan import FILE, file_literal, require_columns, require_one_each
from pipelines.lib.tables.dataset import Source
from pipelines.lib.tables.engine import text

_LONGEST_HEADER = 1_000_000
"""Characters of a header line that are read."""

OF_ENCODING = "write encoding: latin-1 in its section source, or deliver it in UTF-8"

_VALUES = {
    "number": re.compile(r"(?!(19|20)[0-9]{2}\Z)[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?", re.ASCII),
    "time": re.compile(r"([0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}|[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4})([ T].*)?", re.ASCII),
    "boolean": re.compile("true|false", re.IGNORECASE),
}
"""Kinds of values that name no column. A year may name one: 2023 is a column of a table by years."""


def relation(files: list[Path], columns: Iterable[str], source: Source) -> str:
    """Return SQL that reads all columns of `files` as text, with the path of each row's file as `FILE`.

    Raises `DataError` for a file that is cut, damaged, or without one of `columns`.
    """
    first_lines = [_first_lines(file, source) for file in files]
    headers = [header for header, _ in first_lines]
    for file, (header, next_line) in zip(files, first_lines, strict=True):
        _require_delimiter(columns, header, file, source)
        _require_names(columns, header, next_line, file, source)
        require_one_each(header, header, file)
        require_columns(columns, header, str(file))
        if header != headers[0]:
            raise DataError(f"{file} has the columns {', '.join(header)}, but {files[0]} has {', '.join(headers[0])}; give them one header")
    # pandas leaves the name of its index empty, which the engine cannot write.
    names = "{" + ", ".join(f"{text(column or _nameless(headers[0]))}: 'VARCHAR'" for column in headers[0]) + "}"
    missing = "[" + ", ".join(map(text, source.nulls)) + "]"
    return (
        f"read_csv([{', '.join(map(file_literal, files))}], columns = {names}, header = true, auto_detect = false, "
        f"delim = {text(source.delimiter)}, quote = {text(source.quote)}, escape = {text(source.quote)}, encoding = {text(source.encoding)}, "
        f"nullstr = {missing}, strict_mode = true, null_padding = false, max_line_size = 16777216, "
        f"hive_partitioning = false, filename = {text(FILE)})"
    )


def _require_delimiter(columns: Iterable[str], header: list[str], file: Path, source: Source) -> None:
    """Raise `DataError` if the header has the declared names, separated by another delimiter, or is the beginning of a Parquet file."""
    if header[0].startswith("PAR1"):
        raise DataError(f"{file} is a Parquet file; write `kind: parquet` in place of `kind: csv` in params.yaml")
    if len(header) > 1 or header[0] in columns:
        return
    wanted = set(columns)
    for delimiter, shown in ((";", ";"), ("\t", "\\t"), ("|", "|"), (",", ",")):
        if wanted & set(header[0].split(delimiter)) and delimiter in header[0]:
            raise DataError(
                f"the first line of {file} is {header[0][:60]!r}, whose names are separated by {delimiter!r} and not by {source.delimiter!r}; "
                f'write `delimiter: "{shown}"` in the source in params.yaml'
            )


def _require_names(columns: Iterable[str], header: list[str], next_line: list[str], file: Path, source: Source) -> None:
    """Raise `DataError` if the `header` has none of `columns`, and holds values as the `next_line` does: the file begins with its first row."""
    if set(columns) & set(header):
        return
    named = [str(place) for place in range(len(header))]  # pandas names columns without a name so
    kinds = [_kind(cell) for cell in header]
    alike = [kind == _kind(below) for kind, below in zip(kinds, next_line, strict=False)] or [True] * len(header)
    found = [cell for cell, kind, same in zip(header, kinds, alike, strict=False) if kind is not None and same]
    if found and header not in (named, ["", *named[:-1]]):
        shown = source.delimiter.join(header)
        raise DataError(
            f"{file} has no header: its first line is {shown[:60]!r}, and {found[0]!r} is a value, not the name of a column. Write a line above it "
            f"with the names of all {len(header)} columns, separated by {source.delimiter!r}"
        )


def _kind(cell: str) -> str | None:
    """Return the kind of value that `cell` is; None if it may be a name."""
    return next((kind for kind, pattern in _VALUES.items() if pattern.fullmatch(cell.strip())), None)


def _first_lines(file: Path, source: Source) -> tuple[list[str], list[str]]:
    """Return the cells of the header of `file` and those of the line below it, which are none if there is no such line."""
    compressed, encoding = file.suffix == ".gz", "utf-8-sig" if source.encoding == "utf-8" else source.encoding
    quoting = {"quotechar": source.quote} if source.quote else {"quoting": csv.QUOTE_NONE}
    try:
        with gzip.open(file) if compressed else file.open("rb") as content:
            if content.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
                raise DataError(f"{file} is in the encoding UTF-16; convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW")
        with gzip.open(file, "rt", newline="", encoding=encoding) if compressed else file.open(newline="", encoding=encoding) as lines:
            header, below = (
                next(csv.reader([lines.readline(_LONGEST_HEADER)], delimiter=source.delimiter, **quoting), []) for _ in range(2)
            )
        if not header:
            raise DataError(
                f"{file} has no header: it is empty or its first line is; deliver it whole, with the names of the columns in the first line"
            )
        if compressed:
            last = b""
            with gzip.open(file) as content:  # to its end, where the checksum stands: DuckDB does not compare it
                while block := content.read(1 << 20):
                    last = block[-1:]
        else:
            with file.open("rb") as content:
                content.seek(-1, os.SEEK_END)
                last = content.read(1)
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not in {source.encoding} ({error.reason}); {OF_ENCODING}") from None
    except (OSError, EOFError, csv.Error, zlib.error) as error:
        raise DataError(f"{file} is not a CSV file with a header ({error}); deliver it whole") from None
    if last not in (b"\n", b"\r"):
        raise DataError(f"{file} does not end with a line end, so it was probably cut; deliver it whole")
    return header, below


def _nameless(header: list[str]) -> str:
    """Return a name, for the column without one, that no other column of `header` has."""
    name = "unnamed"
    while name in map(str.lower, header):
        name += "_"
    return name
