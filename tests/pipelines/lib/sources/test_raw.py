"""The raw directory: windows, nothing from the future, the same bytes, facts for the gate."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from tests.datasets import orders

NIGHT = dt.date(2024, 1, 20)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    orders.write(orders.orders(days=30), tmp_path / "orders.parquet")
    orders.write(orders.products(), tmp_path / "products.csv")
    return declared(tmp_path)


def declared(directory: Path, **source: Any) -> Dataset:
    content = orders.params(**(source or {"kind": "parquet", "path": str(directory / "orders.parquet")}))["dataset"]
    content["tables"]["products"]["source"]["path"] = str(directory / "products.csv")
    return parse_section(content, Dataset, "dataset")


def night(dataset: Dataset, target: Path, partition: dt.date = NIGHT, lookback: int = 7) -> Path:
    extract(dataset, partition=partition, start=partition, end=partition + dt.timedelta(days=1), lookback_days=lookback, target=target)
    return target


def test_a_night_is_its_date_and_the_days_before(dataset: Dataset, tmp_path: Path) -> None:
    raw = night(dataset, tmp_path / "raw")
    events = pq.read_table(raw / "events.parquet")
    facts = json.loads((raw / "source.json").read_text())
    assert events.column_names == list(dataset.columns)
    assert sum(facts["rows_per_date"].values()) == facts["rows"] == events.num_rows
    assert list(facts["rows_per_date"]) == [str(NIGHT - dt.timedelta(days=days)) for days in range(7, -1, -1)]
    assert (facts["first"], facts["last"]) == ("2024-01-01", "2024-01-30")
    assert (facts["partition"], facts["start"], facts["read_from"]) == ("2024-01-20", "2024-01-20", "2024-01-13")
    assert facts["tables"] == {"products": 40}
    moments = events["placed_at"].to_pylist()
    assert moments == sorted(moments)


def test_nothing_from_the_future_is_in_it(dataset: Dataset, tmp_path: Path) -> None:
    """A refund is known after three days: on the 20th those up to the 16th."""
    events = pq.read_table(night(dataset, tmp_path / "raw") / "events.parquet").to_pylist()
    refunded = {row["placed_at"].date() for row in events if row["refund"] is not None}
    assert max(refunded) == NIGHT - dt.timedelta(days=4)
    assert min(refunded) == NIGHT - dt.timedelta(days=7)


def test_the_same_source_gives_the_same_bytes(dataset: Dataset, tmp_path: Path) -> None:
    one, two = night(dataset, tmp_path / "one"), night(dataset, tmp_path / "two")
    assert {file.name: file.read_bytes() for file in one.iterdir()} == {file.name: file.read_bytes() for file in two.iterdir()}


def test_the_order_of_the_source_does_not_matter(dataset: Dataset, tmp_path: Path) -> None:
    table = orders.orders(days=30)
    orders.write(table.take(list(range(table.num_rows - 1, -1, -1))), tmp_path / "orders.csv")
    other = declared(tmp_path, kind="csv", path=str(tmp_path / "orders.csv"))
    one, two = night(dataset, tmp_path / "one"), night(other, tmp_path / "two")
    assert (one / "events.parquet").read_bytes() == (two / "events.parquet").read_bytes()


def test_duplicates_are_kept_for_the_gate(dataset: Dataset, tmp_path: Path) -> None:
    import pyarrow as pa

    rows = pq.read_table(night(dataset, tmp_path / "once") / "events.parquet").num_rows
    orders.write(pa.concat_tables([orders.orders(days=30)] * 2), tmp_path / "orders.parquet")
    assert pq.read_table(night(dataset, tmp_path / "twice") / "events.parquet").num_rows == 2 * rows


def test_a_night_without_rows_is_written_and_tells_the_last_date(dataset: Dataset, tmp_path: Path) -> None:
    raw = night(dataset, tmp_path / "raw", partition=dt.date(2025, 1, 1))
    facts = json.loads((raw / "source.json").read_text())
    assert (facts["rows"], facts["rows_per_date"], facts["last"]) == (0, {}, "2024-01-30")
    assert pq.read_table(raw / "events.parquet").column_names == list(dataset.columns)


def test_extra_columns_are_dropped_and_told(dataset: Dataset, tmp_path: Path) -> None:
    table = orders.orders(days=30)
    orders.write(table.append_column("colour", table["product"]), tmp_path / "orders.parquet")
    raw = night(dataset, tmp_path / "raw")
    assert json.loads((raw / "source.json").read_text())["dropped_columns"] == ["colour"]
    assert "colour" not in pq.read_table(raw / "events.parquet").column_names


@pytest.mark.parametrize("column", ["amount", "placed_at", "order_id", "refund"])
def test_a_missing_column_is_named(dataset: Dataset, tmp_path: Path, column: str) -> None:
    orders.write(orders.orders(days=3).drop_columns([column]), tmp_path / "orders.parquet")
    with pytest.raises(DataError, match=rf"orders\.parquet has no column '{column}'"):
        night(dataset, tmp_path / "raw")
