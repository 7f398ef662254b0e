"""How many events find a row of a side table: a join whose key never matches gives a column without a value, and nothing fails."""

from collections.abc import Iterator
from pathlib import Path

import duckdb

from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.declarations.facts import EVENTS
from pipelines.lib.declarations.faults import Finding
from pipelines.lib.declarations.side_tables import SIDE, load_side_table
from pipelines.lib.features.declaration import Features, Join
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import name
from pipelines.lib.tables.expressions import enclosed

_MOST = 0.5
"""A join that finds a row for fewer events than this share is worth a look."""


def join_findings(connection: duckdb.DuckDBPyConnection, dataset: Dataset, features: Features, scratch: Path) -> Iterator[Finding]:
    """Yield the joins that find no row for any event of the table `EVENTS`, and a warning for those that find one for few of them.

    A join as of a moment counts as found if the side table has the key at any time.
    """
    for alias, join in features.joins.items():
        where, table = f"features.joins.{alias}.key", join.table or alias
        if table not in dataset.tables:  # the check of the features says so
            continue
        try:
            load_side_table(connection, dataset.tables[table], scratch)
            share = _share(connection, join)
        except NightshiftError:  # so does the check of the side table
            continue
        except duckdb.Error as error:
            yield Finding(where, f"fails: {str(error).splitlines()[0]}", "correct it, or write TRY(…)")
            continue
        written = ", ".join(f"{column} = {expression}" for column, expression in join.key.items())
        if share == 0:
            yield Finding(where, f"is {written}, which finds a row of {table} for no event", "compare how both sides write it")
        elif share < _MOST:
            yield Finding(
                where, f"is {written}, which finds a row of {table} for {share:.2%} of the events",
                "compare how both sides write it, unless so few are meant", warning=True,
            )  # fmt: skip


def _share(connection: duckdb.DuckDBPyConnection, join: Join) -> float:
    """Return the share of the events whose key is a key of the table `SIDE`."""
    computed = ", ".join(f"{enclosed(expression)} AS __on_{number}" for number, expression in enumerate(join.key.values()))
    equal = " AND ".join(f"__on_{number} = {SIDE}.{name(column)}" for number, column in enumerate(join.key))
    [(share,)] = connection.sql(
        f"SELECT avg(EXISTS (SELECT 1 FROM {SIDE} WHERE {equal})::INT) FROM (SELECT {computed} FROM {EVENTS})"
    ).fetchall()
    return float(share)
