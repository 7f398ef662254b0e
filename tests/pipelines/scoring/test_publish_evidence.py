"""The stage `publish_evidence` from its command line: what it publishes next to the scores, and what it refuses to touch the table for."""

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.published.delta_tables import lineage_of, publish, read_scores
from pipelines.lib.published.store import evidence_url, scores_url
from pipelines.lib.vector_index.evidence import schema_of
from pipelines.scoring.publish_evidence import main
from tests import scored_night as night

ROOT = Path(__file__).parents[3]
ARGUMENTS = ["--evidence", "evidence.parquet", "--report", "report"]
RUN = RunFile(
    partition=night.PARTITION,
    model=PinnedModel(path="model.onnx", name="Core_RF_Classifier", version="4", sha256="b" * 64),
    dag_id="d",
    run_id="nightly-1",
    run_ref="refs/runs/d/nightly-1",
    git_commit="c" * 40,
    opened_at="2013-04-01T02:00:00+00:00",
)
RISKIEST, NEIGHBOURS = 5, 10
ROWS = RISKIEST * NEIGHBOURS


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(tmp_path / "published"))
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    night.write_scores(tmp_path / "scores.parquet", 100)
    write_evidence(RISKIEST)
    save_run(RUN)
    return tmp_path


def write_evidence(riskiest: int, **changes: object) -> None:
    """Write evidence for the first rows of the night, and its report."""
    rows = riskiest * NEIGHBOURS
    own = pq.read_table("scores.parquet").slice(0, riskiest).take(pa.array([row // NEIGHBOURS for row in range(rows)], pa.int64()))
    columns: dict[str, Any] = {
        **{column: own[column] for column in (*night.ORDER, "score")},
        "rank": [row % NEIGHBOURS + 1 for row in range(rows)],
        "distance": [0.01 * (row % NEIGHBOURS) for row in range(rows)],
        "outcome": [row % 2 == 0 for row in range(rows)],
        "neighbour_rate": [0.5] * rows,
        **{f"neighbour_{column}": own[column] for column in night.ORDER},
        "neighbour_partition": ["2013-03-01"] * rows,
        "index_generation": ["2013-04-01-0123456789ab"] * rows,
        "encoder_version": ["3"] * rows,
    }
    schema = schema_of(own.schema, night.ORDER)
    table = pa.table(columns).select(schema.names).cast(schema)
    pq.write_table(table, "evidence.parquet", write_page_checksum=True)
    Path("report").mkdir(exist_ok=True)
    Path("report/report.json").write_text(json.dumps({"partition": night.PARTITION, "rows": rows} | changes))


def refused(error: str, message: str) -> None:
    assert main(ARGUMENTS) == 1
    failure = json.loads(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == (error, False)
    assert message in failure["message"]
    assert not Path("published").exists()


def record() -> dict[str, Any]:
    return dict(json.loads(Path("data/reports/publish_evidence/report.json").read_text()))


def test_evidence_is_published_next_to_the_scores_and_joins_them_by_run_and_key(workspace: Path) -> None:
    publish(Path("scores.parquet"), lineage_of(RUN), expected_rows=100)
    assert main(ARGUMENTS) == 0
    assert record() == {"rows": ROWS, "table_version": 1, "note": f"{ROWS} rows of evidence published"}
    connection = duckdb.connect()
    connection.register("scores", DeltaTable(scores_url()).to_pyarrow_dataset())
    connection.register("evidence", DeltaTable(evidence_url()).to_pyarrow_dataset())
    [(rows, flights, rate)] = connection.sql(
        f"SELECT count(*), count(DISTINCT flight), avg(outcome::INT) FROM scores JOIN evidence USING (run_ref, {', '.join(night.ORDER)})"
    ).fetchall()
    assert (rows, flights, rate) == (ROWS, RISKIEST, 0.5)
    assert DeltaTable(evidence_url()).metadata().name == "evidence"
    assert {"scores_sha256"} <= DeltaTable(scores_url()).history(1)[0].keys()
    assert {"evidence_sha256", "partition", "run_id"} <= DeltaTable(evidence_url()).history(1)[0].keys()


def test_publishing_again_changes_nothing(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    before = record()
    assert main(ARGUMENTS) == 0
    assert record() == before
    assert DeltaTable(evidence_url()).version() == 1


def test_another_run_of_the_night_takes_its_place(workspace: Path) -> None:
    assert main(ARGUMENTS) == 0
    write_evidence(3)
    save_run(RUN.model_copy(update={"run_id": "nightly-2", "run_ref": "refs/runs/d/nightly-2"}))
    assert main(ARGUMENTS) == 0
    table = read_scores(night.PARTITION, evidence_url())
    assert (len(table), set(table["run_id"].to_pylist())) == (30, {"nightly-2"})


def test_a_night_without_evidence_publishes_none_and_says_so(workspace: Path) -> None:
    write_evidence(0)
    assert main(ARGUMENTS) == 0
    assert record() == {"rows": 0, "table_version": None, "note": "no evidence published"}
    assert not Path("published").exists()


def test_evidence_that_is_not_that_of_the_report_is_not_published(workspace: Path) -> None:
    write_evidence(RISKIEST, rows=ROWS + 1)
    refused("DataError", f"has {ROWS} rows, its report says {ROWS + 1}")


def test_a_report_of_another_night_does_not_count(workspace: Path) -> None:
    write_evidence(RISKIEST, partition="2013-03-31")
    refused("DataError", "is of 2013-03-31, expected 2013-04-01")


def test_evidence_without_a_report_is_not_published(workspace: Path) -> None:
    shutil.rmtree("report")
    refused("DataError", "is not a report of attach_evidence")


def test_a_torn_file_is_not_published(workspace: Path) -> None:
    Path("evidence.parquet").write_bytes(Path("evidence.parquet").read_bytes()[:-20])
    refused("DataError", "is not a whole Parquet file")


@pytest.mark.parametrize(
    "changes", [{"opened_at": None}, {"git_commit": None}, {"run_ref": None}, {"model": PinnedModel(path="m", name="n")}]
)
def test_a_run_that_is_not_pinned_does_not_publish(workspace: Path, changes: dict[str, Any]) -> None:
    save_run(RUN.model_copy(update=changes))
    refused("ConfigError", "run.yaml is not pinned")
