"""The raw directory: what was read from the sources for one run, typed, sorted and free of the future.

``events.parquet`` and one ``<table>.parquet`` a side table hold the declared columns; ``source.json`` tells where they came from::

    {"kind", "partition", "start", "read_from", "rows", "rows_per_date": {date: n}, "first", "last", "next", "too_early", "too_late",
     "dropped_columns", "tables": {name: n}, "reach_of_tables": {name: {"first", "last", "next", "too_early", "too_late"}}}

`start` is the first date that gets features (earlier rows warm the lagged aggregates up). `first` to `too_late` are of the whole source
(`pipelines.lib.sources.reach`), and so are those of the side tables that have a time.
"""

import json
import logging
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from pipelines.lib.sources import adapters
from pipelines.lib.sources.casts import arrow_type
from pipelines.lib.sources.changes import unchanged
from pipelines.lib.sources.reach import Reach, Window
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.dataset import Column, Dataset, SideTable, Source
from pipelines.lib.tables.engine import connect, name, text, write_parquet

log = logging.getLogger("nightshift")


def extract(dataset: Dataset, *, partition: date, start: date | None, end: date, lookback_days: int, target: Path) -> None:
    """Write the rows of the dates [`start` - `lookback_days`, `end`) to the directory `target`, as they were known at the start of `partition`.

    `start` None takes all there is. Values of `dataset.known_later` whose outcome was not known by then are NULL. Duplicates,
    NaN and infinities pass: the gate judges them. Raises `DataError` for missing columns, torn files and values of another type,
    `TransientError` for a source that changes while it is read.
    """
    target.mkdir(parents=True)
    read_from = None if start is None else start - timedelta(days=lookback_days)
    with connect(dataset.zone) as (connection, scratch):
        # Where nights without rows are normal, a file that is missing does not tell that rows are still to come.
        window = Window(
            dataset.event_time, read_from, end, dataset.plausible_days, dataset.time_zone, whole=not dataset.calendar.allows_empty
        )
        moment = name(dataset.event_time)
        known = f"{moment}::DATE + {dataset.label.delay_days} < {text(partition)}::DATE"
        later = [f"CASE WHEN {known} THEN {name(column)} END AS {name(column)}" for column in dataset.known_later]
        replaced = f"REPLACE ({', '.join(later)})" if later else ""
        order = _order([dataset.event_time, *dataset.key], dataset.columns)
        with unchanged(dataset.source):
            scanned, dropped = _scan(connection, dataset.source, dataset.columns, window, scratch)
            query = f"SELECT * {replaced} FROM {_windowed(scanned, dataset.columns, window)} {order}"
            rows = _write(connection, scanned, query, dataset.columns, target / "events.parquet")
        per_date = connection.sql(
            f"SELECT {moment}::DATE::VARCHAR, count(*) FROM read_parquet({text(target / 'events.parquet')}) GROUP BY 1 ORDER BY 1"
        ).fetchall()
        tables, reaches = {}, {}
        for table, side in dataset.tables.items():
            with unchanged(side.source):
                of_side, query = _side_table(connection, side, read_from, end, dataset.time_zone, scratch)
                tables[table] = _write(connection, of_side, query, side.columns, target / f"{table}.parquet")
            if of_side.reach is not None:
                reaches[table] = of_side.reach.as_json()
    reach = scanned.reach or Reach()
    facts = {
        "kind": dataset.source.kind,
        "partition": str(partition),
        "start": None if start is None else str(start),
        "read_from": None if read_from is None else str(read_from),
        "rows": rows,
        "rows_per_date": dict(per_date),
        **reach.as_json(),
        "dropped_columns": dropped,
        "tables": tables,
        "reach_of_tables": reaches,
    }
    (target / "source.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    log.info("%d rows of %s, which holds %s to %s", rows, scanned.where, reach.first, reach.last)


def _side_table(
    connection: duckdb.DuckDBPyConnection, side: SideTable, read_from: date | None, end: date, time_zone: str | None, scratch: Path
) -> tuple[Scan, str]:
    """Return the scan of a side table and the SELECT of its rows, sorted by key."""
    first = None if read_from is None else read_from - timedelta(days=side.join_days)
    window = None if side.event_time is None else Window(side.event_time, first, end, side.plausible_days, time_zone)
    scanned, _ = _scan(connection, side.source, side.columns, window, scratch)
    return scanned, f"SELECT * FROM {_windowed(scanned, side.columns, window)} {_order(side.key, side.columns)}"


def _scan(
    connection: duckdb.DuckDBPyConnection, source: Source, columns: Mapping[str, Column], window: Window | None, scratch: Path
) -> tuple[Scan, list[str]]:
    scanned = adapters.scan(connection, source, columns, window, scratch)
    dropped = [column for column in scanned.columns if column not in columns]
    if dropped:
        log.info("columns of %s that are not declared and not read: %s", scanned.where, ", ".join(dropped))
    return scanned, dropped


def _windowed(scanned: Scan, columns: Mapping[str, Column], window: Window | None) -> str:
    condition = "" if window is None else f"WHERE {window.sql(name(window.column))}"
    return f"(SELECT * FROM ({adapters.typed(scanned, columns)}) {condition})"


def _order(first: Iterable[str], columns: Mapping[str, Column]) -> str:
    """Return the clause that sorts by `first` and then by all other columns, so that even rows with one key have one order."""
    return f"ORDER BY {', '.join(map(name, dict.fromkeys([*first, *columns])))}"


def _write(connection: duckdb.DuckDBPyConnection, scanned: Scan, query: str, columns: Mapping[str, Column], path: Path) -> int:
    schema = pa.schema([(column, arrow_type(declared)) for column, declared in columns.items()])
    with adapters.reading(scanned.where, scanned.dataset):
        return write_parquet(connection.sql(query).to_arrow_reader(32_768), schema, path)
