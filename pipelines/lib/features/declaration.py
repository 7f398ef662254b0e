"""The declaration of the features: section ``features`` of ``params.yaml``, and what follows from it without reading a row."""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from pipelines.lib.core.params import Section, load_section
from pipelines.lib.tables.dataset import JOIN_DAYS, Dataset

LARGEST = 3.0e38
"""A feature is a float32, whose largest value is 3.4e38."""

LONGEST_WINDOW = 36_525
"""Days: a century."""

Value = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]
"""A number that a feature can hold."""


class Join(Section):
    """A side table (by default the one of the join's name), joined where each column of its key equals its SQL in `key`.

    Its other columns are then called ``<join>_<column>``, and are NULL where nothing matches. `key` sees the event alone.

    With `available_after_minutes`, the join is as of the row's moment: `key` leaves out the event time of the table, and the last row counts that is not later
    than the event and was available at the start of its date, that is, `available_after_minutes` after its own time (negative: known in advance).
    """

    table: str | None = None
    key: dict[str, str]
    available_after_minutes: int | None = Field(default=None, ge=-LONGEST_WINDOW * 1440, le=LONGEST_WINDOW * 1440)


class Numeric(Section):
    """An SQL `expression` (by default the column of the feature's name); `missing` stands for NULL, NaN and infinities."""

    expression: str | None = None
    missing: Value


class Categorical(Section):
    """A category as its place in `values` (by default those of the column); -1 is a value not among them, -2 no value.

    Without any `values`, a model keeps the `most` frequent categories of its training, and the features file holds the text.
    """

    expression: str | None = None
    values: tuple[str, ...] | None = Field(default=None, min_length=1)
    most: int = Field(default=100, ge=1, le=1000)


class Holidays(Section):
    """Days from the nearest of `dates` (negative: before it), or `within_days` + 1 if none is that near. Feature ``days_from_holiday``."""

    dates: tuple[str, ...] = Field(min_length=1)
    within_days: int = Field(ge=0, le=30)


class SameDay(Section):
    """How many rows of the same date agree in all expressions of `by`: a schedule, known in advance. 0 where one of them is NULL."""

    by: tuple[str, ...]


class Lagged(Section):
    """A statistic of `value` (SQL over all columns; by default the label) over earlier rows that agree in all expressions of `by`.

    It covers the values known at the start of the row's date, back `window_days`: dates from d - delay - `window_days` to
    d - delay - 1. A value is known `with_label`, so the delay is that of the label, or `at_once` with its row, without a delay: then its SQL must not
    use a column that is known later, nor one of the label. ``mean`` is drawn towards the mean over all rows in the same window as if `prior_weight` further rows had
    that mean; `nothing_seen` stands where neither has anything. ``count`` is the number of values.
    """

    by: tuple[str, ...] = ()
    value: str | None = None
    known: Literal["with_label", "at_once"] = "with_label"
    statistic: Literal["mean", "count"] = "mean"
    window_days: int = Field(ge=1, le=LONGEST_WINDOW)
    prior_weight: float = Field(default=0.0, ge=0, le=1e12)
    nothing_seen: Value = 0.0

    @model_validator(mode="after")
    def _label_is_late(self) -> Self:
        if self.known == "at_once" and self.value is None:
            raise ValueError(
                "known: at_once needs a `value`: without one it is the label, which is known after its delay; give a value, or take known out"
            )
        return self

    def delay_days(self, dataset: Dataset) -> int:
        """Return how many days after its row the value is known."""
        return 0 if self.known == "at_once" else dataset.label.delay_days


class Features(Section):
    """The declaration. Names are the features' names, those of `joins` excepted."""

    joins: dict[str, Join] = Field(default_factory=dict)
    numeric: dict[str, Numeric] = Field(default_factory=dict)
    categorical: dict[str, Categorical] = Field(default_factory=dict)
    calendar: tuple[Literal["hour", "minute_of_day", "weekday", "day_of_month", "day_of_year", "month"], ...] = ()
    holidays: Holidays | None = None
    same_day: dict[str, SameDay] = Field(default_factory=dict)
    lagged: dict[str, Lagged] = Field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Every feature, in the order of the columns."""
        holidays = ["days_from_holiday"] if self.holidays else []
        return [*self.numeric, *self.categorical, *self.calendar, *holidays, *self.same_day, *self.lagged]


def load_features() -> Features:
    """Load section ``features`` of this workspace's ``params.yaml``."""
    return load_section("features", Features)


def lookback_days(dataset: Dataset, features: Features) -> int:
    """Return how many days before a date its features look back."""
    return max((lagged.delay_days(dataset) + lagged.window_days for lagged in features.lagged.values()), default=0)


def identity(dataset: Dataset, features: Features) -> dict[str, Any]:
    """Return ``{"names", "sha256"}``: what a model must have been trained on to be fed these features. Where the table is is not a part
    of it.
    """
    shape = {
        "compiler": _compiler(dataset, features),
        "features": list(_declared(features).items()),
        "order": features.names,
        "key": dataset.key,
        "event_time": dataset.event_time,
        "label": dataset.label.model_dump(exclude={"task"} if dataset.label.task == "binary" else None),
        "types": {column: declared.type for column, declared in dataset.columns.items()},
        "categories": {feature: category_values(dataset, feature, declared) for feature, declared in features.categorical.items()},
        "tables": {table: {column: declared.type for column, declared in side.columns.items()} for table, side in dataset.tables.items()},
    }
    if days := {table: side.join_days for table, side in dataset.tables.items() if side.join_days != JOIN_DAYS}:
        shape["join_days"] = days
    if dataset.time_zone is not None:
        shape["time_zone"] = dataset.time_zone
    canonical = json.dumps(shape, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return {"names": features.names, "sha256": hashlib.sha256(canonical.encode()).hexdigest()}


def _declared(features: Features) -> dict[str, Any]:
    """Return the declaration without the fields that did not exist for the first models and have their default: their signature must not change."""
    shape = features.model_dump()
    for join in shape["joins"].values():
        if join["available_after_minutes"] is None:
            del join["available_after_minutes"]
    for lagged in shape["lagged"].values():
        if lagged["known"] == "with_label":
            del lagged["known"]
    for categorical in shape["categorical"].values():
        del categorical["most"]  # each model carries its own list; what a features file holds does not depend on it
    return shape


def _compiler(dataset: Dataset, features: Features) -> int:
    """Return a number that is raised when the same declaration begins to mean other numbers, so that a model trained before is refused.

    2: means of lagged values are exact; before, each value was rounded to a millionth. Whole numbers and outcomes are the same.
    """
    whole = {None, *(column for column, declared in dataset.columns.items() if declared.type in ("integer", "boolean"))}
    return 1 if all(lagged.value in whole for lagged in features.lagged.values()) else 2


def category_values(dataset: Dataset, feature: str, declared: Categorical) -> tuple[str, ...] | None:
    """Return the declared values of the categorical `feature`, in the order of their codes; None if each model has a list of its own."""
    values = declared.values
    if values is None and (column := dataset.columns.get(declared.expression or feature)) is not None:
        values = column.values
    return values or None


def text_categories(dataset: Dataset, features: Features) -> dict[str, int]:
    """Return the categorical features without declared values, each with the number of categories that a model keeps."""
    return {
        feature: declared.most for feature, declared in features.categorical.items() if category_values(dataset, feature, declared) is None
    }
