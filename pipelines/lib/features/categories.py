"""Which features of a file are categories as text, and the most frequent of them: the list that a model carries.

A features file names these features in its schema, each with the number of categories that a model may keep.
"""

import datetime as dt
import json
from pathlib import Path

from pipelines.lib.core.errors import DataError
from pipelines.lib.features.signature import CATEGORIES_KEY
from pipelines.lib.tables.engine import UTC, connect, name, open_parquet, text


def kept_categories(path: Path) -> dict[str, int]:
    """Return the features of the file at `path` that are text, each with the number of categories that a model keeps."""
    with open_parquet(path) as file:
        kept: dict[str, int] = json.loads((file.schema_arrow.metadata or {}).get(CATEGORIES_KEY.encode(), b"{}"))
    return kept


def most_frequent(path: Path, *, since: dt.date | None = None, until: dt.date | None = None) -> dict[str, tuple[str, ...]]:
    """Return the categories of each text feature that are most frequent in rows with `since` <= partition < `until`, the most frequent first.

    Of equally frequent ones, the first in the order of their bytes. The same list for the same rows. Raises `DataError` if a feature has no category at all.
    """
    window = " AND ".join([f"partition >= {text(since)}"] * bool(since) + [f"partition < {text(until)}"] * bool(until)) or "true"
    found: dict[str, tuple[str, ...]] = {}
    with connect(UTC) as (connection, _):
        for feature, most in kept_categories(path).items():
            column = name(feature)
            rows = connection.sql(
                f"SELECT {column} FROM read_parquet({text(path)}) WHERE {column} IS NOT NULL AND {window} "
                f"GROUP BY {column} ORDER BY count(*) DESC, encode({column}) LIMIT {most}"
            ).fetchall()
            if not rows:
                raise DataError(
                    f"the feature {feature} has no category in any row of training; correct its expression, or take it out of features"
                )
            found[feature] = tuple(value for (value,) in rows)
    return found
