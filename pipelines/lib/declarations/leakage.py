"""Signs that a column knows the outcome: it predicts the label too well, or it is filled in later."""

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from pipelines.lib.declarations.facts import EVENTS, positive_outcome
from pipelines.lib.declarations.references import columns_in
from pipelines.lib.features.declaration import Features
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import name, text
from pipelines.lib.tables.labels import finite_outcome

TOO_GOOD = 0.95
"""AUC of a single column, above which it is more likely a consequence of the outcome than a cause."""

TOO_GOOD_FOR_A_NUMBER = 0.99
"""The same of a label that is a number, for whether it is above its mean: what was sold last week says much about today."""

_SAMPLE_ROWS = 100_000
_NEWEST_DATES = 3
_FILLED_LATER = 0.5
"""Rise of the share of missing values on the newest dates."""

_FEWEST = 20
"""Rows of each class and values of each category, below which nothing is said."""


@dataclass(frozen=True)
class Sign:
    """A `column` that may know the outcome, and the `reason` in words. `filled_later`: it has no value as long as there is no outcome."""

    column: str
    reason: str
    filled_later: bool = False


def signs_of_features(connection: duckdb.DuckDBPyConnection, dataset: Dataset, features: Features) -> list[Sign]:
    """Return the signs of leakage in the columns of the table `EVENTS` that numeric and categorical `features` use."""
    by_name = {column.lower(): column for column in dataset.columns}
    expressions = [numeric.expression or name(feature) for feature, numeric in features.numeric.items()]
    expressions += [categorical.expression or name(feature) for feature, categorical in features.categorical.items()]
    used = (column.lower() for expression in expressions for column in columns_in(connection, expression))
    return signs(connection, dataset, dict.fromkeys(by_name[column] for column in used if column in by_name))


def signs(connection: duckdb.DuckDBPyConnection, dataset: Dataset, columns: Iterable[str]) -> list[Sign]:
    """Return the signs of leakage in `columns` of the table `EVENTS`; those of the key, time and `known_later` are not looked at."""
    spared = {*dataset.key, dataset.event_time, *dataset.known_later}
    asked = [column for column in columns if column not in spared]
    if not asked:
        return []
    label = finite_outcome(dataset)
    too_good = TOO_GOOD if dataset.label.task == "binary" else TOO_GOOD_FOR_A_NUMBER
    found = _filled_later(connection, dataset, asked, label)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE labelled AS SELECT {', '.join(map(name, asked))}, {positive_outcome(dataset, label)} AS __label FROM {EVENTS} "
        f"WHERE {label} IS NOT NULL USING SAMPLE reservoir({_SAMPLE_ROWS} ROWS) REPEATABLE (42)"
    )
    for column in asked:
        auc = _auc(connection, dataset, column)
        if auc is not None and max(auc, 1 - auc) > too_good:
            found.append(Sign(column, f"predicts the label alone, with an AUC of {max(auc, 1 - auc):.3f}"))
    return found


def _filled_later(connection: duckdb.DuckDBPyConnection, dataset: Dataset, columns: list[str], label: str) -> list[Sign]:
    date = f"{name(dataset.event_time)}::DATE"
    [(last,)] = connection.sql(f"SELECT max({date}) FROM {EVENTS}").fetchall()
    figures = ", ".join(
        f"count(*) FILTER ({name(column)} IS NULL AND __new), count(*) FILTER ({name(column)} IS NULL), "
        f"count(*) FILTER (({name(column)} IS NULL) <> __unknown)"
        for column in columns
    )
    rows = f"SELECT *, {date} > {text(last)}::DATE - {_NEWEST_DATES} AS __new, {label} IS NULL AS __unknown FROM {EVENTS}"
    [(of_new, of_all, *row)] = connection.sql(f"SELECT count(*) FILTER (__new), count(*), {figures} FROM ({rows})").fetchall()
    found = []
    for place, column in enumerate(columns):
        missing_new, missing, unlike = row[3 * place : 3 * place + 3]
        new, old = missing_new / max(1, of_new), (missing - missing_new) / max(1, of_all - of_new)
        if missing >= _FEWEST and unlike == 0:
            found.append(Sign(column, "is missing exactly where the label is", filled_later=True))
        elif new - old > _FILLED_LATER:
            found.append(
                Sign(column, f"is missing in {new:.0%} of the rows of the last {_NEWEST_DATES} dates, but in {old:.0%} of those before")
            )
    return found


def _auc(connection: duckdb.DuckDBPyConnection, dataset: Dataset, column: str) -> float | None:
    """Return the AUC of `column`, of text that of the share of positive labels by value; None if nothing can be said."""
    value = name(column)
    if dataset.columns[column].type == "string":
        # A value of a few rows would predict its own label. The others are one value.
        value = (
            f"CASE WHEN count(*) OVER (PARTITION BY {value}) >= {_FEWEST} THEN avg(__label::INT) OVER (PARTITION BY {value}) "
            f"ELSE (SELECT avg(__label::INT) FROM labelled) END"
        )
    elif dataset.columns[column].type == "boolean":
        value = f"{value}::INT"
    elif dataset.columns[column].type in ("timestamp", "date"):
        value = f"epoch({value}::TIMESTAMP)"
    [(positive, negative, ranks)] = connection.sql(
        "SELECT count(*) FILTER (__label), count(*) FILTER (NOT __label), sum(place) FILTER (__label) FROM ("
        "SELECT __label, rank() OVER (ORDER BY value) + (count(*) OVER (PARTITION BY value) - 1) / 2.0 AS place FROM ("
        f"SELECT __label, {value} AS value FROM labelled) WHERE value IS NOT NULL)"
    ).fetchall()
    if min(positive, negative) < _FEWEST:
        return None
    return float((ranks - positive * (positive + 1) / 2) / (positive * negative))


def remedy(column: str) -> str:
    """Return what to do about a column that knows the outcome."""
    return f"if it is known only after the event, write known_later: [{column}] and take it out of the features"
