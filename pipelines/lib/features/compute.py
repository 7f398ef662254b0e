"""Features: declared once in section ``features`` of ``params.yaml``, computed by one function for training and for scoring.

For a row of date d a feature sees the row itself (without the columns that are known later), side tables as of d, the
other rows of date d that a `same_day` count names, and outcomes that were known at the start of d. Nothing else, so the
vector computed in history equals the one computed for its night, bit for bit: sums are exact, so order and threads do not matter.
"""

from datetime import date
from pathlib import Path

import pyarrow as pa

from pipelines.lib.features.declaration import (
    Categorical,
    Features,
    Holidays,
    Join,
    Lagged,
    Numeric,
    SameDay,
    category_values,
    identity,
    load_features,
    lookback_days,
    text_categories,
)
from pipelines.lib.features.query import MISSING, UNSEEN, compile_features, written
from pipelines.lib.features.signature import CATEGORIES_KEY, KEY
from pipelines.lib.sources.casts import arrow_type
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import connect, write_parquet
from pipelines.lib.tables.expression_failures import naming_the_culprit

__all__ = [
    "MISSING",
    "UNSEEN",
    "Categorical",
    "Features",
    "Holidays",
    "Join",
    "Lagged",
    "Numeric",
    "SameDay",
    "category_values",
    "featurize",
    "identity",
    "load_features",
    "lookback_days",
    "schema",
    "text_categories",
]


def featurize(dataset: Dataset, features: Features, *, raw: Path, first: date | None, end: date, labelled: bool, target: Path) -> int:
    """Write the features of the rows of dates [`first`, `end`) in the raw directory `raw` to the Parquet file `target`; returns their number.

    Columns: the key, the event time, ``partition`` (date as string), with `labelled` the label as int8, of a regression as float64 (rows without one at
    the start of `end` are dropped), then the features as float32 without NaN, in declared order, categories without declared values as text; rows as
    in ``events.parquet``. Raises `ConfigError`
    for a declaration that cannot be computed or would leak, `DataError` for a side table
    whose key repeats, and for a row whose deliveries contradict each other or on which an expression fails.
    """
    with connect(dataset.zone) as (connection, _), naming_the_culprit(connection, dataset.key, list(written(dataset, features))):
        query = compile_features(connection, dataset, features, raw=raw, first=first, end=end, labelled=labelled)
        batches = (batch for dates in query.chunks(connection) for batch in connection.sql(query.sql(*dates)).to_arrow_reader(32_768))
        texts = text_categories(dataset, features)
        metadata = {KEY: identity(dataset, features)} | ({CATEGORIES_KEY: texts} if texts else {})
        return write_parquet(batches, schema(dataset, features, labelled=labelled), target, metadata)


def schema(dataset: Dataset, features: Features, *, labelled: bool) -> pa.Schema:
    """Return the columns of a features file."""
    event = {column: arrow_type(dataset.columns[column]) for column in (*dataset.key, dataset.event_time)}
    label = {dataset.label.name: pa.float64() if dataset.label.task == "regression" else pa.int8()} if labelled else {}
    kinds = dict.fromkeys(features.names, pa.float32()) | dict.fromkeys(text_categories(dataset, features), pa.string())
    return pa.schema(list({**event, "partition": pa.string(), **label, **kinds}.items()))
