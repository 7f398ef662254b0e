"""The model card: its warnings, and a page for every kind of evaluation."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest

from pipelines.lib.challengers.comparison import Incomparable
from pipelines.lib.challengers.evaluation import Evaluation, Unscored
from pipelines.lib.challengers.model_card import limits, render
from pipelines.lib.challengers.search import Found, Result
from pipelines.lib.measures.tasks import REGRESSION
from pipelines.lib.models.forest_sample import ForestSample
from tests.evaluations import compared, evaluated, opponent
from tests.page_rules import broken_rules, words_of_probabilities


@pytest.fixture
def evaluation() -> Evaluation:
    """The evaluation of a model that is fair on the whole and weak on one side."""
    rng = np.random.default_rng(0)
    scores = rng.random(1_000, dtype=np.float32)
    right = np.arange(1_000) >= 800
    labels = (rng.random(1_000) < np.where(right, scores.mean(), scores)).astype(np.int8)
    sides = np.where(right, "right", "left")
    return evaluated(labels, scores, np.arange(1_000) // 100, name="Core", sha256="a" * 64, sides=sides)


@pytest.mark.costly
def test_it_is_one_page_without_scripts_and_the_same_each_time(evaluation: Evaluation) -> None:
    page = render(evaluation)
    assert page == render(copy.deepcopy(evaluation))
    assert page.count("<svg") == 4
    assert "<script" not in page
    assert not broken_rules(page)
    assert "log loss of the base rate" in page
    assert "http://" not in page.replace("http://www.w3.org", "").replace("http://purl.org", "").replace("http://creativecommons.org", "")


def test_it_names_the_slices_on_which_the_model_is_weak(evaluation: Evaluation) -> None:
    warnings = " ".join(limits(evaluation))
    assert "more than 0.05 below its AUC" in warnings
    assert "side = right" in warnings
    assert "side = left" not in warnings
    assert "Its scores are too" not in warnings
    high = replace(evaluation.metrics, mean_score=evaluation.metrics.positive_rate + 0.1)
    assert "Its scores are too high" in " ".join(limits(replace(evaluation, metrics=high)))


def test_it_names_the_share_of_rows_that_a_tree_has_learned_from(evaluation: Evaluation) -> None:
    part = replace(evaluation, trained_on=ForestSample(rows=1_600_000, rows_per_tree=400_000))
    assert "400,000 rows that were drawn from all 1,600,000" in " ".join(limits(part))
    whole = ForestSample(rows=300_000, rows_per_tree=300_000)
    assert "drawn from" not in " ".join(limits(replace(evaluation, trained_on=whole)))


@pytest.mark.costly
def test_it_shows_the_candidates_that_competed_and_why_one_was_chosen(evaluation: Evaluation) -> None:
    results = (Result("linear", 0.4712, 0.7031), Result("forest", 0.4523, 0.7164), Result("odd", fault="MemoryError: <300> GiB"))
    page = render(replace(evaluation, search=Found(results, "forest", "forest has the lowest log loss, 0.4523")))
    assert not broken_rules(page)
    table = re.sub(r"<[^>]+>", " ", page.partition("<h2>Candidates</h2>")[2].partition("<h2>")[0])
    assert "forest has the lowest log loss, 0.4523." in table
    assert re.search(
        r"linear\s+0\.471\d*\s+0\.703\d*\s+forest \(chosen\)\s+0\.452\d*\s+0\.716\d*\s+odd\s+.*MemoryError: &lt;300&gt; GiB", table
    )
    assert "<h2>Candidates</h2>" not in render(evaluation)


@pytest.mark.costly
def test_a_model_that_gave_no_scores_has_a_page_that_says_why() -> None:
    page = render(Unscored("Core", "2013-04-01", {}, None, ("2800 of 2800 scores are <not> finite",)))
    assert "does not pass" in page
    assert "2800 of 2800 scores are &lt;not&gt; finite" in page


def test_one_class_in_the_holdout_gives_a_page_without_a_curve(evaluation: Evaluation) -> None:
    one_class = replace(evaluation, metrics=replace(evaluation.metrics, auc=None), quality_interval=None, roc=())
    assert render(one_class).count("<svg") == 3


@pytest.mark.costly
def test_the_card_says_why_a_champion_cannot_be_compared_with(evaluation: Evaluation) -> None:
    fault = "the champion takes other features"
    assert fault in render(replace(evaluation, comparison=Incomparable(**vars(opponent("1", "b" * 64)), fault=fault)))


@pytest.mark.costly
def test_lineage_and_facts_are_shown_once_there_are_any(evaluation: Evaluation) -> None:
    assert "Lineage" not in render(evaluation)
    page = render(evaluation, lineage={"git_commit": "c" * 40}, facts={"version": "7", "memory_mib": 31.5})
    assert "Lineage" in page
    assert "c" * 40 in page
    assert "Core version 7" in page
    assert "31.5" in page


@pytest.mark.costly
def test_the_card_of_forecasts_draws_their_range_and_has_no_word_of_probabilities() -> None:
    rng = np.random.default_rng(0)
    labels = rng.gamma(2.0, 20.0, 1_400) + 100
    champion, challenger = (labels + rng.normal(0, spread, 1_400) for spread in (20, 10))
    nights, sides = np.arange(1_400) // 100, np.where(np.arange(1_400) % 2, "left", "right")
    found = compared(labels, champion, challenger, nights, against=opponent("1", "b" * 64), task=REGRESSION, side=sides)
    page = render(evaluated(labels, challenger, nights, name="Core", sha256="a" * 64, sides=sides, task=REGRESSION, comparison=found))
    assert words_of_probabilities(page) == []
    lead = re.sub(r"<[^>]+>", "", page[page.index("R² <strong>") : page.index("<h2>Limits")])
    assert re.search(r"night to night\) on 1,400 rows of the holdout, whose outcomes are [0-9.]+ on average\. The holdout", lead), lead
    assert not broken_rules(page)
    median = float(re.findall(r"Histogram of forecast.*?half of the rows are below ([0-9.]+)", page)[0])
    assert median == pytest.approx(np.median(challenger), abs=np.ptp(challenger) / 40)
    assert page.count("Mean forecast and mean outcome.") == 2
