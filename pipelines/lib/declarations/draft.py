"""A first declaration of a table that nobody has described yet: what its source shows, and what it cannot show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.declarations import leakage
from pipelines.lib.declarations.candidates import label_candidates, named_as_key, row_numbers, unique_keys
from pipelines.lib.declarations.column_types import column_types, declarable
from pipelines.lib.declarations.csv_dialect import formats_of
from pipelines.lib.declarations.csv_doubts import csv_doubts, words_for_missing
from pipelines.lib.declarations.draft_features import draft_features
from pipelines.lib.declarations.draft_notes import column_notes, delay_of, key_warnings, label_warnings
from pipelines.lib.declarations.events import load_events, repeated_rows, require_rows
from pipelines.lib.declarations.facts import EVENTS, Facts, read_facts
from pipelines.lib.declarations.faults import read_section
from pipelines.lib.declarations.references import columns_in
from pipelines.lib.declarations.rhythm import rhythm_of
from pipelines.lib.declarations.source_description import describe_source
from pipelines.lib.declarations.zones_seen import zones_seen
from pipelines.lib.sources import adapters
from pipelines.lib.sources.scan import Scan
from pipelines.lib.tables.dataset import RESERVED, Column, Dataset, Source
from pipelines.lib.tables.engine import UTC, connect, name
from pipelines.lib.tables.labels import check_label, task_seen, with_task

_BEST_TIME = "best as 2024-01-31 10:00:00, with a zone as an offset, such as +01:00"

_PLACEHOLDER = "NULL::BOOLEAN"

_FLAGS = {
    "dataset.label.name": "--label-name",
    "dataset.label.delay_days": "--delay-days",
    "dataset.label": "--label",
    "dataset.key": "--key",
    "dataset.event_time": "--event-time",
    "dataset.known_later": "--known-later",
}
"""The arguments of `init`, by the keys of the declaration that have their values."""


@dataclass(frozen=True)
class Wishes:
    """The wishes of a person for the declaration; empty or None for what the source shall show."""

    label: str = ""
    label_name: str = "outcome"
    delay_days: int | None = None
    key: tuple[str, ...] = ()
    event_time: str = ""
    known_later: tuple[str, ...] = ()


@dataclass(frozen=True)
class Draft:
    """A declaration, `dataset` and `features` as in YAML, and the `notes` and `warnings` about it in words."""

    dataset: Mapping[str, Any]
    features: Mapping[str, Any]
    notes: Sequence[str]
    warnings: Sequence[str]


def draft(given: str, wishes: Wishes) -> Draft:
    """Return a draft for the source at `given`, a file, a folder or an address.

    Raises `ConfigError` with the candidates for all that is neither given nor to be seen.
    """
    with connect(UTC) as (connection, scratch):
        described = describe_source(connection, given, scratch)
        source = parse_section(described, Source, "--source")
        scanned = adapters.scan(connection, source, {}, None, scratch)
        require_rows(connection, scanned)
        usable = [column for column in scanned.columns if declarable(scanned.columns[column])]
        kinds = column_types(connection, scanned, usable)
        table = _table(wishes, described, kinds)
        _require_time(connection, scanned, wishes.event_time, kinds)
        load_events(connection, scanned, _loaded(table, kinds, next(iter(kinds))))
        times = [column for column, kind in kinds.items() if kind in ("timestamp", "date")]
        time = wishes.event_time or (times[0] if len(times) == 1 else "")
        looked = _loaded({**table, "label": {**table["label"], "expression": _PLACEHOLDER}}, kinds, time or next(iter(times), ""))
        facts = read_facts(connection, looked, scanned.where) if times else Facts({})
        values = {column: fact.values for column, fact in facts.columns.items()}
        keys = [wishes.key] if wishes.key else unique_keys(connection, kinds)
        if questions := _questions(wishes, kinds, label_candidates(connection, kinds, values), times, keys, scanned):
            raise ConfigError("\n".join(["The source does not tell everything. Add:", *(f"  {question}" for question in questions)]))
        key = _best_key(keys, time)
        later = [*dict.fromkeys([*wishes.known_later, *_of_label(connection, wishes.label, kinds, (*key, time))])]
        dataset = _loaded({**table, "key": list(key), "known_later": later}, kinds, time)
        dataset = with_task(dataset, task_seen(connection, dataset, EVENTS, "--label"))
        check_label(connection, dataset, "--label")
        facts = read_facts(connection, dataset, scanned.where)
        signs = leakage.signs(connection, dataset, kinds)
        filled = [sign.column for sign in signs if sign.filled_later]
        delay, seen = delay_of(facts, wishes.delay_days)
        spared = {*key, time, *later, *(sign.column for sign in signs)}
        numbers = [column for column in row_numbers(connection, kinds, facts) if column not in spared]
        offered = {column: kind for column, kind in kinds.items() if column not in {*spared, *numbers}}
        features = draft_features(connection, offered, facts, kinds[time], {*key, time, wishes.label_name})
        rhythm = rhythm_of(facts.counts)
        zone, seen_zones = zones_seen(connection, scanned, source, kinds, time)
        notes = [
            *column_notes(scanned, facts, kinds),
            f"Label {wishes.label_name}: {facts.outcomes_in_words()}.",
            seen,
            seen_zones,
            *rhythm.words(),
            *words_for_missing(source),
        ]
        notes += [f"No feature: {column} has another value in each row, as a running number has." for column in numbers]
        doubts = list(csv_doubts(connection, scanned, source, kinds)) if source.kind == "csv" else []
        repeated = repeated_rows(connection, key) if wishes.key else 0
    warnings = [*doubts, *key_warnings(key, repeated), *label_warnings(facts, wishes.label)]
    warnings += [f"{sign.column} {sign.reason}: {leakage.remedy(sign.column)}. It does not become a feature here." for sign in signs]
    declared = {
        "source": described, "key": list(key), "event_time": time, **({"time_zone": zone} if zone else {}),
        "label": {"name": wishes.label_name, "expression": wishes.label, "delay_days": delay}, "known_later": [*later, *filled],
        **rhythm.declared(),
    }  # fmt: skip
    return Draft(declared, features, notes, warnings)


def _table(wishes: Wishes, source: Mapping[str, Any], kinds: Mapping[str, str]) -> dict[str, Any]:
    for flag, named in (("--key", wishes.key), ("--event-time", (wishes.event_time,)), ("--known-later", wishes.known_later)):
        if unknown := [column for column in named if column and column not in kinds]:
            raise ConfigError(f"{flag} names {unknown[0]!r}, which the source does not have as a column; there are {', '.join(kinds)}")
    if wishes.label_name.lower() in {*RESERVED, *(column.lower() for column in kinds)}:
        why = "Nightshift writes itself" if wishes.label_name.lower() in RESERVED else "a column has as well"
        raise ConfigError(f"--label-name is {wishes.label_name!r}, a name that {why}; choose another one, such as --label-name is_true")
    label = {"name": wishes.label_name, "expression": wishes.label or _PLACEHOLDER, "delay_days": wishes.delay_days or 0}
    return {"name": "draft", "source": dict(source), "label": label}


def _require_time(connection: duckdb.DuckDBPyConnection, scanned: Scan, column: str, kinds: Mapping[str, str]) -> None:
    """Raise `ConfigError` if the `column` that is given as the time of the event holds neither dates nor times."""
    if not column or kinds[column] in ("timestamp", "date"):
        return
    kind = kinds[column]
    as_text = f"(SELECT {name(column)}::VARCHAR AS {name(column)} FROM {scanned.relation})"
    forms = [formats_of(connection, as_text, column, of) for of in ("date", "timestamp")] if kind == "string" else [{}]
    if found := max(forms, key=lambda counts: sum(counts.values())):
        seen = " and ".join(f"{count:,} values like {form}" for form, count in list(found.items())[:3])
        remedy = f"deliver all of them in one format, {_BEST_TIME}" if len(found) > 1 else f"deliver it as a time, {_BEST_TIME}"
    else:
        [(example,)] = connection.sql(f"SELECT min({name(column)}) FROM {as_text}").fetchall()
        seen = "no value" if example is None else f"values such as {example!r}"
        remedy = f"name a column of dates or times, or deliver it as such, {_BEST_TIME}"
    raise ConfigError(f"--event-time is {column!r}, of type {kind}, which holds {seen}; {remedy}")


def _loaded(table: Mapping[str, Any], kinds: Mapping[str, str], time: str) -> Dataset:
    """Return the section of a table whose columns may all be missing, except its key and time."""
    key = table.get("key") or [time]
    columns = {column: {"type": kind, "nulls": 0 if column in (*key, time) else 1} for column, kind in kinds.items()}
    known_later = table.get("known_later") or []
    whole = {**table, "key": key, "event_time": time, "columns": columns, "known_later": known_later}
    if kinds.get(time) not in ("timestamp", "date"):  # only to load the columns
        return Dataset.model_construct(columns={column: Column(type=kind) for column, kind in kinds.items()})  # type: ignore[arg-type]  # one of the kinds that a column may have
    found, faults = read_section(whole, Dataset, "dataset")
    if found is None:
        raise ConfigError("\n".join(f"{_flag(fault.key)}{fault.fact}{fault.remedy and f'; {fault.remedy}'}" for fault in faults))
    return found


def _flag(key: str) -> str:
    """Return how a message begins that is about the value at the dotted `key` of a declaration: with the argument that it comes from, if there is one."""
    flags = (f"{flag}: " for start, flag in _FLAGS.items() if f"{key}.".startswith(f"{start}."))
    return next(flags, "")


def _questions(
    wishes: Wishes,
    kinds: Mapping[str, str],
    offered: Sequence[str],
    times: Sequence[str],
    keys: Sequence[tuple[str, ...]],
    scanned: Scan,
) -> list[str]:
    """Return a question for each thing that is missing. The labels that are `offered` are expressions."""
    questions = []
    if not wishes.label:
        seen = f" Columns of two values: {', '.join(offered)}." if offered else f" The columns are {', '.join(kinds)}."
        questions.append(f'--label "…": SQL over the columns that is true or false, such as --label "amount > 100", or a number.{seen}')
    if not wishes.event_time and len(times) != 1:
        seen = (
            f"The source has {', '.join(times)}."
            if times
            else f"No column of {scanned.where} is a date or a time; the columns are {_shown(kinds)}."
        )
        questions.append(f"--event-time COLUMN: when the event takes place. {seen}")
    if not keys:
        questions.append(
            f"--key COLUMN …: the columns that name a row. No combination of up to three columns does. The columns are {_shown(kinds)}."
        )
    return questions


def _shown(kinds: Mapping[str, str]) -> str:
    return ", ".join(f"{column} ({kind})" for column, kind in kinds.items())


def _best_key(keys: Sequence[tuple[str, ...]], time: str) -> tuple[str, ...]:
    """Return the key whose name says so, or else the first one that is not the time alone."""
    return min(keys, key=lambda key: (key == (time,), not any(map(named_as_key, key))))


def _of_label(connection: duckdb.DuckDBPyConnection, label: str, kinds: Mapping[str, str], early: Sequence[str]) -> list[str]:
    by_name = {column.lower(): column for column in kinds}
    used = (by_name.get(column.lower()) for column in columns_in(connection, label))
    return [column for column in used if column is not None and column not in early]
