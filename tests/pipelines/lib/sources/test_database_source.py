"""A database as a source: each value is read as what it is or refused by name, and its rows are those of one moment."""

import datetime as dt
import sqlite3
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.sources import adapters
from pipelines.lib.sources.casts import cast
from pipelines.lib.sources.database_source import _texts, columns_of
from pipelines.lib.sources.reach import Window
from pipelines.lib.sources.scan import Notation
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import UTC, connect
from tests.servers import postgres


def database(directory: Path, *values: Any) -> Source:
    """Return a database with `values` in a column without a type, which SQLite keeps as they are."""
    with sqlite3.connect(directory / "shop.db") as writer:
        writer.execute("CREATE TABLE rows (value)")
        writer.executemany("INSERT INTO rows VALUES (?)", [(value,) for value in values])
    return Source(kind="sql", url=f"sqlite:///{directory / 'shop.db'}", table="rows")


def read(source: Source, declared: Column) -> list[Any]:
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, source, {"value": declared}, None, scratch)
        with adapters.reading(scanned.where):
            return [value for (value,) in connection.sql(adapters.typed(scanned, {"value": declared})).fetchall()]


@pytest.mark.parametrize("kind", ["string", "integer", "float", "boolean", "timestamp", "date"])
def test_bytes_are_never_read_as_python_writes_them(kind: Any, tmp_path: Path) -> None:
    """The value became the text `b'x'`."""
    with pytest.raises(
        DataError, match=r"column 'value' of rows at sqlite.* \(bytes\), which is not of type .*; cast it in a query of the source"
    ):
        read(database(tmp_path, "x" if kind == "string" else None, b"x"), Column(type=kind))


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("integer", 2**53 + 1, 2**53 + 1),
        ("integer", -(2**63), -(2**63)),
        ("float", 0.1 + 0.2, 0.1 + 0.2),
        ("float", 1e300, 1e300),
        ("float", 5e-324, 5e-324),
        ("float", float("inf"), float("inf")),
        ("boolean", 1, True),
        ("string", "café", "café"),
    ],
)
def test_a_value_is_read_as_it_is(kind: Any, value: Any, expected: Any, tmp_path: Path) -> None:
    assert read(database(tmp_path, None, value), Column(type=kind)) == [None, expected]


@pytest.mark.parametrize(
    ("kind", "value"), [("float", 2**53 + 1), ("integer", 0.5), ("integer", 1e30), ("boolean", 2), ("date", "2024-01-01 08:00")]
)
def test_a_value_that_would_lose_something_is_refused(kind: Any, value: Any, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="column 'value' of rows at sqlite"):
        read(database(tmp_path, value), Column(type=kind))


def given_by_a_driver(value: object, kind: Any) -> object:
    """Return `value`, which SQLite has no type for, as a column of `kind` reads it from the text that it becomes."""
    declared = Column(type=kind)
    [message] = _texts([value], "value", declared, "a query")
    with connect(UTC) as (connection, _):
        connection.execute("CREATE TABLE spool (value VARCHAR)")
        connection.execute("INSERT INTO spool VALUES (?)", [message])
        with adapters.reading("a query"):
            [row] = connection.sql(f"SELECT {cast('value', declared, 'VARCHAR', 'a query', Notation())} FROM spool").fetchall()
    return row[0]


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (Decimal("12.50"), "float", 12.5),
        (Decimal("0.1"), "float", 0.1),
        (Decimal("12345678.120000000000000000"), "float", 12345678.12),
        (Decimal("-0.000"), "float", 0.0),
        (Decimal("1E+3"), "integer", 1000),
        (Decimal("9007199254740993"), "integer", 9007199254740993),
        (Decimal("19.90"), "string", "19.90"),
        (True, "integer", 1),
        (True, "boolean", True),
        (False, "string", "false"),
        (dt.date(2024, 1, 31), "date", dt.date(2024, 1, 31)),
        (dt.datetime(2024, 1, 31, 8, tzinfo=dt.timezone(dt.timedelta(hours=2))), "timestamp", dt.datetime(2024, 1, 31, 6)),  # noqa: DTZ001
        (UUID(int=7), "string", "00000000-0000-0000-0000-000000000007"),
    ],
)
def test_what_drivers_give_is_read_whole(value: object, kind: Any, expected: object) -> None:
    assert given_by_a_driver(value, kind) == expected


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (Decimal("0.1234567890123456789"), "float"),
        (Decimal("9007199254740993"), "float"),
        (Decimal("1234567890123456770.00"), "float"),
        (Decimal("9007199254740992.5"), "integer"),
        (Decimal("1e400"), "float"),
        (dt.timedelta(days=1), "string"),
        (["a", "b"], "string"),
        ({"a": 1}, "string"),
        (memoryview(b"a"), "string"),
        (dt.datetime(2024, 1, 31, 8), "date"),  # noqa: DTZ001
    ],
)
def test_what_its_text_would_not_give_back_is_refused(value: object, kind: Any) -> None:
    with pytest.raises(DataError, match="column 'value' of a query holds"):
        given_by_a_driver(value, kind)


@pytest.mark.parametrize("url", ["nodialect://shop", "no url", "sqlite+nodriver:///shop.db"])
def test_a_url_that_no_driver_takes_is_refused_without_a_retry(url: str, tmp_path: Path) -> None:
    found = Source(kind="sql", url=url, table="rows")
    with connect(UTC) as (connection, _), pytest.raises(ConfigError, match=r"source\.url in params\.yaml cannot be used"):
        adapters.scan(connection, found, {"value": Column(type="string")}, None, tmp_path)


def test_reach_and_rows_are_of_one_moment(tmp_path: Path) -> None:
    """A night that was delivered between the two statements was in the rows, and not in the reach."""
    with sqlite3.connect(tmp_path / "shop.db") as writer:
        writer.execute("PRAGMA journal_mode=WAL")  # in which a writer does not wait for readers
        writer.execute("CREATE TABLE rows (value TEXT)")
        writer.execute("INSERT INTO rows VALUES ('2024-01-01 08:00:00')")
    source = Source(kind="sql", url=f"sqlite:///{tmp_path / 'shop.db'}", table="rows")
    declared, window = {"value": Column(type="timestamp")}, Window("value", None, dt.date(2024, 1, 3))
    delivered: list[Any] = []

    def deliver(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        if "min(" in statement.lower() and not delivered:
            with sqlite3.connect(tmp_path / "shop.db") as writer:
                writer.execute("INSERT INTO rows VALUES ('2024-01-02 08:00:00')")
            delivered.append(statement)

    sa.event.listen(sa.Engine, "after_cursor_execute", deliver)
    try:
        with connect(UTC) as (connection, scratch):
            scanned = adapters.scan(connection, source, declared, window, scratch)
            [(rows,)] = connection.sql(f"SELECT count(*) FROM ({adapters.typed(scanned, declared)})").fetchall()
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", deliver)
    assert delivered
    assert scanned.reach is not None
    assert (rows, scanned.reach.last) == (1, dt.date(2024, 1, 1))


@pytest.mark.integration
def test_postgresql_that_refuses_role_database_or_password_is_not_asked_again() -> None:
    with postgres() as socket:
        admin = sa.create_engine(f"postgresql+psycopg://postgres@/postgres?host={socket}")
        with admin.begin() as connection:
            connection.exec_driver_sql("CREATE ROLE reader LOGIN PASSWORD 'right'")
            rules = connection.exec_driver_sql("SHOW hba_file").scalar_one()
            Path(rules).write_text("local all postgres trust\nlocal all all scram-sha-256\n", encoding="utf-8")
            connection.exec_driver_sql("SELECT pg_reload_conf()")
        admin.dispose()
        for login, name in (
            ("postgres", "nowhere"),
            ("reader:secret-word", "postgres"),
            ("reader", "postgres"),
            ("nobody-here:secret-word", "postgres"),
        ):
            source = Source(kind="sql", url=f"postgresql+psycopg://{login}@/{name}?host={socket}", table="rows")
            with pytest.raises(ConfigError, match=r"refuses the connection.*correct role, password and database in source\.url") as caught:
                read(source, Column(type="string"))
            assert not caught.value.retryable
            assert "secret-word" not in str(caught.value)
    with pytest.raises(TransientError, match="does not answer"):  # the server is gone
        read(Source(kind="sql", url=f"postgresql+psycopg://postgres@/postgres?host={socket}", table="rows"), Column(type="string"))


def test_a_number_with_a_point_is_not_a_text(tmp_path: Path) -> None:
    """An id became the text `7.0`."""
    with pytest.raises(DataError, match=r"holds '7\.0' \(float\), which is not of type string"):
        read(database(tmp_path, 7.0), Column(type="string"))
    (tmp_path / "shop.db").unlink()
    assert read(database(tmp_path, 7, "8"), Column(type="string")) == ["7", "8"]


def of_the_night(source: Source) -> list[Any]:
    """Return the times of 2024-01-20 in `source`."""
    declared, window = Column(type="timestamp"), Window("value", dt.date(2024, 1, 20), dt.date(2024, 1, 21))
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, source, {"value": declared}, window, scratch)
        with adapters.reading(scanned.where):
            found = connection.sql(f"SELECT value FROM ({adapters.typed(scanned, {'value': declared})}) WHERE {window.sql('value')}")
            return [str(value) for (value,) in found.fetchall()]


@pytest.mark.parametrize("unpadded", ["2024-1-20 08:00:00", "2024-01-9", "2024-1-2T08:00"])
def test_a_text_that_does_not_sort_as_a_date_is_refused_and_not_left_out(unpadded: str, tmp_path: Path) -> None:
    """Between the first and the last time, which are written whole, the row of the night was not found."""
    source = database(tmp_path, "2024-01-02 08:00:00", unpadded, "2024-12-31 08:00:00")
    with pytest.raises(DataError, match=rf"column 'value' of rows at sqlite.* holds '{unpadded}', and SQLite compares times as text"):
        of_the_night(source)


def test_times_as_text_are_found_by_night(tmp_path: Path) -> None:
    written = ["2024-01-20", "2024-01-20T08:00:00", "2024-01-20 09:00:00+00:00", "2024-01-19 08:00:00", "12024-01-20"]
    assert of_the_night(database(tmp_path, *written)) == [
        "2024-01-20 00:00:00", "2024-01-20 08:00:00", "2024-01-20 09:00:00",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "written", "last"),
    [
        (Column(type="date"), "2024-03-09", dt.date(2024, 3, 9)),  # has no zone, and is not a midnight in UTC
        (Column(type="timestamp", written_in="UTC"), "2024-03-09 02:00:00", dt.date(2024, 3, 8)),
    ],
)
def test_rows_that_are_not_sent_reach_to_their_local_date(declared: Column, written: str, last: dt.date, tmp_path: Path) -> None:
    zone = "America/New_York"
    columns, window = {"value": declared.in_zone(zone)}, Window("value", dt.date(2024, 1, 20), dt.date(2024, 1, 21), time_zone=zone)
    with connect(zone) as (connection, scratch):
        scanned = adapters.scan(connection, database(tmp_path, "2024-01-20", written), columns, window, scratch)
    assert scanned.reach is not None
    assert scanned.reach.last == last


def test_the_columns_of_a_table_and_of_a_query_are_known_before_any_row_is_read(tmp_path: Path) -> None:
    table = database(tmp_path, b"x")
    assert columns_of(table) == ["value"]
    query = table.model_copy(update={"table": None, "query": "SELECT value, 1 AS more FROM rows"})
    assert columns_of(query) == ["value", "more"]
    with pytest.raises(DataError, match=r"none at sqlite.* cannot be read"):
        columns_of(table.model_copy(update={"table": "none"}))
