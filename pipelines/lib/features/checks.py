"""Which declarations of features are refused: those that cannot be computed, and those that would use what is known only later."""

import re
from pathlib import Path

import duckdb

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.features.declaration import Features
from pipelines.lib.tables.column import sql_type
from pipelines.lib.tables.dataset import RESERVED, Dataset
from pipelines.lib.tables.engine import name, open_parquet, text
from pipelines.lib.tables.expressions import Checker, columns_of
from pipelines.lib.tables.labels import NUMBERS
from pipelines.lib.tables.local_time import INSTANT

_NUMBERS = NUMBERS | {"BOOLEAN"}

_CLOCKLESS = frozenset({"DATE", "TIMESTAMP"})
"""Types that DuckDB compares in silence: a date counts as its midnight."""


def check_declaration(connection: duckdb.DuckDBPyConnection, dataset: Dataset, features: Features) -> dict[str | None, str]:
    """Raise `ConfigError` for what cannot be computed, and for what is known only later. Return the type of each lagged value."""
    names = features.names
    taken = {column.lower() for column in (*dataset.key, dataset.event_time, dataset.label.name, *RESERVED)}
    lower = [feature.lower() for feature in names]
    for feature in names:
        if not re.fullmatch(r"[A-Za-z]\w*", feature, re.ASCII):
            raise ConfigError(f"a feature is called {feature!r}; use letters, digits and underscores")
        if lower.count(feature.lower()) > 1 or feature.lower() in taken:
            raise ConfigError(
                f"the feature {feature!r} shares its name with a key, the label or another feature (without regard to case); rename it"
            )
    everything = {column: sql_type(declared) for column, declared in dataset.columns.items()}
    known = {column: kind for column, kind in everything.items() if column not in dataset.known_later}
    columns = {column.lower() for column in everything}
    before_joins = Checker(connection, known, dataset.known_later)
    offered = dict(known)
    for alias, join in features.joins.items():
        if (table := join.table or alias) not in dataset.tables:
            raise ConfigError(
                f"features.joins.{alias} names {table!r}, not among dataset.tables: {', '.join(dataset.tables) or 'there are none'}"
            )
        side = dataset.tables[table]
        wanted = [column for column in side.key if join.available_after_minutes is None or column != side.event_time]
        if join.available_after_minutes is not None and side.event_time not in side.key:
            raise ConfigError(
                f"features.joins.{alias}.available_after_minutes is {join.available_after_minutes}, but the time of the table is not in its key: declare "
                f"event_time of dataset.tables.{table} and add it to its key, so that the table may hold several versions of a row"
            )
        if set(join.key) != set(wanted):
            raise ConfigError(
                f"features.joins.{alias} joins on {', '.join(join.key)}; join on the whole key of the table: {', '.join(wanted)}"
            )
        for column, expression in join.key.items():
            where = f"features.joins.{alias}.key.{column}"
            given, key_type = before_joins.check(expression, where), sql_type(side.columns[column])
            if given != key_type and (INSTANT in (given, key_type) or {given, key_type} <= _CLOCKLESS):
                raise ConfigError(
                    f"{where} is {expression!r}, a {given}, but the column {column!r} of {table} is a {key_type}; {_as_one(given, key_type, expression)}"
                )
        for column, declared in side.columns.items():
            if column not in side.key:
                if (joined := f"{alias}_{column}").lower() in columns:
                    raise ConfigError(f"the joined column {joined!r} is already a column; rename the join")
                columns.add(joined.lower())
                offered[joined] = sql_type(declared)
    of_event, of_outcome = Checker(connection, offered, dataset.known_later), Checker(connection, everything)
    found = of_outcome.check(dataset.label.expression, "dataset.label.expression")
    outcome = NUMBERS if dataset.label.task == "regression" else frozenset({"BOOLEAN"})
    _check_type(found, outcome, "dataset.label.expression", dataset.label.expression)
    for feature, numeric in features.numeric.items():
        where = f"features.numeric.{feature}"
        _check_type(of_event.check(numeric.expression or name(feature), where), _NUMBERS, where, numeric.expression or name(feature))
    for feature, categorical in features.categorical.items():
        of_event.check(categorical.expression or name(feature), f"features.categorical.{feature}")
    for feature, same_day in features.same_day.items():
        for expression in same_day.by:
            of_event.check(expression, f"features.same_day.{feature}.by")
    values: dict[str | None, str] = {None: found}
    of_label = columns_of(connection, dataset.label.expression)
    for feature, lagged in features.lagged.items():
        for expression in lagged.by:
            of_event.check(expression, f"features.lagged.{feature}.by")
        if lagged.value is not None:
            where = f"features.lagged.{feature}.value"
            values[lagged.value] = of_outcome.check(lagged.value, where)
            if lagged.known == "at_once":
                _check_known_at_once(columns_of(connection, lagged.value), of_label, dataset, where)
            _check_type(values[lagged.value], _NUMBERS, where, lagged.value)
    return values


def _as_one(given: str, key_type: str, expression: str) -> str:
    """Return why a join does not compare a time of type `given` with one of type `key_type`, and what to write instead."""
    if INSTANT in (given, key_type):
        return "compare instants with instants, and dates with dates, as in t::DATE: a time without a zone would be a guess"
    if key_type == "DATE":
        return f"only events of midnight would find a row: write ({expression})::DATE"
    return "only rows of midnight would be found: give a time, or declare the column with type: date"


def _check_known_at_once(columns: list[str], of_label: list[str], dataset: Dataset, where: str) -> None:
    late = dict.fromkeys(map(str.lower, of_label), "decides the label (dataset.label.expression)")
    late |= dict.fromkeys(map(str.lower, dataset.known_later), "is known only after the event (dataset.known_later)")
    for column in columns:
        if reason := late.get(column.lower()):
            raise ConfigError(
                f"{where} is declared as known: at_once, but {column!r} {reason}; take known out, so that the value waits for the delay of the label"
            )


def _check_type(sql_type: str, wanted: frozenset[str], where: str, expression: str) -> None:
    kind = sql_type.partition("(")[0]
    if kind in wanted:
        return
    if len(wanted) == 1:
        line = (
            f"`expression: {expression} > 0`"
            if kind in _NUMBERS
            else f"`expression: {expression} = '…'`"
            if kind == "VARCHAR"
            else "a comparison"
        )
        raise ConfigError(
            f"{where} is a {sql_type}; it must be a BOOLEAN: {expression!r} is not true or false, so compare it, for example {line}"
        )
    raise ConfigError(f"{where} is a {sql_type}; it must be a number or a BOOLEAN: compare or convert {expression!r} there")


def check_side_keys(connection: duckdb.DuckDBPyConnection, dataset: Dataset, features: Features, raw: Path) -> None:
    """Raise `DataError` for a joined side table in which a key repeats."""
    for table in sorted({join.table or alias for alias, join in features.joins.items()}):
        key = ", ".join(map(name, dataset.tables[table].key))
        repeated = connection.sql(
            f"SELECT {key}, count(*) FROM read_parquet({text(whole(raw / f'{table}.parquet'))}) GROUP BY {key} HAVING count(*) > 1 ORDER BY ALL LIMIT 1"
        ).fetchall()
        for *values, count in repeated:
            raise DataError(
                f"the side table {table} holds {count} rows with the key ({key}) = ({', '.join(map(str, values))}); a join would "
                "double events: deliver one row a key, or declare the whole key"
            )


def whole(path: Path) -> Path:
    """Return `path`, if it is a whole Parquet file. Raises `DataError` otherwise."""
    open_parquet(path).close()
    return path
