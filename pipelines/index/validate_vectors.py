"""Validate the vectors before an index is built of them.

*Reads* all shards, and the features file of the history that they were made of. *Writes* ``report.json`` and ``report.html``. *Fails when* an
expectation does not hold: as many vectors as rows whose outcome is known, each finite and of norm 1, no row twice, no dimension collapsed,
and those written by hand.

Great Expectations judges what DuckDB and NumPy have reduced the vectors to, since thirty columns of floats would tell it nothing more: one row a
vector, with its key, whether all its values are finite, and its norm; and one row a dimension, with its standard deviation over all vectors.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
from pydantic import Field

from pipelines.lib.core.params import load_section
from pipelines.lib.core.run import load_run
from pipelines.lib.core.stage import stage
from pipelines.lib.encoders.vectors import OUTCOME, PARTITION, Shards
from pipelines.lib.features.declaration import LARGEST
from pipelines.lib.gates import Finding, Gate, Report, deliver, expect, expectations, judge, not_judged
from pipelines.lib.tables.engine import UTC, open_parquet, text, write_parquet


class ValidateVectors(Gate):
    """`minimum_rows`: fewer make no index. `norm_tolerance`: how far from 1 a norm may be. `least_deviation` of a dimension: below it, it is constant
    for all that a distance shows, and the encoder has wasted it.
    """

    minimum_rows: int = Field(default=1, ge=1)
    norm_tolerance: float = Field(default=1e-5, gt=0)
    least_deviation: float = Field(default=1e-3, gt=0)


def validate_vectors(shards: Shards, params: ValidateVectors, *, partition: str, known: int) -> Report:
    """Return the verdict on all `shards`, which are to have `known` rows. A single row has no deviation: its dimensions are reported as
    not judged.
    """
    moments = _Moments(shards.dimension)
    wanted = [
        expect("table_row_count_to_be_between", min_value=params.minimum_rows, notes="an index of fewer rows answers nothing"),
        expect("table_row_count_to_equal", value=known, notes="a vector for each row whose outcome is known"),
        *expectations.of_key(shards.key),
        *(expect("column_values_to_not_be_null", column=column) for column in (PARTITION, OUTCOME)),
        expect("column_values_to_be_between", column=OUTCOME, min_value=-LARGEST, max_value=LARGEST, notes="how it ended, a finite number")
        if pa.types.is_floating(shards.schema.field(OUTCOME).type)
        else expect("column_values_to_be_in_set", column=OUTCOME, value_set=[0, 1], notes="how it ended"),
        expect("column_values_to_be_in_set", column="finite", value_set=[True], notes="no NaN, no infinity"),
        expect(
            "column_values_to_be_between", column="norm", min_value=1 - params.norm_tolerance, max_value=1 + params.norm_tolerance,
            notes="vectors are compared by their direction",
        ),
        *params.custom_expectations(),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="nightshift-") as scratch:
        table = Path(scratch) / "vectors.parquet"
        write_parquet(_judged(shards, moments), _schema(shards), table)
        rows, findings = judge(f"SELECT * FROM read_parquet({text(table)})", wanted, identity=[*shards.key, PARTITION], time_zone=UTC)
    return Report("validate_vectors", partition, rows, [*findings, *_dimensions(moments, params)])


class _Moments:
    """Sums of values and of their squares [d], in float64, over the vectors that are finite."""

    def __init__(self, dimension: int) -> None:
        self.count, self.sums, self.squares = 0, np.zeros(dimension), np.zeros(dimension)

    def add(self, vectors: np.ndarray) -> None:
        values = vectors.astype(np.float64)
        self.count += len(values)
        self.sums += values.sum(axis=0)
        self.squares += (values**2).sum(axis=0)

    def deviations(self) -> np.ndarray:
        """Return the standard deviation of each dimension; zero if there is no vector."""
        mean = self.sums / max(1, self.count)
        deviations: np.ndarray = np.sqrt(np.maximum(self.squares / max(1, self.count) - mean**2, 0))
        return deviations


def _schema(shards: Shards) -> pa.Schema:
    return shards.schema.append(pa.field("finite", pa.bool_())).append(pa.field("norm", pa.float64()))


def _judged(shards: Shards, moments: _Moments) -> Iterator[pa.RecordBatch]:
    """Yield one row a vector, shard by shard; what is finite adds to `moments`."""
    for shard in shards.parts:
        start = 0
        for batch in shard.batches():
            vectors = np.asarray(shard.vectors[start : start + batch.num_rows])
            start += batch.num_rows
            finite = np.isfinite(vectors).all(axis=1)
            moments.add(vectors[finite])
            norm = pa.array(np.linalg.norm(vectors.astype(np.float64), axis=1), mask=~finite)  # told by `finite`, once
            yield pa.RecordBatch.from_arrays([*batch.columns, pa.array(finite), norm], schema=_schema(shards))


def _dimensions(moments: _Moments, params: ValidateVectors) -> list[Finding]:
    if moments.count < 2:
        reason = f"{moments.count} vectors have no deviation"
        return [not_judged("column_values_to_be_between", "deviation", reason, min_value=params.least_deviation)]
    values = ", ".join(f"({number}, {float(deviation)!r}::DOUBLE)" for number, deviation in enumerate(moments.deviations()))
    notes = "standard deviation of each dimension over all vectors: none has collapsed"
    wanted = [expect("column_values_to_be_between", column="deviation", min_value=params.least_deviation, notes=notes)]
    return judge(f"SELECT * FROM (VALUES {values}) AS dimensions(dimension, deviation)", wanted, identity=["dimension"], time_zone=UTC)[1]


@stage("validate_vectors")
def main(*, vectors: Path, features: Path, report: Path) -> None:
    """Validate as `run.yaml` and `params.yaml` say."""
    run, params = load_run(), load_section("validate_vectors", ValidateVectors)
    known = open_parquet(features).metadata.num_rows
    deliver(validate_vectors(Shards.open(vectors, run.shards), params, partition=run.partition, known=known), report)


if __name__ == "__main__":
    sys.exit(main())
