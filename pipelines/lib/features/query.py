"""The SQL of features: one query for the declaration, and the tables of counts and means that it joins."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

from pipelines.lib.core.partition import parse_partition
from pipelines.lib.features import lagged as lagged_sql
from pipelines.lib.features.checks import check_declaration, check_side_keys, whole
from pipelines.lib.features.declaration import LARGEST, Features, Holidays, category_values, text_categories
from pipelines.lib.features.deliveries import count_once
from pipelines.lib.tables.dataset import Column, Dataset
from pipelines.lib.tables.engine import name, text
from pipelines.lib.tables.expression_failures import Written
from pipelines.lib.tables.expressions import enclosed
from pipelines.lib.tables.labels import finite_outcome
from pipelines.lib.tables.local_time import dates_within, day_start

UNSEEN, MISSING = -1, -2
"""Codes of a category that is not declared and of no category at all."""

_CHUNK = 500_000
"""Rows that are joined and sorted at a time: 25 features of them take a few hundred MiB."""

_DATES = "/* dates */"
"""The place in a join where the condition on the dates of a chunk goes."""

_DELIVERED, _EVENT, _JOINED = "__delivered", "__event", "__joined"
"""Views: the rows as they were read; the same with label and lagged values, without what is known later; and with side tables."""

_CALENDAR = {
    "hour": "hour({t})",
    "minute_of_day": "hour({t}) * 60 + minute({t})",
    "weekday": "isodow({t})",
    "day_of_month": "day({t})",
    "day_of_year": "dayofyear({t})",
    "month": "month({t})",
}


def written(dataset: Dataset, features: Features) -> Iterator[Written]:
    """Yield every expression of `features`, with the view that `compile_features` makes for its columns."""
    yield Written("dataset.label.expression", dataset.label.expression, _DELIVERED)
    for alias, join in features.joins.items():
        yield from (Written(f"features.joins.{alias}.key.{column}", expression, _DELIVERED) for column, expression in join.key.items())
    for feature, lagged in features.lagged.items():
        if lagged.value is not None:
            yield Written(f"features.lagged.{feature}.value", lagged.value, _DELIVERED)
    for feature, lagged in features.lagged.items():
        yield from (Written(f"features.lagged.{feature}.by", expression, _JOINED) for expression in lagged.by)
    for feature, same_day in features.same_day.items():
        yield from (Written(f"features.same_day.{feature}.by", expression, _JOINED) for expression in same_day.by)
    for feature, numeric in features.numeric.items():
        yield Written(f"features.numeric.{feature}", numeric.expression or name(feature), _JOINED)
    for feature, categorical in features.categorical.items():
        yield Written(f"features.categorical.{feature}", categorical.expression or name(feature), _JOINED)


def compile_features(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    features: Features,
    *,
    raw: Path,
    first: date | None,
    end: date,
    labelled: bool,
) -> "FeatureQuery":
    """Return the query that `featurize` writes; makes the view and the tables of aggregates that it reads on `connection`."""
    kinds = check_declaration(connection, dataset, features)
    check_side_keys(connection, dataset, features, raw)
    declared_groups = dict.fromkeys([*(d.by for d in features.same_day.values()), *(d.by for d in features.lagged.values())])
    groups = {by: f"__by_{number}" if by else "" for number, by in enumerate(declared_groups)}
    values = {value: f"__value_{number}" for number, value in enumerate(dict.fromkeys(d.value for d in features.lagged.values()))}
    _create_views(connection, dataset, features, raw, groups=groups, values={values[value]: (value, kinds[value]) for value in values})
    rows = _counted_rows(connection, dataset, features, groups, values, kinds)
    dates = dates_within("__date", first, end, None)
    joins = [_count(connection, by, groups[by], dates) for by in dict.fromkeys(d.by for d in features.same_day.values())]
    selected = {feature: _finite(numeric.expression or name(feature), numeric.missing) for feature, numeric in features.numeric.items()}
    for feature, categorical in features.categorical.items():
        values_of = category_values(dataset, feature, categorical)
        expression = categorical.expression or name(feature)
        selected[feature] = f"{enclosed(expression)}::VARCHAR" if values_of is None else _code(expression, values_of)
    for field in features.calendar:
        selected[field] = _CALENDAR[field].format(t=name(dataset.event_time))
    if features.holidays:
        selected["days_from_holiday"] = _from_holiday(features.holidays)
    for feature, same_day in features.same_day.items():
        selected[feature] = f"coalesce(same_day{groups[same_day.by]}.n, 0)"
    windows: dict[tuple[tuple[str, ...], str | None, int], set[int]] = {}
    for lagged in features.lagged.values():
        delay = lagged.delay_days(dataset)
        windows.setdefault((lagged.by, lagged.value, delay), set()).add(lagged.window_days)
        windows.setdefault(((), lagged.value, delay), set()).add(lagged.window_days)
    for (by, value, delay), days in windows.items():
        alias = groups.get(by, "")
        table, keys = _table(alias, values[value], delay), _keys(by, alias)
        sums = lagged_sql.aggregate(rows, keys, values[value], kind=kinds[value], windows=sorted(days), delay=delay, dates=dates)
        connection.execute(f"CREATE TEMP TABLE {table} AS {sums}")
        joins.append(_join(table, keys))
    for feature, lagged in features.lagged.items():
        value, delay = values[lagged.value], lagged.delay_days(dataset)
        selected[feature] = lagged_sql.statistic(lagged, _table(groups[lagged.by], value, delay), _table("", value, delay))
    columns = [f"keyed.{name(column)}" for column in dict.fromkeys([*dataset.key, dataset.event_time])]
    columns.append("keyed.__date::VARCHAR AS partition")
    if labelled:
        columns.append(f"keyed.__label AS {name(dataset.label.name)}")
        # The second condition for a label like `refund IS NOT NULL`, which calls what is not known yet an outcome.
        dates += f" AND __label IS NOT NULL AND __date + {dataset.label.delay_days} < {text(end)}::DATE"
    texts = text_categories(dataset, features)
    columns += [
        f"{enclosed(selected[feature])}::{'VARCHAR' if feature in texts else 'FLOAT'} AS {name(feature)}" for feature in features.names
    ]
    return FeatureQuery(", ".join(columns), tuple(joins), dates, dataset.event_time, dataset.time_zone)


@dataclass(frozen=True)
class FeatureQuery:
    """The selected columns, the joins that they need, and which rows of the view ``keyed`` it is for."""

    columns: str
    joins: tuple[str, ...]
    rows: str
    event_time: str
    time_zone: str | None

    def chunks(self, connection: duckdb.DuckDBPyConnection) -> list[tuple[date, date]]:
        """Return spans of dates [first, end), in order, of about `_CHUNK` rows or one date each: memory must hold one at a time."""
        counts = connection.sql(f"SELECT __date, count(*) FROM keyed WHERE {self.rows} GROUP BY 1 ORDER BY 1").fetchall()
        spans: list[tuple[date, date]] = []
        held = _CHUNK
        for day, count in counts:
            after = day + timedelta(days=1)
            if held + count > _CHUNK:
                spans.append((day, after))
                held = 0
            spans[-1] = (spans[-1][0], after)
            held += count
        return spans

    def sql(self, first: date, end: date) -> str:
        """Return the SELECT for the rows of dates [`first`, `end`)."""
        dates = dates_within("__date", first, end, None)
        events = f"(SELECT * FROM keyed WHERE {dates_within(name(self.event_time), first, end, self.time_zone)} AND {self.rows}) AS keyed"
        joins = " ".join(join.replace(_DATES, dates) for join in self.joins)
        return f"SELECT {self.columns} FROM {events} {joins} ORDER BY keyed.__row"


def _counted_rows(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    features: Features,
    groups: dict[tuple[str, ...], str],
    values: dict[str | None, str],
    kinds: dict[str | None, str],
) -> str:
    """Return the relation that lagged features count: ``keyed``, or the same without repeated deliveries."""
    if not features.lagged:
        return "keyed"
    for feature, lagged in features.lagged.items():
        if lagged_sql.is_float(kinds[lagged.value]):
            where = "dataset.label.expression" if lagged.value is None else f"features.lagged.{feature}.value ({lagged.value})"
            lagged_sql.check_range(connection, _EVENT, values[lagged.value], dataset.key, where)
    same = {"__date": f"the date of {dataset.event_time}"}
    for lagged in features.lagged.values():
        same |= dict(zip(_keys(lagged.by, groups[lagged.by]), lagged.by, strict=True))
    outcomes = {alias: dataset.label.name if value is None else value for value, alias in values.items()}
    return count_once(connection, _EVENT, "keyed", dataset.key, same=same, values=outcomes)


def _create_views(
    connection: duckdb.DuckDBPyConnection,
    dataset: Dataset,
    features: Features,
    raw: Path,
    *,
    groups: dict[tuple[str, ...], str],
    values: dict[str, tuple[str | None, str]],
) -> None:
    """Create the view ``keyed``: one row per event, with the joined columns, the keys of the groups and, under separate names, label and
    lagged values.
    """
    label = enclosed(dataset.label.expression)
    computed = [f"{name(dataset.event_time)}::DATE AS __date", "file_row_number AS __row", f"{finite_outcome(dataset)} AS __label"]
    for alias, (value, kind) in values.items():
        computed.append(f"{lagged_sql.summable(label if value is None else enclosed(value), kind)} AS {alias}")
    joins = []
    joined = []
    for alias, join in features.joins.items():
        side = dataset.tables[join.table or alias]
        conditions = []
        for column, expression in join.key.items():
            on = name(f"__on_{alias}_{column}")
            computed.append(f"{enclosed(expression)} AS {on}")
            conditions.append(f"{_EVENT}.{on} = {name(alias)}.{name(column)}")
        if join.available_after_minutes is not None and side.event_time is not None:
            limit, at = name(f"__until_{alias}"), f"{name(alias)}.{name(side.event_time)}"
            moment = _as_moment(dataset, name(dataset.event_time), dataset.columns[dataset.event_time])
            known = f"{_day_start(dataset, name(dataset.event_time))} - to_minutes({join.available_after_minutes})"
            computed.append(f"least({moment}, {known}) AS {limit}")
            conditions.append(f"{_EVENT}.{limit} >= {_as_moment(dataset, at, side.columns[side.event_time])}")
            near = f"{at}::DATE >= {_EVENT}.__date - {side.join_days}"
            kept = [column for column in side.columns if column not in side.key]
            joined += [f"CASE WHEN {near} THEN {name(alias)}.{name(column)} END AS {name(f'{alias}_{column}')}" for column in kept]
            joins.append(
                f"ASOF LEFT JOIN read_parquet({text(raw / f'{join.table or alias}.parquet')}) AS {name(alias)} ON {' AND '.join(conditions)}"
            )
            continue
        if side.event_time is not None:  # so that a row sees the same of the table, however much of it was read
            moment = f"{name(alias)}.{name(side.event_time)}::DATE"
            conditions.append(f"{moment} <= {_EVENT}.__date AND {moment} >= {_EVENT}.__date - {side.join_days}")
        file = text(raw / f"{join.table or alias}.parquet")
        joins.append(f"LEFT JOIN read_parquet({file}) AS {name(alias)} ON {' AND '.join(conditions)}")
        joined += [f"{name(alias)}.{name(column)} AS {name(f'{alias}_{column}')}" for column in side.columns if column not in side.key]
    later = f"EXCLUDE ({', '.join(['file_row_number', *map(name, dataset.known_later)])})"
    events = f"read_parquet({text(whole(raw / 'events.parquet'))}, file_row_number = true)"
    keys = [f"{enclosed(expression)} AS {alias}_{number}" for by, alias in groups.items() for number, expression in enumerate(by)]
    connection.execute(f"CREATE TEMP VIEW {_DELIVERED} AS SELECT * FROM {events}")
    connection.execute(f"CREATE TEMP VIEW {_EVENT} AS SELECT * {later}, {', '.join(computed)} FROM {_DELIVERED}")
    connection.execute(f"CREATE TEMP VIEW {_JOINED} AS SELECT {', '.join([f'{_EVENT}.*', *joined])} FROM {_EVENT} {' '.join(joins)}")
    connection.execute(f"CREATE TEMP VIEW keyed AS SELECT {', '.join(['*', *keys])} FROM {_JOINED}")


def _as_moment(dataset: Dataset, value: str, declared: Column) -> str:
    """Return the time or date `value` as it is compared with others: an instant if the dataset has a time zone."""
    if dataset.time_zone is None:
        return f"{value}::TIMESTAMP"
    return value if declared.zone else _day_start(dataset, value)


def _day_start(dataset: Dataset, value: str) -> str:
    """Return when the date of `value` begins."""
    return f"{value}::DATE::TIMESTAMP" if dataset.time_zone is None else f"({day_start(f'{value}::DATE', dataset.time_zone)})"


def _finite(expression: str, missing: float) -> str:
    number = f"{enclosed(expression)}::DOUBLE"
    return f"CASE WHEN isfinite({number}) THEN greatest(least({number}, {LARGEST!r}), -{LARGEST!r}) ELSE {missing!r}::DOUBLE END"


def _code(expression: str, values: tuple[str, ...]) -> str:
    word = f"{enclosed(expression)}::VARCHAR"
    known = f"[{', '.join(map(text, values))}]"
    return f"CASE WHEN {word} IS NULL THEN {MISSING} ELSE coalesce(list_position({known}, {word}), {UNSEEN + 1}) - 1 END"


def _from_holiday(holidays: Holidays) -> str:
    days = ", ".join(f"{text(parse_partition(day))}::DATE" for day in holidays.dates)
    offsets = sorted(range(-holidays.within_days, holidays.within_days + 1), key=lambda offset: (abs(offset), offset))
    cases = " ".join(f"WHEN keyed.__date - ({offset}) IN ({days}) THEN {offset}" for offset in offsets)
    return f"CASE {cases} ELSE {holidays.within_days + 1} END"


def _keys(by: tuple[str, ...], alias: str) -> list[str]:
    return [f"{alias}_{number}" for number in range(len(by))]


def _table(group: str, value: str, delay: int) -> str:
    return f"lagged{group}{value}_after_{delay}"


def _join(table: str, keys: list[str]) -> str:
    return f"LEFT JOIN (SELECT * FROM {table} WHERE {_DATES}) AS {table} ON " + " AND ".join(
        f"keyed.{key} = {table}.{key}" for key in ["__date", *keys]
    )


def _count(connection: duckdb.DuckDBPyConnection, by: tuple[str, ...], alias: str, dates: str) -> str:
    keys = _keys(by, alias)
    filled = " AND ".join([dates, *(f"{key} IS NOT NULL" for key in keys)])
    connection.execute(
        f"CREATE TEMP TABLE same_day{alias} AS SELECT {', '.join(['__date', *keys])}, count(*) AS n FROM keyed WHERE {filled} GROUP BY ALL"
    )
    return _join(f"same_day{alias}", keys)
