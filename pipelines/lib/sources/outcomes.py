"""Outcomes as they were known at the start of a partition, read from the source again, and put next to what was published.

They may come late, twice or corrected. An outcome of date d is known at the start of D when d + `delay_days` < D; a row whose label is
NULL by then has no outcome yet, or never will. A row that is delivered twice counts once. Where it contradicts itself, nobody knows which of the two
is true: the outcomes of its date are then not known, and those of other dates are.
"""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import NOT_A_SLICE, Dataset
from pipelines.lib.tables.engine import connect, name, text
from pipelines.lib.tables.expression_failures import Written, naming_the_culprit
from pipelines.lib.tables.labels import check_label, finite_outcome


class Outcomes:
    """The outcomes of the dates from `first` to `last` (inclusive, the newest that is known): see `known_outcomes`.

    `contradicted` describes each date on which a row was delivered with two outcomes the first such row, its values and the remedy.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, dataset: Dataset, first: date, last: date, contradicted: Mapping[str, str]
    ) -> None:
        self._connection, self._dataset = connection, dataset
        self.first, self.last, self.key, self.contradicted = first, last, dataset.key, contradicted

    @property
    def partitions(self) -> list[str]:
        """The dates that are not `contradicted`, oldest first, whether or not anything has come of them."""
        days = (str(self.first + timedelta(days=day)) for day in range((self.last - self.first).days + 1))
        return [day for day in days if day not in self.contradicted]

    def sha256(self) -> dict[str, str]:
        """Return for each of the `partitions` the digest of its keys and outcomes, which does not depend on their order."""
        line = ", ".join(f"coalesce(CAST({name(column)} AS VARCHAR), chr(0))" for column in self._dataset.key)
        # Digests of rows are summed rather than sorted: at any size it takes one pass and no memory.
        found = self._connection.sql(
            f"SELECT partition, count(*), sum(md5_number_lower(line)::HUGEINT), sum(md5_number_upper(line)::HUGEINT) FROM "
            f"(SELECT partition, concat_ws(chr(31), {line}, outcome::VARCHAR) AS line FROM outcomes) GROUP BY partition"
        ).fetchall()
        sums = {partition: (count, lower, upper) for partition, count, lower, upper in found}
        return {partition: hashlib.sha256(repr(sums.get(partition, 0)).encode()).hexdigest() for partition in self.partitions}

    def join_outcomes(self, partition: str, rows: "pa.Table | Path") -> pa.Table:
        """Return those of `rows` (published scores, a features file: anything with the key) that have an outcome on `partition`: none if contradicted.

        Their columns, those that were asked for besides (not a key, nor a column that `rows` has), and `outcome`, int8 {0, 1} or float64; in the order of the key.
        """
        source = f"read_parquet({text(rows)})" if isinstance(rows, Path) else "given"
        if not isinstance(rows, Path):
            self._connection.register("given", rows)
        taken = {column.lower() for column in self._connection.sql(f"FROM {source}").columns} | {"partition"}
        joined = ", ".join(
            f"outcomes.{name(column)}" for column in self._connection.table("outcomes").columns if column.lower() not in taken
        )
        key = [name(column) for column in self._dataset.key]
        same = " AND ".join(f"given.{column} = outcomes.{column}" for column in key)
        order = ", ".join(f"given.{column}" for column in key)
        found = self._connection.sql(
            f"SELECT given.*, {joined} FROM {source} AS given JOIN outcomes ON {same} "
            f"WHERE outcomes.partition = {text(partition)} ORDER BY {order}"
        ).to_arrow_table()
        return found.cast(pa.schema([_in_utc(column) for column in found.schema]))


def _in_utc(column: pa.Field) -> pa.Field:
    """Return `column` with its instants in UTC, as the files have them: the connection gives them in the zone of the dataset."""
    instant = pa.types.is_timestamp(column.type) and column.type.tz is not None
    return column.with_type(pa.timestamp(column.type.unit, "UTC")) if instant else column


@contextmanager
def known_outcomes(dataset: Dataset, *, partition: date, first: date, extra_columns: Sequence[str] = ()) -> Iterator[Outcomes]:
    """Yield the outcomes from `first` on that were known at the start of `partition`, with the `extra_columns` of the source.

    Raises `DataError` if the source cannot be read, `ConfigError` for a column that is not declared or a label that looks beyond its row.
    """
    if unknown := [column for column in extra_columns if column not in dataset.columns]:
        raise ConfigError(f"slices names {', '.join(unknown)}, not among dataset.columns; there are {', '.join(dataset.columns)}")
    if published := [column for column in extra_columns if column.lower() in NOT_A_SLICE]:
        raise ConfigError(
            f"measure_performance.slices names {published[0]!r}, as a column of the published rows is called; name another column"
        )
    last = partition - timedelta(days=dataset.label.delay_days + 1)
    first = min(first, last + timedelta(days=1))
    events = dataset.model_copy(update={"tables": {}})  # no side table has a say in an outcome
    with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch, connect(dataset.zone) as (connection, _):
        raw = Path(scratch) / "raw"
        extract(events, partition=partition, start=first, end=last + timedelta(days=1), lookback_days=0, target=raw)
        check_label(connection, dataset)
        extra = [column for column in dict.fromkeys(extra_columns) if column not in dataset.key]
        label = Written("dataset.label.expression", dataset.label.expression, f"read_parquet({text(raw / 'events.parquet')})")
        with naming_the_culprit(connection, dataset.key, [label]):
            contradicted = _prepare(connection, dataset, raw / "events.parquet", extra)
        yield Outcomes(connection, dataset, first, last, contradicted)


def _prepare(connection: duckdb.DuckDBPyConnection, dataset: Dataset, events: Path, extra_columns: list[str]) -> dict[str, str]:
    """Make table ``outcomes``: key, partition, `extra_columns`, outcome; one row a key. Returns what contradicts itself, by date."""
    key, outcome = ", ".join(map(name, dataset.key)), finite_outcome(dataset)
    connection.execute(
        f"CREATE TEMP VIEW delivered AS SELECT *, {name(dataset.event_time)}::DATE::VARCHAR AS __partition, "
        f"{outcome} AS __outcome FROM read_parquet({text(events)})"
    )
    first_of_each = connection.sql(
        f"SELECT * FROM (SELECT *, min(__outcome) OVER same <> max(__outcome) OVER same AS __contradicted FROM delivered "
        f"WINDOW same AS (PARTITION BY {key}, __partition)) WHERE __contradicted AND __outcome IS NOT NULL "
        f"QUALIFY dense_rank() OVER (PARTITION BY __partition ORDER BY {key}) = 1 ORDER BY __partition, __outcome"
    )
    contradicted = _contradictions(first_of_each, dataset)
    kept = "".join(
        f"min({name(column)}) AS {name(column)}, " for column in extra_columns
    )  # of rows that agree on the outcome, any would do
    connection.execute(
        f"CREATE TEMP TABLE outcomes AS SELECT {key}, __partition AS partition, {kept}min(__outcome) AS outcome FROM delivered "
        f"WHERE __outcome IS NOT NULL AND NOT list_contains([{', '.join(map(text, contradicted))}]::VARCHAR[], __partition) "
        f"GROUP BY {key}, __partition"
    )
    return contradicted


def _contradictions(first_of_each: duckdb.DuckDBPyRelation, dataset: Dataset) -> dict[str, str]:
    """Describe, for each date of `first_of_each`, its row that was delivered with two outcomes."""
    names = first_of_each.columns
    same: dict[str, list[dict[str, object]]] = {}
    for values in first_of_each.fetchall():
        row = dict(zip(names, values, strict=True))
        same.setdefault(str(row["__partition"]), []).append(row)
    return {partition: _contradiction(rows, dataset) for partition, rows in same.items()}


def _contradiction(rows: list[dict[str, object]], dataset: Dataset) -> str:
    """Say in words that `rows`, which have one key, have two outcomes."""
    key_values = ", ".join(f"{column} {rows[0][column]}" for column in dataset.key)
    differing = [column for column in dataset.columns if len({row[column] for row in rows}) > 1]
    values = " and ".join(dict.fromkeys(", ".join(f"{column} {row[column]}" for column in differing) for row in rows))
    return (
        f"the row with {key_values} was delivered {len(rows)} times with different outcomes of {dataset.label.name!r}: {values}. "
        "Deliver each outcome once, or the same each time"
    )
