"""The columns that a declaration uses, found in its YAML before its columns are complete."""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import duckdb

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.tables.engine import name


def used_columns(connection: duckdb.DuckDBPyConnection, dataset: Mapping[str, Any], features: Mapping[str, Any]) -> list[str]:
    """Return the columns of the events that sections `dataset` and `features` use, in the order of their first use.

    Columns of joined tables are not among them. Raises `ConfigError` if key, time or label is missing, or a list of columns is one name.
    """
    if missing := [key for key in ("source", "key", "event_time", "label") if not dataset.get(key)]:
        raise ConfigError(f"dataset.{missing[0]} is missing; declare it, or let python -m pipelines.use_case init write the file")
    if wrong := [key for key in ("key", "known_later") if isinstance(dataset.get(key), str)]:
        raise ConfigError(f"dataset.{wrong[0]} is {dataset[wrong[0]]!r}; write a list: {wrong[0]}: [{dataset[wrong[0]]}]")
    joined = {
        f"{alias}_{column}".lower()
        for alias, join in _mappings(features.get("joins"))
        for column in (_mapping(_mapping(dataset.get("tables")).get(join.get("table") or alias)).get("columns") or {})
    }
    declared = [dataset["event_time"], *dataset["key"], *(dataset.get("columns") or {}), *(dataset.get("known_later") or ())]
    found = dict.fromkeys(column for column in declared if isinstance(column, str))  # another check names those that YAML reads otherwise
    for expression in [str(_mapping(dataset["label"]).get("expression") or ""), *expressions(features)]:
        for column in columns_in(connection, expression):
            if column.lower() not in joined and column.lower() not in map(str.lower, found):
                found[column] = None
    return list(found)


def expressions(features: Mapping[str, Any]) -> Iterator[str]:
    """Yield each expression in the section `features`."""
    for _, join in _mappings(features.get("joins")):
        yield from _texts(_mapping(join.get("key")).values())
    for group in ("numeric", "categorical"):
        for feature, declared in _mappings(features.get(group)):
            yield str(declared.get("expression") or name(feature))
    for group in ("same_day", "lagged"):
        for _, declared in _mappings(features.get(group)):
            yield from _texts([*(declared.get("by") or ()), declared.get("value")])


def columns_in(connection: duckdb.DuckDBPyConnection, expression: str) -> list[str]:
    """Return the columns that `expression` names, each once; none if it is not SQL, which another check says."""
    [(tree,)] = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [f"SELECT ({expression}\n)"]).fetchall()
    return list(dict.fromkeys(_column_names(json.loads(tree))))


def as_sql(connection: duckdb.DuckDBPyConnection, column: str) -> str:
    """Return how `column` is written in an expression: in quotes if it is a word of SQL or has other signs than letters, digits and underscores."""
    return column if column.isidentifier() and columns_in(connection, column) == [column] else name(column)


def _column_names(tree: object) -> Iterator[str]:
    if isinstance(tree, dict):
        if tree.get("class") == "COLUMN_REF":
            yield ".".join(tree["column_names"])
        for value in tree.values():
            yield from _column_names(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _column_names(value)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _mappings(value: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((key, _mapping(inner)) for key, inner in _mapping(value).items() if isinstance(key, str))


def _texts(values: Iterable[object]) -> Iterator[str]:
    return (str(value) for value in values if value is not None)
