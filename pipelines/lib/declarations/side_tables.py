"""The bands of side tables: how many rows of each are normal, derived from the rows that it has."""

import datetime as dt
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipelines.lib.declarations.bands import WEEK, derive_band, significant
from pipelines.lib.sources import adapters
from pipelines.lib.tables.dataset import Dataset, SideTable
from pipelines.lib.tables.engine import name
from pipelines.lib.tables.row_count import SideRowCount

SIDE = "use_case_side_table"
"""The table on a connection that holds the typed columns of the side table that was loaded last."""

_DENSE = 0.95
"""Share of the dates with rows, from which a date without rows is worth stopping a night for."""

_LARGEST_RATIO: float = SideRowCount.model_fields["maximum_ratio"].default


def load_side_table(connection: duckdb.DuckDBPyConnection, side: SideTable, scratch: Path) -> None:
    """Load the columns of `side` into the table `SIDE`. Raises `DataError` if it cannot be read, or has a value of another type."""
    scanned = adapters.scan(connection, side.source, side.columns, None, scratch)
    with adapters.reading(scanned.where, scanned.dataset):
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {SIDE} AS {adapters.typed(scanned, side.columns)}")


def derive_side_tables(connection: duckdb.DuckDBPyConnection, dataset: Dataset, scratch: Path) -> dict[str, dict[str, Any]]:
    """Return for each side table of `dataset` what follows from its rows. Raises `DataError` for one that cannot be read."""
    found = {}
    for table, side in dataset.tables.items():
        load_side_table(connection, side, scratch)
        if side.event_time is None:
            [(rows,)] = connection.sql(f"SELECT count(*) FROM {SIDE}").fetchall()
            band: dict[str, Any] = {"minimum_rows": max(1, significant(rows / 2))}
        else:
            date = f"{name(side.event_time)}::DATE"
            band = band_of_dates(
                dict(connection.sql(f"SELECT {date}, count(*) FROM {SIDE} WHERE {date} IS NOT NULL GROUP BY 1").fetchall())
            )
        if band:
            found[table] = {"row_count": band}
    return found


def band_of_dates(rows: Mapping[dt.date, int]) -> dict[str, Any]:
    """Return the band of a side table with a time and `rows` by date: nothing for less than four weeks.

    A table such as a price list has rows on some dates only. Then a night without rows is normal, and how new the newest row is says whether it is delivered.
    """
    if not rows or (span := (max(rows) - min(rows)).days + 1) < 4 * WEEK:
        return {}
    band = derive_band(rows, nights=4, every_days=None)
    highest = max(_LARGEST_RATIO, band.maximum_ratio)
    if len(rows) < _DENSE * span:
        return {"minimum_ratio": 0.0, "maximum_ratio": highest, "minimum_rows": 0}
    return {
        "every_days": band.every_days,
        "minimum_ratio": band.minimum_ratio,
        "maximum_ratio": highest,
        "minimum_rows": max(1, band.minimum_rows),
    }
