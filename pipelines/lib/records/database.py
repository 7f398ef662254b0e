"""The database that keeps what happened: the ledger and the journal. SQLite by default, PostgreSQL by `NIGHTSHIFT_LEDGER_URL`.

A `Database` is some tables in it: made on first use, some of them append-only, which triggers in the database enforce.
"""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.refused_login import is_refused

BACKENDS = ("sqlite", "postgresql")


class Database:
    """`tables` in the database at `url`, which `holder` names to people; what is in those of `append_only` is never changed or removed.

    Raises `ConfigError` for a URL of another kind of database.
    """

    def __init__(self, url: str, holder: str, tables: Sequence[sa.Table], append_only: Sequence[sa.Table]) -> None:
        try:
            parsed = sa.make_url(url)
        except sa.exc.ArgumentError:  # its message has the URL, and so may have a password
            raise ConfigError(
                f"the URL of the {holder} in NIGHTSHIFT_LEDGER_URL is not a URL of a database; write sqlite:///FILE or postgresql://USER@HOST/NAME"
            ) from None
        if parsed.get_backend_name() not in BACKENDS:
            raise ConfigError(f"the {holder} cannot live in {parsed.get_backend_name()!r}; use an sqlite:// or postgresql:// URL")
        # Wait for a writer rather than fail: writes are rare and take milliseconds.
        options = {"timeout": 30} if parsed.get_backend_name() == "sqlite" else {"connect_timeout": 10}
        # NaN is not a JSON, and of the two databases only one would refuse it.
        try:
            self._engine = sa.create_engine(parsed, connect_args=options, json_serializer=partial(json.dumps, allow_nan=False))
        except (sa.exc.ArgumentError, ImportError) as error:  # neither tells the URL
            raise ConfigError(
                f"the {holder} cannot be opened: {error}; correct NIGHTSHIFT_LEDGER_URL, or install the driver that it names"
            ) from None
        self._holder, self._tables, self._append_only = holder, tables, append_only
        self._ready = False

    @contextmanager
    def connect(self, lock: str | None = None) -> Iterator[sa.Connection]:
        """Yield a connection in a transaction, committed at the end. With `lock`, one at a time: anyone who else asks for the same lock waits.

        Raises `TransientError` when the database does not answer, `ConfigError` when it refuses the login, `DataError` when its file is damaged.
        """
        try:
            if not self._ready:
                self._create()
            with self._engine.connect() as connection, connection.begin():
                if lock is not None:
                    _lock(connection, lock)
                yield connection
        except (sa.exc.OperationalError, sa.exc.InterfaceError) as error:
            if is_refused(str(error.orig)):
                raise ConfigError(
                    f"the {self._holder} at {self._shown} refuses the connection: {' '.join(str(error.orig).split())}; correct role, password and database in NIGHTSHIFT_LEDGER_URL"
                ) from None
            raise TransientError(
                f"the {self._holder} at {self._shown} did not answer: {error.orig}; check the database and try again"
            ) from error
        except sa.exc.DatabaseError as error:
            if getattr(error.orig, "sqlite_errorname", "").startswith(("SQLITE_NOTADB", "SQLITE_CORRUPT")):
                raise DataError(f"the {self._holder} at {self._shown} is damaged: {error.orig}; restore the file from a backup") from error
            raise

    @property
    def _shown(self) -> str:
        return self._engine.url.render_as_string(hide_password=True)

    def _create(self) -> None:
        if self._engine.url.get_backend_name() == "sqlite" and self._engine.url.database:
            Path(self._engine.url.database).parent.mkdir(parents=True, exist_ok=True)
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":  # two first users at once must not race on CREATE
                _lock(connection, f"nightshift.{self._holder}")
            for table in self._tables:
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            self._add_columns(connection)
            for table in self._append_only:
                for statement in _append_only(table, self._holder)[connection.dialect.name]:
                    connection.execute(sa.text(statement))
        self._ready = True

    def _add_columns(self, connection: sa.Connection) -> None:
        """Give tables of an earlier Nightshift the columns that came since; each has a default, so an earlier one can still write."""
        if not any(_absent(connection, table) for table in self._tables):
            return
        if connection.dialect.name == "sqlite":  # two first users at once; PostgreSQL holds a lock already
            _lock(connection, "")
        for table in self._tables:
            for column in _absent(connection, table):
                added = sa.schema.CreateColumn(column).compile(dialect=connection.dialect)
                connection.execute(sa.text(f"ALTER TABLE {connection.dialect.identifier_preparer.format_table(table)} ADD COLUMN {added}"))


def _absent(connection: sa.Connection, table: sa.Table) -> list["sa.Column[Any]"]:
    """Return the columns of `table` that the database does not have yet."""
    found = {column["name"] for column in sa.inspect(connection).get_columns(table.name)}
    return [column for column in table.columns if column.name not in found]


def utc_now() -> dt.datetime:
    """Return the clock that rows are stamped with: UTC, without a zone, as both databases keep it."""
    return dt.datetime.now(dt.UTC).replace(tzinfo=None)


def _lock(connection: sa.Connection, name: str) -> None:
    """Hold `name` until the transaction ends. SQLite has one writer anyway, so there the lock is to be that writer from the start."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtext(name))))
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _append_only(table: sa.Table, holder: str) -> dict[str, list[str]]:
    """Return the statements, for each kind of database, that make `table` refuse every change of what it holds."""
    name, refusal = table.name, f"the {holder} is append-only"
    abort = f"BEGIN SELECT RAISE(ABORT, '{refusal}'); END"
    taken = " AND ".join(f"{column.name} = NEW.{column.name}" for column in table.primary_key)
    return {
        "sqlite": [
            *(f"CREATE TRIGGER IF NOT EXISTS {name}_no_{verb.lower()} BEFORE {verb} ON {name} {abort}" for verb in ("UPDATE", "DELETE")),
            # INSERT OR REPLACE removes the row in its way without asking the trigger on DELETE.
            f"CREATE TRIGGER IF NOT EXISTS {name}_no_replace BEFORE INSERT ON {name} WHEN EXISTS (SELECT 1 FROM {name} WHERE {taken}) {abort}",
        ],
        "postgresql": [
            f"CREATE OR REPLACE FUNCTION {name}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
            f"$$ BEGIN RAISE EXCEPTION '{refusal}'; END $$",
            f"CREATE OR REPLACE TRIGGER {name}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {name} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}_append_only()",
        ],
    }
