"""Cut the history into months: what does not change keeps its bytes, so that it is embedded once.

*Reads* the features file of the history. *Writes* a directory with a features file for each of the months that `run.yaml` names as `shards`, empty
if no row is of that month. *Fails when* a row belongs to none of them, or a month is not a month.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import log, stage
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.tables.engine import UTC, connect, open_parquet, text, write_parquet


class ShardHistory(Section):
    """Nothing to tune: the months are in `run.yaml`."""


def shard_history(features: Path, months: Sequence[str], target: Path) -> Mapping[str, int]:
    """Write ``<month>.parquet`` for each of `months` into the directory `target`, whole or not at all; their rows.

    The rows come by partition, the newest last, and within one in their order: an index is judged by its last. The files keep the signature of
    `features`. Raises `DataError` for a row outside all months, `ConfigError` for `months` that are none or repeat.
    """
    for month in months:
        parse_partition(f"{month}-01")
    if len(set(months)) < len(months):
        raise ConfigError(f"run.yaml: shards names a month twice: {', '.join(months)}; name each once")
    signature_of_features(features)  # refuses what is not a features file
    rows = {}
    with connect(UTC) as (connection, _), replacing(target) as temporary:
        connection.execute(
            f"CREATE TEMP VIEW history AS SELECT *, partition[:7] AS __month FROM read_parquet({text(features)}, file_row_number = true)"
        )
        known = ", ".join(map(text, months)) or "''"
        outside = f"SELECT __month, count(*) FROM history WHERE __month NOT IN ({known}) GROUP BY 1 ORDER BY 1"
        if strays := connection.sql(outside).fetchall():
            raise DataError(
                f"{sum(count for _, count in strays)} rows are of {', '.join(month for month, _ in strays)}, which run.yaml does not name as "
                f"shards ({', '.join(months) or 'none'}); add the months there, or start a new run, which names all"
            )
        temporary.mkdir()
        schema = open_parquet(features).schema_arrow
        for month in months:
            wanted = f"SELECT * EXCLUDE (__month, file_row_number) FROM history WHERE __month = {text(month)} ORDER BY partition, file_row_number"
            batches = connection.sql(wanted).to_arrow_reader(65_536)
            rows[month] = write_parquet(batches, schema, temporary / f"{month}.parquet")
    return rows


@stage("shard_history")
def main(*, features: Path, shards: Path) -> None:
    """Shard as `run.yaml` says."""
    load_section("shard_history", ShardHistory)
    rows = shard_history(features, load_run().shards, shards)
    log.info("%d rows in %d months: %s", sum(rows.values()), len(rows), ", ".join(f"{month} {count}" for month, count in rows.items()))


if __name__ == "__main__":
    sys.exit(main())
