"""The raw directory: what was read from the sources for one run, typed, sorted and free of the future.

``events.parquet`` and one ``<table>.parquet`` a side table hold the declared columns; ``source.json`` tells where they came from::

    {"kind", "partition", "start", "read_from", "rows", "rows_per_date": {date: n}, "first", "last", "dropped_columns", "tables": {name: n}}

`start` is the first date that gets features (earlier rows warm the lagged aggregates up); `first` and `last` bound the whole source.
"""

import json
import logging
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.lib import sources
from pipelines.lib.dataset import Column, Dataset, SideTable, Source
from pipelines.lib.engine import connect, name, text, write_parquet
from pipelines.lib.sources import Scan, Window

log = logging.getLogger("nightshift")


def extract(dataset: Dataset, *, partition: date, start: date | None, end: date, lookback_days: int, target: Path) -> None:
    """Write the rows of the dates [`start` - `lookback_days`, `end`) to the directory `target`, as they were known at the start of `partition`.

    `start` None takes all there is. Values of `dataset.known_later` whose outcome was not known by then are NULL. Duplicates,
    NaN and infinities pass: the gate judges them. Raises `DataError` for missing columns, torn files and values of another type.
    """
    target.mkdir(parents=True)
    read_from = None if start is None else start - timedelta(days=lookback_days)
    with connect() as (connection, scratch):
        window = Window(dataset.event_time, read_from, end)
        scanned, dropped = _scan(connection, dataset.source, dataset.columns, window, scratch)
        moment = name(dataset.event_time)
        known = f"{moment}::DATE + {dataset.label.delay_days} < {text(partition)}::DATE"
        later = [f"CASE WHEN {known} THEN {name(column)} END AS {name(column)}" for column in dataset.known_later]
        replaced = f"REPLACE ({', '.join(later)})" if later else ""
        order = [dataset.event_time, *dataset.key]
        rows = _write(
            connection, scanned, dataset.columns, f"SELECT * {replaced}", window, order, target / "events.parquet"
        )
        per_date = connection.sql(
            f"SELECT {moment}::DATE::VARCHAR, count(*) FROM read_parquet({text(target / 'events.parquet')}) GROUP BY 1 ORDER BY 1"
        ).fetchall()
        tables = {table: _side_table(connection, side, read_from, end, scratch, target / f"{table}.parquet")
                  for table, side in dataset.tables.items()}
    first, last = scanned.bounds
    facts = {
        "kind": dataset.source.kind,
        "partition": str(partition),
        "start": None if start is None else str(start),
        "read_from": None if read_from is None else str(read_from),
        "rows": rows,
        "rows_per_date": dict(per_date),
        "first": None if first is None else str(first),
        "last": None if last is None else str(last),
        "dropped_columns": dropped,
        "tables": tables,
    }
    (target / "source.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    log.info("%d rows of %s, which holds %s to %s", rows, scanned.where, first, last)


def _side_table(connection: duckdb.DuckDBPyConnection, side: SideTable, first: date | None, end: date, scratch: Path, path: Path) -> int:
    window = None if side.event_time is None else Window(side.event_time, first, end)
    scanned, _ = _scan(connection, side.source, side.columns, window, scratch)
    return _write(connection, scanned, side.columns, "SELECT *", window, list(side.key), path)


def _scan(
    connection: duckdb.DuckDBPyConnection, source: Source, columns: Mapping[str, Column], window: Window | None, scratch: Path
) -> tuple[Scan, list[str]]:
    scanned = sources.scan(connection, source, columns, window, scratch)
    dropped = [column for column in scanned.columns if column not in columns]
    if dropped:
        log.info("columns of %s that are not declared and not read: %s", scanned.where, ", ".join(dropped))
    return scanned, dropped


def _write(
    connection: duckdb.DuckDBPyConnection,
    scanned: Scan,
    columns: Mapping[str, Column],
    select: str,
    window: Window | None,
    order: list[str],
    path: Path,
) -> int:
    """Write the rows of `window`, sorted by `order` and then by all else, so that even rows with one key have one order."""
    condition = "" if window is None else f"WHERE {window.sql(name(window.column))}"
    ordered = ", ".join(map(name, [*order, *(column for column in columns if column not in order)]))
    schema = pa.schema([(column, sources.ARROW_TYPES[declared.type]) for column, declared in columns.items()])
    with sources.reading(scanned.where):
        reader = connection.sql(f"{select} FROM ({sources.typed(scanned, columns)}) {condition} ORDER BY {ordered}").to_arrow_reader(32_768)
        return write_parquet(reader, schema, path)
