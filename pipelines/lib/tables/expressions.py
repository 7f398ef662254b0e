"""SQL expressions that people write into ``params.yaml``: checked before they run.

An expression may use the columns it is offered, and functions of `pipelines.lib.tables.pure_functions`: no other table, no other
row, no clock and no chance. A feature is not offered what is known only after the event, so an expression cannot leak it.
"""

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.tables.engine import UTC, bare_connection, name
from pipelines.lib.tables.local_time import INSTANT, says_its_zone
from pipelines.lib.tables.pure_functions import (
    PURE_FUNCTIONS,
    PURE_NODES,
    PURE_OPERATORS,
    PURE_TYPES,
    UNBOUNDED,
    ZONE_FUNCTION,
    ZONED_FUNCTIONS,
)
from pipelines.lib.tables.text_growth import MOST_GROWTH, UnboundedReplacement, growth

_LIST = "docs/reference/features.md lists what an expression may use"

_DATE = re.compile(r"\s*[0-9]{4}-[0-9]")
"""The beginning of a date as text."""


def enclosed(expression: str) -> str:
    """Return `expression` as one operand of a larger one. The line end closes a comment."""
    return f"({expression}\n)"


def columns_of(connection: duckdb.DuckDBPyConnection, expression: str) -> list[str]:
    """Return the columns that `expression`, which has passed its check, reads, each once."""
    tree = _tree(connection, f"SELECT {enclosed(expression)}")
    return list(dict.fromkeys(".".join(node["column_names"]) for node in _nodes(tree["statements"]) if node["class"] == "COLUMN_REF"))


class Checker:
    """Checks expressions over `columns` (name to DuckDB type); the refusal names those that are `known_later`."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, columns: Mapping[str, str], known_later: tuple[str, ...] = ()) -> None:
        self._connection = connection
        self._columns = {column.lower() for column in columns}
        self._known_later = {column.lower() for column in known_later}
        self._has_instants = INSTANT in columns.values()
        self._row = "(SELECT " + ", ".join(f"NULL::{kind} AS {name(column)}" for column, kind in columns.items()) + ")"
        self._aggregates, self._types = _aggregates_and_pure_types()
        self._found: dict[str, str] = {}
        self._nothing = _around(_tree(connection, f"SELECT {enclosed('NULL')}"))

    def check(self, expression: str, where: str) -> str:
        """Return the DuckDB type of `expression`, which stands at `where` in the parameters. Raises `ConfigError`."""
        if expression in self._found:  # lagged features group by the same columns again and again
            return self._found[expression]
        shown = f"{where} is {expression!r}"
        root = self._parse(expression, shown)
        for node in _nodes(root):
            self._check_node(node, shown)
        _check_growth(root, shown)
        try:
            self._found[expression] = str(self._connection.sql(f"SELECT {enclosed(expression)} FROM {self._row}").types[0])
        except duckdb.Error as error:
            raise ConfigError(f"{shown}, which cannot be computed: {str(error).splitlines()[0]}") from None
        return self._found[expression]

    def _parse(self, expression: str, shown: str) -> Any:
        """Return the syntax tree of `expression`, which must be one expression both alone and enclosed in brackets.

        Alone, a bracket that closes what it has not opened is a fault. Enclosed, the rest of the SELECT must stay as empty as
        that of a constant: nothing may get behind it, such as FROM, UNION or a second column.
        """
        alone, whole = _trees(self._connection, f"SELECT {expression}\n", f"SELECT {enclosed(expression)}")
        for tree in (alone, whole):
            if tree["error"]:
                raise ConfigError(
                    f"{shown}, which is not a SQL expression: {tree['error_message']}. Write exactly one, with each bracket closed"
                )
        if _around(whole) != self._nothing:
            raise ConfigError(f"{shown}; write exactly one expression")
        selected = whole["statements"][0]["node"]["select_list"]
        if len(selected) != 1 or selected[0].get("function_name") == "row":
            raise ConfigError(f"{shown}, which is a row; write exactly one expression")
        return selected[0]

    def _check_node(self, node: dict[str, Any], shown: str) -> None:
        kind = node["class"]
        if kind not in PURE_NODES or (kind == "OPERATOR" and node["type"] not in PURE_OPERATORS):
            raise ConfigError(f"{shown}, which holds a {node['type'].lower()}; an expression sees one row and nothing else. {_LIST}")
        if self._has_instants and kind in ("COMPARISON", "BETWEEN", "OPERATOR", "CASE", "FUNCTION"):
            self._check_mixture(node, shown)
        if kind == "COLUMN_REF":
            self._check_column(".".join(node["column_names"]), shown)
        elif kind == "FUNCTION":
            self._check_function(node, shown)
        elif kind == "TYPE" and node["type_name"].lower() not in self._types:
            raise ConfigError(f"{shown}, but a cast to {node['type_name']} may depend on more than its argument. {_LIST}")

    def _check_column(self, column: str, shown: str) -> None:
        if column.lower() in self._known_later:
            raise ConfigError(
                f"{shown}, but {column!r} is known only after the event (dataset.known_later): a feature may use it in a lagged value only"
            )
        if column.lower() not in self._columns:
            raise ConfigError(f"{shown}, but there is no column {column!r}; there are {', '.join(sorted(self._columns))}")

    def _check_function(self, node: dict[str, Any], shown: str) -> None:
        function = node["function_name"]
        if function == ZONE_FUNCTION and self._names_its_zones(node):
            return
        if function in ZONED_FUNCTIONS and any(self._of_instant(node, place) for place in range(len(node["arguments"]))):
            raise ConfigError(
                f"{shown}, but {function}() of an instant is wrong in the hour that the clocks show twice; {ZONED_FUNCTIONS[function]}"
            )
        if function == ZONE_FUNCTION:
            raise ConfigError(
                f"{shown}, but one AT TIME ZONE gives a time that the session's time zone changes; "
                "write two: t AT TIME ZONE 'UTC' AT TIME ZONE 'Europe/Berlin'"
            )
        if function in self._aggregates or node.get("filter") or node.get("distinct") or node["order_bys"]["orders"]:
            raise ConfigError(f"{shown}, but {function}() looks at other rows; an expression sees one row and nothing else")
        if function in UNBOUNDED:
            raise ConfigError(
                f"{shown}, but {function}() may give one row a result of gigabytes; to pad, write right('000' || x, 3), "
                "to show a number x::VARCHAR"
            )
        if function not in PURE_FUNCTIONS or node.get("schema") or node.get("catalog"):
            raise ConfigError(
                f"{shown}, but {function}() is not known to depend on its arguments alone (it may read the clock, chance or a file). {_LIST}"
            )

    def _names_its_zones(self, node: dict[str, Any]) -> bool:
        """Return whether the zone function `node` gives the wall-clock time of an instant, or of a wall-clock time in another zone."""
        if self._of_instant(node, 1):
            return True
        inner = _zoned(node) or {}
        back_to_an_instant = inner.get("function_name") == ZONE_FUNCTION and self._of_instant(inner, 1)
        return bool(node.get("pure_zone")) and not back_to_an_instant

    def _of_instant(self, node: dict[str, Any], place: int) -> bool:
        """Return whether the argument of the function `node` at `place` is an instant."""
        operands = list(_operands(node["arguments"]))
        return place < len(operands) and self._type_of(operands[place]) == INSTANT

    def _type_of(self, node: dict[str, Any]) -> str:
        """Return the DuckDB type of the part `node` of an expression; none if it cannot be computed, which the whole expression says."""
        if not self._has_instants:  # nothing depends on the type then
            return ""
        tree = _tree(self._connection, "SELECT NULL")
        tree["statements"][0]["node"]["select_list"] = [node]
        try:
            [(alone,)] = self._connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(tree)]).fetchall()
            return str(self._connection.sql(f"{alone} FROM {self._row}").types[0])
        except duckdb.Error:
            return ""

    def _check_mixture(self, node: dict[str, Any], shown: str) -> None:
        """Raise `ConfigError` if `node` takes an instant and a time without a zone together: DuckDB would guess which instant is meant."""
        operands = list(_operands([value for value in node.values() if isinstance(value, dict | list)]))
        types = [self._type_of(operand) for operand in operands]
        if INSTANT not in types:
            return
        compared = node["class"] in ("COMPARISON", "BETWEEN") or node["type"] in ("COMPARE_IN", "COMPARE_NOT_IN")
        for operand, kind in zip(operands, types, strict=True):
            literal = operand.get("literal", {})
            is_text = literal.get("kind") == "STRING"
            names_a_time = is_text and (compared or _DATE.match(literal["text"]) is not None)  # and not a unit, a format or a zone
            if (
                kind == "DATE"
                or kind.removesuffix("_NS") == "TIMESTAMP"
                or (names_a_time and not says_its_zone(literal["text"]))
                or (compared and not is_text and kind == "VARCHAR")
            ):
                raise ConfigError(
                    f"{shown}, but it takes an instant and a time without a zone together, and an hour may come twice; write t::DATE or t::TIMESTAMP for "
                    "the instant, or an offset in the text, as in '2025-10-26 02:30:00+02:00'"
                )


def _operands(part: object) -> Iterator[dict[str, Any]]:
    """Yield the expressions in `part` of a node, and nothing within them."""
    for value in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        if isinstance(value, dict) and isinstance(value.get("class"), str):
            yield value
        else:
            yield from _operands(value)


def _check_growth(root: dict[str, Any], shown: str) -> None:
    """Raise `ConfigError` if the text that the expression `root` makes may be many times as long as those of the row."""
    try:
        times = growth(root)
    except UnboundedReplacement as error:
        raise ConfigError(
            f"{shown}, but {error}() with a replacement that is not a text in quotes may give one row a result of gigabytes; write the replacement out"
        ) from None
    if times > MOST_GROWTH:
        raise ConfigError(
            f"{shown}, whose result may be {times} times as long as the texts of a row (the limit is {MOST_GROWTH}); nest fewer functions that "
            "make a text longer, or shorten the replacements"
        )


@functools.cache  # of the engine, not of a connection; to list them takes 20 ms
def _aggregates_and_pure_types() -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of functions that look at other rows, and those of the types to which a cast depends on its argument alone."""
    connection = bare_connection(UTC)
    functions = connection.sql("SELECT function_name FROM duckdb_functions() WHERE function_type IN ('aggregate', 'window')").fetchall()
    types = connection.sql("SELECT type_name, logical_type FROM duckdb_types()").fetchall()
    return frozenset(function for (function,) in functions), frozenset(alias.lower() for alias, logical in types if logical in PURE_TYPES)


def _tree(connection: duckdb.DuckDBPyConnection, select: str) -> dict[str, Any]:
    [tree] = _trees(connection, select)
    return tree


def _trees(connection: duckdb.DuckDBPyConnection, *selects: str) -> list[dict[str, Any]]:
    """Return the syntax trees of `selects`, in one query: a query takes longer than what it asks for here."""
    asked = ", ".join(["json_serialize_sql(?::VARCHAR)"] * len(selects))
    [trees] = connection.execute(f"SELECT {asked}", list(selects)).fetchall()
    return [dict(json.loads(tree)) for tree in trees]


def _around(tree: dict[str, Any]) -> list[Any]:
    """Return all of the statements in `tree` but what they select, and where in the text they stand."""

    def bare(part: Any) -> Any:
        if isinstance(part, dict):
            return {
                key: bare(value)
                for key, value in part.items()
                if key not in ("select_list", "query_location", "query_location_length", "named_param_map")
            }
        return [bare(value) for value in part] if isinstance(part, list) else part

    return [bare(statement) for statement in tree["statements"]]


def _nodes(tree: object) -> Iterator[dict[str, Any]]:
    """Yield each node of `tree`, its parents first. A pair of `ZONE_FUNCTION` is marked as ``pure_zone``."""
    if isinstance(tree, dict):
        if isinstance(tree.get("class"), str):
            inner = _zoned(tree)
            if inner is not None and not tree.get("pure_zone") and _zoned(inner) is not None:
                tree["pure_zone"] = inner["pure_zone"] = True
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from _nodes(value)


def _zoned(node: dict[str, Any]) -> dict[str, Any] | None:
    """Return the time whose zone `node` sets, if it does so."""
    arguments = node.get("arguments") or []
    if node.get("function_name") != ZONE_FUNCTION or len(arguments) != 2:
        return None
    return dict.get(arguments[1], "expression")
