"""Ingesting a night: what is read, odd partitions, and a night larger than memory."""

import datetime as dt
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.data.ingest_batch import main
from pipelines.lib.core.stage import FAILURE_FILE
from pipelines.lib.core.yaml_text import parse_yaml
from tests.datasets import orders


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    orders.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def partition(text: object) -> None:
    content = parse_yaml(Path("run.yaml").read_text())
    Path("run.yaml").write_text(yaml.safe_dump({**content, "partition": text}))


def facts() -> dict[str, object]:
    content: dict[str, object] = json.loads(Path("raw/source.json").read_text())
    return content


def test_it_writes_the_night_and_what_its_features_look_back_on() -> None:
    assert main(["--raw", "raw"]) == 0
    dates = {moment.date() for moment in pq.read_table("raw/events.parquet")["placed_at"].to_pylist()}
    assert (min(dates), max(dates)) == (dt.date(2024, 2, 13), dt.date(2024, 3, 15))


def test_the_gate_gets_its_days_even_without_lagged_features() -> None:
    content = parse_yaml(Path("params.yaml").read_text())
    content["features"]["lagged"] = {}
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert main(["--raw", "raw"]) == 0
    assert facts()["read_from"] == "2024-02-16"


@pytest.mark.parametrize("night", ["2029-01-01", "1999-01-01"])
def test_a_night_without_rows_is_written_for_the_gate_to_judge(night: str) -> None:
    partition(night)
    assert main(["--raw", "raw"]) == 0
    assert (facts()["rows"], facts()["last"]) == (0, "2024-04-29")


@pytest.mark.costly
@pytest.mark.parametrize("suffix", ["parquet", "csv"])
@pytest.mark.parametrize("missing", [True, False], ids=["no file", "an empty file"])
def test_a_file_without_rows_is_read_as_a_file_that_is_missing(suffix: str, missing: bool) -> None:
    Path("nights").mkdir()
    for day in range(8, 18):
        of_day = orders.orders(days=1, first=dt.date(2024, 3, day)).slice(0, 0 if day == 15 else None)
        if day != 15 or not missing:
            orders.write(of_day, Path(f"nights/2024-03-{day:02d}.{suffix}"))
    content = parse_yaml(Path("params.yaml").read_text())
    content["dataset"]["source"] = {"kind": suffix, "path": f"nights/{{partition}}.{suffix}"}
    content["dataset"]["nights_without_rows"] = 2
    Path("params.yaml").write_text(yaml.safe_dump(content))
    assert main(["--raw", "raw"]) == 0, FAILURE_FILE.read_text()
    found = facts()
    assert found["next"] == "2024-03-16"
    assert list(found["rows_per_date"])[-1] == "2024-03-14"  # type: ignore[call-overload]


@pytest.mark.costly
@pytest.mark.parametrize("night", [dt.date(2024, 3, 15), "2024-3-15", "../../etc", "'; DROP TABLE t; --", 20240315, None])
def test_a_wrong_partition_is_refused(night: object) -> None:
    partition(night)
    assert main(["--raw", "raw"]) == 1
    assert json.loads(FAILURE_FILE.read_text())["error"] == "ConfigError"
    assert not Path("raw").exists()


def test_one_row_is_a_night() -> None:
    table = orders.orders()
    night = [moment.date() == dt.date(2024, 3, 15) for moment in table["placed_at"].to_pylist()]
    orders.write(table.slice(night.index(True), 1), Path("orders.parquet"))
    assert main(["--raw", "raw"]) == 0
    assert facts()["rows"] == 1


@pytest.mark.slow
def test_a_night_larger_than_memory_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two million rows of about 100 bytes, sorted within 100 MiB."""
    import numpy as np
    import pyarrow as pa

    monkeypatch.setenv("NIGHTSHIFT_MEMORY", "100MiB")
    day = orders.orders(days=1, first=dt.date(2024, 3, 15), per_day=20_000)
    with pq.ParquetWriter("orders.parquet", day.schema) as writer:
        for copy in range(100):
            ids = pa.array([f"{copy:03d}-{order}" for order in day["order_id"].to_pylist()])
            shuffled = np.random.default_rng(copy).permutation(day.num_rows)
            writer.write_table(day.set_column(0, "order_id", ids).take(shuffled))
    assert main(["--raw", "raw"]) == 0
    assert facts()["rows"] == 100 * day.num_rows
