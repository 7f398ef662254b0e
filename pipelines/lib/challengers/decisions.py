"""The decisions of a model on the holdout, night by night as ``score.threshold`` makes them, and how often they were right."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.core.contract import STRICT
from pipelines.lib.models.decision_rule import DecisionRule

Values = NDArray[Any]


@dataclass(frozen=True)
class Decisions:
    """The decisions of `rule`, which is in words, on the labelled rows of all nights of the holdout.

    `alerts_per_night` is the mean number of rows whose decision is true, `lowest` and `highest` are the least and the greatest threshold of a night.
    `precision` is the share of alerts that had the outcome, None without an alert; `recall` the share of outcomes with an alert, None without an outcome.
    `average_precision` is that of all scores, for any threshold. `cost_per_night` is what false alarms and misses cost, and `cost_without` what misses cost if
    nobody is alerted, both in the unit of the declared costs; None without costs.
    """

    __pydantic_config__ = STRICT

    rule: str
    alerts_per_night: float
    lowest: float
    highest: float
    precision: float | None
    recall: float | None
    average_precision: float | None
    cost_per_night: float | None
    cost_without: float | None


def decide_nights(labels: Values, scores: Values, nights: Values, rule: DecisionRule) -> Decisions:
    """Decide each night of the rows with `labels` {0, 1} [n] and `scores` float32 [n] by itself; `nights` [n] says which night a row is of."""
    from sklearn.metrics import average_precision_score

    names = np.unique(nights)
    alerts, thresholds = np.zeros(len(labels), dtype=bool), []
    for night in names:
        rows = nights == night
        thresholds.append(float(rule.threshold(scores[rows])))
        alerts[rows] = rule.decisions(scores[rows])
    outcomes = labels.astype(bool)
    right, false_alarms, misses = (int(found.sum()) for found in (alerts & outcomes, alerts & ~outcomes, ~alerts & outcomes))
    cost = cost_without = None
    if rule.false_alarm_cost is not None and rule.miss_cost is not None:
        cost = (false_alarms * rule.false_alarm_cost + misses * rule.miss_cost) / len(names)
        cost_without = int(outcomes.sum()) * rule.miss_cost / len(names)
    return Decisions(
        rule=str(rule),
        alerts_per_night=round(float(alerts.sum()) / len(names), 2),
        lowest=round(min(thresholds), 6),
        highest=round(max(thresholds), 6),
        precision=_share(right, right + false_alarms),
        recall=_share(right, right + misses),
        average_precision=round(float(average_precision_score(labels, scores)), 6) if outcomes.any() else None,
        cost_per_night=_rounded(cost),
        cost_without=_rounded(cost_without),
    )


def _share(part: int, of: int) -> float | None:
    return round(part / of, 6) if of else None


def _rounded(cost: float | None) -> float | None:
    return None if cost is None else round(cost, 2)
