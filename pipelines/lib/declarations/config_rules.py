"""The rules that the sections of a use case follow together. Each rule yields every fault that it finds."""

import datetime as dt
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import duckdb

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.core.time_zones import require_zone
from pipelines.lib.declarations.faults import Finding, as_written, closest, of_error
from pipelines.lib.declarations.weekday_cron import cron_of, never_scored
from pipelines.lib.features.checks import check_declaration
from pipelines.lib.features.declaration import Features
from pipelines.lib.gates.suite import Gate
from pipelines.lib.models.estimators import Fitting
from pipelines.lib.tables.dataset import NOT_A_SLICE, Dataset, TaskName
from pipelines.lib.tables.engine import bare_connection
from pipelines.lib.tables.night_calendar import WEEK

Params = Mapping[str, Any]


def rule_faults(params: Params, dataset: Dataset, features: Features) -> Iterator[Finding]:
    """Yield the faults of `params`, whose sections are each valid, with `dataset` and `features` among them."""
    names = set(features.names)
    yield from feature_faults(dataset, features)
    yield from name_faults(params, features, own=(*dataset.key, dataset.event_time), columns=dataset.columns)
    yield from _known(params, "validate_features.maximum_filler_excess_by_feature", names, "features")
    for number, direction in enumerate(_at(params, "evaluate.golden") or ()):
        for feature in direction["change"]:
            if feature not in names:
                yield Finding(f"evaluate.golden.{number}.change", f"names {feature!r}, which is not a feature", closest(feature, names))
    for low, high in _ORDERED:
        if (least := _at(params, low)) is not None and (most := _at(params, high)) is not None and least > most:
            yield Finding(low, f"is {least}, more than {high}, which is {most}", "lower it, or raise the other", derivable=False)
    yield from _other_task(params, dataset)
    yield from _clock(params, dataset)
    code, layers = _at(params, "plan_index.ivfpq.code_bytes"), _at(params, "train_encoder.layers")
    if code and layers and layers[-1] % code:
        yield Finding(
            "plan_index.ivfpq.code_bytes", f"is {code}, which does not divide the dimension of the vectors, {layers[-1]}",
            "correct it, or the last number of train_encoder.layers",
        )  # fmt: skip


def name_faults(params: Params, features: Features, *, own: Iterable[str], columns: Iterable[str]) -> Iterator[Finding]:
    """Yield the names that are neither those of `features` nor of the table: `own` are its key and its time, `columns` all that are used."""
    names = set(features.names)
    yield from _known(params, "evaluate.slices", names | {*own, "partition"}, "keys and features")
    sliceable = {column for column in columns if column.lower() not in NOT_A_SLICE}
    undeclared = "; if the source has it as a column that nothing uses yet, write dataset: {{columns: {{{name}: {{type: string}}}}}}"
    yield from _known(params, "measure_performance.slices", sliceable, "columns", undeclared)
    if isinstance(order := _at(params, "score.order_by"), str) and order not in names:
        yield Finding("score.order_by", f"is {order!r}, which is not a feature", f"{closest(order, names)}; or write order_by: null")


def declared_faults(params: Params, *, trial: bool) -> Iterator[Finding]:
    """Yield the faults of `params`, whose sections are each valid, that depend neither on the table nor on what `derive` finds.

    With a `trial`, a small model is made of an estimator that is not the default one, which takes seconds.
    """
    yield from _dates(params)
    if wrong := [month for month in _at(params, "first_run.shards") or () if not _MONTH.fullmatch(month)]:
        yield Finding("first_run.shards", f"names {wrong[0]!r}, which is not a month", "write months such as 2024-01")
    yield from _names(params)
    yield from _estimator(params, trial=trial)


_ORDERED = (
    ("validate_history.minimum_label_rate", "validate_history.maximum_label_rate"),
    ("validate_history.minimum_label", "validate_history.maximum_label"),
    ("validate_history.minimum_label_mean", "validate_history.maximum_label_mean"),
    ("validate_scores.minimum_mean_score", "validate_scores.maximum_mean_score"),
)

_OF_NUMBERS = tuple(f"validate_history.{end}_label{of}" for end in ("minimum", "maximum") for of in ("", "_mean"))
"""Limits that only the gate of a label that is a number reads."""

_MEAN_SCORES = ("validate_scores.minimum_mean_score", "validate_scores.maximum_mean_score")

_MONTH = re.compile("[0-9]{4}-(0[1-9]|1[0-2])")

_DATES = (
    "ingest_history.start",
    "first_run.partition",
    "first_run.nights",
    "validate_batch.row_count.quiet_dates",
    "validate_history.row_count.quiet_dates",
    "validate_features.quiet_dates",
    "features.holidays.dates",
)


def suite_faults(gates: Mapping[str, Gate]) -> Iterator[Finding]:
    """Yield the faults of the suite files that the sections `gates` name."""
    for section, gate in gates.items():
        if gate.suite is not None:
            try:
                gate.custom_expectations()
            except ConfigError as error:
                yield Finding(f"{section}.suite", f"is {gate.suite!r}: {error}", "correct the path, or write suite: null")


def zone_faults(params: Params) -> Iterator[Finding]:
    """Yield the fault of a time zone that does not exist, or that is not even text: ``no`` is a boolean to YAML."""
    zone = _at(params, "dataset.time_zone")
    if isinstance(zone, bool | int | float):
        yield Finding("dataset.time_zone", f"is {as_written(zone)}, which is not the name of a zone", "write one such as Europe/Berlin")
    if isinstance(zone, str):
        try:
            require_zone(zone, "it")
        except ValueError as error:
            yield Finding("dataset.time_zone", str(error).removeprefix("it "))


def yaml_faults(params: Params) -> Iterator[Finding]:
    """Yield the values that YAML has read as something else than a person meant: ``[no]``, ``[1, 2]`` and dates without quotes."""
    for key, content in _items(_at(params, "dataset.columns")):
        if isinstance(content, dict) and content.get("type") == "string":
            yield from _texts(f"dataset.columns.{key}.values", content.get("values"), ", or declare type: integer or boolean")
    for key, content in _items(_at(params, "features.categorical")):
        if isinstance(content, dict):
            yield from _texts(f"features.categorical.{key}.values", content.get("values"), "")


def _items(value: object) -> Iterable[tuple[Any, Any]]:
    """Return the items of a mapping; none of anything else, which the model of its section refuses."""
    return value.items() if isinstance(value, dict) else ()


def _texts(key: str, values: object, otherwise: str) -> Iterator[Finding]:
    if isinstance(values, list) and (
        wrong := [value for value in values if not isinstance(value, str | dt.date)]  # each date is named by itself
    ):
        meant = ", ".join(f'"{as_written(value)}"' if not isinstance(value, str) else f'"{value}"' for value in values)
        seen = ", ".join(f"{value!r} ({type(value).__name__})" for value in wrong[:3])
        yield Finding(key, f"holds {seen}, which YAML does not read as text", f"write values: [{meant}]{otherwise}")


def feature_faults(dataset: Dataset, features: Features) -> Iterator[Finding]:
    """Yield what cannot be computed or would leak. All at once is tried first, since each check alone takes some milliseconds."""
    connection = bare_connection(dataset.zone)
    try:
        check_declaration(connection, dataset, features)
        return
    except ConfigError as error:
        whole = error
    alone = features.model_copy(update={"numeric": {}, "categorical": {}, "same_day": {}, "lagged": {}})
    found = list(_declaration_faults(connection, dataset, {"features": alone}))
    if not found:  # with a wrong label or join, each feature would be refused for it
        found = list(_declaration_faults(connection, dataset, dict(_each(features, alone))))
    yield from found or [of_error(whole, "features")]


def _declaration_faults(connection: duckdb.DuckDBPyConnection, dataset: Dataset, parts: Mapping[str, Features]) -> Iterator[Finding]:
    for key, part in parts.items():
        try:
            check_declaration(connection, dataset, part)
        except ConfigError as error:
            yield of_error(error, key)


def _each(features: Features, alone: Features) -> Iterator[tuple[str, Features]]:
    for group in ("numeric", "categorical", "same_day", "lagged"):
        for name, declared in getattr(features, group).items():
            yield f"features.{group}.{name}", alone.model_copy(update={group: {name: declared}})


def _known(params: Params, key: str, known: Iterable[str], kind: str, otherwise: str = "") -> Iterator[Finding]:
    """Yield the names at `key` that are not `known`; `otherwise` is a second remedy for a ``{name}``."""
    offered = set(known)
    said = _at(params, key)
    for name in said if isinstance(said, list | dict) else ():
        if isinstance(name, str) and name not in offered:
            yield Finding(
                key, f"names {name!r}, which is not there", f"{closest(name, offered, f'the {kind} are')}{otherwise.format(name=name)}"
            )


def _dates(params: Params) -> Iterator[Finding]:
    read: dict[str, dt.date] = {}
    for key in _DATES:
        value = _at(params, key)
        for date in value if isinstance(value, list) else [value]:
            if date is None:
                continue
            try:
                read[key] = parse_partition(date)
            except ConfigError as error:
                yield Finding(key, str(error).removeprefix("partition "))
    start, first = read.get("ingest_history.start"), read.get("first_run.partition")
    if start and first and first <= start:
        yield Finding("first_run.partition", f"is {first}, not after ingest_history.start, which is {start}", "choose a later partition")


def _clock(params: Params, dataset: Dataset) -> Iterator[Finding]:
    """Yield the weekdays with rows that the cron of the nights never scores. A table with rows every night may be scored less often on purpose."""
    cron, offset = _at(params, "nightly_batch_scoring.cron"), _at(params, "nightly_batch_scoring.replay_offset_days")
    if len(dataset.weekdays) == WEEK or cron is None or offset is None or not (missed := never_scored(dataset.calendar, cron, offset)):
        return
    yield Finding(
        "nightly_batch_scoring.cron", f"is {cron!r} with replay_offset_days {offset}, so the rows of {', '.join(missed)} are never scored",
        f"write cron: \"{cron_of(dataset.calendar, offset)}\", or correct dataset.weekdays",
    )  # fmt: skip


def _other_task(params: Params, dataset: Dataset) -> Iterator[Finding]:
    """Yield the limits that a label of yes or no can never reach."""
    if dataset.label.task != "binary":
        return
    for key in _MEAN_SCORES:
        if (limit := _at(params, key)) is not None and not 0 <= limit <= 1:
            yield Finding(key, f"is {limit}, but scores are probabilities", "write a number from 0 to 1", derivable=False)
    for key in _OF_NUMBERS:
        if (limit := _at(params, key)) is not None:
            remedy = f"remove it, or limit the share of positive labels with {key.replace('_mean', '')}_rate"
            yield Finding(
                key, f"is {limit}, which limits labels that are numbers, but dataset.label.task is binary", remedy, derivable=False
            )


def _names(params: Params) -> Iterator[Finding]:
    registry = params.get("registry") or {}
    if registry.get("name") and registry.get("name") == registry.get("encoder"):
        yield Finding("registry.encoder", f"is {registry['encoder']!r}, as registry.name is", "give the encoder a name of its own")


def _estimator(params: Params, *, trial: bool) -> Iterator[Finding]:
    """Yield why no model can be made as section ``train``, or a candidate of ``search``, says: from names and values alone, or with a `trial`."""
    task: TaskName = "regression" if _at(params, "dataset.label.task") == "regression" else "binary"
    declared = {"train": params.get("train")} | {
        f"search.candidates.{n}": one for n, one in enumerate(_at(params, "search.candidates") or ())
    }
    for where, section in declared.items():
        if not section:
            continue
        fitting = Fitting.model_validate_json(
            json.dumps({name: section[name] for name in Fitting.model_fields if name in section}, default=str)
        )
        if not fitting.is_usual(task):
            from pipelines.lib.models.trial import faults, faults_of_declaration  # imports the library of the estimator

            found = (faults if trial else faults_of_declaration)(fitting, task)
            yield from (Finding(f"{where}.{refused.key}", refused.fact, refused.remedy) for refused in found)


def _at(params: Params, key: str) -> Any:
    found: Any = params
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found
