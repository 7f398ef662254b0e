"""Sources: every kind is read alike, and torn, missing or retyped data is refused by name."""

import datetime as dt
import gzip
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources import adapters
from pipelines.lib.sources.reach import Reach, Window
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import UTC, connect, name
from tests.datasets import orders
from tests.servers import postgres

moment = dt.datetime.fromisoformat

COLUMNS = {
    "id": Column(type="string"),
    "at": Column(type="timestamp"),
    "n": Column(type="integer"),
    "x": Column(type="float"),
    "b": Column(type="boolean"),
}
CSV = "id,at,n,x,b\r\na,2024-01-01 10:00:00,1,0.5,true\r\nb,2024-01-02 10:00:00,,,\r\n"
WINDOW = Window("at", None, dt.date(2030, 1, 1))


def source(**fields: Any) -> Source:
    return parse_section(fields, Source, "source")


def read(source: Source, columns: dict[str, Column] = COLUMNS, window: Window | None = WINDOW) -> list[tuple[Any, ...]]:
    """Return what ingest does: scan, cast, cut to the window, sort."""
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, source, columns, window, scratch)
        with adapters.reading(scanned.where):
            cut = "" if window is None else f"WHERE {window.sql(name(window.column))}"
            return connection.sql(f"SELECT * FROM ({adapters.typed(scanned, columns)}) {cut} ORDER BY ALL").fetchall()


def csv_of(tmp_path: Path, content: str | bytes, file: str = "t.csv") -> Source:
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return source(kind="csv", path=str(path))


ROWS = [("a", moment("2024-01-01 10:00:00"), 1, 0.5, True), ("b", moment("2024-01-02 10:00:00"), None, None, None)]


def test_a_csv_is_read_with_declared_types(tmp_path: Path) -> None:
    assert read(csv_of(tmp_path, CSV)) == ROWS


def test_a_compressed_csv_is_read(tmp_path: Path) -> None:
    assert read(csv_of(tmp_path, gzip.compress(CSV.encode()), "t.csv.gz")) == ROWS


def test_a_torn_compressed_csv_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        read(csv_of(tmp_path, gzip.compress(CSV.encode() * 99)[:-9], "t.csv.gz"))


def test_several_files_are_one_table(tmp_path: Path) -> None:
    csv_of(tmp_path, CSV, "1.csv")
    csv_of(tmp_path, CSV.replace("a,2024", "c,2024"), "2.csv")
    assert [row[0] for row in read(source(kind="csv", path=str(tmp_path / "*.csv")))] == ["a", "b", "b", "c"]


def test_files_with_other_headers_are_told_apart(tmp_path: Path) -> None:
    csv_of(tmp_path, CSV, "1.csv")
    csv_of(tmp_path, "extra," + CSV.replace("\r\n", "\r\nq,", 2).removesuffix("q,"), "2.csv")
    with pytest.raises(DataError, match=r"2\.csv has the columns extra.*1\.csv"):
        read(source(kind="csv", path=str(tmp_path / "*.csv")))


def test_words_for_missing_are_declared(tmp_path: Path) -> None:
    found = csv_of(tmp_path, CSV.replace(",,,", ",NA,NA,NA"))
    with pytest.raises(DataError, match="holds 'NA'"):
        read(found)
    assert read(source(kind="csv", path=found.path, nulls=["", "NA"])) == ROWS


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (CSV[:-12], "does not end with a line end"),  # within a field
        (CSV[:-2], "does not end with a line end"),  # only the line end itself
        (CSV[:-20] + "\n", r"t\.csv cannot be read"),  # within a line that was then ended
        (CSV + '"c,2024-01-01,1,1,true\n', r"t\.csv cannot be read"),  # a quote that never closes
        (CSV + "c,2024-01-01 00:00:00,1,1,true,more\n", r"t\.csv cannot be read"),
        (CSV.encode() + b"\xff\xfe,2024-01-01 00:00:00,1,1,true\n", r"t\.csv"),
        (b"", r"t\.csv has no header"),
        ("\n", r"t\.csv has no header"),
        ("id,id,at,n,x,b\n", "more than one column 'id'"),
        ("id,at,n,x\n", "no column 'b'; it has id, at, n, x"),
        (CSV.replace(",1,", ",one,"), "column 'n' of .* holds 'one'"),
        (CSV.replace(",1,", ",12.5,"), "column 'n' of .* holds '12.5'"),
        (CSV.replace("0.5", "1/2"), "column 'x' of .* holds '1/2'"),
        (CSV.replace("true", "maybe"), "column 'b' of .* holds 'maybe'"),
        (CSV.replace("2024-01-01", "2024-13-01"), "column 'at' of .* holds '2024-13-01"),
        (CSV.replace("2024-01-01 10:00:00", ""), "1 rows without 'at'"),
    ],
)
def test_a_torn_or_wrong_csv_is_refused_by_name(tmp_path: Path, content: str | bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(csv_of(tmp_path, content))


def test_a_csv_cut_at_a_line_end_is_shorter_and_nothing_else(tmp_path: Path) -> None:
    """Nothing in the file tells; the row-count band of the gate must."""
    assert read(csv_of(tmp_path, CSV.splitlines(keepends=True)[0] + CSV.splitlines(keepends=True)[1])) == ROWS[:1]


def test_unusual_text_survives(tmp_path: Path) -> None:
    words = ["naïve ☃ 🛫 \u202e", "x" * 200_000, 'a "quoted", word', "line\nbreak", "'; DROP TABLE t; --", " ", "NULL"]
    table = pa.table({"id": words})
    orders.write(table, tmp_path / "t.csv")
    orders.write(table, tmp_path / "t.parquet")
    columns = {"id": Column(type="string")}
    for kind in ("csv", "parquet"):
        assert sorted(word for (word,) in read(source(kind=kind, path=str(tmp_path / f"t.{kind}")), columns, None)) == sorted(words)


def test_nan_and_infinity_pass_to_the_gate(tmp_path: Path) -> None:
    values = [row[0] for row in read(csv_of(tmp_path, "x\nnan\ninf\n-inf\n1\n"), {"x": Column(type="float")}, None)]
    assert [str(value) for value in values] == ["-inf", "1.0", "inf", "nan"]


def test_an_offset_is_converted_to_utc(tmp_path: Path) -> None:
    [row] = read(csv_of(tmp_path, "at\n2024-01-01 10:00:00+02:00\n"), {"at": Column(type="timestamp")})
    assert row == (moment("2024-01-01 08:00:00"),)


def test_the_window_is_exact(tmp_path: Path) -> None:
    window = Window("at", dt.date(2024, 1, 2), dt.date(2024, 1, 3))
    content = "at\n2024-01-01 23:59:59.999999\n2024-01-02 00:00:00\n2024-01-02 23:59:59.999999\n2024-01-03 00:00:00\n"
    assert len(read(csv_of(tmp_path, content), {"at": Column(type="timestamp")}, window)) == 2


@pytest.mark.parametrize(
    ("values", "declared", "expected"),
    [
        (pa.array([1, 2], pa.int16()), "integer", [1, 2]),
        (pa.array([1.0, 2.0]), "integer", [1, 2]),
        (pa.array([1, 2]), "float", [1.0, 2.0]),
        (pa.array(["1", "2"]), "integer", [1, 2]),
        (pa.array([1, 2]), "string", ["1", "2"]),
        (pa.array([0, 1]), "boolean", [False, True]),
        (pa.array(["a", "b"]).dictionary_encode(), "string", ["a", "b"]),
        (pa.array([dt.date(2024, 1, 1), dt.date(2024, 1, 2)]), "timestamp", [moment("2024-01-01 00:00:00"), moment("2024-01-02 00:00:00")]),
        (pa.array([0, 10**9], pa.timestamp("ns")), "timestamp", [moment("1970-01-01 00:00:00"), moment("1970-01-01 00:00:01")]),
        (
            pa.array([0, 3600], pa.timestamp("s", "America/New_York")),
            "timestamp",
            [moment("1970-01-01 00:00:00"), moment("1970-01-01 01:00:00")],
        ),
        (pa.array([None, None], pa.null()), "float", [None, None]),
    ],
)
def test_another_type_that_says_the_same_is_cast(tmp_path: Path, values: pa.Array, declared: Any, expected: list[Any]) -> None:
    pq.write_table(pa.table({"v": values}), tmp_path / "t.parquet")
    found = read(source(kind="parquet", path=str(tmp_path / "t.parquet")), {"v": Column(type=declared)}, None)
    assert [row[0] for row in found] == expected


@pytest.mark.parametrize(
    ("values", "declared"),
    [
        (pa.array([1.5]), "integer"),
        (pa.array([float("nan")]), "integer"),
        (pa.array([2**64 - 1], pa.uint64()), "integer"),
        (pa.array(["abc"]), "float"),
        (pa.array([moment("2024-01-01 00:00:00")]), "float"),
        (pa.array([17]), "timestamp"),
        (pa.array([[1, 2]]), "float"),
    ],
)
def test_a_retyped_column_is_refused_by_name(tmp_path: Path, values: pa.Array, declared: Any) -> None:
    pq.write_table(pa.table({"v": values}), tmp_path / "t.parquet")
    with pytest.raises(DataError, match=f"(?s)t.parquet.*{declared}|column 'v'"):
        read(source(kind="parquet", path=str(tmp_path / "t.parquet")), {"v": Column(type=declared)}, None)


def test_a_torn_parquet_among_whole_ones_is_named(tmp_path: Path) -> None:
    for number in range(3):
        pq.write_table(pa.table({"id": ["a"] * 1000}), tmp_path / f"{number}.parquet")
    torn = tmp_path / "1.parquet"
    torn.write_bytes(torn.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"1\.parquet is not a whole Parquet file"):
        read(source(kind="parquet", path=str(tmp_path / "*.parquet")), {"id": Column(type="string")}, None)


def test_a_parquet_with_damaged_pages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": [f"order {number}" for number in range(100_000)]}), path, compression="zstd")
    content = bytearray(path.read_bytes())
    content[1000:60_000] = os.urandom(59_000)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"t\.parquet cannot be read"):
        read(source(kind="parquet", path=str(path)), {"id": Column(type="string")}, None)


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), tmp_path / "1.parquet")
    pq.write_table(pa.table({"b": [1]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"2\.parquet has no column 'a'; it has b"):
        read(source(kind="parquet", path=str(tmp_path / "*.parquet")), {"a": Column(type="integer")}, None)


def test_no_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file is at"):
        read(source(kind="parquet", path=str(tmp_path / "*.parquet")))


@pytest.mark.costly
def test_sqlite_gives_what_parquet_gives(tmp_path: Path) -> None:
    table = orders.orders(days=5)
    columns = _order_columns()
    for suffix in ("parquet", "csv", "db"):
        orders.write(table, tmp_path / f"orders.{suffix}")
    window = Window("placed_at", dt.date(2024, 1, 2), dt.date(2024, 1, 4))
    expected = read(source(kind="parquet", path=str(tmp_path / "orders.parquet")), columns, window)
    assert 300 < len(expected) < 500
    assert read(source(kind="csv", path=str(tmp_path / "orders.csv")), columns, window) == expected
    url = f"sqlite:///{tmp_path / 'orders.db'}"
    assert read(source(kind="sql", url=url, table="orders"), columns, window) == expected
    query = "SELECT * FROM orders WHERE amount > 0 OR amount IS NULL"
    assert read(source(kind="sql", url=url, query=query), columns, window) == expected


def test_the_bounds_are_those_of_the_whole_source(tmp_path: Path) -> None:
    for suffix in ("parquet", "db"):
        orders.write(orders.orders(days=5), tmp_path / f"orders.{suffix}")
    window = Window("placed_at", dt.date(2024, 1, 2), dt.date(2024, 1, 4))
    with connect(UTC) as (connection, scratch):
        for found in (
            source(kind="parquet", path=str(tmp_path / "orders.parquet")),
            source(kind="sql", url=f"sqlite:///{tmp_path / 'orders.db'}", table="orders"),
        ):
            scanned = adapters.scan(connection, found, _order_columns(), window, scratch)
            assert scanned.reach == Reach(dt.date(2024, 1, 1), dt.date(2024, 1, 5), dt.date(2024, 1, 3))


def test_a_secret_comes_from_the_environment_and_is_never_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders.write(orders.orders(days=2), tmp_path / "orders.db")
    found = source(kind="sql", url="sqlite:///${ORDERS_FILE}", table="orders")
    with pytest.raises(ConfigError, match="ORDERS_FILE, which is not set"):
        read(found, {"order_id": Column(type="string")}, None)
    monkeypatch.setenv("ORDERS_FILE", str(tmp_path / "orders.db"))
    assert len(read(found, {"order_id": Column(type="string")}, None)) > 300
    monkeypatch.setenv("WORD", "hunter2")
    with pytest.raises(TransientError) as message:
        read(source(kind="sql", url="postgresql+psycopg://u:${WORD}@127.0.0.1:1/x", table="t"), {"a": Column(type="string")}, None)
    assert "hunter2" not in str(message.value)


@pytest.mark.parametrize(
    ("fields", "columns", "message"),
    [
        ({"table": "nothing"}, ["order_id"], "nothing at sqlite.*no such table"),
        ({"table": "orders"}, ["order_id", "colour"], "has no column 'colour'"),
        ({"query": "SELECT nonsense"}, ["order_id"], "cannot be read"),
    ],
)
def test_a_wrong_table_is_reported_without_retry(tmp_path: Path, fields: dict[str, str], columns: list[str], message: str) -> None:
    orders.write(orders.orders(days=2), tmp_path / "orders.db")
    with pytest.raises(DataError, match=message):
        read(
            source(kind="sql", url=f"sqlite:///{tmp_path / 'orders.db'}", **fields),
            {column: Column(type="string") for column in columns},
            None,
        )


@contextmanager
def listening(target: Any, event: str, listener: Callable[..., None]) -> Iterator[None]:
    sa.event.listen(target, event, listener)
    try:
        yield
    finally:
        sa.event.remove(target, event, listener)


def test_a_lost_connection_is_tried_again_and_a_wrong_database_is_not(tmp_path: Path) -> None:
    (tmp_path / "orders.db").write_text("no database " * 100)
    found = source(kind="sql", url=f"sqlite:///{tmp_path / 'orders.db'}", table="orders")
    columns = {"order_id": Column(type="string")}
    with pytest.raises(DataError, match="file is not a database"):
        read(found, columns, None)

    def lose(context: sa.ExceptionContext) -> None:  # as a driver tells it that raises no OperationalError
        context.is_disconnect = True

    with listening(sa.Engine, "handle_error", lose), pytest.raises(TransientError, match="does not answer"):
        read(found, columns, None)

    def wait_without_success(*_: object) -> None:
        raise sa.exc.TimeoutError("QueuePool limit reached")

    with listening(sa.Pool, "checkout", wait_without_success), pytest.raises(TransientError, match="QueuePool limit"):
        read(found, columns, None)


def test_the_revision_follows_the_files(tmp_path: Path) -> None:
    found = csv_of(tmp_path, CSV)
    before = adapters.revision(found)
    assert before == adapters.revision(found)
    os.utime(tmp_path / "t.csv", ns=(1, 1))
    assert adapters.revision(found) != before
    assert adapters.revision(source(kind="sql", url="sqlite://", table="t")) is None
    assert adapters.revision(source(kind="flights", table="flights")) is not None


@pytest.mark.integration
def test_postgresql_gives_what_parquet_gives(tmp_path: Path) -> None:
    table = orders.orders(days=5)
    columns = _order_columns()
    window = Window("placed_at", dt.date(2024, 1, 2), dt.date(2024, 1, 4))
    orders.write(table, tmp_path / "orders.parquet")
    expected = read(source(kind="parquet", path=str(tmp_path / "orders.parquet")), columns, window)
    with postgres() as socket:
        url = f"postgresql+psycopg://postgres@/postgres?host={socket}"
        types = {"string": "text", "int64": "bigint", "double": "double precision", "bool": "boolean", "timestamp[us]": "timestamp"}
        created = ", ".join(f"{field.name} {types[str(field.type)]}" for field in table.schema)
        engine = sa.create_engine(url)
        with engine.begin() as database:
            database.execute(sa.text("CREATE SCHEMA shop"))
            database.execute(sa.text(f"CREATE TABLE shop.orders ({created})"))
            places = ", ".join(f":{column}" for column in table.column_names)
            database.execute(sa.text(f"INSERT INTO shop.orders VALUES ({places})"), table.to_pylist())
        engine.dispose()
        assert read(source(kind="sql", url=url, table="shop.orders"), columns, window) == expected
        zoned = "SELECT *, placed_at AT TIME ZONE 'UTC' AS at FROM shop.orders"
        columns = {**columns, "at": Column(type="timestamp")}
        assert {row[1] == row[-1] for row in read(source(kind="sql", url=url, query=zoned), columns, window)} == {True}
        with pytest.raises(DataError, match=r'shop\.nothing at postgresql.*"shop\.nothing" does not exist'):
            read(source(kind="sql", url=url, table="shop.nothing"), columns, window)


def _order_columns() -> dict[str, Column]:
    return {column: parse_section(fields, Column, column) for column, fields in orders.params()["dataset"]["columns"].items()}


BIG = 2**53 + 1


def one_column(tmp_path: Path, values: pa.Array, kind: str, file: str = "t.parquet") -> list[tuple[Any, ...]]:
    pq.write_table(pa.table({"v": values}), tmp_path / file)
    return read(source(kind="parquet", path=str(tmp_path / "*.parquet")), {"v": Column(type=kind)}, None)  # type: ignore[arg-type]


def test_a_duration_is_not_a_number(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"'v' of .* is a duration"):
        one_column(tmp_path, pa.array([dt.timedelta(seconds=1)]), "integer")


def test_a_decimal_that_the_engine_would_round_is_refused(tmp_path: Path) -> None:
    """DuckDB reads decimals of more than 38 digits as floats: this key would become 1.2345678901234567e+19."""
    with pytest.raises(DataError, match=r"'v' of .* is of type decimal256\(60, 2\)"):
        one_column(tmp_path, pa.array([Decimal("12345678901234567890.12")], pa.decimal256(60, 2)), "string")


def test_one_file_of_another_type_does_not_change_the_values_of_all(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [7.0]}), tmp_path / "2.parquet")
    with pytest.raises(DataError, match=r"'v' is of type float in .*2\.parquet, but of type integer in .*1\.parquet"):
        one_column(tmp_path, pa.array([BIG]), "integer", "1.parquet")


def test_a_file_without_a_value_has_no_type_of_its_own(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": pa.nulls(1)}), tmp_path / "2.parquet")
    assert one_column(tmp_path, pa.array([BIG]), "integer", "1.parquet") == [(BIG,), (None,)]


@pytest.mark.parametrize("suffix", ["parquet", "csv"])
def test_two_columns_that_differ_only_by_case_are_refused_by_the_names_of_the_file(suffix: str, tmp_path: Path) -> None:
    """DuckDB calls the second one x_1, which is a name in no file."""
    path = tmp_path / f"events.{suffix}"
    if suffix == "csv":
        path.write_text("X,x,other\n1,2,3\n")
    else:
        pq.write_table(pa.table({"X": [1.0], "x": [2.0], "other": [3.0], "Other": [4.0]}), path)
    with pytest.raises(DataError, match=r"events.* has more than one column 'X', 'x'; give each"):
        read(source(kind=suffix, path=str(path)), {"x": Column(type="float")}, None)
    if suffix == "parquet":  # of columns that nobody asks for, there may be two
        pq.write_table(pa.table({"x": [2.0], "other": [3.0], "Other": [4.0]}), path)
        assert list(read(source(kind=suffix, path=str(path)), {"x": Column(type="float")}, None)) == [(2.0,)]


def test_a_column_twice_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["v", "v"]), tmp_path / "t.parquet")
    with pytest.raises(DataError, match="more than one column 'v'"):
        read(source(kind="parquet", path=str(tmp_path / "t.parquet")), {"v": Column(type="integer")}, None)


def test_a_glob_over_a_delta_table_is_refused(tmp_path: Path) -> None:
    """Its folder still has the files of rows that were deleted."""
    from deltalake import write_deltalake

    write_deltalake(tmp_path / "table", pa.table({"v": [1]}))
    with pytest.raises(DataError, match="belongs to the Delta table"):
        read(source(kind="parquet", path=str(tmp_path / "table" / "*.parquet")), {"v": Column(type="integer")}, None)


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "t.csv")
    with pytest.raises(DataError, match="not a regular file"):
        read(source(kind="csv", path=str(tmp_path / "t.csv")))


def test_the_name_of_a_file_is_not_a_pattern(tmp_path: Path) -> None:
    pq.write_table(pa.table({"v": [1]}), tmp_path / "a?.parquet")
    pq.write_table(pa.table({"v": [2]}), tmp_path / "ab.parquet")
    assert read(source(kind="parquet", path=str(tmp_path / "a*.parquet")), {"v": Column(type="integer")}, None) == [(1,), (2,)]


def test_a_flipped_bit_of_a_compressed_file_is_seen(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(CSV.encode() * 9))
    whole[-6] ^= 1  # of the checksum alone: every value is as it was
    with pytest.raises(DataError, match=r"t\.csv\.gz"):
        read(csv_of(tmp_path, bytes(whole), "t.csv.gz"))


def test_a_header_has_an_end(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv"):
        read(csv_of(tmp_path, "x" * 3_000_000 + "\n"))
