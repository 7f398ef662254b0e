"""Columns that folders name: of their declared type, in agreement with the files, and refused by name otherwise."""

import datetime as dt
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources import adapters
from pipelines.lib.sources.reach import Reach, Window
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import UTC, connect, name

COLUMNS = {"day": Column(type="date"), "shop": Column(type="integer", nulls=1), "id": Column(type="integer")}


def write(folder: Path, file: str, **columns: Any) -> None:
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns or {"id": [1]})
    (pq.write_table if path.suffix == ".parquet" else pc.write_csv)(table, path)


def read(
    kind: str, path: Path | str, columns: dict[str, Column] = COLUMNS, window: Window | None = None
) -> tuple[list[tuple[Any, ...]], Reach | None]:
    source = Source.model_validate({"kind": kind, "path": str(path)})
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, source, columns, window, scratch)
        with adapters.reading(scanned.where):
            cut = "" if window is None else f"WHERE {window.sql(name(window.column))}"
            return connection.sql(f"SELECT * FROM ({adapters.typed(scanned, columns)}) {cut} ORDER BY ALL").fetchall(), scanned.reach


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_folders_give_columns_of_the_declared_type(kind: str, tmp_path: Path) -> None:
    write(tmp_path, f"day=2024-01-05/shop=7/a.{kind}", id=[1, 2])
    write(tmp_path, f"day=2024-01-06/shop=__HIVE_DEFAULT_PARTITION__/a.{kind}", id=[3])
    day = dt.date(2024, 1, 5)
    assert read(kind, tmp_path)[0] == [(day, 7, 1), (day, 7, 2), (dt.date(2024, 1, 6), None, 3)]


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_folder_of_the_event_time_says_which_files_are_read(kind: str, tmp_path: Path) -> None:
    for number in range(1, 10):
        write(tmp_path, f"day=2024-01-0{number}/shop=1/a.{kind}", id=[number])
    for unread in ("day=2024-01-01", "day=2024-01-09"):
        (tmp_path / unread / "shop=1" / f"a.{kind}").write_bytes(b"not read")
    window = Window("day", dt.date(2024, 1, 4), dt.date(2024, 1, 6))
    rows, reach = read(kind, tmp_path, window=window)
    assert [row[2] for row in rows] == [4, 5]
    assert reach == Reach(dt.date(2024, 1, 1), dt.date(2024, 1, 9), dt.date(2024, 1, 5))


def test_a_folder_that_is_not_of_the_declared_type_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path, "day=2024-01-05/shop=north/a.parquet")
    with pytest.raises(DataError, match=r"column 'shop' of the folder shop=north of .*a\.parquet holds 'north'.*not of type integer"):
        read("parquet", tmp_path)


def test_a_file_outside_the_folders_of_the_others_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "day=2024-01-05/shop=1/a.parquet")
    write(tmp_path, "day=2024-01-05/b.parquet")
    with pytest.raises(DataError, match=r"b\.parquet is in no folder shop=…, as other files of the source are"):
        read("parquet", tmp_path)


def test_a_column_that_is_also_in_the_file_must_agree(tmp_path: Path) -> None:
    write(tmp_path, "day=2024-01-05/shop=1/a.parquet", id=[1], shop=[1])
    assert read("parquet", tmp_path)[0] == [(dt.date(2024, 1, 5), 1, 1)]
    write(tmp_path, "day=2024-01-05/shop=2/a.parquet", id=[1], shop=[3])
    with pytest.raises(DataError, match=r"shop=2/a\.parquet holds '3' in the column 'shop', but its folder is shop=2"):
        read("parquet", tmp_path)


def test_folders_of_undeclared_columns_are_ignored(tmp_path: Path) -> None:
    write(tmp_path, "run=5/a.csv")
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, Source(kind="csv", path=str(tmp_path)), {"id": Column(type="integer")}, None, scratch)
    assert list(scanned.columns) == ["id"]
