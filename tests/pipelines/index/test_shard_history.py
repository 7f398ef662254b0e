"""The months of a history: every row in one, in its order, in bytes that stay while the rows do."""

import datetime as dt
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.index.shard_history import main, shard_history
from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.features.signature import signature_of_features
from tests.trained_encoder import SIGNATURE, history, write_history

MONTHS = ("2013-02", "2013-03")


@pytest.fixture
def features(tmp_path: Path) -> Path:
    write_history(tmp_path / "history.parquet")
    return tmp_path / "history.parquet"


def test_every_row_is_in_its_month_and_a_month_without_rows_is_empty(features: Path, tmp_path: Path) -> None:
    rows = shard_history(features, MONTHS, tmp_path / "shards")
    assert rows == {"2013-02": 0, "2013-03": 6_000}
    assert sorted(path.name for path in (tmp_path / "shards").iterdir()) == ["2013-02.parquet", "2013-03.parquet"]
    assert pq.read_table(tmp_path / "shards" / "2013-03.parquet") == pq.read_table(features)
    assert {signature_of_features(path) for path in (tmp_path / "shards").iterdir()} == {SIGNATURE}
    assert pq.read_schema(tmp_path / "shards" / "2013-02.parquet").equals(pq.read_schema(features), check_metadata=True)


def test_a_new_month_leaves_the_bytes_of_the_others(features: Path, tmp_path: Path) -> None:
    table = pq.read_table(features)
    later = table.slice(0, 300).set_column(0, "partition", [pa.array([str(dt.date(2013, 4, 1))] * 300)])
    pq.write_table(pa.concat_tables([table, later]), tmp_path / "more.parquet", row_group_size=777)
    shard_history(features, ("2013-03",), tmp_path / "one")
    assert shard_history(tmp_path / "more.parquet", ("2013-04", "2013-03"), tmp_path / "two") == {"2013-04": 300, "2013-03": 6_000}
    assert (tmp_path / "one" / "2013-03.parquet").read_bytes() == (tmp_path / "two" / "2013-03.parquet").read_bytes()


def test_the_rows_of_a_month_come_by_partition_and_keep_their_order_within(features: Path, tmp_path: Path) -> None:
    table = pq.read_table(features)
    days = [str(dt.date(2013, 3, 31) - dt.timedelta(row % 3)) for row in range(table.num_rows)]
    table = table.set_column(0, "partition", [pa.array(days)])
    pq.write_table(table, tmp_path / "mixed.parquet", row_group_size=777)
    shard_history(tmp_path / "mixed.parquet", MONTHS, tmp_path / "shards")
    order = np.argsort(np.array(days), kind="stable")
    assert pq.read_table(tmp_path / "shards" / "2013-03.parquet") == table.take(order)


def test_rows_of_another_month_are_refused(features: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"6000 rows are of 2013-03, which run.yaml does not name as shards \(2013-02\)"):
        shard_history(features, ("2013-02",), tmp_path / "shards")
    with pytest.raises(DataError, match=r"\(none\)"):
        shard_history(features, (), tmp_path / "shards")
    assert not (tmp_path / "shards").exists()


@pytest.mark.parametrize("months", [("2013-13",), ("2013-3",), ("../etc",), ("2013-03-01",)])
def test_a_value_that_is_not_a_month_is_refused(features: Path, tmp_path: Path, months: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        shard_history(features, months, tmp_path / "shards")


def test_a_month_that_is_named_twice_is_refused(features: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="names a month twice"):
        shard_history(features, ("2013-03", "2013-03"), tmp_path / "shards")


def test_a_history_without_rows_makes_empty_months(tmp_path: Path) -> None:
    given = history()
    write_history(
        tmp_path / "none.parquet", type(given)(given.features[:0], np.array([], dtype=np.int8), given.rows.slice(0, 0), given.names)
    )
    assert shard_history(tmp_path / "none.parquet", MONTHS, tmp_path / "shards") == {"2013-02": 0, "2013-03": 0}


def test_the_stage_takes_the_months_from_the_run(features: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text("shard_history: {}\n")
    Path("run.yaml").write_text("partition: '2013-04-01'\nmodel: {path: m.onnx, name: core}\nshards: ['2013-03']\n")
    assert main(["--features", str(features), "--shards", "shards"]) == 0
    assert pq.ParquetFile("shards/2013-03.parquet").metadata.num_rows == 6_000
