"""Featurizing a night: the right rows, no label, odd nights, torn input."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.data.featurize_batch import main
from pipelines.data.ingest_batch import main as ingest
from pipelines.lib.core.stage import FAILURE_FILE
from pipelines.lib.core.yaml_text import parse_yaml
from tests.datasets import orders

ARGUMENTS = ["--raw", "raw", "--gate", "gate", "--features", "features.parquet"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    orders.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.costly
def test_it_writes_the_rows_of_the_night_without_a_label() -> None:
    assert ingest(["--raw", "raw"]) == 0
    assert main(ARGUMENTS) == 0
    table = pq.read_table("features.parquet")
    assert set(table["partition"].to_pylist()) == {"2024-03-15"}
    assert "returned" not in table.column_names
    assert all(table[name].null_count == 0 for name in table.column_names if name != "channel")
    night = [row for row in pq.read_table("raw/events.parquet").to_pylist() if str(row["placed_at"].date()) == "2024-03-15"]
    assert table["order_id"].to_pylist() == [row["order_id"] for row in night]


@pytest.mark.costly
def test_a_night_without_rows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    content = parse_yaml(Path("run.yaml").read_text())
    Path("run.yaml").write_text(yaml.safe_dump({**content, "partition": "2029-01-01"}))
    assert ingest(["--raw", "raw"]) == 0
    assert main(ARGUMENTS) == 1
    assert "2029-01-01 has no rows, so there is nothing to score" in capsys.readouterr().err


@pytest.mark.costly
def test_an_unknown_category_is_scored_as_unseen() -> None:
    import pyarrow as pa

    table = orders.orders()

    orders.write(table.set_column(4, "channel", pa.array(["carrier pigeon"] * table.num_rows)), Path("orders.parquet"))
    assert ingest(["--raw", "raw"]) == 0
    assert main(ARGUMENTS) == 0
    assert set(pq.read_table("features.parquet")["channel"].to_pylist()) == {-1.0}


def test_torn_raw_data_is_reported_by_name() -> None:
    assert ingest(["--raw", "raw"]) == 0
    path = Path("raw/events.parquet")
    path.write_bytes(path.read_bytes()[:-100])
    assert main(ARGUMENTS) == 1
    failure = json.loads(FAILURE_FILE.read_text())
    assert failure["error"] == "DataError"
    assert "events.parquet is not a whole Parquet file" in failure["message"]
    assert not Path("features.parquet").exists()
