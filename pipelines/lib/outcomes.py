"""Outcomes as they were known at the start of a partition, read from the source again, and put beside what was published.

They may come late, twice or corrected. An outcome of date d is known at the start of D when d + `delay_days` < D; a row whose label is
NULL by then has no outcome yet, or never will. A row that is delivered twice counts once, unless it contradicts itself.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.lib.dataset import Dataset
from pipelines.lib.engine import connect, name, text
from pipelines.lib.errors import ConfigError, DataError
from pipelines.lib.expressions import Checker, refused_functions
from pipelines.lib.raw import extract
from pipelines.lib.sources import SQL_TYPES


class Outcomes:
    """The outcomes of the dates from `first` to `last` (inclusive, the newest that is known): see `known_outcomes`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, dataset: Dataset, first: date, last: date) -> None:
        self._connection, self._dataset = connection, dataset
        self.first, self.last, self.key = first, last, dataset.key

    @property
    def partitions(self) -> list[str]:
        """The dates, oldest first, whether or not anything has come of them."""
        return [str(self.first + timedelta(days=day)) for day in range((self.last - self.first).days + 1)]

    def sha256(self) -> dict[str, str]:
        """For each of the `partitions` the digest of its keys and outcomes, whatever their order."""
        line = ", ".join(f"coalesce(CAST({name(column)} AS VARCHAR), chr(0))" for column in self._dataset.key)
        # Digests of rows are summed rather than sorted: at any size it takes one pass and no memory.
        found = self._connection.sql(
            f"SELECT partition, count(*), sum(md5_number_lower(line)::HUGEINT), sum(md5_number_upper(line)::HUGEINT) FROM "
            f"(SELECT partition, concat_ws(chr(31), {line}, outcome::VARCHAR) AS line FROM outcomes) GROUP BY partition"
        ).fetchall()
        sums = {partition: (count, lower, upper) for partition, count, lower, upper in found}
        return {partition: hashlib.sha256(repr(sums.get(partition, 0)).encode()).hexdigest() for partition in self.partitions}

    def beside(self, partition: str, rows: "pa.Table | Path") -> pa.Table:
        """Those of `rows` (published scores, a features file: anything with the key) that have an outcome on `partition`.

        Their columns, what was asked for beside the outcome (not a key), and `outcome` int8 {0, 1}; in the order of the key.
        """
        source = f"read_parquet({text(rows)})" if isinstance(rows, Path) else "given"
        if not isinstance(rows, Path):
            self._connection.register("given", rows)
        key = [name(column) for column in self._dataset.key]
        same = " AND ".join(f"given.{column} = outcomes.{column}" for column in key)
        order = ", ".join(f"given.{column}" for column in key)
        return self._connection.sql(
            f"SELECT given.*, outcomes.* EXCLUDE (partition, {', '.join(key)}) FROM {source} AS given JOIN outcomes ON {same} "
            f"WHERE outcomes.partition = {text(partition)} ORDER BY {order}"
        ).to_arrow_table()


@contextmanager
def known_outcomes(dataset: Dataset, *, partition: date, first: date, beside: Sequence[str] = ()) -> Iterator[Outcomes]:
    """The outcomes from `first` on that were known at the start of `partition`, with the columns `beside` of the source.

    Raises `DataError` where a row was delivered twice with two outcomes, and where the source cannot be read, `ConfigError` for a column
    that is not declared or a label that looks beyond its row.
    """
    if unknown := [column for column in beside if column not in dataset.columns]:
        raise ConfigError(f"slices names {', '.join(unknown)}, not among dataset.columns; there are {', '.join(dataset.columns)}")
    last = partition - timedelta(days=dataset.label.delay_days + 1)
    first = min(first, last + timedelta(days=1))
    events = dataset.model_copy(update={"tables": {}})  # no side table has a say in an outcome
    with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch, connect() as (connection, _):
        raw = Path(scratch) / "raw"
        extract(events, partition=partition, start=first, end=last + timedelta(days=1), lookback_days=0, target=raw)
        columns = {column: SQL_TYPES[declared.type] for column, declared in dataset.columns.items()}
        Checker(connection, refused_functions(connection), columns).check(dataset.label.expression, "dataset.label.expression")
        _prepare(connection, dataset, raw / "events.parquet", [column for column in dict.fromkeys(beside) if column not in dataset.key])
        yield Outcomes(connection, dataset, first, last)


def _prepare(connection: duckdb.DuckDBPyConnection, dataset: Dataset, events: Path, beside: list[str]) -> None:
    """Table ``outcomes``: key, partition, columns `beside`, outcome; one row a key."""
    key = ", ".join(map(name, dataset.key))
    connection.execute(
        f"CREATE TEMP VIEW delivered AS SELECT *, {name(dataset.event_time)}::DATE::VARCHAR AS partition, "
        f"({dataset.label.expression})::TINYINT AS outcome FROM read_parquet({text(events)})"
    )
    contradicted = connection.sql(
        f"SELECT * FROM (SELECT *, min(outcome) OVER same <> max(outcome) OVER same AS contradicted FROM delivered "
        f"WINDOW same AS (PARTITION BY {key}, partition)) WHERE contradicted AND outcome IS NOT NULL ORDER BY {key}, outcome"
    )
    _refuse(contradicted, dataset)
    kept = "".join(f"min({name(column)}) AS {name(column)}, " for column in beside)  # of rows that agree on the outcome, any would do
    connection.execute(
        f"CREATE TEMP TABLE outcomes AS SELECT {key}, partition, {kept}min(outcome) AS outcome FROM delivered "
        f"WHERE outcome IS NOT NULL GROUP BY {key}, partition"
    )


def _refuse(contradicted: duckdb.DuckDBPyRelation, dataset: Dataset) -> None:
    """Raise `DataError` for rows with one key and two outcomes; the first of them is told."""
    names = contradicted.columns
    rows = [dict(zip(names, row, strict=True)) for row in contradicted.limit(1000).fetchall()]
    if not rows:
        return
    told = ", ".join(f"{column} {rows[0][column]}" for column in dataset.key)
    same = [row for row in rows if all(row[column] == rows[0][column] for column in dataset.key)]
    differing = [column for column in dataset.columns if len({row[column] for row in same}) > 1]
    values = " and ".join(dict.fromkeys(", ".join(f"{column} {row[column]}" for column in differing) for row in same))
    raise DataError(
        f"the row with {told} was delivered {len(same)} times with different outcomes of {dataset.label.name!r}: {values}. "
        "Deliver each outcome once, or the same each time"
    )
