"""The record of measurements and decisions of monitoring and retraining, in the same database as the ledger. The governor reads nothing else but the ledger.

    nights       a scored night in the bins of its model's profile        one row a (name, version, partition), replaced by a repeat
    performance  a night's scores against its outcomes                    one row a (name, partition), a new revision when measured again
    decisions    retrain or not, and why                                  append-only
    verdicts     a retraining was asked for, what was said of its         append-only
                 challenger, and the end

Every write may be repeated, from any number of processes at once: the same again changes nothing.

A night may be published again: from a corrected source, by another version, after a restore. So what is recorded of a night names the
`publication` that it is about (`pipelines.lib.published.nights.publications`), and `of_published` leaves what is about another one out.
"""

import datetime as dt
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from pipelines.lib.records.database import Database, utc_now
from pipelines.lib.records.journal_tables import DECISIONS, NIGHTS, PERFORMANCE, VERDICTS


@dataclass(frozen=True)
class NightRecord:
    """A night that `version` of model `name` scored: the counts of its features in the bins of that version's profile, and its drift.

    `histogram` and `drift` are JSON as `pipelines.lib.measures.histogram` and `pipelines.monitoring.detect_drift` write it; `run_ref` is the git ref of the run that scored the night, `publication`
    what was published of it then (empty: nothing, or recorded before the journal knew).
    """

    name: str
    version: str
    partition: str
    run_ref: str
    rows: int
    histogram: dict[str, Any]
    drift: dict[str, Any] = field(default_factory=dict)
    publication: str = ""


@dataclass(frozen=True)
class PerformanceRecord:
    """How good the published scores of a night were: `rows` of them have an outcome.

    `outcomes_sha256` is the digest of those outcomes, `publication` names the scores (empty: recorded before the journal knew), `revision`
    counts from 1 how often either changed. `figures` are of all rows, `slices` of groups of them (see
    `pipelines.monitoring.measure_performance`).
    """

    name: str
    partition: str
    version: str
    outcomes_sha256: str
    rows: int
    figures: dict[str, Any]
    slices: list[dict[str, Any]] = field(default_factory=list)
    revision: int = 1
    publication: str = ""


@dataclass(frozen=True)
class Decision:
    """The decision of the governor on `partition` about the champion `version`, with its `reason` in a sentence and the `findings` behind
    it.
    """

    name: str
    partition: str
    version: str
    retrain: bool
    reason: str
    findings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class DecisionRow(Decision):
    """A decision as recorded: `sequence` counts from 1 for each name, `recorded_at` is UTC."""

    sequence: int = 0
    recorded_at: dt.datetime | None = None


@dataclass(frozen=True)
class Verdict:
    """The result of a retraining: what the evidence says of its challenger (promote, refuse, ask), then what was done (promoted, refused, rolled_back).

    Before all that it may have been *asked* for, by the monitor: there is no challenger yet, and `challenger` is empty.
    `run_id` is the retraining run, `champion` the version that was champion then (None: there was none), `actor` who decided.
    """

    name: str
    run_id: str
    partition: str
    champion: str | None
    challenger: str
    verdict: Literal["asked", "promote", "refuse", "ask", "promoted", "refused", "rolled_back"]
    reason: str
    actor: str


@dataclass(frozen=True)
class VerdictRow(Verdict):
    """A verdict as recorded: `sequence` counts from 1 for each name, `recorded_at` is UTC."""

    sequence: int = 0
    recorded_at: dt.datetime | None = None


Record = TypeVar("Record", NightRecord, PerformanceRecord, DecisionRow, VerdictRow)
Row = TypeVar("Row", DecisionRow, VerdictRow)
Measured = TypeVar("Measured", NightRecord, PerformanceRecord)


def of_published(records: Sequence[Measured], published: Mapping[str, str]) -> list[Measured]:
    """Return those of `records` that are about what is `published` now, by partition; those that do not know what they are about count as
    such.
    """
    return [record for record in records if record.publication in ("", published.get(record.partition))]


class Journal:
    """The journal in the database at `url`; its tables are made on first use. Every method raises `TransientError` if that is down."""

    def __init__(self, url: str) -> None:
        tables = [NIGHTS, PERFORMANCE, DECISIONS, VERDICTS]
        self._database = Database(url, "journal", tables, append_only=[DECISIONS, VERDICTS])

    def record_night(self, night: NightRecord) -> None:
        """Keep `night`, in place of what was recorded before of the same partition and version."""
        with self._database.connect() as connection:
            _keep(connection, night)

    def record_nights(
        self,
        nights: Sequence[NightRecord],
        *,
        since: str,
        until: str,
        complete: Callable[[list[NightRecord]], Sequence[NightRecord]],
    ) -> None:
        """Keep `nights`, which are of one version, and what `complete` makes of all that is then recorded of it from `since` up to `until`.

        Nobody else records nights of this model in between, so what is derived from several nights fits all of them.
        """
        name, version = nights[0].name, nights[0].version
        with self._database.connect(lock=f"nights of {name}") as connection:
            for night in nights:
                _keep(connection, night)
            rows = connection.execute(_select_nights(name, version, until, since))
            for night in complete([NightRecord(**row._mapping) for row in rows][::-1]):
                _keep(connection, night)

    def nights(
        self, name: str, version: str | None = None, *, until: str, since: str | None = None, count: int | None = None
    ) -> list[NightRecord]:
        """Return the last `count` nights from `since` up to `until`, both inclusive, that `version` (None: any) scored; oldest first."""
        return self._read(_select_nights(name, version, until, since).limit(count), NightRecord)[::-1]

    def record_performance(self, record: PerformanceRecord) -> bool:
        """Keep `record` unless the same outcomes of the same publication are there already; says whether anything changed.

        Its `revision` is not read: it is 1 at first, and one more each time that the record was replaced.
        """
        with self._database.connect() as connection:
            insert = _insert(connection, PERFORMANCE).values({**asdict(record), "revision": 1})
            new = insert.excluded
            changed: dict[str, Any] = {
                name: new[name] for name in ("version", "outcomes_sha256", "rows", "figures", "slices", "publication")
            }
            changed["revision"] = PERFORMANCE.c.revision + 1
            differs = sa.or_(*(PERFORMANCE.c[name] != new[name] for name in ("version", "outcomes_sha256", "publication")))
            upsert = insert.on_conflict_do_update(index_elements=["name", "partition"], set_=changed, where=differs)
            return connection.execute(upsert).rowcount > 0

    def performance(self, name: str, *, since: str | None = None, until: str | None = None) -> list[PerformanceRecord]:
        """Return the nights from `since` up to `until`, both inclusive, whose outcomes are known; oldest first."""
        where = [PERFORMANCE.c.name == name]
        if since is not None:
            where.append(PERFORMANCE.c.partition >= since)
        if until is not None:
            where.append(PERFORMANCE.c.partition <= until)
        return self._read(sa.select(PERFORMANCE).where(*where).order_by(PERFORMANCE.c.partition), PerformanceRecord)

    def record_decision(self, decision: Decision) -> DecisionRow:
        """Append `decision`, unless it is what the last decision of its partition says already; returns the row that says it."""
        content = {column.name: getattr(decision, column.name) for column in fields(Decision)}
        return self._append(DECISIONS, content, DecisionRow, repeats=("partition",), exact=True)

    def decisions(self, name: str, *, until: str | None = None) -> list[DecisionRow]:
        """Return the decisions on partitions up to `until`, inclusive, as they were made."""
        where = [DECISIONS.c.name == name]
        if until is not None:
            where.append(DECISIONS.c.partition <= until)
        return self._read(sa.select(DECISIONS).where(*where).order_by(DECISIONS.c.sequence), DecisionRow)

    def record_verdict(self, verdict: Verdict) -> VerdictRow:
        """Append `verdict`, unless its run has already recorded it for the challenger, with any reason; return the row that counts.

        A run is identified by its challenger too: on a laptop every run is ``laptop``.
        """
        content = {column.name: getattr(verdict, column.name) for column in fields(Verdict)}
        return self._append(VERDICTS, content, VerdictRow, repeats=("run_id", "challenger", "verdict"), exact=False)

    def verdicts(self, name: str) -> list[VerdictRow]:
        """Return all verdicts, as they were made."""
        return self._read(sa.select(VERDICTS).where(VERDICTS.c.name == name).order_by(VERDICTS.c.sequence), VerdictRow)

    def _read(self, query: "sa.Select[Any]", record: type[Record]) -> list[Record]:
        with self._database.connect() as connection:
            return [record(**row._mapping) for row in connection.execute(query)]

    def _append(self, table: sa.Table, content: dict[str, Any], row: type[Row], repeats: tuple[str, ...], *, exact: bool) -> Row:
        """Append `content`, unless the last row with its values of `repeats` stands for it: any such row, or an equal one if `exact`."""
        content = json.loads(json.dumps(content, allow_nan=False))  # as it will come back, so that it can be compared
        same = [table.c[column] == content[column] for column in ("name", *repeats)]
        # One at a time, so that of two equal ones at once the second sees the first, and no number is taken twice.
        with self._database.connect(lock=f"{table.name} of {content['name']}") as connection:
            last = connection.execute(sa.select(table).where(*same).order_by(table.c.sequence.desc()).limit(1)).one_or_none()
            if last is not None and (not exact or all(last._mapping[column] == value for column, value in content.items())):
                return row(**last._mapping)
            taken = connection.scalar(sa.select(sa.func.max(table.c.sequence)).where(table.c.name == content["name"]))
            new = row(**content, sequence=(taken or 0) + 1, recorded_at=utc_now())
            connection.execute(table.insert().values(asdict(new)))
            return new


def _select_nights(name: str, version: str | None, until: str, since: str | None) -> "sa.Select[Any]":
    """Return the records, the newest first."""
    where = [NIGHTS.c.name == name, NIGHTS.c.partition <= until]
    if version is not None:
        where.append(NIGHTS.c.version == version)
    if since is not None:
        where.append(NIGHTS.c.partition >= since)
    return sa.select(NIGHTS).where(*where).order_by(NIGHTS.c.partition.desc(), NIGHTS.c.version.desc())


def _keep(connection: sa.Connection, night: NightRecord) -> None:
    insert = _insert(connection, NIGHTS).values(asdict(night))
    keys = [column.name for column in NIGHTS.primary_key]
    changed = {column.name: insert.excluded[column.name] for column in NIGHTS.columns if not column.primary_key}
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed))


def _insert(connection: sa.Connection, table: sa.Table) -> "sqlite.Insert | postgresql.Insert":
    """Return an INSERT with ON CONFLICT, which both databases have, each in a dialect of its own."""
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
