"""The bands of the outcomes that a history shows: of the share of positive ones or, of numbers, of each of them and of their mean."""

import datetime as dt
import math
from collections.abc import Callable
from typing import Any

from pipelines.lib.declarations.bands import ceil_to, floor_to
from pipelines.lib.declarations.facts import Facts
from pipelines.lib.tables.dataset import Dataset

Parameters = dict[str, Any]


def label_bands(dataset: Dataset, facts: Facts) -> Parameters:
    """Return the band of the outcomes: of the share of positive ones or, of numbers, of their mean and of each of them."""
    return _label_rates(dataset, facts) if dataset.label.task == "binary" else _label_numbers(facts)


def _label_numbers(facts: Facts) -> Parameters:
    """Return bands as wide again as what the history shows: for a number, ten times its span to either side; for their mean, that of the weeks
    and as much to either side as these differ, or half of the mean. No end is below 0 if no label is.
    """
    if facts.label_range is None:
        return {}
    least, most = facts.label_range
    span = most - least
    weeks: dict[tuple[int, int], list[float]] = {}
    for date, day in facts.days.items():
        known, total = weeks.setdefault(date.isocalendar()[:2], [0.0, 0.0])
        weeks[date.isocalendar()[:2]] = [known + day.known, total + day.total]
    means = [total / known for known, total in weeks.values() if known]
    swing = max(max(means) - min(means), max(map(abs, means)) / 2)
    low = min(means) - swing
    return {
        "minimum_label": 0.0 if least >= 0 else _two_digits(least - 10 * span, down=True),
        "maximum_label": _two_digits(most + 10 * span, down=False),
        "minimum_label_mean": 0.0 if least >= 0 and low < 0 else _two_digits(low, down=True),
        "maximum_label_mean": _two_digits(max(means) + swing, down=False),
    }


def _two_digits(value: float, *, down: bool) -> float:
    """Return `value` with two significant digits, rounded `down` or up."""
    if value == 0:
        return 0.0
    return (floor_to if down else ceil_to)(value, 1 - math.floor(math.log10(abs(value))))


def _label_rates(dataset: Dataset, facts: Facts) -> Parameters:
    """Return the band of the share of positive outcomes: half of the lowest rate of a week to twice the highest one.

    A week counts if it is whole, and its outcomes are known. Where positives are rare a week may have none: then a quarter of the whole rate counts.
    """
    end = facts.last - dt.timedelta(days=dataset.label.delay_days)
    weeks: dict[tuple[int, int], list[int]] = {}
    for date, day in facts.days.items():
        if date < end:
            known, positive = weeks.setdefault(date.isocalendar()[:2], [0, 0])
            weeks[date.isocalendar()[:2]] = [known + day.known, positive + day.positive]
    known, positive = (sum(week[place] for week in weeks.values()) for place in (0, 1))
    if not known or not 0 < positive < known:
        return {}
    most = max(week[0] for week in weeks.values())
    rates = [week[1] / week[0] for week in weeks.values() if week[0] >= most / 4] or [positive / known]
    low = max(min(rates) / 2, positive / known / 4)
    return {"minimum_label_rate": _rate(low, floor_to), "maximum_label_rate": _rate(min(2 * max(rates), (1 + max(rates)) / 2), ceil_to)}


def _rate(value: float, rounded: Callable[[float, int], float]) -> float:
    """Return `value` with two significant digits, `rounded` away from the rates that there were."""
    return rounded(value, 1 - math.floor(math.log10(value)))
