"""Clocks that start DAGs in another time zone than that of the dates that they score, and files whose path has the date in UTC."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import duckdb

from pipelines.lib.core.use_cases import CLOCKS
from pipelines.lib.declarations.facts import EVENTS, Facts
from pipelines.lib.declarations.faults import Finding
from pipelines.lib.sources.source_files import files_of
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import name
from pipelines.lib.tables.source_paths import names_partition


def zone_warnings(params: Mapping[str, Any]) -> Iterator[Finding]:
    """Yield the clocks of `params` that are of another time zone than the dates of the dataset: a night may start before its date has ended."""
    zone = (params.get("dataset") or {}).get("time_zone")
    for section in CLOCKS if isinstance(zone, str) else ():
        clock = (params.get(section) or {}).get("timezone", zone)
        if isinstance(clock, str) and clock != zone:
            yield Finding(
                f"{section}.timezone",
                f"is {clock}, but the dates of the dataset end at midnight in {zone} (dataset.time_zone)",
                f"write timezone: {zone} or take it out, unless {(params.get(section) or {}).get('cron')!r} in {clock} is after that midnight all year",
                warning=True,
            )


def whole_dates(connection: duckdb.DuckDBPyConnection, facts: Facts, dataset: Dataset) -> Facts:
    """Return `facts` of the table `EVENTS` on `connection` without a last date whose rows are not all there yet.

    West of Greenwich, a path with the date in UTC puts the last hours of a date into the file of the next one. It is in UTC if no row has a later date in UTC
    than the last file: with local dates in the path, the last file itself has such rows.
    """
    timed = dataset.columns[dataset.event_time].type == "timestamp" and dataset.time_zone is not None
    if not timed or dataset.source.kind not in ("parquet", "csv") or not names_partition(dataset.source.path or ""):
        return facts
    moment = name(dataset.event_time)
    [(last, west)] = connection.sql(
        f"SELECT max(utc), bool_or(utc > local) FROM (SELECT ({moment} AT TIME ZONE 'UTC')::DATE AS utc, {moment}::DATE AS local FROM {EVENTS})"
    ).fetchall()
    newest = max(file.partition for file in files_of(dataset.source) if file.partition is not None)
    if not west or last > newest:
        return facts
    whole = {date: day for date, day in facts.days.items() if date < newest}
    return replace(facts, days=whole, days_late=1)
