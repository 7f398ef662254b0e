"""Featurizing the history: labels, its beginning, the same bytes each time, refusals."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.data.featurize_history import main
from pipelines.data.ingest_history import main as ingest
from pipelines.lib.core.stage import FAILURE_FILE
from pipelines.lib.core.yaml_text import parse_yaml
from tests.datasets import orders

ARGUMENTS = ["--raw", "raw", "--gate", "gate", "--features", "features.parquet"]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    orders.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def change(section: str, **fields: object) -> None:
    content = parse_yaml(Path("params.yaml").read_text())
    content[section].update(fields)
    Path("params.yaml").write_text(yaml.safe_dump(content))


@pytest.mark.costly
def test_it_writes_labelled_features_from_the_start_on() -> None:
    change("ingest_history", start="2024-02-15")
    assert ingest(["--raw", "raw"]) == 0
    assert main(ARGUMENTS) == 0
    table = pq.read_table("features.parquet")
    partitions = table["partition"].to_pylist()
    assert (min(partitions), max(partitions)) == ("2024-02-15", "2024-03-11")
    assert set(table["returned"].to_pylist()) == {0, 1}


@pytest.mark.costly
def test_the_same_rows_give_the_same_bytes() -> None:
    assert ingest(["--raw", "raw"]) == 0
    assert main(ARGUMENTS) == 0
    before = Path("features.parquet").read_bytes()
    assert main(ARGUMENTS) == 0
    assert Path("features.parquet").read_bytes() == before


@pytest.mark.costly
def test_a_history_without_outcomes_is_refused() -> None:
    change("dataset", label={"name": "returned", "expression": "refund > 1e9 OR NULL", "delay_days": 3})
    assert ingest(["--raw", "raw"]) == 0
    assert main(ARGUMENTS) == 1
    assert "has a label" in json.loads(FAILURE_FILE.read_text())["message"]
    assert not Path("features.parquet").exists()


def test_a_leaking_feature_is_refused_by_name() -> None:
    assert ingest(["--raw", "raw"]) == 0
    change("features", numeric={"refund": {"missing": 0}})
    assert main(ARGUMENTS) == 1
    failure = json.loads(FAILURE_FILE.read_text())
    assert (failure["error"], failure["retryable"]) == ("ConfigError", False)
    assert "'refund' is known only after the event" in failure["message"]
