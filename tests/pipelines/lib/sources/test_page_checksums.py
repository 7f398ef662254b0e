"""Damage to the pages of a source's Parquet file: refused with the name of the file where pages carry checksums, never read as other
values.
"""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources import adapters, page_checksums
from pipelines.lib.sources.reach import Window
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import UTC, connect, name
from tests.datasets import orders

ORDERS = orders.orders(days=30)
NIGHT = dt.date(2024, 1, 20)
WINDOW = Window("placed_at", None, dt.date(2030, 1, 1))
COLUMNS = {
    "order_id": Column(type="string"),
    "placed_at": Column(type="timestamp"),
    "channel": Column(type="string"),
    "amount": Column(type="float"),
    "items": Column(type="integer"),
    "gift": Column(type="boolean"),
}


def read(kind: str, path: Path, window: Window = WINDOW) -> list[tuple[Any, ...]]:
    """Return what ingest does: scan, cast, cut to the window, sort."""
    source = parse_section({"kind": kind, "path": str(path)}, Source, "source")
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, source, COLUMNS, window, scratch)
        with adapters.reading(scanned.where, scanned.dataset):
            return connection.sql(
                f"SELECT * FROM ({adapters.typed(scanned, COLUMNS)}) WHERE {window.sql(name(window.column))} ORDER BY ALL"
            ).fetchall()


def write(path: Path, **options: Any) -> pq.FileMetaData:
    pq.write_table(ORDERS, path, **{"write_page_checksum": True, "row_group_size": 300, **options})
    return pq.read_metadata(path)


def chunk(metadata: pq.FileMetaData, group: int, column: str) -> tuple[int, int]:
    """Return where the pages of `column` in the row group begin and end."""
    found = metadata.row_group(group).column(ORDERS.column_names.index(column))
    start = found.dictionary_page_offset if found.has_dictionary_page else found.data_page_offset
    return start, start + found.total_compressed_size


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def outcome(run: Callable[[], list[tuple[Any, ...]]], wanted: list[tuple[Any, ...]], named: str) -> str:
    try:
        return "same" if run() == wanted else "other values"
    except DataError as error:
        assert named in str(error)
        return "refused"


FORMS: list[dict[str, Any]] = [
    {},
    {"compression": "none", "use_dictionary": False},
    {"compression": "zstd", "data_page_version": "2.0"},
    {"compression": "gzip", "data_page_size": 500},
]


@pytest.mark.costly
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_a_flipped_bit_is_never_read_as_another_value(form: dict[str, Any], tmp_path: Path) -> None:
    metadata, random = write(tmp_path / "t.parquet", **form), np.random.default_rng(3)
    content, wanted = (tmp_path / "t.parquet").read_bytes(), read("parquet", tmp_path / "t.parquet")
    found = []
    for _ in range(40):
        start, end = chunk(metadata, int(random.integers(metadata.num_row_groups)), str(random.choice(list(COLUMNS))))
        (tmp_path / "t.parquet").write_bytes(content)
        flip(tmp_path / "t.parquet", int(random.integers(start, end)), int(random.integers(8)))
        found.append(outcome(lambda: read("parquet", tmp_path / "t.parquet"), wanted, "t.parquet"))
    assert "other values" not in found
    assert found.count("refused") >= 20  # the others hit the statistics of a page header, which no reader uses here


@pytest.mark.slow
def test_no_bit_of_a_page_header_hides_the_checksums(tmp_path: Path) -> None:
    metadata = write(tmp_path / "t.parquet", compression="none", use_dictionary=False)
    content, wanted = (tmp_path / "t.parquet").read_bytes(), read("parquet", tmp_path / "t.parquet")
    start, _ = chunk(metadata, 0, "order_id")
    for position in range(start, start + 24):
        for bit in range(8):
            (tmp_path / "t.parquet").write_bytes(content)
            flip(tmp_path / "t.parquet", position, bit)
            assert outcome(lambda: read("parquet", tmp_path / "t.parquet"), wanted, "t.parquet") != "other values", (position, bit)


def test_the_damaged_one_of_several_files_is_named_with_the_remedy(tmp_path: Path) -> None:
    for file in ("a", "b", "c"):
        metadata = write(tmp_path / f"{file}.parquet")
    flip(tmp_path / "b.parquet", chunk(metadata, 3, "amount")[1] - 1)
    with pytest.raises(DataError, match=r"b\.parquet was damaged after it was written .*CRC checksum.*; deliver it again"):
        read("parquet", tmp_path / "*.parquet")


@pytest.mark.costly
def test_a_night_looks_at_its_own_row_groups_and_at_every_time(tmp_path: Path) -> None:
    metadata = write(tmp_path / "t.parquet")
    content, night = (tmp_path / "t.parquet").read_bytes(), Window("placed_at", NIGHT, NIGHT + dt.timedelta(days=1))
    wanted = read("parquet", tmp_path / "t.parquet", night)
    assert {row[1].date() for row in wanted} == {NIGHT}
    moments = ORDERS["placed_at"].to_pylist()
    own = next(row for row, moment in enumerate(moments) if moment.date() == NIGHT) // 300
    for group, column, end in [(0, "amount", "same"), (own, "amount", "refused"), (0, "placed_at", "refused"), (own, "refund", "same")]:
        (tmp_path / "t.parquet").write_bytes(content)
        flip(tmp_path / "t.parquet", chunk(metadata, group, column)[1] - 1)
        assert outcome(lambda: read("parquet", tmp_path / "t.parquet", night), wanted, "t.parquet") == end, (group, column)


@pytest.mark.costly
@pytest.mark.parametrize(
    "kind", [pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.timestamp("ns"), pa.timestamp("ms", "Europe/Berlin"), pa.string()], ids=str
)
def test_a_time_of_any_type_limits_the_row_groups_or_none(kind: pa.DataType, tmp_path: Path) -> None:
    table = ORDERS.set_column(1, "placed_at", ORDERS["placed_at"].cast(kind))
    pq.write_table(table, tmp_path / "t.parquet", write_page_checksum=True, row_group_size=300)
    metadata, night = pq.read_metadata(tmp_path / "t.parquet"), Window("placed_at", NIGHT, NIGHT + dt.timedelta(days=1))
    wanted = read("parquet", tmp_path / "t.parquet", night)
    assert len(wanted) == sum(moment.date() == NIGHT for moment in ORDERS["placed_at"].to_pylist())
    own = next(row for row, moment in enumerate(ORDERS["placed_at"].to_pylist()) if moment.date() == NIGHT) // 300
    flip(tmp_path / "t.parquet", chunk(metadata, own, "amount")[1] - 1)
    with pytest.raises(DataError, match=r"t\.parquet was damaged"):
        read("parquet", tmp_path / "t.parquet", night)


def test_nanoseconds_do_not_reach_every_window(tmp_path: Path) -> None:
    write(tmp_path / "t.parquet")
    table = ORDERS.set_column(1, "placed_at", ORDERS["placed_at"].cast(pa.timestamp("ns")))
    pq.write_table(table, tmp_path / "t.parquet", write_page_checksum=True)
    assert len(read("parquet", tmp_path / "t.parquet", Window("placed_at", None, dt.date(2900, 1, 1), 400_000))) == ORDERS.num_rows


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_checksums_are_found_where_they_are(form: dict[str, Any], tmp_path: Path) -> None:
    for checksums in (True, False):
        write(tmp_path / "t.parquet", **form, write_page_checksum=checksums)
        assert page_checksums.verify(tmp_path / "t.parquet", COLUMNS, WINDOW) is checksums


def test_a_file_without_rows_has_no_checksums(tmp_path: Path) -> None:
    pq.write_table(ORDERS.slice(0, 0), tmp_path / "t.parquet", write_page_checksum=True)
    assert read("parquet", tmp_path / "t.parquet") == []


def test_a_column_is_found_by_a_name_with_dots(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"a.b": list(range(1000)), "a": ["x"] * 1000}), tmp_path / "t.parquet", write_page_checksum=True, use_dictionary=False
    )
    flip(tmp_path / "t.parquet", pq.read_metadata(tmp_path / "t.parquet").row_group(0).column(0).data_page_offset + 200)
    with pytest.raises(DataError, match=r"t\.parquet was damaged"):
        page_checksums.verify(tmp_path / "t.parquet", ["a.b"], None)


def delta(path: Path) -> Path:
    """Return a Delta table whose one file has checksums, as Spark writes them; returns the file."""
    write_deltalake(path, ORDERS)
    add: str
    [add] = DeltaTable(path).get_add_actions(flatten=True)["path"].to_pylist()
    write(path / add, compression="none", use_dictionary=False)
    log = path / "_delta_log" / f"{0:020}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    for action in actions:
        action.get("add", {})["size"] = (path / add).stat().st_size
    log.write_text("\n".join(map(json.dumps, actions)))
    return path / add


@pytest.mark.costly
def test_a_flipped_bit_of_a_delta_table_is_never_read_as_another_value(tmp_path: Path) -> None:
    file, random = delta(tmp_path / "orders"), np.random.default_rng(5)
    metadata, content, wanted = pq.read_metadata(file), file.read_bytes(), read("delta", tmp_path / "orders")
    assert len(wanted) == ORDERS.num_rows
    found = []
    for _ in range(40):
        start, end = chunk(metadata, int(random.integers(metadata.num_row_groups)), str(random.choice(list(COLUMNS))))
        file.write_bytes(content)
        flip(file, int(random.integers(start, end)), int(random.integers(8)))
        found.append(outcome(lambda: read("delta", tmp_path / "orders"), wanted, str(tmp_path / "orders")))
    assert "other values" not in found
    assert found.count("refused") >= 20


def test_the_damaged_file_of_a_delta_table_is_named_with_the_remedy(tmp_path: Path) -> None:
    file = delta(tmp_path / "orders")
    flip(file, chunk(pq.read_metadata(file), 2, "amount")[1] - 1)
    with pytest.raises(DataError, match=rf"file {file.name} of the Delta table .*orders was damaged .*restore the file from a copy"):
        read("delta", tmp_path / "orders")
