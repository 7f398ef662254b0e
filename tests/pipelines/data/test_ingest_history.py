"""Ingesting the history: what is read, and what stays when reading fails."""

import datetime as dt
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.data.ingest_history import main
from pipelines.lib.core.stage import FAILURE_FILE
from pipelines.lib.core.yaml_text import parse_yaml
from tests.datasets import orders


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
def test_it_writes_what_was_known_before_the_partition() -> None:
    assert main(["--raw", "raw"]) == 0
    events = pq.read_table("raw/events.parquet")
    assert max(events["placed_at"].to_pylist()).date() == dt.date(2024, 3, 14)
    refunds = [row["placed_at"].date() for row in events.to_pylist() if row["refund"] is not None]
    assert max(refunds) == dt.date(2024, 3, 11)


@pytest.mark.costly
def test_it_reads_earlier_rows_to_warm_the_aggregates_up() -> None:
    change("ingest_history", start="2024-03-10")
    assert main(["--raw", "raw"]) == 0
    facts = json.loads(Path("raw/source.json").read_text())
    assert (facts["start"], facts["read_from"]) == ("2024-03-10", "2024-02-08")  # 3 days of delay and a window of 28


@pytest.mark.costly
def test_no_start_takes_all_there_is() -> None:
    change("ingest_history", start=None)
    assert main(["--raw", "raw"]) == 0
    assert json.loads(Path("raw/source.json").read_text())["start"] is None


@pytest.mark.costly
def test_it_replaces_what_was_there_and_leaves_it_alone_when_it_fails() -> None:
    assert main(["--raw", "raw"]) == 0
    before = Path("raw/events.parquet").read_bytes()
    assert main(["--raw", "raw"]) == 0
    assert Path("raw/events.parquet").read_bytes() == before
    Path("orders.parquet").write_bytes(b"PAR1 torn")
    assert main(["--raw", "raw"]) == 1
    assert Path("raw/events.parquet").read_bytes() == before
    failure = json.loads(FAILURE_FILE.read_text())
    assert (failure["error"], failure["retryable"]) == ("DataError", False)
    assert "orders.parquet is not a whole Parquet file" in failure["message"]
    assert [path.name for path in Path().iterdir() if path.name.startswith(".")] == []


def test_a_wrong_start_is_reported() -> None:
    change("ingest_history", start="2024-02-30")
    assert main(["--raw", "raw"]) == 1
    assert "not in the calendar" in json.loads(FAILURE_FILE.read_text())["message"]
