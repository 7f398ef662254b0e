"""The table that is scored: section ``dataset`` of ``params.yaml``.

Nothing here knows flights; another table is another section.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.lib.core.params import Section, load_section
from pipelines.lib.core.time_zones import require_zone
from pipelines.lib.tables import source_paths
from pipelines.lib.tables.column import Column as Column  # noqa: PLC0414 - most modules need both
from pipelines.lib.tables.night_calendar import WEEKDAYS, NightCalendar, Weekday
from pipelines.lib.tables.row_count import SideRowCount

TaskName = Literal["binary", "regression"]
"""The task of a label: see `pipelines.lib.measures.tasks`."""

RESERVED = frozenset(
    {"partition", "score", "decision", "model_name", "model_version", "model_sha256", "run_id", "git_commit", "degraded", "scored_at"}
)
"""Columns that Nightshift itself writes next to the key."""

RESERVED_IN_KEY = frozenset({"run_ref", "rank", "distance", "outcome", "index_generation", "encoder_version"})
"""More of them, in the published tables alone; so are all that begin with ``neighbour_``."""

NOT_A_SLICE = RESERVED | {"outcome"}
"""Columns of a table by which no slice of published rows is made: there, the names mean what Nightshift wrote."""

PLAUSIBLE_DAYS = 10_958
"""Thirty years: farther from its night, a time is more likely a slip, an epoch's zero or the year 9999 than an event."""

EVENTS = "events"
"""The name of the main table in `run.yaml`; no side table may have this name."""

JOIN_DAYS = 7
"""How far a row looks back into a side table with a time, unless the table declares it."""

DIALECT = ("nulls", "delimiter", "quote", "encoding", "decimal", "date_format", "timestamp_format")
"""The fields of a source that say how its CSV is written."""


class Source(Section):
    """Where a table is read from. `kind` names an adapter of `pipelines.lib.sources.adapters`.

    `path` (a file, a folder or a glob, local or on S3; see `pipelines.lib.tables.source_paths`) serves ``parquet`` and ``csv``; `nulls` are the words that mean *missing* in a CSV. Its dialect is `delimiter`,
    `quote` (empty: none), `encoding`, the `decimal` sign, and `date_format` and `timestamp_format` of ``strptime`` (none: ISO 8601).
    ``sql`` takes `table` (or a `query`) and `url`, an SQLAlchemy URL in which ``${NAME}`` stands for an environment
    variable, so that no secret is written down. ``flights`` takes `table`. ``delta`` takes `path`, a directory or URL, and is read at `version`
    of the table `table_id`, which a run pins (None: the newest). A run also pins the `files` of the other kinds (`pipelines.lib.sources.pinned_files`).
    """

    kind: Literal["flights", "parquet", "csv", "delta", "sql"]
    path: str | None = None
    nulls: tuple[str, ...] = Field(default=("",), min_length=1)
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    quote: str = Field(default='"', max_length=1)
    encoding: Literal["utf-8", "latin-1"] = "utf-8"
    decimal: Literal[".", ","] = "."
    date_format: str | None = None
    timestamp_format: str | None = None
    url: str | None = None
    table: str | None = None
    query: str | None = None
    version: int | None = Field(default=None, ge=0)
    table_id: str | None = None
    files: str | None = Field(default=None, pattern=r"^([0-9a-f]{16})*$")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kind in ("parquet", "csv") and not self.path:
            raise ValueError(f"a {self.kind} source needs `path`, a file, a folder or a glob")
        if self.kind in ("parquet", "csv") and self.path:
            source_paths.require_usable(self.path)
        if self.kind == "delta" and not self.path:
            raise ValueError("a delta source needs `path`, the directory of the table or its URL")
        if self.kind == "sql" and (not self.url or (self.table is None) == (self.query is None)):
            raise ValueError("a sql source needs `url` and either `table` or `query`")
        if self.kind == "flights" and not self.table:
            raise ValueError("a flights source needs `table`: flights, weather or planes")
        if self.kind != "csv" and (given := [key for key in DIALECT if getattr(self, key) != type(self).model_fields[key].default]):
            raise ValueError(f"{', '.join(given)} is of a csv source, this one is of kind {self.kind}; remove it")
        if self.kind != "delta" and (self.version is not None or self.table_id is not None):
            raise ValueError(f"version and table_id are of a delta source, this one is of kind {self.kind}; remove them")
        if self.files is not None:
            raise ValueError("files is written by Nightshift when a run pins its source; remove it")
        if self.delimiter in (self.quote, "\n", "\r"):
            raise ValueError(f"delimiter {self.delimiter!r} cannot be a line end or the quote; correct it")
        return self


class Label(Section):
    """The outcome that is predicted: a SQL `expression` over the source's columns, NULL where there is no outcome.

    `task` binary: the expression is true or false, and a score is a probability. `task` regression: it is a number, and a score is a forecast of its mean.
    An outcome of date d is known at the start of date D when d + `delay_days` < D.
    """

    name: str = Field(min_length=1)
    expression: str
    delay_days: int = Field(ge=0)
    task: TaskName = "binary"


class SideTable(Section):
    """A table that is joined to the events, such as weather. With `event_time`, only the lookback window is read.

    The gates judge `row_count`: with `event_time` the rows of the night's date, otherwise all rows, of which only `minimum_rows` is asked. With
    `event_time`, the newest row may be `fresh_within_days` days older than the night; None allows the longest gap that the table had before.
    `plausible_days` and `misdated_rows` are as in `Dataset`.
    """

    source: Source
    columns: dict[str, Column]
    key: tuple[str, ...] = Field(min_length=1)
    event_time: str | None = None
    join_days: int = Field(default=JOIN_DAYS, ge=0, le=36_525)
    """How far before its own date a row may look into a table that has a time; the table is read that much further back."""
    row_count: SideRowCount = SideRowCount()
    fresh_within_days: int | None = Field(default=None, ge=0)
    plausible_days: int = Field(default=PLAUSIBLE_DAYS, ge=1)
    misdated_rows: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _distinct(self.columns, "columns")
        _key(self.columns, self.key)
        if self.event_time is not None:
            _temporal(self.columns, self.event_time)
        elif self.fresh_within_days is not None:
            raise ValueError(
                "fresh_within_days needs event_time: a table without a time has no newest row; declare it, or take the key out"
            )
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
    plausible_days: int = Field(default=PLAUSIBLE_DAYS, ge=1)
    """How far from the night the time of a row may be. The gates stop a run whose source has more than `misdated_rows` beyond."""
    misdated_rows: int = Field(default=0, ge=0)
    weekdays: tuple[Weekday, ...] = Field(default=WEEKDAYS, min_length=1)
    """The weekdays on which rows exist."""
    nights_without_rows: int = Field(default=0, ge=0, le=366)
    """How many nights of these weekdays in a row may have no rows; 0: each of them has rows."""

    @property
    def calendar(self) -> NightCalendar:
        """The nights on which the table has rows."""
        return NightCalendar(self.weekdays, self.nights_without_rows)

    @property
    def sources(self) -> dict[str, Source]:
        """The source of each table by its name, which is `EVENTS` for the main one."""
        return {EVENTS: self.source, **{table: side.source for table, side in self.tables.items()}}

    def with_sources(self, fields: Mapping[str, Mapping[str, Any]]) -> Self:
        """Return the dataset with other `fields` of its sources, by the name of the table. A table that is not among them keeps its source."""
        found = {table: source.model_copy(update=fields.get(table, {})) for table, source in self.sources.items()}
        sides = {table: side.model_copy(update={"source": found[table]}) for table, side in self.tables.items()}
        return self.model_copy(update={"source": found[EVENTS], "tables": sides})

    time_zone: str | None = None
    """The zone of the IANA database whose dates are the partitions. Timestamps are then instants. None: they are wall-clock times as they are written."""

    @property
    def zone(self) -> str:
        """The time zone of the connections that read the dataset."""
        return self.time_zone or "UTC"

    @model_validator(mode="after")
    def _in_zone(self) -> Self:
        """Let each column know the zone: every cast, schema and type follows from it."""
        if self.time_zone is not None:
            require_zone(self.time_zone, "time_zone")
        of_tables = [(f"tables.{table}.columns", side.columns) for table, side in self.tables.items()]
        for where, columns in [("columns", self.columns), *of_tables]:
            for column, declared in columns.items():
                if declared.written_in is not None and self.time_zone is None:
                    raise ValueError(
                        f"{where}.{column}.written_in is {declared.written_in!r}, but the dataset has no time_zone; write the zone of its dates, such as "
                        f"`time_zone: {declared.written_in}`, or take written_in out"
                    )
        self.__dict__["columns"] = _in_zone(self.columns, self.time_zone)  # the model is frozen for everybody else
        self.__dict__["tables"] = {
            table: side.model_copy(update={"columns": _in_zone(side.columns, self.time_zone)}) for table, side in self.tables.items()
        }
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        _distinct(self.columns, "columns")
        _distinct(self.tables, "tables")
        if len(set(self.weekdays)) < len(self.weekdays):
            raise ValueError(f"weekdays names a day twice: {', '.join(self.weekdays)}; name each once")
        _key(self.columns, self.key)
        _declared(self.columns, "known_later", self.known_later)
        _temporal(self.columns, self.event_time)
        if early := {*self.key, self.event_time} & set(self.known_later):
            raise ValueError(f"known_later names {', '.join(sorted(early))}, which cannot be both part of the key or time and known later")
        if taken := {column for column in (*self.key, self.event_time, self.label.name) if column.lower() in RESERVED}:
            raise ValueError(f"{', '.join(sorted(taken))} is a name that Nightshift writes itself; rename it in a query of the source")
        if published := {column for column in self.key if column.lower() in RESERVED_IN_KEY or column.lower().startswith("neighbour_")}:
            raise ValueError(
                f"{', '.join(sorted(published))} in the key is a name that Nightshift publishes next to it; rename it in a query of the source"
            )
        if same := [column for column in self.columns if column.lower() == self.label.name.lower()]:
            fault = "is also a column" if same[0] == self.label.name else f"differs from the column {same[0]!r} only by case"
            raise ValueError(f"label.name {self.label.name!r} {fault}; give the label a name of its own")
        if files := {table for table in self.tables if table.lower() in ("events", "source")}:
            raise ValueError(f"tables.{min(files)}: this file name is taken; give the side table another name")
        return self


def load_dataset() -> Dataset:
    """Load section ``dataset`` of this workspace's ``params.yaml``."""
    return load_section("dataset", Dataset)


def _in_zone(columns: dict[str, Column], time_zone: str | None) -> dict[str, Column]:
    return {column: declared.in_zone(time_zone) for column, declared in columns.items()}


def _declared(columns: dict[str, Column], field: str, names: Iterable[str]) -> None:
    if undeclared := [name for name in names if name not in columns]:
        raise ValueError(f"{field} names {', '.join(undeclared)}, not among columns; declare it there")


def _distinct(names: Iterable[str], field: str) -> None:
    """Refuse names that differ only by case: to SQL, and to the file systems of some laptops, they are one."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(name.lower(), name)) != name:
            raise ValueError(
                f"{field} has {other!r} and {name!r}, which differ only by case; rename one, for columns in a query of the source"
            )


def _key(columns: dict[str, Column], key: tuple[str, ...]) -> None:
    _declared(columns, "key", key)
    for column in key:
        if columns[column].nulls:
            raise ValueError(
                f"columns.{column}.nulls is {columns[column].nulls:g}, but {column!r} is part of the key: a row without it meets no outcome and no "
                "other table. Set it to 0; if it may be missing, take it out of the key, or put a word in its place in a query of the source"
            )


def _temporal(columns: dict[str, Column], event_time: str) -> None:
    _declared(columns, "event_time", [event_time])
    if (found := columns[event_time].type) not in ("timestamp", "date"):
        raise ValueError(f"event_time {event_time!r} is a {found}; declare it as timestamp or date")
    if columns[event_time].nulls:
        raise ValueError(
            f"columns.{event_time}.nulls is {columns[event_time].nulls:g}, but a row without its time belongs to no partition: set it to 0"
        )
