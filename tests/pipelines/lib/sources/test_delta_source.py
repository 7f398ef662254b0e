"""A Delta table as a source: the rows of the version that a run is pinned to, today and after the table has moved on."""

import datetime as dt
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from deltalake import DeltaTable, write_deltalake

from pipelines.data import ingest_batch
from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.lib.sources.adapters import source_revision
from pipelines.lib.sources.delta_source import at_versions, current_versions
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from pipelines.registry import pin_run
from tests.datasets import orders

NIGHT = dt.date(2024, 1, 20)
ORDERS = orders.orders(days=30)
OF_THE_NIGHT = ORDERS.filter(pc.equal(pc.cast(ORDERS["placed_at"], pa.date32()), NIGHT))
OPENED = "2024-01-20T02:00:00+00:00"


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Orders in a Delta table from which one row of the night was deleted, and products in a second one."""
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(tmp_path))
    write_deltalake(tmp_path / "orders", ORDERS)
    DeltaTable(tmp_path / "orders").delete(f"order_id = '{OF_THE_NIGHT['order_id'][0]}'")
    write_deltalake(tmp_path / "products", orders.products())
    content = orders.params(kind="delta", path="orders")["dataset"]
    content["tables"]["products"]["source"] = {"kind": "delta", "path": str(tmp_path / "products")}
    return parse_section(content, Dataset, "dataset")


def rows(dataset: Dataset, target: Path) -> Path:
    extract(dataset, partition=NIGHT, start=NIGHT, end=NIGHT + dt.timedelta(days=1), lookback_days=0, target=target)
    return target / "events.parquet"


def test_a_deleted_row_is_not_read(dataset: Dataset, tmp_path: Path) -> None:
    events = pq.read_table(rows(dataset, tmp_path / "raw"))
    assert events.num_rows == OF_THE_NIGHT.num_rows - 1
    assert OF_THE_NIGHT["order_id"][0].as_py() not in events["order_id"].to_pylist()


@pytest.mark.costly
def test_a_pinned_run_reads_the_same_bytes_after_the_table_has_moved_on(dataset: Dataset, tmp_path: Path) -> None:
    versions = current_versions(dataset)
    pinned = at_versions(dataset, versions)
    assert {table: found.version for table, found in versions.items()} == {"events": 1, "products": 0}
    before, revision = rows(pinned, tmp_path / "before").read_bytes(), source_revision(pinned, OPENED)
    write_deltalake(tmp_path / "orders", ORDERS.slice(0, 10), mode="overwrite")
    assert rows(pinned, tmp_path / "after").read_bytes() == before
    assert source_revision(pinned, OPENED) == revision != source_revision(dataset, OPENED)
    assert pq.read_table(rows(dataset, tmp_path / "now")).num_rows == 0


def test_a_version_that_was_vacuumed_is_reported(dataset: Dataset, tmp_path: Path) -> None:
    pinned = at_versions(dataset, current_versions(dataset))
    write_deltalake(tmp_path / "orders", ORDERS, mode="overwrite")
    DeltaTable(tmp_path / "orders").vacuum(0, dry_run=False, enforce_retention_duration=False)
    with pytest.raises(DataError, match=r"version 1 of the Delta table orders has lost 1 of its 1 files.* somebody vacuumed it"):
        rows(pinned, tmp_path / "raw")
    assert pq.read_table(rows(dataset, tmp_path / "now")).num_rows == OF_THE_NIGHT.num_rows


def test_a_table_that_was_recreated_is_another_one(dataset: Dataset, tmp_path: Path) -> None:
    pinned = at_versions(dataset, current_versions(dataset))
    (tmp_path / "orders").rename(tmp_path / "old")
    for _ in range(2):
        write_deltalake(tmp_path / "orders", ORDERS, mode="append")
    with pytest.raises(DataError, match="was recreated since the run was pinned"):
        rows(pinned, tmp_path / "raw")


def test_no_table_is_reported(dataset: Dataset, tmp_path: Path) -> None:
    (tmp_path / "orders").rename(tmp_path / "old")
    with pytest.raises(DataError, match="no Delta table is at orders"):
        rows(dataset, tmp_path / "raw")


@pytest.mark.costly
def test_a_run_pins_the_version_and_ingests_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.prepare(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    params = parse_yaml(Path("params.yaml").read_text())
    write_deltalake(tmp_path / "orders", ORDERS)
    params["dataset"]["source"] = {"kind": "delta", "path": str(tmp_path / "orders")}
    Path("params.yaml").write_text(yaml.safe_dump(params))
    options = ["--partition", str(NIGHT), "--dag-id", "nightly", "--run-id", "run", "--run-ref", "refs/runs/nightly/run"]
    assert pin_run.main([*options, "--git-commit", "0" * 40, "--opened-at", OPENED, "--model", "own"]) == 0
    assert parse_yaml(Path("run.yaml").read_text())["delta"]["events"]["version"] == 0
    write_deltalake(tmp_path / "orders", ORDERS.slice(0, 10), mode="overwrite")
    assert ingest_batch.main(["--raw", "raw"]) == 0
    assert OF_THE_NIGHT.num_rows <= pq.read_table("raw/events.parquet").num_rows
