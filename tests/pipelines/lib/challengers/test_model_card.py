"""The model card: what it warns of, and that every kind of evaluation gives a page."""

import copy
from typing import Any

import numpy as np
import pytest

from pipelines.lib.challengers import comparison
from pipelines.lib.challengers.model_card import limits, render
from pipelines.lib.measures import metrics
from tests.page_rules import broken_rules


@pytest.fixture
def evaluation() -> dict[str, Any]:
    """Of a model that is fair on the whole and weak on one side."""
    rng = np.random.default_rng(0)
    scores = rng.random(1_000, dtype=np.float32)
    right = np.arange(1_000) >= 800
    labels = (rng.random(1_000) < np.where(right, scores.mean(), scores)).astype(np.int8)
    overall = metrics.summary(labels, scores) | {"parity_max_difference": 0.0}
    slices = [
        {"column": "side", "value": side, **metrics.summary(labels[mask], scores[mask])}
        for side, mask in (("left", ~right), ("right", right))
    ]
    return {
        "name": "Core",
        "partition": "2013-04-01",
        "training": {"holdout_days": 14, "max_depth": 8},
        "sha256": "a" * 64,
        "since": "2013-03-17",
        "faults": [],
        "metrics": overall,
        "auc_interval": comparison.auc_interval(labels, scores, np.arange(1_000) // 100),
        "slices": slices,
        "calibration": metrics.calibration(labels, scores),
        "roc": metrics.roc(labels, scores),
        "scores": np.histogram(scores, np.linspace(0, 1, 41))[0].tolist(),
        "importances": {"b": 0.3, "a": 0.7},
        "golden": [],
        "comparison": None,
    }


@pytest.mark.costly
def test_it_is_one_page_without_scripts_and_the_same_each_time(evaluation: dict[str, Any]) -> None:
    page = render(evaluation)
    assert page == render(copy.deepcopy(evaluation))
    assert page.count("<svg") == 4
    assert "<script" not in page
    assert not broken_rules(page)
    assert "log loss of the base rate" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace("http://creativecommons.org", "")


def test_it_names_what_the_model_is_weak_on(evaluation: dict[str, Any]) -> None:
    message = " ".join(limits(evaluation))
    assert "more than .05 below its AUC" in message
    assert "side = right" in message
    assert "side = left" not in message
    assert "Its scores are too" not in message
    evaluation["metrics"]["mean_score"] = evaluation["metrics"]["positive_rate"] + 0.1
    assert "Its scores are too high" in " ".join(limits(evaluation))


def test_a_model_that_gave_no_scores_has_a_page_that_says_why() -> None:
    page = render({"name": "Core", "partition": "2013-04-01", "faults": ["2800 of 2800 scores are <not> finite"], "comparison": None})
    assert "does not pass" in page
    assert "2800 of 2800 scores are &lt;not&gt; finite" in page


def test_one_class_in_the_holdout_gives_a_page_without_a_curve(evaluation: dict[str, Any]) -> None:
    evaluation["metrics"]["auc"], evaluation["auc_interval"], evaluation["roc"] = None, None, []
    assert render(evaluation).count("<svg") == 3


def test_a_champion_that_cannot_be_compared_with_is_told(evaluation: dict[str, Any]) -> None:
    evaluation["comparison"] = {"version": "1", "fault": "the champion takes other features"}
    assert "the champion takes other features" in render(evaluation)


@pytest.mark.costly
def test_lineage_and_facts_are_shown_once_there_are_any(evaluation: dict[str, Any]) -> None:
    assert "Where it comes from" not in render(evaluation)
    page = render(evaluation, lineage={"git_commit": "c" * 40}, facts={"version": "7", "memory_mib": 31.5})
    assert "c" * 40 in page
    assert "Core version 7" in page
    assert "31.5" in page
