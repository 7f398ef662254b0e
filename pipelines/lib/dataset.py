"""The table that is scored: section ``dataset`` of ``params.yaml``.

Nothing here knows flights; another table is another section. Column types are DuckDB's names, kept to those that mean
the same in Parquet, CSV and SQL.
"""

from typing import Literal

from pydantic import Field

from pipelines.lib.params import Section, load_section

ColumnType = Literal["string", "integer", "float", "boolean", "timestamp", "date"]


class Source(Section):
    """Where a table is read from. `kind` names an adapter of `pipelines.lib.sources`.

    `path` (a file or glob) serves ``parquet`` and ``csv``. ``sql`` takes `table` (or a `query`) and `url`, an SQLAlchemy
    URL in which ``${NAME}`` stands for an environment variable, so that no secret is written down. ``flights`` takes `table`.
    """

    kind: Literal["flights", "parquet", "csv", "sql"]
    path: str | None = None
    url: str | None = None
    table: str | None = None
    query: str | None = None


class Column(Section):
    """What a column must look like; the gates' expectations are generated from it.

    `nulls` is the largest share of missing values that is still normal. `minimum` and `maximum` are inclusive.
    `values` is the closed set of known values; `unseen` the largest share outside it that is still normal.
    """

    type: ColumnType
    nulls: float = Field(default=0.0, ge=0, le=1)
    minimum: float | None = None
    maximum: float | None = None
    values: tuple[str, ...] | None = None
    unseen: float = Field(default=0.0, ge=0, le=1)


class Label(Section):
    """The outcome that is predicted: a boolean SQL `expression` over the source's columns, NULL where there is no outcome.

    An outcome of date d is known at the start of date D when d + `delay_days` < D.
    """

    name: str
    expression: str
    delay_days: int = Field(ge=0)


class SideTable(Section):
    """A table that is joined to the events, such as weather. With `event_time`, only the lookback window is read."""

    source: Source
    columns: dict[str, Column]
    key: tuple[str, ...]
    event_time: str | None = None


class Dataset(Section):
    """The events, their key, their time and their label."""

    name: str
    source: Source
    key: tuple[str, ...] = Field(min_length=1)
    event_time: str
    label: Label
    columns: dict[str, Column]
    known_later: tuple[str, ...] = ()
    """Columns that are known only after the event: used for labels and lagged aggregates, refused as features by name."""
    tables: dict[str, SideTable] = {}


def load_dataset() -> Dataset:
    """Section ``dataset`` of this workspace's ``params.yaml``."""
    return load_section("dataset", Dataset)
