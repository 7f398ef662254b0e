"""The rules by which parameters follow from the facts of a table. docs/reference/use-cases.md lists them."""

import datetime as dt
import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from pipelines.lib.champions.pins import months
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.declarations.bands import WEEK, ceil_to, derive_band, floor_to, significant
from pipelines.lib.declarations.facts import FEW_VALUES, ColumnFacts, Facts
from pipelines.lib.declarations.first_nights import first_nights, holdout_days
from pipelines.lib.declarations.label_bands import label_bands
from pipelines.lib.declarations.weekday_cron import cron_of
from pipelines.lib.features.declaration import Categorical, Features, category_values
from pipelines.lib.models.estimators import DEFAULTS
from pipelines.lib.tables.dataset import NOT_A_SLICE, Dataset
from pipelines.lib.tables.night_calendar import NightCalendar

Parameters = dict[str, Any]
"""Sections as in ``params.yaml``."""

_MOST_SLICES = 3

_LEAST_WINDOW = 5
"""Nights of a window from which drift is judged by default (govern.minimum_nights)."""

_REPORTED_NIGHTS = 60
"""Nights with rows that a report on drift looks back on; without a declaration that is as many days, the default of report_drift.nights."""

_CUT_OFF_MINUTES = 30
"""A last event that never came so much earlier than on the nights before tells a file that was cut."""

_ENOUGH_MONTHS, _MOST_MONTHS = 24, 60
"""Whole months before the first partition: every season twice, and the most tasks that a rebuild of the vector index should begin with."""

_SMALL_TABLE = 50_000
"""Rows to learn from, below which the default network takes too few steps."""

_STEPS = 1_000
"""Steps of training, after which the small network has learned what is in such a table."""


def derive_columns(dataset: Dataset, features: Features, facts: Facts, undeclared: Iterable[str]) -> Parameters:
    """Return the columns that are not declared as they should be, and what declared ones leave open."""
    new, found = set(undeclared), {}
    for column, declared in dataset.columns.items():
        of_column: Parameters = {"type": declared.type} if column in new else {}
        fact = facts.columns[column]
        if column in dataset.known_later:
            of_column["nulls"] = 1
        elif fact.nulls and column not in (*dataset.key, dataset.event_time):
            of_column["nulls"] = with_headroom(fact.worst_nulls)
        categorical = {feature.expression or name for name, feature in features.categorical.items() if feature.values is None}
        listed = column in new and declared.type == "string" and column not in (*dataset.key, *dataset.known_later)
        if fact.values and declared.values is None and (listed or column in categorical):
            of_column |= {"values": sorted(fact.values, key=str), "unseen": 0.02}
        if of_column:
            found[column] = of_column
    return found


def derive(dataset: Dataset, features: Features, facts: Facts, declared: Mapping[str, Any], today: dt.date) -> Parameters:
    """Return all sections but ``dataset`` that follow from `facts`, as of `today`. They follow from the values that are `declared` as well."""
    partition, start = said(declared, "first_run.partition"), said(declared, "ingest_history.start")
    first = facts.first_outcome if start is None else parse_partition(start)
    nights = first_nights(
        {date: rows for date, rows in facts.counts.items() if date >= first},
        delay_days=dataset.label.delay_days,
        today=today,
        declared=None if partition is None else parse_partition(partition),
        calendar=dataset.calendar,
        days_late=facts.days_late,
    )
    if start is None:
        first = max(first, latest_months(facts, nights.partition))
    matured = nights.partition - dt.timedelta(days=dataset.label.delay_days)  # outcomes before it are known
    days = (matured - first).days
    with_rows = sum(first <= date < matured for date in facts.days)
    derived_holdout = holdout_days(days, facts.positive(first, matured) / max(1, days), with_rows / max(1, days))
    holdout = dt.timedelta(days=int(said(declared, "train.holdout_days") or derived_holdout))
    learned, held_out = facts.labelled(first, matured - holdout), facts.labelled(matured - holdout, matured)
    per_night = statistics.median(count for count in facts.counts.values() if count)
    clock = {"replay_offset_days": nights.replay_offset_days}
    window = int(said(declared, "profile.window_nights") or window_nights(dataset.calendar))
    return {
        **({"profile": {"window_nights": window}} if window != WEEK else {}),
        **({"report_drift": {"nights": reported}} if (reported := reported_days(dataset.calendar)) != _REPORTED_NIGHTS else {}),
        "ingest_history": {"start": str(first)},
        **_gates(dataset, facts, declared, first, nights.partition),
        "evaluate": {
            **({} if dataset.label.task == "binary" else {"minimum_auc": 0.0}),
            "slices": _feature_slices(dataset, features, facts),
            "slice_minimum_rows": between(20, held_out / 50, 200),
        },
        **_of_scores(dataset, facts),
        "measure_performance": {"slices": _column_slices(dataset, facts), "slice_minimum_rows": between(10, per_night / 20, 50)},
        "train": {"holdout_days": holdout.days, "minimum_rows": max(2, significant(learned / 4)), **_estimator(dataset, declared)},
        "train_encoder": {"holdout_days": holdout.days, "minimum_rows": max(2, significant(learned / 4)), **_network(learned)},
        "quantize": {"minimum_rows": between(1, held_out / 2, 100)},
        "govern": {"minimum_rows": max(1, min(1000, significant(per_night * window / 2)))},
        "validate_vectors": {"minimum_rows": max(1, significant((learned + held_out) / 4))},
        "first_run": {
            "partition": str(nights.partition),
            "shards": list(months(str(first), matured - dt.timedelta(days=1))),
            **({"nights": [str(night) for night in nights.nights]} if nights.nights else {}),
        },
        "nightly_batch_scoring": clock | _cron(dataset, declared, nights.replay_offset_days),
        "weekly_index_rebuild": dict(clock),
    }


def _of_scores(dataset: Dataset, facts: Facts) -> Parameters:
    """Return the band of a night's mean forecast, and the least quality of a forecast: better than the mean. Nothing for probabilities."""
    if dataset.label.task == "binary":
        return {}
    band = label_bands(dataset, facts)
    ends = {f"{end}_mean_score": band[f"{end}_label_mean"] for end in ("minimum", "maximum") if f"{end}_label_mean" in band}
    return {"validate_scores": ends}


def _estimator(dataset: Dataset, declared: Mapping[str, Any]) -> Parameters:
    """Return the default estimator of a label that is a number; nothing for others, or if one is declared."""
    if dataset.label.task == "binary" or said(declared, "train.estimator") is not None:
        return {}
    return {"estimator": DEFAULTS[dataset.label.task], "parameters": {"n_estimators": 100, "max_depth": 8}}


def latest_months(facts: Facts, partition: dt.date) -> dt.date:
    """Return the first date of the latest months before `partition` that are enough to learn from: two years, or more if rows are few.

    Each month is a shard of the vector index, and a task of its rebuild.
    """
    month = partition.replace(day=1)
    for number in range(1, _MOST_MONTHS + 1):
        month = (month - dt.timedelta(days=1)).replace(day=1)
        if number >= _ENOUGH_MONTHS and facts.labelled(month, partition) >= _SMALL_TABLE:
            break
    return month


def with_headroom(share: float) -> float:
    """Return the share up to which missing values are normal if `share` is the worst there was: half as much again, and two rows in 100."""
    return min(1.0, ceil_to(1.5 * share + 0.02, 2))


def window_nights(calendar: NightCalendar) -> int:
    """Return how many nights a window of drift adds up: whole weeks of the weekdays with rows, from `_LEAST_WINDOW` nights on."""
    return -(-_LEAST_WINDOW // len(calendar.weekdays)) * len(calendar.weekdays)


def reported_days(calendar: NightCalendar) -> int:
    """Return the days in which a table has `_REPORTED_NIGHTS` nights on the weekdays of its `calendar`."""
    return -(-_REPORTED_NIGHTS * WEEK // len(calendar.weekdays))


def _cron(dataset: Dataset, declared: Mapping[str, Any], offset: int) -> Parameters:
    """Return the cron by which each night of the declared weekdays is scored, and no other; nothing if all weekdays have rows."""
    if len(dataset.weekdays) == WEEK:
        return {}
    days_back = said(declared, "nightly_batch_scoring.replay_offset_days")
    return {"cron": cron_of(dataset.calendar, offset if days_back is None else int(days_back))}


def between(low: int, value: float, high: int) -> int:
    """Return `value` as a whole number, not below `low` nor above `high`."""
    return min(max(low, math.floor(value)), high)


def said(declared: Mapping[str, Any], key: str) -> Any:
    """Return what `declared` says at the dotted `key`, None if nothing."""
    found: Any = declared
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _gates(dataset: Dataset, facts: Facts, declared: Mapping[str, Any], first: dt.date, partition: dt.date) -> Parameters:
    counts = {date: rows for date, rows in facts.counts.items() if date >= first}
    nights = said(declared, "validate_batch.row_count.nights") or 4
    band = derive_band(counts, nights=nights, every_days=said(declared, "validate_batch.row_count.every_days"))
    row_count = {
        "every_days": band.every_days,
        "minimum_ratio": band.minimum_ratio,
        "maximum_ratio": band.maximum_ratio,
        "minimum_rows": band.minimum_rows,
    }
    before = sum(rows for date, rows in counts.items() if date < partition)
    history: Parameters = {"minimum_rows": max(1, significant(before / 4)), **label_bands(dataset, facts), "row_count": row_count}
    if band.odd_share > 0.03:
        history["maximum_odd_date_share"] = min(1.0, ceil_to(1.5 * band.odd_share + 0.01, 2))
    expected = [rows for date, rows in counts.items() if rows or dataset.calendar.expects_rows(date)]
    if empty := sum(rows == 0 for rows in expected) / len(expected):
        history["maximum_empty_date_share"] = min(1.0, ceil_to(1.5 * empty + 0.01, 2))
    batch: Parameters = {"row_count": dict(row_count)}
    if (minutes := _last_event_minutes(dataset, facts, nights, band.every_days)) is not None:
        batch["last_event_minutes"] = minutes
    if (known := _outcomes_known(dataset, facts)) is not None:
        batch["minimum_outcomes_known"] = known
    return {"validate_history": history, "validate_batch": batch}


def _last_event_minutes(dataset: Dataset, facts: Facts, nights: int, every_days: int) -> int | None:
    """Return how much earlier than on the nights before the last event may be; None if nights end when they like."""
    if dataset.columns[dataset.event_time].type != "timestamp" or len(facts.days) < 4 * WEEK:
        return None
    early = 0
    for date, day in facts.days.items():
        compared = (date - dt.timedelta(days=every_days * step) for step in range(1, nights + 1))
        if recent := [facts.days[one].last_minute for one in compared if one in facts.days]:
            early = max(early, min(recent) - day.last_minute)
    return max(_CUT_OFF_MINUTES, 2 * early) if early <= _CUT_OFF_MINUTES else None


def _outcomes_known(dataset: Dataset, facts: Facts) -> float | None:
    """Return half of the least share of outcomes of a date that should have them.

    None if some date has hardly any, or if a label such as ``refund IS NOT NULL`` cannot tell a missing outcome from a negative one.
    """
    if not facts.null_until_known:
        return None
    end = facts.last - dt.timedelta(days=dataset.label.delay_days)
    shares = [day.known / day.rows for date, day in facts.days.items() if facts.first_outcome <= date < end]
    return floor_to(min(shares) / 2, 2) if shares and min(shares) >= 0.2 else None


def _feature_slices(dataset: Dataset, features: Features, facts: Facts) -> list[str]:
    """Return keys and features of few values, by which `evaluate` measures the quality separately."""
    keys = [column for column in dataset.key if _makes_slices(facts.columns.get(column))]
    numbers = [
        feature for feature, numeric in features.numeric.items()
        if numeric.expression is None and feature in dataset.columns and dataset.columns[feature].type in ("boolean", "integer")
        and _makes_slices(facts.columns.get(feature))
    ]  # fmt: skip
    categories = [feature for feature, declared in features.categorical.items() if _has_few_values(feature, declared, dataset, facts)]
    return [*keys, *categories, *numbers][:_MOST_SLICES]


def _has_few_values(feature: str, declared: Categorical, dataset: Dataset, facts: Facts) -> bool:
    """Return whether the categorical `feature` makes slices. One of an expression without declared values is taken to have few."""
    if (values := category_values(dataset, feature, declared)) is not None:
        return len(values) <= FEW_VALUES
    column = facts.columns.get(declared.expression or feature)
    return column is None or _makes_slices(column)


def _column_slices(dataset: Dataset, facts: Facts) -> list[str]:
    """Return columns of few values, by which to measure the quality of published nights. Those that are known later are left out."""
    fit = [
        column for column in dataset.columns
        if column not in dataset.known_later and column.lower() not in NOT_A_SLICE and _makes_slices(facts.columns.get(column))
    ]  # fmt: skip
    return sorted(fit, key=lambda column: dataset.columns[column].type != "string")[:_MOST_SLICES]


def _makes_slices(fact: ColumnFacts | None) -> bool:
    return fact is not None and fact.values is not None and 2 <= len(fact.values) <= FEW_VALUES


def _network(rows: int) -> Parameters:
    """Return a smaller network that takes more and larger steps if there are few `rows` to learn from; nothing for others."""
    if rows >= _SMALL_TABLE:
        return {}
    batch = 128 if rows < _SMALL_TABLE / 5 else 256
    return {
        "layers": [64, 16],
        "epochs": between(5, math.ceil(_STEPS * batch / max(rows, 1)), 50),
        "batch_size": batch,
        "learning_rate": 0.001,
        "alpha": 0.001,
    }
