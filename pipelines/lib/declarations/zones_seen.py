"""The time zone of a table that nobody has described yet: what its times say of it."""

from collections.abc import Mapping

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.lib.core.time_zones import require_zone
from pipelines.lib.sources import source_files
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.dataset import Source
from pipelines.lib.tables.engine import name, text
from pipelines.lib.tables.local_time import OFFSET


def zones_seen(
    connection: duckdb.DuckDBPyConnection, scanned: Scan, source: Source, kinds: Mapping[str, str], time: str
) -> tuple[str, str]:
    """Return a proposal for ``time_zone`` (empty: none) for a table whose event time is `time`, and a note that says what was seen of it."""
    naive = [column for column, kind in kinds.items() if kind == "timestamp" and column != time]
    if kinds.get(time) != "timestamp":
        return "", "Time zone: the event time is a date, so none is needed."
    kind = scanned.columns[time]
    if kind == "VARCHAR":
        offsets = _offsets(connection, scanned, time)
        if not offsets or "" in offsets:
            return "", _none(time)
        seen = f"{time} has offsets: {', '.join(f'{offset} in {rows:,} rows' for offset, rows in offsets.items())}"
        return "UTC", _asked(seen, "UTC", naive)
    if "WITH TIME ZONE" not in kind and not kind.startswith("TIMESTAMPTZ"):
        return "", _none(time)
    zone = _named(source, time)
    return zone, _asked(f"{time} holds instants{f' and names {zone}' if zone != 'UTC' else ', in UTC'}", zone, naive)


def _asked(seen: str, zone: str, others: list[str]) -> str:
    more = f" Other times ({', '.join(others)}) need written_in in their column if they have no zone." if others else ""
    return f"Time zone: {seen}. time_zone is {zone}: the dates of that zone are the partitions, so write the zone in which your days end.{more}"


def _none(time: str) -> str:
    return (
        f"Time zone: {time} has none, so its times are taken as the local clock. If they are in UTC and your days are not, write time_zone, "
        "and written_in: UTC in the column."
    )


def _offsets(connection: duckdb.DuckDBPyConnection, scanned: Scan, time: str) -> dict[str, int]:
    found = f"regexp_extract({name(time)}, {text(OFFSET)}, 2)"
    rows = connection.sql(
        f"SELECT {found}, count(*) FROM {scanned.relation} WHERE {name(time)} IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 5"
    ).fetchall()
    return dict(rows)


def _named(source: Source, time: str) -> str:
    """Return the zone that the first Parquet file names for the column `time`; UTC if it names none of the IANA database."""
    if source.kind != "parquet" or (source.path or "").startswith("s3://"):
        return "UTC"
    kind = pq.read_schema(source_files.files_of(source)[0].path).field(time).type
    zone = kind.tz if pa.types.is_timestamp(kind) else None
    try:
        return require_zone(zone or "UTC", "time_zone")
    except ValueError:
        return "UTC"
