"""The section ``source`` of a file, a folder or an address: its kind, and the dialect of a CSV."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.declarations.csv_dialect import dated, delimiter_of, formats_of
from pipelines.lib.declarations.decimals import decimal_commas, grouped_thousands
from pipelines.lib.sources import adapters, s3_files, source_files
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables import source_paths
from pipelines.lib.tables.dataset import Source
from pipelines.lib.tables.engine import name, text
from pipelines.lib.tables.source_paths import S3

NULL_WORDS = ("NA", "N/A", "NULL", "null", "NaN", "nan", "None", "#N/A")
"""Words that people and tools write for a missing value."""

_SAMPLE_ROWS = 5_000
_FIRST_BYTES = 1 << 20


def describe_source(connection: duckdb.DuckDBPyConnection, given: str, scratch: Path) -> dict[str, Any]:
    """Return the section ``source`` of what is at `given`. Raises `ConfigError` if it is nothing that can be read so, `DataError` if its rows cannot be read."""
    with adapters.reading(f"--source {given}"):
        return _described(connection, given, scratch)


def _described(connection: duckdb.DuckDBPyConnection, given: str, scratch: Path) -> dict[str, Any]:
    scheme, is_url, _ = given.partition("://")
    if is_url and scheme.startswith("http"):
        raise ConfigError(
            f"--source is {scheme}://…, and the web is not read: a run could not name the version that it reads. Download the file, for example with "
            "curl --output var/table.csv, and name it: --source var/table.csv"
        )
    if is_url and scheme == "file":
        raise ConfigError(f"--source is {given}; write the path alone: --source {shlex.quote(unquote(urlsplit(given).path))}")
    if is_url and not given.startswith(S3):
        raise ConfigError(
            f"--source is {scheme}://…; init looks at files. Write the section of a database into params.yaml yourself: "
            f'source: {{kind: sql, url: "{scheme}://USER:${{PASSWORD}}@HOST/DATABASE", table: SCHEMA.TABLE}}, see docs/reference/tables.md'
        )
    kind = _kind(given)
    described: dict[str, Any] = {"kind": kind, "path": given}
    if kind != "csv":
        return described
    undialected = parse_section(described, Source, "--source")
    file = source_files.at_hand(source_files.files_of(undialected)[:1], undialected, scratch)[0].path
    if file.suffix != ".gz" and not _is_utf8(file):
        described["encoding"] = "latin-1"
    if file.suffix != ".gz" and (delimiter := delimiter_of(file, described.get("encoding", "utf-8"))) not in (None, ","):
        described["delimiter"] = delimiter
    scanned = adapters.scan(connection, parse_section(described, Source, "--source"), {}, None, scratch)
    if words := _null_words(connection, scanned):
        described["nulls"] = ["", *words]
        scanned = adapters.scan(connection, parse_section(described, Source, "--source"), {}, None, scratch)
    sample = "first_rows"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE {sample} AS SELECT * FROM {scanned.relation} LIMIT {_SAMPLE_ROWS}")
    # A comma that may group thousands is none that the source shows: `csv_doubts` asks.
    commas = decimal_commas(connection, sample, scanned.columns)
    if set(commas) - set(grouped_thousands(connection, scanned.relation, commas)):
        described["decimal"] = ","
    times = dated(connection, sample, scanned.columns)
    for kind_of_time in ("date", "timestamp"):
        for column in times:
            if not (found := formats_of(connection, sample, column, kind_of_time)):
                continue
            [(known,)] = connection.sql(f"SELECT count({name(column)}) FROM {sample}").fetchall()
            if next(iter(found.values())) == known and not next(iter(found)).startswith("%Y"):
                described[f"{kind_of_time}_format"] = next(iter(found))
                break
    return described


def _kind(given: str) -> str:
    if given.startswith(S3):
        keys = [one.key for one in s3_files.objects(source_paths.glob_of(given))]
        if any("/_delta_log/" in key for key in keys):
            return "delta"
        return _kind_of_files(given, keys)
    folder = Path(given)
    if (folder / "_delta_log").is_dir():
        return "delta"
    if folder.is_dir():
        return _kind_of_files(given, [file.name for file in folder.rglob("*") if file.is_file()])
    for kind, suffixes in source_files.SUFFIXES.items():
        if given.endswith(suffixes):
            return kind
    if given.endswith((".txt", ".tsv")):
        return "csv"
    raise ConfigError(f"--source is {given!r}; name a .parquet or .csv file, a folder of them, or a Delta table")


def _kind_of_files(given: str, names: Sequence[str]) -> str:
    kinds = [kind for kind, suffixes in source_files.SUFFIXES.items() if any(one.endswith(suffixes) for one in names)]
    if len(kinds) == 1:
        return kinds[0]
    raise ConfigError(f"--source is {given!r}, with {' and '.join(kinds) or 'no Parquet or CSV'} files; name files of one kind")


def _is_utf8(file: Path) -> bool:
    with file.open("rb") as content:
        first = content.read(_FIRST_BYTES)
    try:
        first.decode("utf-8")
    except UnicodeDecodeError as error:
        return len(first) == _FIRST_BYTES and error.start >= len(first) - 4  # cut within a character
    return True


def _null_words(connection: duckdb.DuckDBPyConnection, scanned: Scan) -> list[str]:
    listed = ", ".join(map(text, NULL_WORDS))
    values = f"SELECT unnest([{', '.join(map(name, scanned.columns))}]) AS word FROM {scanned.relation}"
    return [word for (word,) in connection.sql(f"SELECT DISTINCT word FROM ({values}) WHERE word IN ({listed}) ORDER BY word").fetchall()]
