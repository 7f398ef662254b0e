"""Check what a use case declares against its data, before anything runs: every fault, not only the first."""

import datetime as dt
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.core.params import parse_section
from pipelines.lib.declarations import leakage
from pipelines.lib.declarations.events import load_events, repeated_rows, scan_events, shared, time_zone_of
from pipelines.lib.declarations.facts import EVENTS, SHORTEST_HISTORY, Facts, read_facts
from pipelines.lib.declarations.faults import Finding, of_error, read_section
from pipelines.lib.declarations.first_nights import DEMO_NIGHTS
from pipelines.lib.declarations.joins_found import join_findings
from pipelines.lib.declarations.side_check import side_faults
from pipelines.lib.declarations.source_look import label_name_faults, source_fault, source_look_faults
from pipelines.lib.declarations.unreadable import unreadable_faults
from pipelines.lib.features.declaration import Features
from pipelines.lib.sources import database_source
from pipelines.lib.tables.dataset import Column, Dataset, Source
from pipelines.lib.tables.engine import UTC, connect, name, text
from pipelines.lib.tables.labels import check_label
from pipelines.lib.tables.night_calendar import name_of

Params = Mapping[str, Any]


def first_look(params: Params) -> list[Finding]:
    """Return the faults that the sources of `params` show before columns are derived; none of one whose section ``source`` has faults itself."""
    dataset = params.get("dataset")
    if not isinstance(dataset, dict):
        return []
    tables = dataset.get("tables")
    sides = (
        {table: content for table, content in tables.items() if isinstance(table, str) and isinstance(content, dict)}
        if isinstance(tables, dict)
        else {}
    )
    with connect(UTC) as (connection, scratch):
        found = source_look_faults(connection, "dataset", dataset, params.get("features"), scratch)
        for table, content in sides.items():
            found += source_look_faults(connection, f"dataset.tables.{table}", content, None, scratch)
        return found


def declared_data_faults(params: Params, features: Features) -> list[Finding]:
    """Return those faults of the data that do not follow from values which are still to be derived. Raises as `data_faults` does."""
    return [
        fault
        for fault in data_faults(params, features)
        if not fault.key.endswith(_DERIVED) or (_at(params, fault.key) is not None and fault.key.startswith("dataset."))
    ]


_DERIVED = (".nulls", ".values", ".minimum_rows", ".holdout_days")
"""The ends of the keys that are derived unless they are declared."""


def _at(params: Params, key: str) -> Any:
    found: Any = params
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def data_faults(params: Params, features: Features) -> list[Finding]:
    """Return the faults of the data that section dataset of `params` declares. Raises `ConfigError` if that section cannot be read."""
    with connect(time_zone_of(params)) as (connection, scratch):
        source = parse_section((params.get("dataset") or {}).get("source"), Source, "dataset.source")
        if (fault := source_fault(source, "dataset.source", scratch)) is not None:
            return [fault, *_side_source_faults(params, scratch)]
        try:
            scanned, dataset, _ = scan_events(connection, params, scratch, "dataset")
            names = database_source.columns_of(source) if source.kind == "sql" else scanned.columns
        except NightshiftError as error:
            return [of_error(error, "dataset.source")]
        found = list(label_name_faults(dataset.label.name, names))
        found += [fault for table, side in dataset.tables.items() for fault in side_faults(connection, table, side, scratch)]
        try:
            load_events(connection, scanned, dataset)
        except NightshiftError:
            return [*found, *unreadable_faults(connection, scanned, dataset.columns, dataset.source, "dataset")]
        try:
            check_label(connection, dataset)
            facts = read_facts(connection, dataset, scanned.where)
        except NightshiftError as error:
            return [*found, of_error(error, "dataset.label.expression")]
        except duckdb.Error as error:
            return [*found, Finding("dataset.label.expression", f"fails: {str(error).splitlines()[0]}", "correct it, or write TRY(…)")]
        found += _key_faults(connection, dataset)
        found += _column_faults(connection, dataset)
        found += _label_faults(facts, dataset)
        found += _night_faults(facts, dataset, params)
        found += _weekday_faults(facts, dataset)
        found += join_findings(connection, dataset, features, scratch)
        found += [
            Finding("dataset.known_later", f"does not name {sign.column}, which {sign.reason}", leakage.remedy(sign.column))
            for sign in leakage.signs_of_features(connection, dataset, features)
        ]
    return found


def _key_faults(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> Iterator[Finding]:
    if repeated := repeated_rows(connection, dataset.key):
        yield Finding("dataset.key", f"is {shared(dataset.key, repeated)}", "name the columns that tell them apart")


def _column_faults(connection: duckdb.DuckDBPyConnection, dataset: Dataset) -> Iterator[Finding]:
    """Yield the columns that the gates would stop a history for: too many missing values, values that are not listed or out of bounds."""
    judged = {column: declared for column, declared in dataset.columns.items() if column not in (*dataset.known_later, dataset.event_time)}
    if not judged:
        return
    figures = [figure for column, declared in judged.items() for figure in _figures(name(column), declared)]
    [(rows, *found)] = connection.sql(f"SELECT count(*), {', '.join(figures)} FROM {EVENTS}").fetchall()
    for place, (column, declared) in enumerate(judged.items()):
        missing, unseen, outside = found[3 * place : 3 * place + 3]
        key = f"dataset.columns.{column}"
        if missing / rows > declared.nulls:
            yield Finding(
                f"{key}.nulls",
                f"is {declared.nulls:g}, but {missing / rows:.2%} of the rows have no value",
                "raise it, or correct the data",
            )
        if declared.values is not None and unseen > declared.unseen * max(1, rows - missing):
            [(example,)] = connection.sql(
                f"SELECT {name(column)}::VARCHAR FROM {EVENTS} WHERE {_outside_values(name(column), declared)} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 1"
            ).fetchall()
            yield Finding(
                f"{key}.values", f"lacks {example!r} and with it {unseen / rows:.2%} of the rows", "add the value, or raise unseen"
            )
        if outside:
            bounds = " to ".join("…" if bound is None else f"{bound:g}" for bound in (declared.minimum, declared.maximum))
            yield Finding(key, f"has {outside:,} rows outside {bounds}", "correct minimum and maximum, or the data")


def _figures(value: str, declared: Column) -> tuple[str, str, str]:
    bounds = [f"{value} {sign} {bound}" for sign, bound in (("<", declared.minimum), (">", declared.maximum)) if bound is not None]
    unseen = _outside_values(value, declared) if declared.values is not None else "false"
    return (
        f"count(*) FILTER ({value} IS NULL)",
        f"count(*) FILTER ({unseen})",
        f"count(*) FILTER ({' OR '.join(bounds) or 'false'})",
    )


def _outside_values(value: str, declared: Column) -> str:
    return f"{value} IS NOT NULL AND {value}::VARCHAR NOT IN ({', '.join(map(text, declared.values or ('',)))})"


def _side_source_faults(params: Params, scratch: Path) -> Iterator[Finding]:
    """Yield the faults of the sources of side tables, without a look at the main table."""
    for table, section in (_at(params, "dataset.tables") or {}).items():
        key = f"dataset.tables.{table}.source"
        source, _ = read_section(section.get("source"), Source, key)
        if source is not None and (fault := source_fault(source, key, scratch)) is not None:
            yield fault


def _label_faults(facts: Facts, dataset: Dataset) -> Iterator[Finding]:
    end = facts.last - dt.timedelta(days=dataset.label.delay_days - 1)
    known, positive = facts.labelled(facts.first, end), facts.positive(facts.first, end)
    key, expression = "dataset.label.expression", dataset.label.expression
    if not known and facts.labelled(facts.first, facts.end):
        yield Finding(
            "dataset.label.delay_days",
            f"is {dataset.label.delay_days}, so no outcome of the rows from {facts.first} to {facts.last} is known on the day after the last one",
            "lower it, or deliver a longer history",
        )
    elif not known:
        yield Finding(
            key, f"is {expression!r}, which is NULL for every row whose outcome should be known", "correct it, or dataset.label.delay_days"
        )
    elif positive in (0, known):
        if facts.label_range is None:
            fact, remedy = f"is {expression!r}, which is {positive > 0!s} for all {known:,} rows", "correct it: a model needs both outcomes"
        else:
            fact, remedy = (
                f"is {expression!r}, which is {facts.label_range[0]:g} for all {known:,} rows",
                "correct it: there is nothing to forecast",
            )
        yield Finding(key, fact, remedy)


def _night_faults(facts: Facts, dataset: Dataset, params: Params) -> Iterator[Finding]:
    """Yield what the first run lacks: nights to score, or rows to learn from."""
    said = (params.get("first_run") or {}).get("partition")
    if said is None:
        return
    first = dt.date.fromisoformat(said)
    named = (params.get("first_run") or {}).get("nights") or ()
    nights = [dt.date.fromisoformat(night) for night in named] or [first + dt.timedelta(days=night) for night in range(DEMO_NIGHTS)]
    if named and (empty := [str(night) for night in nights if not facts.counts.get(night)]):
        yield Finding("first_run.nights", f"names {', '.join(empty)}, without rows", "name nights with rows, or derive again")
        return
    if empty := [str(night) for night in nights if not facts.counts.get(night)]:
        yield Finding(
            "first_run.partition", f"is {first}; no row is dated {', '.join(empty)} of the first {DEMO_NIGHTS} nights",
            f"choose a date from {facts.first + dt.timedelta(days=dataset.label.delay_days + SHORTEST_HISTORY)} on whose nights have rows, up to "
            f"{facts.last - dt.timedelta(days=DEMO_NIGHTS - 1)}",
        )  # fmt: skip
    matured = first - dt.timedelta(days=dataset.label.delay_days)
    for section in ("train", "train_encoder"):
        holdout, wanted = (params.get(section) or {}).get("holdout_days"), (params.get(section) or {}).get("minimum_rows")
        if holdout is None or wanted is None:
            continue
        before = matured - dt.timedelta(days=holdout)
        rows = facts.labelled(facts.first, before)
        if not rows:
            yield Finding(
                f"{section}.holdout_days",
                f"is {holdout}, so no row with an outcome is left before {before} to learn from",
                "lower it, or choose a later first_run.partition",
            )
        elif rows < wanted:
            yield Finding(
                f"{section}.minimum_rows",
                f"is {wanted:,}, but {rows:,} rows before {before} have an outcome",
                "lower it, or choose a later first_run.partition",
            )
        elif section == "train" and facts.positive(before, matured) in (0, facts.labelled(before, matured)):
            yield Finding(
                "train.holdout_days",
                f"is {holdout}; the holdout from {before} to {matured} has one outcome only",
                "raise it",
                derivable=False,
            )


def _weekday_faults(facts: Facts, dataset: Dataset) -> Iterator[Finding]:
    """Yield the weekdays that have rows and are not declared."""
    strays = [date for date in facts.days if not dataset.calendar.expects_rows(date)]
    if strays:
        yield Finding(
            "dataset.weekdays", f"is [{', '.join(dataset.weekdays)}], but {len(strays)} other dates have rows, such as {name_of(strays[-1])} {strays[-1]}",
            "add the weekday, or correct the times",
        )  # fmt: skip
