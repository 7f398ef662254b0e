"""The nights that had no rows: a published table next to the scores, with one row per night that says why.

So a night that had no rows differs from a night that nobody has scored. A night with scores is never one without rows: if it is in both
tables, the scores count.
"""

import json
import logging
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from pipelines.lib.core.errors import DataError
from pipelines.lib.published.delta_tables import Lineage, Publication, publish
from pipelines.lib.published.nights import publications
from pipelines.lib.published.store import empty_nights_url

SCHEMA = pa.schema([pa.field("reason", pa.string(), nullable=False)])
"""The column before those of `pipelines.lib.published.delta_tables.LINEAGE`."""

log = logging.getLogger("nightshift")


def record_empty_night(reason: str, lineage: Lineage, *, attempts: int) -> Publication:
    """Record in one commit that the night of `lineage` had no rows, and the `reason` why that is allowed. The same again changes nothing.

    Raises `DataError` if the night has published scores: rows that have vanished from the source must not delete them.
    """
    if lineage.partition in publications():
        raise DataError(
            f"{lineage.partition} has no rows in the source any more, but its scores are published; they were not changed. Deliver the rows again. "
            "If they were withdrawn on purpose, delete the published night yourself (docs/reference/published-store.md), then trigger a new run"
        )
    with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch:
        source = Path(scratch) / "empty.parquet"
        pq.write_table(pa.table({"reason": [reason]}, schema=SCHEMA), source, write_page_checksum=True)
        return publish(source, lineage, expected_rows=1, url=empty_nights_url(), attempts=attempts)


def empty_nights() -> list[str]:
    """Return the nights that are recorded as having had no rows, and have no scores; oldest first."""
    recorded = publications(empty_nights_url())
    if not recorded:  # most tables: the scores need not be looked at
        return []
    published = publications()
    return sorted(night for night in recorded if night not in published)


def forget_empty_night(lineage: Lineage) -> bool:
    """Remove the record that the night of `lineage` had no rows, whose scores were published since. Return whether there was one.

    The scores count in any case, so a commit that fails is logged and raises nothing.
    """
    url = empty_nights_url()
    if lineage.partition not in publications(url):
        return False
    properties = CommitProperties(custom_metadata={"partition": lineage.partition, "run_id": lineage.run_id})
    try:
        DeltaTable(url).delete(f"partition = '{lineage.partition}'", commit_properties=properties)
    except TableNotFoundError:
        return False
    except DeltaError as error:
        log.warning("%s is still listed in %s (%s); its scores count", lineage.partition, url, str(error).splitlines()[0])
    return True


def late_note(raw: Path) -> str:
    """Return what `late_rows` says of the nights whose rows the raw directory `raw` holds; empty if there is no such directory."""
    source = raw / "source.json"
    if not source.exists():
        return ""
    return late_rows(empty_nights(), json.loads(source.read_text(encoding="utf-8"))["rows_per_date"])


def late_rows(recorded: Collection[str], rows_per_date: Mapping[str, int]) -> str:
    """Return the words for those nights `recorded` as empty that have rows by now, and so were never scored; empty if there are none."""
    late = [night for night in sorted(recorded) if rows_per_date.get(night)]
    listed = ", ".join(f"{night} ({rows_per_date[night]} rows)" for night in late)
    return f"LATE ROWS, not scored: {listed}; trigger these nights again" if late else ""
