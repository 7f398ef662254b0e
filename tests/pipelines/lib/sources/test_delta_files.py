"""The files of a Delta table are what its log says, in all that needs no value; on tables that delta-rs writes, without page checksums."""

import datetime as dt
import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from tests.datasets import orders

NIGHT = dt.date(2024, 1, 20)
ORDERS = orders.orders(days=30)


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Orders in a Delta table of a file before the night and a file with the night."""
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(tmp_path))
    early = pc.less(pc.cast(ORDERS["placed_at"], pa.date32()), pa.scalar(dt.date(2024, 1, 10)))
    for rows in (ORDERS.filter(early), ORDERS.filter(pc.invert(early))):
        write_deltalake(tmp_path / "orders", rows, mode="append")
    write_deltalake(tmp_path / "products", orders.products())
    content = orders.params(kind="delta", path="orders")["dataset"]
    content["tables"]["products"]["source"] = {"kind": "delta", "path": str(tmp_path / "products")}
    return parse_section(content, Dataset, "dataset")


def rows(dataset: Dataset, target: Path) -> pa.Table:
    extract(dataset, partition=NIGHT, start=NIGHT, end=NIGHT + dt.timedelta(days=1), lookback_days=0, target=target)
    return pq.read_table(target / "events.parquet")


def files(root: Path) -> list[Path]:
    """Return the files of the orders, the oldest first."""
    table = DeltaTable(root / "orders")
    actions = pa.table(table.get_add_actions(flatten=True)).sort_by("min.placed_at")
    return [root / "orders" / path for path in actions["path"].to_pylist()]


def rename_in_footer(file: Path, column: str) -> None:
    """Change one bit in the first name of `column` in the footer of `file`: the letter a becomes i, for one."""
    content = bytearray(file.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[content.index(column.encode(), footer)] ^= 8
    file.write_bytes(content)


def test_a_column_whose_name_was_damaged_is_not_read_as_nulls(dataset: Dataset, tmp_path: Path) -> None:
    column = next(name for name in dataset.columns if name not in (*dataset.key, dataset.event_time))
    assert rows(dataset, tmp_path / "before")[column].null_count == 0
    rename_in_footer(files(tmp_path)[1], column)
    with pytest.raises(DataError, match=rf"file .*parquet of the Delta table orders has no column '{column}', but the log of the table"):
        rows(dataset, tmp_path / "after")


def test_a_name_that_is_no_longer_a_text_names_the_file(dataset: Dataset, tmp_path: Path) -> None:
    file = files(tmp_path)[1]
    content = bytearray(file.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    content[content.index(dataset.event_time.encode(), footer)] ^= 128
    file.write_bytes(content)
    with pytest.raises(DataError, match=rf"file {file.name} of the Delta table orders is not a whole Parquet file"):
        rows(dataset, tmp_path / "raw")


def test_a_file_of_another_size_is_refused(dataset: Dataset, tmp_path: Path) -> None:
    other = ORDERS.slice(0, 5)
    pq.write_table(other, files(tmp_path)[1])
    with pytest.raises(DataError, match=r"file .*parquet of the Delta table orders has \d+ bytes, \d+ are in the log"):
        rows(dataset, tmp_path / "raw")


def test_a_column_that_came_later_is_null_in_the_files_before(dataset: Dataset, tmp_path: Path) -> None:
    column = next(name for name in dataset.columns if name not in (*dataset.key, dataset.event_time))
    night = pc.equal(pc.cast(ORDERS["placed_at"], pa.date32()), NIGHT)
    write_deltalake(tmp_path / "orders", ORDERS.drop_columns([column]), mode="overwrite", schema_mode="overwrite")
    write_deltalake(tmp_path / "orders", ORDERS.filter(night).slice(0, 1), mode="append", schema_mode="merge")
    read = rows(dataset, tmp_path / "raw")
    assert read.num_rows - read[column].null_count == 1


@pytest.mark.costly
def test_a_table_parted_by_a_column_is_read(dataset: Dataset, tmp_path: Path) -> None:
    column = next(name for name, declared in dataset.columns.items() if declared.type == "string" and name not in dataset.key)
    before = rows(dataset, tmp_path / "before")
    write_deltalake(tmp_path / "orders", ORDERS, mode="overwrite", schema_mode="overwrite", partition_by=[column])
    assert rows(dataset, tmp_path / "after").equals(before)


def test_files_without_page_checksums_are_named_in_the_log(dataset: Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="nightshift")
    rows(dataset, tmp_path / "raw")
    [line] = [line for line in caplog.messages if "page checksums" in line and "orders" in line]
    assert line.startswith("2 of 2 files of the Delta table orders") and any(file.name in line for file in files(tmp_path))
