"""The engine: Parquet whose bytes are always the same, torn files, quoting, scratch space."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.tables.engine import ROW_GROUP, UTC, bare_connection, connect, name, open_parquet, text, write_parquet

TABLE = pa.table({"n": pa.array(range(2 * ROW_GROUP + 5), pa.int64())})


def batches(size: int) -> Iterator[pa.RecordBatch]:
    yield from TABLE.to_batches(max_chunksize=size)


@pytest.mark.parametrize("size", [7_000, ROW_GROUP, ROW_GROUP * 2 + 5])
def test_the_bytes_do_not_depend_on_how_rows_were_cut(tmp_path: Path, size: int) -> None:
    write_parquet(batches(31_337), TABLE.schema, tmp_path / "one.parquet", {"about": {"b": 1, "a": 2}})
    assert write_parquet(batches(size), TABLE.schema, tmp_path / "two.parquet", {"about": {"a": 2, "b": 1}}) == TABLE.num_rows
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()
    metadata = pq.ParquetFile(tmp_path / "two.parquet").metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [ROW_GROUP, ROW_GROUP, 5]


def test_no_rows_are_a_file_with_columns(tmp_path: Path) -> None:
    assert write_parquet(iter(()), TABLE.schema, tmp_path / "none.parquet") == 0
    assert pq.read_table(tmp_path / "none.parquet").schema.names == ["n"]


@pytest.mark.parametrize("kept", [0, 3, 0.5, -1])
def test_a_torn_file_is_reported_by_name(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "torn.parquet"
    pq.write_table(TABLE, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept) if 0 < kept < 1 else int(kept)])
    with pytest.raises(DataError, match=r"torn\.parquet is not a whole Parquet file"):
        open_parquet(path)


def test_a_column_whose_name_is_damaged_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "damaged.parquet"
    pq.write_table(TABLE.rename_columns(["damaged_name", *TABLE.schema.names[1:]]), path)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"damaged_name", bytes([ord("d") ^ 128]) + b"amaged_name"))
    with pytest.raises(DataError, match=r"damaged\.parquet is not a whole Parquet file"):
        open_parquet(path)


def test_a_missing_file_is_reported_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.parquet does not exist"):
        open_parquet(tmp_path / "gone.parquet")


def test_what_is_quoted_stays_what_it_was() -> None:
    with connect(UTC) as (connection, _):
        quoted = name('a "b"')
        relation = connection.sql("SELECT " + text("it's; DROP") + f" AS {quoted}")
        assert relation.columns == ['a "b"']
        assert relation.fetchall() == [("it's; DROP",)]


def test_scratch_space_goes_away() -> None:
    with connect(UTC) as (_, scratch):
        assert scratch.is_dir()
    assert not scratch.exists()


def test_bare_connections_share_no_table_and_no_time_zone() -> None:
    one, other = bare_connection("Europe/Berlin"), bare_connection(UTC)
    one.register("rows", TABLE)
    one.execute("CREATE TEMP TABLE kept AS SELECT 1")
    zones = [connection.execute("SELECT current_setting('TimeZone')").fetchone() for connection in (one, other)]
    assert zones == [("Europe/Berlin",), ("UTC",)]
    assert other.execute("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'kept'").fetchone() == (0,)
    for table in ("rows", "kept"):
        with pytest.raises(duckdb.CatalogException):
            other.execute(f"FROM {table}")
