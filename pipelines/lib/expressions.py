"""SQL expressions that people write into ``params.yaml``: checked before they run.

An expression may use the columns it is offered and nothing else: no other table, no other row, no clock and no chance. What
is known only after the event is not offered to features, so it cannot leak into them, whatever the expression is.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from pipelines.lib.engine import name, text
from pipelines.lib.errors import ConfigError


class Checker:
    """Checks expressions over `columns` (name to DuckDB type); `known_later` are named in the refusal.

    `refused` are the functions that no expression may call, see `refused_functions`.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, refused: frozenset[str], columns: Mapping[str, str], known_later: tuple[str, ...] = ()
    ) -> None:
        self._connection = connection
        self._refused = refused
        self._columns = {column.lower() for column in columns}
        self._known_later = {column.lower() for column in known_later}
        self._offered = "(SELECT " + ", ".join(f"NULL::{kind} AS {name(column)}" for column, kind in columns.items()) + ")"

    def check(self, expression: str, where: str) -> str:
        """The DuckDB type of `expression`, which stands at `where` in the parameters. Raises `ConfigError`."""
        shown = f"{where} is {expression!r}"
        [(tree,)] = self._connection.sql(f"SELECT json_serialize_sql({text(_select(expression))})").fetchall()
        parsed = json.loads(tree)
        if parsed["error"]:
            raise ConfigError(f"{shown}, which is no SQL expression: {parsed['error_message']}")
        if len(parsed["statements"]) != 1 or len(parsed["statements"][0]["node"]["select_list"]) != 1:
            raise ConfigError(f"{shown}; write exactly one expression")
        if parsed["statements"][0]["node"]["select_list"][0].get("function_name") == "row":  # what is left of an empty one
            raise ConfigError(f"{shown}, which is no SQL expression: it is empty or a row")
        for node in _nodes(parsed["statements"]):
            self._check_node(node, shown)
        try:
            return str(self._connection.sql(f"{_select(expression)} FROM {self._offered}").types[0])
        except duckdb.Error as error:
            raise ConfigError(f"{shown}, which cannot be computed: {str(error).splitlines()[0]}") from None

    def _check_node(self, node: dict[str, Any], shown: str) -> None:
        if node["class"] == "COLUMN_REF":
            column = ".".join(node["column_names"])
            if column.lower() in self._known_later:
                raise ConfigError(
                    f"{shown}, but {column!r} is known only after the event (dataset.known_later): a feature may use it in a lagged value only"
                )
            if column.lower() not in self._columns:
                raise ConfigError(f"{shown}, but there is no column {column!r}; there are {', '.join(sorted(self._columns))}")
        elif node["class"] in ("SUBQUERY", "WINDOW", "STAR", "PARAMETER", "LAMBDA"):
            raise ConfigError(f"{shown}, which holds a {node['class'].lower()}; an expression sees one row and nothing else")
        elif node["class"] == "FUNCTION" and node["function_name"] in self._refused:
            raise ConfigError(f"{shown}, but {node['function_name']}() looks at other rows, the clock or chance; a feature must not")


def refused_functions(connection: duckdb.DuckDBPyConnection) -> frozenset[str]:
    """The functions whose value follows from more than their arguments: aggregates, clocks, random numbers."""
    found = connection.sql(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type NOT IN ('scalar', 'macro') OR stability <> 'CONSISTENT'"
    ).fetchall()
    return frozenset(function for (function,) in found)


def _select(expression: str) -> str:
    return f"SELECT ({expression}\n)"  # the line end closes a comment


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    if isinstance(tree, dict):
        if isinstance(tree.get("class"), str):
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)
