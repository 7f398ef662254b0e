"""The type of the label: an expression that is true or false, or a number, as its task says. NULL is a row without an outcome."""

import duckdb

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.tables.column import sql_type
from pipelines.lib.tables.dataset import Dataset, TaskName
from pipelines.lib.tables.expressions import Checker, enclosed

NUMBERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"} | {"FLOAT", "DOUBLE", "DECIMAL"}
)
"""The types of a label that is a number, without the digits of a decimal."""

SQL_TYPE = {"binary": "TINYINT", "regression": "DOUBLE"}
"""The type in which the outcome of each task is kept."""


def check_label(connection: duckdb.DuckDBPyConnection, dataset: Dataset, where: str = "dataset.label.expression") -> None:
    """Raise `ConfigError`, which names `where`, unless the label is of the type of its task."""
    found, expression = _type_of(connection, dataset, where), dataset.label.expression
    if dataset.label.task == "regression":
        if not _is_number(found):
            remedy = "write task: binary" if found == "BOOLEAN" else "give a number, such as length(…) or a column of type float"
            raise ConfigError(f"{where} is {expression!r}, which is a {found}, and label.task is regression; {remedy}")
    elif found != "BOOLEAN":
        if found == '"NULL"':
            raise ConfigError(f"{where} is {expression!r}, which is NULL in every row; name a column that has the outcome")
        compared = (
            f"{expression} = 'one of its values'" if found == "VARCHAR" else f"{expression} {'> 0' if _is_number(found) else 'IS NOT NULL'}"
        )
        forecast = ", or write task: regression to forecast the number" if _is_number(found) else ""
        raise ConfigError(
            f"{where} is {expression!r}, which is a {found}; compare it, so that it is true or false, as in {compared}{forecast}"
        )


def finite_outcome(dataset: Dataset) -> str:
    """Return the SQL of the outcome of a row, in the type of its task. A number that is infinite or not a number does not count as an outcome."""
    label = f"{enclosed(dataset.label.expression)}::{SQL_TYPE[dataset.label.task]}"
    return f"CASE WHEN isfinite({label}) THEN {label} END" if dataset.label.task == "regression" else label


def task_seen(connection: duckdb.DuckDBPyConnection, dataset: Dataset, events: str, where: str) -> TaskName:
    """Return the task of a label whose declaration leaves it open: regression for a number. Raises `ConfigError` for a number that is 0 or 1 in all rows.

    `events` is a relation with the columns of the dataset.
    """
    expression = dataset.label.expression
    if not _is_number(_type_of(connection, dataset, where)):
        return "binary"
    [(values,)] = connection.sql(
        f"SELECT list(DISTINCT v ORDER BY v) FROM (SELECT {enclosed(expression)} AS v FROM {events} LIMIT 1000000)"
    ).fetchall()
    if len(known := [value for value in values or () if value is not None]) <= 2 and known:
        shown = " or ".join(f"{value:g}" for value in map(float, known))
        raise ConfigError(
            f"{where} is {expression!r}, which is {shown} in all rows; compare it, as in {expression} = {float(known[-1]):g}, for a question of yes "
            "or no, or write task: regression to forecast the number"
        )
    return "regression"


def with_task(dataset: Dataset, task: TaskName) -> Dataset:
    """Return `dataset` with a label of another `task`."""
    return dataset.model_copy(update={"label": dataset.label.model_copy(update={"task": task})})


def _type_of(connection: duckdb.DuckDBPyConnection, dataset: Dataset, where: str) -> str:
    kinds = {column: sql_type(declared) for column, declared in dataset.columns.items()}
    return Checker(connection, kinds).check(dataset.label.expression, where)


def _is_number(kind: str) -> bool:
    return kind.partition("(")[0] in NUMBERS
