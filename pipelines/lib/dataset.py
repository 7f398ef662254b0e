"""The table that is scored: section ``dataset`` of ``params.yaml``.

Nothing here knows flights; another table is another section. Column types are DuckDB's names, kept to those that mean
the same in Parquet, CSV and SQL.
"""

import hashlib
from collections.abc import Iterable
from typing import Literal, Self

from pydantic import Field, model_validator

from pipelines.lib.params import Section, load_section

ColumnType = Literal["string", "integer", "float", "boolean", "timestamp", "date"]

RESERVED = frozenset(
    {"partition", "score", "decision", "model_name", "model_version", "model_sha256", "run_id", "git_commit", "degraded", "scored_at"}
)
"""Columns that Nightshift itself writes beside the key."""

RESERVED_IN_KEY = frozenset({"run_ref", "rank", "distance", "outcome", "index_generation", "encoder_version"})
"""More of them, in the published tables alone; so are all that begin with ``neighbour_``."""


class Source(Section):
    """Where a table is read from. `kind` names an adapter of `pipelines.lib.sources`.

    `path` (a local file or glob) serves ``parquet`` and ``csv``; `nulls` are the words that mean *missing* in a CSV.
    ``sql`` takes `table` (or a `query`) and `url`, an SQLAlchemy URL in which ``${NAME}`` stands for an environment
    variable, so that no secret is written down. ``flights`` takes `table`.
    """

    kind: Literal["flights", "parquet", "csv", "sql"]
    path: str | None = None
    nulls: tuple[str, ...] = ("",)
    url: str | None = None
    table: str | None = None
    query: str | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in ("parquet", "csv") and not self.path:
            raise ValueError(f"a {self.kind} source needs `path`, a file or a glob")
        if self.kind == "sql" and (not self.url or (self.table is None) == (self.query is None)):
            raise ValueError("a sql source needs `url` and either `table` or `query`")
        if self.kind == "flights" and not self.table:
            raise ValueError("a flights source needs `table`: flights, weather or planes")
        return self


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
    key: tuple[str, ...] = Field(min_length=1)
    event_time: str | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _declared(self.columns, "key", self.key)
        if self.event_time is not None:
            _temporal(self.columns, self.event_time)
        return self


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
    tables: dict[str, SideTable] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _declared(self.columns, "key", self.key)
        _declared(self.columns, "known_later", self.known_later)
        _temporal(self.columns, self.event_time)
        if early := {*self.key, self.event_time} & set(self.known_later):
            raise ValueError(f"{', '.join(sorted(early))} cannot be both part of the key or time and known later")
        if taken := RESERVED & {*self.key, self.event_time, self.label.name}:
            raise ValueError(f"{', '.join(sorted(taken))} is a name that Nightshift writes itself; rename it in a query of the source")
        if published := {column for column in self.key if column in RESERVED_IN_KEY or column.startswith("neighbour_")}:
            raise ValueError(
                f"{', '.join(sorted(published))} in the key is a name that Nightshift publishes beside it; rename it in a query of the source"
            )
        if self.label.name in self.columns:
            raise ValueError(f"label.name {self.label.name!r} is also a column; give the label a name of its own")
        if files := {"events", "source"} & set(self.tables):
            raise ValueError(f"tables.{min(files)}: this file name is taken; give the side table another name")
        return self


def load_dataset() -> Dataset:
    """Section ``dataset`` of this workspace's ``params.yaml``."""
    return load_section("dataset", Dataset)


def _declared(columns: dict[str, Column], field: str, names: Iterable[str]) -> None:
    if undeclared := [name for name in names if name not in columns]:
        raise ValueError(f"{field} names {', '.join(undeclared)}, not among columns; declare it there")


def _temporal(columns: dict[str, Column], event_time: str) -> None:
    _declared(columns, "event_time", [event_time])
    if (found := columns[event_time].type) not in ("timestamp", "date"):
        raise ValueError(f"event_time {event_time!r} is a {found}; declare it as timestamp or date")


def source_revision(dataset: Dataset, opened_at: str) -> str:
    """A fingerprint of the dataset's sources as they are now; a source that has none counts as changed with every run."""
    from pipelines.lib.sources import revision  # which imports this module

    sources = [dataset.source, *(dataset.tables[name].source for name in sorted(dataset.tables))]
    return hashlib.sha256("\n".join(revision(source) or opened_at for source in sources).encode()).hexdigest()
