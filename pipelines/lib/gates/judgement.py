"""The judge: expectations evaluated by Great Expectations in an ephemeral context, however long the table is.

* row by row (nulls, ranges, sets, patterns, pairs): over slices of `SLICE` rows, whose counts are added up;
* unique keys: over the rows whose key DuckDB finds more than once, which are all the rows that can fail, as far as a slice goes;
  DuckDB counts them over the whole table;
* the number of rows and the schema: over frames that have these and no data;
* means, sums, least, largest and distinct values: over what DuckDB has reduced a column to;
* bounds of integers that a float64 cannot hold: nowhere; DuckDB compares them, since Great Expectations makes a float of every bound;
* all else (quantiles, deviations, expectations with a `row_condition` that are not row by row): over the columns that are named, whole.

So memory is bounded by a slice, DuckDB's limit and, for the last kind alone, the named columns. docs/adr/0005 says why.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.gates.counting import counted, finding_of, holds_enough, rows_considered
from pipelines.lib.gates.frames import to_pandas
from pipelines.lib.gates.great_expectations_import import import_great_expectations
from pipelines.lib.gates.report import FAILED, NOT_JUDGED, PASSED, SAMPLES, Finding, clip, line, plain
from pipelines.lib.gates.suite import Expectation, columns_of
from pipelines.lib.gates.whole_numbers import judge_bounds, needs_whole_numbers
from pipelines.lib.tables.engine import connect, name

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import pyarrow as pa

SLICE = 250_000
"""Rows judged at a time: some 50 MB as a frame of twenty columns, and long enough that the overhead of a call does not count."""

_SCHEMA_TYPES = ("expect_column_to_exist", "expect_column_type_to_be", "expect_table_column_count", "expect_table_columns_to_match")

_UNIQUE_TYPES = ("expect_compound_columns_to_be_unique", "expect_column_values_to_be_unique")

_AGGREGATES = {
    f"expect_column_{word}_to_be_between": sql for word, sql in (("mean", "avg"), ("sum", "sum"), ("min", "min"), ("max", "max"))
}
"""Expectations on one number, which DuckDB computes: the mean, sum, least and largest of that single number are the number."""

_DISTINCT = ("expect_column_distinct_values", "expect_column_unique_value_count")

_ACROSS_ROWS = ("z_scores", "outliers", "increasing", "decreasing")
"""Expectations that are reported row by row but compare rows with each other, so that they need the column whole."""


def judge(query: str, expectations: Sequence[Expectation], *, identity: Sequence[str], time_zone: str) -> tuple[int, list[Finding]]:
    """Return the number of rows of the SQL `query` over Parquet files, and one finding for each of `expectations`, in their order.

    Expectations see an instant as the clocks of `time_zone` show it, so that bounds are local times. The columns `identity` name a sample row to a person. An
    expectation that cannot be evaluated does not hold. Raises `ConfigError` for an expectation that does not exist or whose kwargs are wrong.
    """
    with connect(time_zone) as (connection, _):
        connection.execute("SET preserve_insertion_order = true")  # the first unexpected rows are the samples: always the same
        connection.execute(f"CREATE TEMP VIEW gated AS {query}")
        return _Judge(connection, list(dict.fromkeys(identity))).judge(expectations)


class _Judge:
    """One Great Expectations context over the view ``gated`` of `connection`."""

    def __init__(self, connection: "duckdb.DuckDBPyConnection", identity: list[str]) -> None:
        great_expectations = import_great_expectations()
        from great_expectations.data_context.types.base import ProgressBarsConfig

        context = great_expectations.get_context(mode="ephemeral")
        context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
        asset = context.data_sources.add_pandas("gate").add_dataframe_asset("gated")
        self._batches = asset.add_batch_definition_whole_dataframe("whole")
        self._suite = great_expectations.ExpectationSuite
        self._connection = connection
        self._identity = identity
        self._schema: pa.Schema = connection.sql("SELECT * FROM gated LIMIT 0").to_arrow_table().schema
        self._rows = self._number("SELECT count(*) FROM gated")

    def judge(self, expectations: Sequence[Expectation]) -> tuple[int, list[Finding]]:
        findings: dict[int, Finding] = {}
        row_wise: dict[int, Expectation] = {}
        schema: dict[int, Expectation] = {}
        for number, expectation in enumerate(expectations):
            impl = _impl(expectation)
            missing = [column for column in columns_of(expectation) if column not in self._schema.names]
            if missing:
                observed = f"there is no column {', '.join(map(repr, missing))}; there are {', '.join(self._schema.names)}"
                findings[number] = finding_of(expectation, FAILED, observed=observed)
            elif expectation.type.startswith(_SCHEMA_TYPES):
                schema[number] = expectation
            elif needs_whole_numbers(expectation, self._schema):
                findings[number] = judge_bounds(self._connection, "gated", expectation, self._identity)
            elif _is_row_wise(expectation, impl):
                row_wise[number] = expectation
            elif expectation.type in _UNIQUE_TYPES and "row_condition" not in expectation.kwargs:
                findings[number] = self._judge_unique(expectation)
            else:
                findings.update(self._aggregate(self._frame(expectation), {number: expectation}))
        findings.update(self._aggregate(self._without_rows(), schema))
        findings.update(self._judge_rows(row_wise))
        return self._rows, [findings[number] for number in range(len(expectations))]

    def _without_rows(self) -> "pd.DataFrame":
        """Return the schema, in Arrow's own types: float is not double."""
        import pandas as pd

        frame: pd.DataFrame = self._schema.empty_table().to_pandas(types_mapper=pd.ArrowDtype)
        return frame

    def _frame(self, expectation: Expectation) -> "pd.DataFrame":
        """Return the least frame for `expectation`, which is not row by row, about the schema, or of `_judge_unique`."""
        import pandas as pd

        if expectation.type.startswith("expect_table_row_count"):
            return pd.DataFrame(index=pd.RangeIndex(self._rows))
        columns = columns_of(expectation)
        if "row_condition" in expectation.kwargs or not columns:
            query = "SELECT * FROM gated"
        elif expectation.type in _AGGREGATES:
            self._connection.execute("SET threads = 1")  # the last bits of a sum depend on its order
            query = self._aggregate_query(columns[0], _AGGREGATES[expectation.type])
        elif expectation.type.startswith(_DISTINCT):
            query = f"SELECT DISTINCT {name(columns[0])} FROM gated ORDER BY 1"
        else:
            query = f"SELECT {', '.join(map(name, columns))} FROM gated"
        try:
            return to_pandas(self._connection.sql(query).to_arrow_table())
        finally:
            self._connection.execute("RESET threads")

    def _aggregate_query(self, column: str, function: str) -> str:
        quoted = name(column)
        value = f"{quoted}::DOUBLE" if function in ("avg", "sum") else quoted
        return f"SELECT {function}({value}) AS {quoted} FROM gated WHERE {self._present(column)}"

    def _present(self, column: str) -> str:
        """Return the condition that `column` has a value; NaN is none here."""
        import pyarrow as pa

        present = f"{name(column)} IS NOT NULL"
        return f"({present} AND NOT isnan({name(column)}))" if pa.types.is_floating(self._schema.field(column).type) else present

    def _judge_unique(self, expectation: Expectation) -> Finding:
        columns = columns_of(expectation)
        key = ", ".join(map(name, columns))
        wanted = ", ".join(map(name, dict.fromkeys([*columns, *self._identity])))
        present = [self._present(column) for column in columns]
        ignored = {"all_values_are_missing": " OR ".join(present), "any_value_is_missing": " AND ".join(present), "never": "true"}
        considered = ignored[expectation.kwargs.get("ignore_row_if", "all_values_are_missing")]
        repeated = f"SELECT hash({key}) FROM gated WHERE {considered} GROUP BY 1 HAVING count(*) > 1"
        suspects = f"SELECT {wanted} FROM gated WHERE ({considered}) AND hash({key}) IN ({repeated})"
        frame = to_pandas(self._connection.sql(f"{suspects} ORDER BY ALL LIMIT {SLICE}").to_arrow_table())
        [(_, finding)] = self._aggregate(frame, {0: expectation})
        if finding.unexpected_count is None:
            return finding
        rows = self._number(f"SELECT count(*) FROM gated WHERE {considered}")
        unexpected = 0
        if len(frame):
            unexpected = self._number(f"SELECT sum(n) FROM (SELECT count(*) AS n FROM ({suspects}) GROUP BY {key} HAVING n > 1)")
        return counted(expectation, holds_enough(expectation, rows, unexpected), rows, unexpected, finding.sample_rows)

    def _number(self, query: str) -> int:
        [[value]] = self._connection.sql(query).fetchall()
        return int(value or 0)

    def _aggregate(self, frame: "pd.DataFrame", expectations: Mapping[int, Expectation]) -> Iterator[tuple[int, Finding]]:
        for number, result in (self._validate(frame, expectations) if expectations else {}).items():
            expectation, values = expectations[number], result["result"]
            if fault := _fault(result):
                yield number, finding_of(expectation, FAILED, observed=f"could not be evaluated: {fault}")
            elif result["success"] and _has_no_values(frame, expectation):
                yield number, finding_of(expectation, NOT_JUDGED, observed=f"{NOT_JUDGED}: no values")
            elif "element_count" in values:  # of sets, Great Expectations counts values that are missing or too many, not rows
                samples = self._samples(frame, expectation, values)
                yield number, counted(expectation, result["success"], rows_considered(values), values["unexpected_count"], samples)
            else:
                observed = plain(values.get("observed_value"))
                if observed is None and _has_no_values(frame, expectation):
                    observed = "no values"
                yield number, finding_of(expectation, PASSED if result["success"] else FAILED, observed=observed)

    def _judge_rows(self, expectations: Mapping[int, Expectation]) -> Iterator[tuple[int, Finding]]:
        tallies = {number: _Tally() for number in expectations}
        for frame in self._slices() if expectations else ():
            for number, result in self._validate(frame, expectations).items():
                tallies[number].add(result, self._samples(frame, expectations[number], result["result"]))
        for number, expectation in expectations.items():
            yield number, tallies[number].finding(expectation)

    def _slices(self) -> Iterator["pd.DataFrame"]:
        reader = self._connection.sql("SELECT * FROM gated").to_arrow_reader(SLICE)
        empty = True
        for batch in reader:
            if batch.num_rows:
                empty = False
                yield to_pandas(batch)
        if empty:
            yield to_pandas(self._schema.empty_table())

    def _samples(self, frame: "pd.DataFrame", expectation: Expectation, values: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """Return the first rows of `frame` that hold one of the values that Great Expectations found unexpected."""
        import pandas as pd

        columns = columns_of(expectation)
        unexpected = pd.Series(False, index=frame.index)
        for value in values.get("partial_unexpected_list") or ():
            of_row = [value[column] for column in columns] if isinstance(value, dict) else value if len(columns) > 1 else [value]
            alike = pd.Series(True, index=frame.index)
            for column, one in zip(columns, of_row, strict=True):
                alike &= frame[column].isna() if pd.isna(one) else frame[column] == one
            unexpected |= alike
        shown = list(dict.fromkeys([*self._identity, *columns]))
        rows = frame.loc[unexpected, [column for column in shown if column in frame.columns]].head(SAMPLES)
        return [{str(column): plain(value) for column, value in row.items()} for row in rows.to_dict("records")]

    def _validate(self, frame: "pd.DataFrame", expectations: Mapping[int, Expectation]) -> dict[int, dict[str, Any]]:
        """Return Great Expectations' own results on `frame`, by the number of the expectation."""
        suite = self._suite(
            name="gate", expectations=[_impl(one)(**one.kwargs, meta={"number": number}) for number, one in expectations.items()]
        )
        form = {"result_format": "BASIC", "partial_unexpected_count": SAMPLES}  # more would make a record of every unexpected row
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = self._batches.get_batch({"dataframe": frame}).validate(suite, result_format=form)
        return {
            one.expectation_config.meta["number"]: {"success": one.success, "result": one.result, "exception": one.exception_info}
            for one in results.results
        }


class _Tally:
    """The counts of one row-by-row expectation over all slices."""

    def __init__(self) -> None:
        self.considered = self.unexpected = self.slices = 0
        self.passed = True
        self.fault = ""
        self.samples: list[Mapping[str, Any]] = []

    def add(self, result: dict[str, Any], samples: list[Mapping[str, Any]]) -> None:
        values = result["result"]
        self.slices += 1
        self.passed = self.passed and result["success"]
        self.fault = self.fault or _fault(result)
        self.considered += rows_considered(values)
        self.unexpected += values.get("unexpected_count", 0)
        self.samples = (self.samples + samples)[:SAMPLES]

    def finding(self, expectation: Expectation) -> Finding:
        if self.fault:
            return finding_of(expectation, FAILED, observed=f"could not be evaluated: {self.fault}")
        passed = self.passed
        if self.slices > 1 and not passed:  # a slice may fail where the whole, judged by the same formula, does not
            passed = holds_enough(expectation, self.considered, self.unexpected)
        return counted(expectation, passed, self.considered, self.unexpected, self.samples)


def _has_no_values(frame: "pd.DataFrame", expectation: Expectation) -> bool:
    """Return whether an expectation on values found none: it then holds of nothing.

    The schema can be judged without values, and the frame of a unique key has only the rows that may break it.
    """
    columns = [column for column in columns_of(expectation) if column in frame.columns]
    if not columns or expectation.type.startswith(_SCHEMA_TYPES) or expectation.type in _UNIQUE_TYPES:
        return False
    return not frame[columns].notna().to_numpy().any()


def _impl(expectation: Expectation) -> Any:
    """Return the class behind an expectation's type, proven to take its kwargs."""
    import_great_expectations()
    from great_expectations.expectations.registry import get_expectation_impl

    try:
        impl = get_expectation_impl(expectation.type)
        impl(**expectation.kwargs)
    except Exception as error:  # Great Expectations raises its own, pydantic's and plain TypeErrors here
        fact = " ".join(str(error).split())
        raise ConfigError(
            f"expectation {expectation.type} with kwargs {line(expectation.kwargs)} cannot be built: {fact[:400]}. "
            "Correct it in params.yaml or the suite file; the types and kwargs are those of Great Expectations"
        ) from None
    return impl


def _is_row_wise(expectation: Expectation, impl: type) -> bool:
    from great_expectations.expectations import expectation as base

    if expectation.type in _UNIQUE_TYPES or any(word in expectation.type for word in _ACROSS_ROWS):
        return False
    return issubclass(impl, base.ColumnMapExpectation | base.ColumnPairMapExpectation | base.MulticolumnMapExpectation)


def _fault(result: dict[str, Any]) -> str:
    """Return what Great Expectations stumbled over, or nothing. It keeps one record, or one for each metric."""
    info = result["exception"] or {}
    for record in [info] if "raised_exception" in info else info.values():
        if record["raised_exception"]:
            return str(clip(str(record["exception_message"])))
    return ""
