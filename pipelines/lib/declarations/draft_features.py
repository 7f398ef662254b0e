"""The section ``features`` of a first declaration: one feature for each column that looks like one."""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import Any

import duckdb

from pipelines.lib.declarations.candidates import named_as_key
from pipelines.lib.declarations.facts import EVENTS, Facts
from pipelines.lib.declarations.references import as_sql
from pipelines.lib.tables.dataset import RESERVED
from pipelines.lib.tables.engine import name

_MOST_GROUPS = 5_000
"""Values of a text column up to which the mean of past outcomes by value is worth a feature."""


def draft_features(
    connection: duckdb.DuckDBPyConnection, offered: Mapping[str, str], facts: Facts, kind_of_time: str, taken: Iterable[str]
) -> dict[str, Any]:
    """Return the section for the `offered` columns, name to type. No feature may have a name that is `taken`."""
    numbers = [
        column for column, kind in offered.items()
        if kind in ("integer", "float", "boolean") and not (kind == "integer" and named_as_key(column))
    ]  # fmt: skip
    missing = _missing(connection, numbers)
    texts_of_few = {column: facts.columns[column].values or () for column, kind in offered.items() if kind == "string"}
    few = [column for column, values in texts_of_few.items() if len(values) > 1]
    texts = [
        column
        for column in offered
        if column not in {*few, *numbers} and len(texts_of_few.get(column, ())) != 1 and offered[column] in ("string", "integer")
    ]
    grouped = few[:3] + [column for column in texts if 1 < facts.columns[column].distinct <= _MOST_GROUPS][:2]
    calendar = ["hour", "weekday"] if kind_of_time == "timestamp" else ["weekday"]
    names = _Names([*RESERVED, *taken, *calendar])
    numeric, categorical, lagged = {}, {}, {}
    for column in numbers:
        feature = names.give(column)
        numeric[feature] = {**_expression(connection, feature, column), "missing": missing[column]}
    for column in few:
        feature = names.give(column)
        categorical[feature] = _expression(connection, feature, column)
    for column in grouped:
        lagged[names.give(f"rate_by_{column}")] = {"by": [as_sql(connection, column)], "window_days": 28, "prior_weight": 20}
    found = {"numeric": numeric, "categorical": categorical, "calendar": calendar, "lagged": lagged}
    return {key: value for key, value in found.items() if value}


def _expression(connection: duckdb.DuckDBPyConnection, feature: str, column: str) -> dict[str, str]:
    """Return the expression of a `feature`, which it only needs if it is not called as its `column`."""
    return {} if feature == column else {"expression": as_sql(connection, column)}


class _Names:
    """The names of features: letters, digits and underscores, and none twice, also without regard to case."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = {one.lower() for one in taken}

    def give(self, wanted: str) -> str:
        """Return a free name that is `wanted` or like it."""
        plain = unicodedata.normalize("NFKD", wanted).encode("ascii", "ignore").decode()
        plain = re.sub(r"[^A-Za-z0-9_]+", "_", plain).strip("_") if plain != wanted or not plain.isidentifier() else plain
        given = plain if re.match("[A-Za-z]", plain) else f"own_{plain}".rstrip("_")
        if given.lower() in self._taken and not given.startswith("own_"):
            given = f"own_{given}"
        number, free = 1, given
        while free.lower() in self._taken:
            number += 1
            free = f"{given}_{number}"
        self._taken.add(free.lower())
        return free


def _missing(connection: duckdb.DuckDBPyConnection, numbers: Iterable[str]) -> dict[str, int]:
    """Return for each column a number that none of its values is, so that a gate can count it: -1, or one below the least."""
    columns = list(numbers)
    if not columns:
        return {}
    least = ", ".join(f"min({name(column)}::DOUBLE) FILTER (isfinite({name(column)}::DOUBLE))" for column in columns)
    [row] = connection.sql(f"SELECT {least} FROM {EVENTS}").fetchall()
    return {column: -1 if low is None or low >= 0 else math.floor(low) - 1 for column, low in zip(columns, row, strict=True)}
