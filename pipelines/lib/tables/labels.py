"""The type of the label: an expression that is true, false or NULL. A number or a text would become an outcome that nobody declared."""

import duckdb

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.tables.column import sql_type
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.expressions import Checker


def check_label(connection: duckdb.DuckDBPyConnection, dataset: Dataset, where: str = "dataset.label.expression") -> None:
    """Raise `ConfigError`, which names `where`, unless the label is an expression that is true, false or NULL."""
    kinds = {column: sql_type(declared) for column, declared in dataset.columns.items()}
    expression = dataset.label.expression
    found = Checker(connection, kinds).check(expression, where)
    if found != "BOOLEAN":
        compared = f"{expression} = 'yes'" if found == "VARCHAR" else f"{expression} > 0"
        raise ConfigError(f"{where} is {expression!r}, which is a {found}; compare it, so that it is true or false, as in {compared}")
