"""Features: declared once in section ``features`` of ``params.yaml``, computed by one function for training and for scoring.

For a row of date d a feature sees the row itself (without the columns that are known later), side tables as of d, the
other rows of date d that a `same_day` count names, and outcomes that were known at the start of d. Nothing else, so the
vector computed in history equals the one computed for its night, bit for bit: sums are exact integers, order and threads
do not matter.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import duckdb
import pyarrow as pa
from pydantic import Field

from pipelines.lib.dataset import RESERVED, Dataset
from pipelines.lib.engine import connect, name, open_parquet, text, write_parquet
from pipelines.lib.errors import ConfigError, DataError
from pipelines.lib.expressions import Checker
from pipelines.lib.params import Section, load_section
from pipelines.lib.partition import parse_partition
from pipelines.lib.raw import JOIN_LOOKBACK_DAYS
from pipelines.lib.signature import KEY
from pipelines.lib.sources import ARROW_TYPES, SQL_TYPES

UNSEEN, MISSING = -1, -2
"""Codes of a category that is not declared and of no category at all."""

_COMPILER = 1
"""Part of the digest: raised when the same declaration begins to mean other numbers."""

_SCALE = 1_000_000
"""Lagged values are summed as integers of this fraction, because sums of floats depend on their order."""

_FLOAT_MAX = 3.0e38

_CHUNK = 500_000
"""Rows that are joined and sorted at a time: 25 features of them take a few hundred MiB."""

_DATES = "/* dates */"
"""Stands in a join for the condition on the dates of a chunk."""

_CALENDAR = {
    "hour": "hour({t})",
    "minute_of_day": "hour({t}) * 60 + minute({t})",
    "weekday": "isodow({t})",
    "day_of_month": "day({t})",
    "day_of_year": "dayofyear({t})",
    "month": "month({t})",
}


class Join(Section):
    """A side table (by default the one of the join's name), joined where each column of its key equals its SQL in `key`.

    Its other columns are then called ``<join>_<column>``, and are NULL where nothing matches. `key` sees the event alone.
    """

    table: str | None = None
    key: dict[str, str]


class Numeric(Section):
    """An SQL `expression` (by default the column of the feature's name); `missing` stands for NULL, NaN and infinities."""

    expression: str | None = None
    missing: float


class Categorical(Section):
    """A category as its place in `values` (by default those of the column); -1 is a value not among them, -2 no value."""

    expression: str | None = None
    values: tuple[str, ...] | None = None


class Holidays(Section):
    """Days from the nearest of `dates` (negative: before it), or `within_days` + 1 if none is that near. Feature ``days_from_holiday``."""

    dates: tuple[str, ...] = Field(min_length=1)
    within_days: int = Field(ge=0, le=30)


class SameDay(Section):
    """How many rows of the same date agree in all expressions of `by`: a schedule, known in advance. 0 where one of them is NULL."""

    by: tuple[str, ...]


class Lagged(Section):
    """A statistic of `value` (SQL over all columns; by default the label) over earlier rows that agree in all expressions of `by`.

    It covers the outcomes known at the start of the row's date, back `window_days`: dates from d - delay - `window_days` to
    d - delay - 1. ``mean`` is drawn towards the mean over all rows in the same window as if `prior_weight` further rows had
    that mean; `nothing_seen` stands where neither has anything. ``count`` is the number of outcomes.
    """

    by: tuple[str, ...] = ()
    value: str | None = None
    statistic: Literal["mean", "count"] = "mean"
    window_days: int = Field(ge=1)
    prior_weight: float = Field(default=0.0, ge=0)
    nothing_seen: float = 0.0


class Features(Section):
    """The declaration. Names are the features' names, those of `joins` excepted."""

    joins: dict[str, Join] = Field(default_factory=dict)
    numeric: dict[str, Numeric] = Field(default_factory=dict)
    categorical: dict[str, Categorical] = Field(default_factory=dict)
    calendar: tuple[Literal["hour", "minute_of_day", "weekday", "day_of_month", "day_of_year", "month"], ...] = ()
    holidays: Holidays | None = None
    same_day: dict[str, SameDay] = Field(default_factory=dict)
    lagged: dict[str, Lagged] = Field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Every feature, in the order of the columns."""
        holidays = ["days_from_holiday"] if self.holidays else []
        return [*self.numeric, *self.categorical, *self.calendar, *holidays, *self.same_day, *self.lagged]


def load_features() -> Features:
    """Section ``features`` of this workspace's ``params.yaml``."""
    return load_section("features", Features)


def lookback_days(dataset: Dataset, features: Features) -> int:
    """How many days before a date its features look back."""
    return max((dataset.label.delay_days + lagged.window_days for lagged in features.lagged.values()), default=0)


def identity(dataset: Dataset, features: Features) -> dict[str, Any]:
    """``{"names", "sha256"}``: what a model must have been trained on to be fed these features. Where the table lies is no part of it."""
    shape = {
        "compiler": _COMPILER,
        "features": list(features.model_dump().items()),
        "order": features.names,
        "key": dataset.key,
        "event_time": dataset.event_time,
        "label": dataset.label.model_dump(),
        "types": {column: declared.type for column, declared in dataset.columns.items()},
        "categories": {feature: category_values(dataset, feature, declared) for feature, declared in features.categorical.items()},
        "tables": {table: {column: declared.type for column, declared in side.columns.items()} for table, side in dataset.tables.items()},
    }
    canonical = json.dumps(shape, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return {"names": features.names, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}


def featurize(dataset: Dataset, features: Features, *, raw: Path, first: date | None, end: date, labelled: bool, target: Path) -> int:
    """Write the features of the rows of dates [`first`, `end`) in the raw directory `raw` to the Parquet file `target`; returns their number.

    Columns: the key, the event time, ``partition`` (date as string), with `labelled` the label as int8 (rows without one at
    the start of `end` are dropped), then the features as float32 without NaN, in declared order; rows as in ``events.parquet``. Raises `ConfigError`
    for a declaration that cannot be computed or would leak, `DataError` for a side table whose key repeats.
    """
    with connect() as (connection, _):
        query = compile_features(connection, dataset, features, raw=raw, first=first, end=end, labelled=labelled)
        batches = (batch for dates in query.chunks(connection) for batch in connection.sql(query.sql(*dates)).to_arrow_reader(32_768))
        return write_parquet(batches, schema(dataset, features, labelled=labelled), target, {KEY: identity(dataset, features)})


def schema(dataset: Dataset, features: Features, *, labelled: bool) -> pa.Schema:
    """The columns of a features file."""
    event = {column: ARROW_TYPES[dataset.columns[column].type] for column in (*dataset.key, dataset.event_time)}
    label = {dataset.label.name: pa.int8()} if labelled else {}
    return pa.schema(list({**event, "partition": pa.string(), **label, **dict.fromkeys(features.names, pa.float32())}.items()))


def compile_features(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    features: Features,
    *,
    raw: Path,
    first: date | None,
    end: date,
    labelled: bool,
) -> "FeatureQuery":
    """The query that `featurize` writes; makes the view and the tables of aggregates that it reads on `connection`."""
    _check(connection, dataset, features)
    _check_side_keys(connection, dataset, features, raw)
    declared_groups = dict.fromkeys([*(d.by for d in features.same_day.values()), *(d.by for d in features.lagged.values())])
    groups = {by: f"__by_{number}" if by else "" for number, by in enumerate(declared_groups)}
    values = {value: f"__value_{number}" for number, value in enumerate(dict.fromkeys(d.value for d in features.lagged.values()))}
    _create_views(connection, dataset, features, raw, groups=groups, values=values)
    dates = _between("__date", first, end)
    joins = [_count(connection, by, groups[by], dates) for by in dict.fromkeys(d.by for d in features.same_day.values())]
    selected = {feature: _finite(numeric.expression or name(feature), numeric.missing) for feature, numeric in features.numeric.items()}
    for feature, categorical in features.categorical.items():
        selected[feature] = _code(categorical.expression or name(feature), category_values(dataset, feature, categorical))
    for field in features.calendar:
        selected[field] = _CALENDAR[field].format(t=name(dataset.event_time))
    if features.holidays:
        selected["days_from_holiday"] = _from_holiday(features.holidays)
    for feature, same_day in features.same_day.items():
        selected[feature] = f"coalesce(same_day{groups[same_day.by]}.n, 0)"
    windows: dict[tuple[tuple[str, ...], str | None], set[int]] = {}
    for lagged in features.lagged.values():
        windows.setdefault((lagged.by, lagged.value), set()).add(lagged.window_days)
        windows.setdefault(((), lagged.value), set()).add(lagged.window_days)
    for (by, value), days in windows.items():
        alias, delay = groups.get(by, ""), dataset.label.delay_days
        table = f"lagged{alias}{values[value]}"
        joins.append(_aggregate(connection, _keys(by, alias), table, values[value], windows=sorted(days), delay=delay, dates=dates))
    for feature, lagged in features.lagged.items():
        selected[feature] = _lagged(lagged, groups[lagged.by], values[lagged.value])
    columns = [f"keyed.{name(column)}" for column in dict.fromkeys([*dataset.key, dataset.event_time])]
    columns.append("keyed.__date::VARCHAR AS partition")
    if labelled:
        columns.append(f"keyed.__label::TINYINT AS {name(dataset.label.name)}")
        # The second condition for a label like `refund IS NOT NULL`, which calls what is not known yet an outcome.
        dates += f" AND __label IS NOT NULL AND __date + {dataset.label.delay_days} < {text(end)}::DATE"
    columns += [f"({selected[feature]})::FLOAT AS {name(feature)}" for feature in features.names]
    return FeatureQuery(", ".join(columns), tuple(joins), dates, dataset.event_time)


@dataclass(frozen=True)
class FeatureQuery:
    """What is selected, the joins it needs, and which rows of the view ``keyed`` it is for."""

    columns: str
    joins: tuple[str, ...]
    rows: str
    event_time: str

    def chunks(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[date, date]]:
        """Spans of dates [first, end), in order, of about `_CHUNK` rows or one date each: what memory must hold at a time."""
        counts = connection.sql(f"SELECT __date, count(*) FROM keyed WHERE {self.rows} GROUP BY 1 ORDER BY 1").fetchall()
        spans: list[tuple[date, date]] = []
        held = _CHUNK
        for day, count in counts:
            after = day + timedelta(days=1)
            if held + count > _CHUNK:
                spans.append((day, after))
                held = 0
            spans[-1] = (spans[-1][0], after)
            held += count
        return spans

    def sql(self, first: date, end: date) -> str:
        """The SELECT for the rows of dates [`first`, `end`)."""
        dates = _between("__date", first, end)
        events = f"(SELECT * FROM keyed WHERE {_between(name(self.event_time), first, end)} AND {self.rows}) AS keyed"
        joins = " ".join(join.replace(_DATES, dates) for join in self.joins)
        return f"SELECT {self.columns} FROM {events} {joins} ORDER BY keyed.__row"


def _between(column: str, first: date | None, end: date) -> str:
    return f"{column} < {text(end)}::DATE" + (f" AND {column} >= {text(first)}::DATE" if first else "")


def _check(connection: duckdb.DuckDBPyConnection, dataset: Dataset, features: Features) -> None:
    """Refuse what cannot be computed, and what only would be known later."""
    names = features.names
    taken = [*dataset.key, dataset.event_time, dataset.label.name, *RESERVED]
    for feature in names:
        if not re.fullmatch(r"[A-Za-z]\w*", feature, re.ASCII):
            raise ConfigError(f"a feature is called {feature!r}; use letters, digits and underscores")
        if names.count(feature) > 1 or feature in taken:
            raise ConfigError(f"the feature {feature!r} shares its name with a key, the label or another feature; rename it")
    everything = {column: SQL_TYPES[declared.type] for column, declared in dataset.columns.items()}
    known = {column: kind for column, kind in everything.items() if column not in dataset.known_later}
    before_joins = Checker(connection, known, dataset.known_later)
    offered = dict(known)
    for alias, join in features.joins.items():
        if (table := join.table or alias) not in dataset.tables:
            raise ConfigError(
                f"features.joins.{alias} names {table!r}, not among dataset.tables: {', '.join(dataset.tables) or 'there are none'}"
            )
        side = dataset.tables[table]
        if set(join.key) != set(side.key):
            raise ConfigError(
                f"features.joins.{alias} joins on {', '.join(join.key)}; join on the whole key of the table: {', '.join(side.key)}"
            )
        for column, expression in join.key.items():
            before_joins.check(expression, f"features.joins.{alias}.key.{column}")
        for column, declared in side.columns.items():
            if column not in side.key:
                if (joined := f"{alias}_{column}") in everything or joined in offered:
                    raise ConfigError(f"the joined column {joined!r} is already a column; rename the join")
                offered[joined] = SQL_TYPES[declared.type]
    of_event, of_outcome = Checker(connection, offered, dataset.known_later), Checker(connection, everything)
    _check_type(of_outcome.check(dataset.label.expression, "dataset.label.expression"), ("BOOLEAN",), "dataset.label.expression")
    numbers = (
        "BOOLEAN",
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "HUGEINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "FLOAT",
        "DOUBLE",
        "DECIMAL",
    )
    for feature, numeric in features.numeric.items():
        where = f"features.numeric.{feature}"
        _check_type(of_event.check(numeric.expression or name(feature), where), numbers, where)
    for feature, categorical in features.categorical.items():
        of_event.check(categorical.expression or name(feature), f"features.categorical.{feature}")
        category_values(dataset, feature, categorical)
    for feature, same_day in features.same_day.items():
        for expression in same_day.by:
            of_event.check(expression, f"features.same_day.{feature}.by")
    for feature, lagged in features.lagged.items():
        for expression in lagged.by:
            of_event.check(expression, f"features.lagged.{feature}.by")
        if lagged.value is not None:
            where = f"features.lagged.{feature}.value"
            _check_type(of_outcome.check(lagged.value, where), numbers, where)


def _check_type(found: str, wanted: tuple[str, ...], where: str) -> None:
    if found.partition("(")[0] not in wanted:
        raise ConfigError(
            f"{where} is a {found}; it must be {'a BOOLEAN' if len(wanted) == 1 else 'a number or a BOOLEAN'}: compare or convert it there"
        )


def _check_side_keys(connection: duckdb.DuckDBPyConnection, dataset: Dataset, features: Features, raw: Path) -> None:
    for table in sorted({join.table or alias for alias, join in features.joins.items()}):
        key = ", ".join(map(name, dataset.tables[table].key))
        repeated = connection.sql(
            f"SELECT {key}, count(*) FROM read_parquet({text(_whole(raw / f'{table}.parquet'))}) GROUP BY {key} HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
        ).fetchall()
        for *values, count in repeated:
            raise DataError(
                f"the side table {table} holds {count} rows with the key ({key}) = ({', '.join(map(str, values))}); a join would "
                "double events: deliver one row a key, or declare the whole key"
            )


def _whole(path: Path) -> Path:
    open_parquet(path).close()
    return path


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    features: Features,
    raw: Path,
    *,
    groups: dict[tuple[str, ...], str],
    values: dict[str | None, str],
) -> None:
    """View ``keyed``: one row an event, with the joined columns, the keys of the groups and, fenced off by name, label and lagged values."""
    label = f"({dataset.label.expression})"
    computed = [f"{name(dataset.event_time)}::DATE AS __date", "file_row_number AS __row", f"{label} AS __label"]
    computed += [f"TRY_CAST(round(({value or label})::DOUBLE * {_SCALE}) AS BIGINT) AS {alias}" for value, alias in values.items()]
    joins = []
    joined = []
    for alias, join in features.joins.items():
        side = dataset.tables[join.table or alias]
        conditions = []
        for column, expression in join.key.items():
            on = name(f"__on_{alias}_{column}")
            computed.append(f"({expression}) AS {on}")
            conditions.append(f"event.{on} = {name(alias)}.{name(column)}")
        if side.event_time is not None:  # so that a row sees the same of the table, however much of it was read
            moment = f"{name(alias)}.{name(side.event_time)}::DATE"
            conditions.append(f"{moment} <= event.__date AND {moment} >= event.__date - {JOIN_LOOKBACK_DAYS}")
        file = text(raw / f"{join.table or alias}.parquet")
        joins.append(f"LEFT JOIN read_parquet({file}) AS {name(alias)} ON {' AND '.join(conditions)}")
        joined += [f"{name(alias)}.{name(column)} AS {name(f'{alias}_{column}')}" for column in side.columns if column not in side.key]
    later = f"EXCLUDE ({', '.join(['file_row_number', *map(name, dataset.known_later)])})"
    events = f"read_parquet({text(_whole(raw / 'events.parquet'))}, file_row_number = true)"
    keys = [f"({expression}) AS {alias}_{number}" for by, alias in groups.items() for number, expression in enumerate(by)]
    connection.execute(
        f"CREATE TEMP VIEW keyed AS WITH event AS NOT MATERIALIZED (SELECT * {later}, {', '.join(computed)} FROM {events}), "
        f"joined AS NOT MATERIALIZED (SELECT {', '.join(['event.*', *joined])} FROM event {' '.join(joins)}) "
        f"SELECT {', '.join(['*', *keys])} FROM joined"
    )


def _finite(expression: str, missing: float) -> str:
    number = f"({expression})::DOUBLE"
    return f"CASE WHEN isfinite({number}) THEN greatest(least({number}, {_FLOAT_MAX}), -{_FLOAT_MAX}) ELSE {missing!r}::DOUBLE END"


def category_values(dataset: Dataset, feature: str, declared: Categorical) -> tuple[str, ...]:
    """The declared values of the categorical `feature`, in the order of their codes. Raises `ConfigError` where there are none."""
    values = declared.values
    if values is None and (column := dataset.columns.get(declared.expression or feature)) is not None:
        values = column.values
    if not values:
        raise ConfigError(f"features.categorical.{feature} has no values; declare them there, or with the column")
    return values


def _code(expression: str, values: tuple[str, ...]) -> str:
    word = f"({expression})::VARCHAR"
    known = f"[{', '.join(map(text, values))}]"
    return f"CASE WHEN {word} IS NULL THEN {MISSING} ELSE coalesce(list_position({known}, {word}), {UNSEEN + 1}) - 1 END"


def _from_holiday(holidays: Holidays) -> str:
    days = ", ".join(f"{text(parse_partition(day))}::DATE" for day in holidays.dates)
    offsets = sorted(range(-holidays.within_days, holidays.within_days + 1), key=lambda offset: (abs(offset), offset))
    cases = " ".join(f"WHEN keyed.__date - ({offset}) IN ({days}) THEN {offset}" for offset in offsets)
    return f"CASE {cases} ELSE {holidays.within_days + 1} END"


def _keys(by: tuple[str, ...], alias: str) -> list[str]:
    return [f"{alias}_{number}" for number in range(len(by))]


def _join(table: str, keys: list[str]) -> str:
    return f"LEFT JOIN (SELECT * FROM {table} WHERE {_DATES}) AS {table} ON " + " AND ".join(
        f"keyed.{key} = {table}.{key}" for key in ["__date", *keys]
    )


def _count(connection: duckdb.DuckDBPyConnection, by: tuple[str, ...], alias: str, dates: str) -> str:
    keys = _keys(by, alias)
    filled = " AND ".join([dates, *(f"{key} IS NOT NULL" for key in keys)])
    connection.execute(
        f"CREATE TEMP TABLE same_day{alias} AS SELECT {', '.join(['__date', *keys])}, count(*) AS n FROM keyed WHERE {filled} GROUP BY ALL"
    )
    return _join(f"same_day{alias}", keys)


def _aggregate(
    connection: duckdb.DuckDBPyConnection, keys: list[str], table: str, value: str, *, windows: list[int], delay: int, dates: str
) -> str:
    """Make `table`: for each date and key of the target the sum (s) and number (n) of `value` in each window; returns its join."""
    filled = " AND ".join([f"{key} IS NOT NULL" for key in keys] or ["true"])
    daily = f"SELECT {', '.join(['__date', *keys])}, sum({value}) AS s, count({value}) AS n FROM keyed WHERE {filled} GROUP BY ALL"
    frames = []
    sums = []
    for days in windows:
        partition = f"PARTITION BY {', '.join(keys)}" if keys else ""
        frames.append(
            f"w{days} AS ({partition} ORDER BY __date - DATE '1970-01-01' RANGE BETWEEN {delay + days} PRECEDING AND {delay + 1} PRECEDING)"
        )
        sums.append(f"coalesce(sum(s) OVER w{days}, 0) AS s{days}, coalesce(sum(n) OVER w{days}, 0) AS n{days}")
    connection.execute(
        f"CREATE TEMP TABLE {table} AS SELECT * FROM "
        f"(SELECT {', '.join(['__date', *keys, *sums])} FROM ({daily}) WINDOW {', '.join(frames)}) WHERE {dates}"
    )
    return _join(table, keys)


def _lagged(lagged: Lagged, alias: str, value: str) -> str:
    days, own, all_rows = lagged.window_days, f"lagged{alias}{value}", f"lagged{value}"
    count = f"coalesce({own}.n{days}, 0)"
    if lagged.statistic == "count":
        return count
    mean = f"({all_rows}.s{days}::DOUBLE / {_SCALE} / {all_rows}.n{days})"
    smoothed = f"(coalesce({own}.s{days}, 0)::DOUBLE / {_SCALE} + {lagged.prior_weight!r} * {mean}) / ({count} + {lagged.prior_weight!r})"
    return f"CASE WHEN {all_rows}.n{days} > 0 AND {count} + {lagged.prior_weight!r} > 0 THEN {smoothed} ELSE {lagged.nothing_seen!r}::DOUBLE END"
