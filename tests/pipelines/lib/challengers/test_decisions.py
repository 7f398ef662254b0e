"""The decisions of a holdout are made night by night, and counted against its outcomes."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, precision_score, recall_score

from pipelines.lib.challengers.decisions import decide_nights
from pipelines.lib.models.decision_rule import DecisionRule

LABELS = np.array([1, 0, 0, 1, 0, 0])
SCORES = np.array([0.9, 0.8, 0.1, 0.4, 0.3, 0.2], dtype=np.float32)
NIGHTS = np.array(["1", "1", "1", "2", "2", "2"])


def test_a_budget_is_spent_in_each_night() -> None:
    found = decide_nights(LABELS, SCORES, NIGHTS, DecisionRule(alerts_per_night=1))
    assert (found.rule, found.alerts_per_night, found.precision, found.recall) == ("the 1 highest scores of a night", 1, 1, 1)
    assert found.lowest == pytest.approx(0.3, abs=1e-5)
    assert found.highest == pytest.approx(0.8, abs=1e-5)
    assert found.cost_per_night is None


def test_figures_are_those_of_scikit_learn() -> None:
    generator = np.random.default_rng(11)
    labels = (generator.random(3_000) < 0.05).astype(int)
    scores = np.clip(0.04 + 0.3 * labels * generator.random(3_000) + 0.1 * generator.random(3_000), 0, 1).astype(np.float32)
    found = decide_nights(labels, scores, np.repeat(np.arange(10), 300), DecisionRule(at=0.15))
    assert found.precision == pytest.approx(precision_score(labels, scores >= np.float32(0.15)), abs=1e-6)
    assert found.recall == pytest.approx(recall_score(labels, scores >= np.float32(0.15)), abs=1e-6)
    assert found.average_precision == pytest.approx(average_precision_score(labels, scores), abs=1e-6)
    assert found.lowest == found.highest == pytest.approx(0.15)


def test_costs_are_those_of_the_mistakes_of_a_night() -> None:
    """From 0.25 on: 0.9, 0.8 | 0.4, 0.3 are alerts, of which two are false, and nothing is missed."""
    found = decide_nights(LABELS, SCORES, NIGHTS, DecisionRule(false_alarm_cost=1, miss_cost=3))
    assert (found.alerts_per_night, found.cost_per_night, found.cost_without) == (2, 1, 3)


def test_without_an_alert_or_an_outcome_there_is_no_share() -> None:
    found = decide_nights(np.zeros(6, dtype=int), SCORES, NIGHTS, DecisionRule(at=1))
    assert (found.alerts_per_night, found.precision, found.recall, found.average_precision) == (0, None, None, None)
