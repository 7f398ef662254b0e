"""The gate before an index is built: as many vectors as rows, finite, of norm 1, each row once, no dimension collapsed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.index.validate_vectors import ValidateVectors, main, validate_vectors
from pipelines.lib.encoders.vectors import Shard, Shards, write_shard
from pipelines.lib.gates import Report, expect
from tests.small_index import ENCODER_SHA256, rows_of, vectors_of

ROWS = 300
PARAMS = ValidateVectors()


def judged(vectors: np.ndarray, rows: pa.Table | None = None, *, known: int | None = None, params: ValidateVectors = PARAMS) -> Report:
    rows = rows_of(len(vectors)) if rows is None else rows
    half = len(vectors) // 2
    shards = Shards([Shard("2013-01", vectors[:half], rows.slice(0, half)), Shard("2013-02", vectors[half:], rows.slice(half))])
    return validate_vectors(shards, params, partition="2013-03-01", known=len(vectors) if known is None else known)


def failed(report: Report) -> set[tuple[str, str | None]]:
    return {(finding.type.removeprefix("expect_"), finding.column) for finding in report.failures}


@pytest.mark.costly
def test_good_vectors_pass() -> None:
    report = judged(vectors_of(ROWS))
    assert (report.passed, report.rows) == (True, ROWS), report.failures


def put(value: float, place: tuple[int, ...] | slice) -> Callable[[np.ndarray], None]:
    def change(vectors: np.ndarray) -> None:
        vectors[place] = value

    return change


CASES: dict[str, tuple[Callable[[np.ndarray], None], set[tuple[str, str]]]] = {
    "NaN": (put(np.nan, (250, 3)), {("column_values_to_be_in_set", "finite")}),
    "infinity": (put(-np.inf, (0, 0)), {("column_values_to_be_in_set", "finite")}),
    "a zero vector": (put(0, (17,)), {("column_values_to_be_between", "norm")}),
    "a long vector": (put(0.9, (17,)), {("column_values_to_be_between", "norm")}),
}


@pytest.mark.costly
@pytest.mark.parametrize("case", CASES)
def test_bad_vectors_are_reported_with_their_key(case: str) -> None:
    change, expected = CASES[case]
    vectors = vectors_of(ROWS)
    change(vectors)
    report = judged(vectors)
    assert failed(report) == expected
    [failure] = report.failures
    assert (failure.unexpected_count, set(failure.sample_rows[0])) == (1, {"carrier", "flight", "partition", failure.column})


@pytest.mark.costly
def test_a_collapsed_dimension_is_reported_by_its_number() -> None:
    vectors = vectors_of(ROWS)
    vectors[:, 5] = 0.2
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors[:, 5] = 0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    report = judged(vectors)
    assert failed(report) == {("column_values_to_be_between", "deviation")}
    assert report.failures[0].sample_rows[0]["dimension"] == 5


@pytest.mark.costly
def test_equal_vectors_are_allowed_but_a_key_twice_is_a_fault() -> None:
    vectors = vectors_of(ROWS)
    vectors[1] = vectors[0]
    assert judged(vectors).passed
    twice = rows_of(ROWS).take([0, *range(ROWS - 1)])
    assert failed(judged(vectors, twice)) == {("compound_columns_to_be_unique", "carrier, flight")}


@pytest.mark.costly
@pytest.mark.parametrize("known", [ROWS - 1, ROWS + 1])
def test_there_is_a_vector_for_each_row_whose_outcome_is_known(known: int) -> None:
    assert failed(judged(vectors_of(ROWS), known=known)) == {("table_row_count_to_equal", None)}


@pytest.mark.costly
@pytest.mark.parametrize("rows", [1, 9])
def test_few_vectors_pass_unless_more_are_wanted(rows: int) -> None:
    assert judged(vectors_of(rows)).passed
    assert failed(judged(vectors_of(rows), params=ValidateVectors(minimum_rows=10))) == {("table_row_count_to_be_between", None)}


def test_no_vector_at_all_is_said_clearly() -> None:
    report = judged(vectors_of(0))
    assert failed(report) == {("table_row_count_to_be_between", None)}
    assert "an index of fewer rows answers nothing" in report.failures[0].summary()


def test_outcomes_are_zero_or_one() -> None:
    rows = rows_of(ROWS).set_column(3, "outcome", [pa.array([None, 2, *([1] * (ROWS - 2))], pa.int8())])
    report = judged(vectors_of(ROWS), rows)
    assert failed(report) == {("column_values_to_be_in_set", "outcome"), ("column_values_to_not_be_null", "outcome")}


def test_expectations_of_ones_own_are_judged_too() -> None:
    params = ValidateVectors(expectations=(expect("column_distinct_values_to_contain_set", column="carrier", value_set=["AA"]),))
    assert failed(judged(vectors_of(ROWS), params=params)) == {("column_distinct_values_to_contain_set", "carrier")}


@pytest.mark.costly
@pytest.mark.parametrize(("known", "code"), [(50, 0), (51, 1)])
def test_the_stage_counts_against_the_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: int, code: int) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("validate_vectors: {minimum_rows: 50}\n")
    Path("run.yaml").write_text(yaml.safe_dump({"partition": "2013-02-01", "model": {"path": "m", "name": "n"}, "shards": ["2013-01"]}))
    Path("vectors").mkdir()
    batches = ((batch, vectors_of(50)) for batch in rows_of(50).to_batches())
    write_shard(Path("vectors/2013-01"), (50, 8), batches, rows_of(50).schema, ENCODER_SHA256)
    pq.write_table(rows_of(known), "history.parquet")
    assert main(["--vectors", "vectors", "--features", "history.parquet", "--report", "report"]) == code
    assert json.loads(Path("report/report.json").read_text())["passed"] is (code == 0)
    assert Path("failure.json").exists() is (code == 1)
