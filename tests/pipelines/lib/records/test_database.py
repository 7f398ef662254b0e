"""The guarantees of both databases to the modules that use them. Each table's own promises are tested with its owner."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.records.database import Database
from tests.servers import postgres

COUNTERS = sa.Table("counters", sa.MetaData(), sa.Column("name", sa.String(20), primary_key=True), sa.Column("value", sa.Integer))
NOTES = sa.Table("notes", sa.MetaData(), sa.Column("text", sa.String(20), primary_key=True), sa.Column("more", sa.JSON))


def _database(url: str) -> Database:
    return Database(url, "test", [COUNTERS, NOTES], append_only=[NOTES])


def _count_up_slowly(url: str) -> None:
    """Read, then write what was read plus one: wrong unless everybody waits for the lock."""
    with _database(url).connect(lock="counter") as connection:
        found = connection.scalar(sa.select(COUNTERS.c.value))
        if found is None:
            connection.execute(COUNTERS.insert().values(name="a", value=1))
        else:
            connection.execute(COUNTERS.update().values(value=found + 1))


def check(url: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(_count_up_slowly, [url] * 24))
    database = _database(url)
    with database.connect() as connection:
        assert connection.scalar(sa.select(COUNTERS.c.value)) == 24
        connection.execute(NOTES.insert().values(text="kept", more={"a": 1}))
    replace = (
        "INSERT OR REPLACE INTO notes VALUES ('kept', '{}')"
        if url.startswith("sqlite")
        else ("INSERT INTO notes VALUES ('kept', '{}') ON CONFLICT (text) DO UPDATE SET more = excluded.more")
    )
    for statement in (NOTES.update().values(text="changed"), NOTES.delete(), sa.text(replace)):
        with pytest.raises(sa.exc.DBAPIError, match="the test is append-only"), database.connect() as connection:
            connection.execute(statement)
    with pytest.raises(sa.exc.StatementError, match="JSON"), database.connect() as connection:
        connection.execute(NOTES.insert().values(text="NaN", more={"a": float("nan")}))
    with pytest.raises(ZeroDivisionError), database.connect(lock="counter") as connection:
        connection.execute(COUNTERS.update().values(value=1 // 0))
    with database.connect(lock="counter") as connection:  # the failure gave the lock back
        assert connection.execute(sa.select(NOTES.c.text)).scalars().all() == ["kept"]


def test_sqlite(tmp_path: Path) -> None:
    check(f"sqlite:///{tmp_path / 'deeper' / 'state.db'}")


@pytest.mark.integration
def test_postgresql() -> None:
    with postgres() as socket:
        check(f"postgresql+psycopg2://postgres@/postgres?host={socket}")


def test_another_database_is_refused() -> None:
    with pytest.raises(ConfigError, match="the test cannot live in 'mysql'"):
        _database("mysql://localhost/x")


def test_a_database_that_does_not_answer_is_worth_a_retry_and_shows_no_password() -> None:
    with pytest.raises(TransientError, match="did not answer") as error, _database("postgresql://nobody:secret@127.0.0.1:1/x").connect():
        pass
    assert "secret" not in str(error.value)


@pytest.mark.integration
@pytest.mark.parametrize(
    ("login", "said"),
    [("nobody:secret@/postgres", 'role "nobody" does not exist'), ("postgres:secret@/nowhere", 'database "nowhere" does not exist')],
)
def test_a_login_that_is_refused_is_not_tried_again(login: str, said: str) -> None:
    with postgres() as socket:
        refused = _database(f"postgresql+psycopg2://{login}?host={socket}")
        with (
            pytest.raises(ConfigError, match=rf"the test at .* refuses the connection: .*{said}.*NIGHTSHIFT_LEDGER_URL") as error,
            refused.connect(),
        ):
            pass
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("url", ["no url of secret", "postgresql+nodriver://nobody:secret@127.0.0.1/x", "sqlite+nodriver:///x"])
def test_a_url_that_cannot_be_used_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(ConfigError, match="NIGHTSHIFT_LEDGER_URL") as error:
        _database(url)
    assert "secret" not in str(error.value)


def test_a_file_that_is_not_a_database_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"no database" * 1_000)
    with (
        pytest.raises(DataError, match=r"the test at .*state\.db is damaged: file is not a database"),
        _database(f"sqlite:///{tmp_path / 'state.db'}").connect(),
    ):
        pass
