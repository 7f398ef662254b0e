"""The append-only record of every promotion and rollback: which version is champion, since when, by whom and why.

It is the truth about champions; registry aliases are a projection of it (`pipelines.lib.champions.registry`). Appending is fenced: an
entry carries the sequence number that follows the one its author has seen, and (name, sequence) is the primary key, so of any
number of concurrent appends exactly one wins and the others get a `LedgerConflict`. Triggers in the database refuse to change
or remove a row. SQLite by default, PostgreSQL by `NIGHTSHIFT_LEDGER_URL`.
"""

import datetime as dt
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from pipelines.lib.core.errors import ConfigError, LedgerConflict
from pipelines.lib.records.database import Database, utc_now

_METADATA = sa.MetaData()
_LEDGER = sa.Table(
    "ledger",
    _METADATA,
    sa.Column("name", sa.String(200), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("action", sa.String(20), nullable=False),
    sa.Column("version", sa.String(50), nullable=False),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("model_uri", sa.Text, nullable=False),
    sa.Column("from_version", sa.String(50)),
    sa.Column("live_from", sa.String(10), nullable=False),
    sa.Column("actor", sa.String(200), nullable=False),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("evidence", sa.JSON, nullable=False),
    sa.Column("recorded_at", sa.DateTime, nullable=False),
)


@dataclass(frozen=True)
class Entry:
    """One line of the ledger.

    `live_from` is the first partition that this version scores; `from_version` the champion it replaced (None at first);
    `evidence` the basis of the decision, as JSON; `recorded_at` is UTC.
    """

    name: str
    sequence: int
    action: Literal["promote", "rollback"]
    version: str
    sha256: str
    model_uri: str
    from_version: str | None
    live_from: str
    actor: str
    reason: str
    evidence: dict[str, Any] = field(default_factory=dict)
    recorded_at: dt.datetime | None = None


class Ledger:
    """The ledger in the database at `url`; its table is made on first use."""

    def __init__(self, url: str) -> None:
        self._database = Database(url, "ledger", [_LEDGER], append_only=[_LEDGER])

    def names(self) -> list[str]:
        """Return the names that have entries, those of use cases that were removed included."""
        with self._database.connect() as connection:
            return list(connection.execute(sa.select(_LEDGER.c.name).distinct().order_by(_LEDGER.c.name)).scalars())

    def history(self, name: str) -> list[Entry]:
        """Return all entries of `name`, oldest first."""
        query = sa.select(_LEDGER).where(_LEDGER.c.name == name).order_by(_LEDGER.c.sequence)
        with self._database.connect() as connection:
            return [Entry(**row._mapping) for row in connection.execute(query)]

    def champion(self, name: str) -> Entry | None:
        """Return the entry that made the present champion, or None before the first promotion."""
        return next(iter(reversed(self.history(name))), None)

    def line(self, name: str) -> list[Entry]:
        """Return the champions that led to the present one, which is last: the history without what was rolled back from."""
        line: list[Entry] = []
        for entry in self.history(name):
            versions = [before.version for before in line]
            if entry.action == "rollback" and entry.version in versions:
                del line[len(versions) - 1 - versions[::-1].index(entry.version) :]
            line.append(entry)
        return line

    def previous(self, name: str) -> Entry | None:
        """Return what to fall back to: the champion before the present one in the `line`, or else the newest entry of any other version."""
        entries, line = self.history(name), self.line(name)
        if len(line) > 1:
            return line[-2]
        return next((entry for entry in reversed(entries) if entry.version != entries[-1].version), None)

    def champion_as_of(self, name: str, partition: str) -> Entry | None:
        """Return the entry that was live on `partition`: the newest whose `live_from` is not after it."""
        return next((entry for entry in reversed(self.history(name)) if entry.live_from <= partition), None)

    def append(self, entry: Entry) -> Entry:
        """Append `entry`; its sequence must be one more than the last one its author has seen (1 for the first).

        Returns the entry as recorded. Raises `LedgerConflict` when somebody else was first, `ConfigError` for an entry that would be live
        before the one it follows: `champion_as_of` would tell another history than the one that nights have seen.
        """
        entries = self.history(entry.name)
        last = entries[-1] if entries else None
        if entry.sequence != (last.sequence if last else 0) + 1:
            raise LedgerConflict(_conflict(entry, last.sequence if last else 0))
        if last and entry.live_from < last.live_from:
            raise ConfigError(
                f"{entry.name} version {entry.version} cannot be live from {entry.live_from}: the champion before it, version {last.version}, "
                f"is live from {last.live_from} (entry {last.sequence}). Name that partition, or a later one"
            )
        recorded = Entry(**{**asdict(entry), "recorded_at": utc_now()})
        try:
            with self._database.connect() as connection:
                connection.execute(_LEDGER.insert().values(asdict(recorded)))
        except sa.exc.IntegrityError:
            raise LedgerConflict(_conflict(entry, entry.sequence)) from None
        return recorded


def _conflict(entry: Entry, last: int) -> str:
    return (
        f"{entry.name} version {entry.version} was not recorded: it was decided as entry {entry.sequence}, "
        f"but the ledger already holds entry {last}. Read the ledger again, then decide again"
    )
