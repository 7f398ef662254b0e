"""Bounds of integers that a float64 cannot hold, compared by DuckDB: Great Expectations makes a float of every bound."""

from collections.abc import Sequence

import duckdb
import pyarrow as pa

from pipelines.lib.gates.counting import counted, finding_of, holds_enough
from pipelines.lib.gates.frames import LARGEST_EXACT
from pipelines.lib.gates.report import FAILED, PASSED, SAMPLES, Finding, plain
from pipelines.lib.gates.suite import Expectation, columns_of
from pipelines.lib.tables.engine import name

_AGGREGATES = {"expect_column_max_to_be_between": "max", "expect_column_min_to_be_between": "min"}


def needs_whole_numbers(expectation: Expectation, schema: pa.Schema) -> bool:
    """Return whether `expectation` bounds an integer column by a whole number so large that a float64 may be another one."""
    if expectation.type not in ("expect_column_values_to_be_between", *_AGGREGATES) or "row_condition" in expectation.kwargs:
        return False
    bounds = [expectation.kwargs.get(bound) for bound in ("min_value", "max_value")]
    return pa.types.is_integer(schema.field(expectation.kwargs["column"]).type) and any(
        isinstance(bound, int) and abs(bound) >= LARGEST_EXACT for bound in bounds
    )


def judge_bounds(connection: duckdb.DuckDBPyConnection, table: str, expectation: Expectation, identity: Sequence[str]) -> Finding:
    """Return the verdict on `expectation`, for which `needs_whole_numbers` is true, on the rows of `table`. `identity` names a sample
    row.
    """
    [column] = columns_of(expectation)
    quoted, kwargs = name(column), expectation.kwargs
    outside = " OR ".join(
        f"{quoted} {sign}{'=' if kwargs.get(strict) else ''} {kwargs[bound]!r}"
        for bound, sign, strict in (("min_value", "<", "strict_min"), ("max_value", ">", "strict_max"))
        if kwargs.get(bound) is not None
    )
    if function := _AGGREGATES.get(expectation.type):
        [(found, broken)] = connection.sql(
            f"SELECT {quoted}, {outside} FROM (SELECT {function}({quoted}) AS {quoted} FROM {table})"
        ).fetchall()
        return (
            counted(expectation, True, 0, 0, []) if found is None else finding_of(expectation, FAILED if broken else PASSED, observed=found)
        )
    [(considered, unexpected)] = connection.sql(f"SELECT count({quoted}), count_if({outside}) FROM {table}").fetchall()
    shown = ", ".join(map(name, dict.fromkeys([*identity, column])))
    samples = connection.sql(f"SELECT {shown} FROM {table} WHERE {outside} LIMIT {SAMPLES}").to_arrow_table().to_pylist()
    rows = [{key: plain(value) for key, value in sample.items()} for sample in samples]
    return counted(expectation, holds_enough(expectation, considered, unexpected), considered, unexpected, rows)
