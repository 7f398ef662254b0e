"""Declared candidates compete on nights that they have not learned from, and the simplest of those that are not clearly worse is chosen."""

from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pydantic import ValidationError

from pipelines.lib.challengers.search import Candidate, Fold, Found, Search, choose, folds_of, require_declared, search
from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.features.history import History
from pipelines.lib.measures.tasks import BINARY
from pipelines.lib.models import estimators

NIGHTS, ROWS = [f"2024-01-{day:02}" for day in range(1, 31)], 60

LINEAR = {"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}
FOREST = {"name": "forest", "estimator": estimators.DEFAULT, "parameters": {"n_estimators": 30, "max_depth": 4}}


def history(*, bent: bool = False) -> History:
    """Return 30 nights whose label follows the first of two features; if `bent`, its distance from zero, which no line can follow."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(len(NIGHTS) * ROWS, 2)).astype(np.float32)
    signal = np.abs(features[:, 0]) - 0.7 if bent else features[:, 0]
    labels = (signal + rng.normal(scale=0.3, size=len(signal)) > 0).astype(np.int8)
    rows = pa.table({"id": np.arange(len(labels)), "partition": np.repeat(NIGHTS, ROWS)})
    return History(features, labels, rows, ("a", "b"))


def params(*candidates: dict[str, Any], **keys: Any) -> Search:
    return Search.model_validate({"candidates": candidates, "folds": 2, "nights_per_fold": 7, **keys})


def fit(candidate: Candidate, rows: History) -> Any:
    return estimators.make(candidate, 0).fit(rows.features, rows.labels)


def run(declared: Search, rows: History | None = None, *, clock: Any = lambda: 0.0, fit: Any = fit) -> Found:
    rows = rows or history()
    return search(rows, folds_of(rows.nights.tolist(), declared, 2), declared, fit, categories=lambda _: {}, clock=clock)


def test_folds_are_the_last_nights_and_training_ends_before_outcomes_are_unknown() -> None:
    assert folds_of(NIGHTS, params(), 2) == (
        Fold(until="2024-01-15", since="2024-01-17", last="2024-01-23"),
        Fold(until="2024-01-22", since="2024-01-24", last="2024-01-30"),
    )


def test_no_candidate_learns_from_a_night_whose_outcome_was_unknown() -> None:
    learned = []

    def watched(candidate: Candidate, rows: History) -> Any:
        learned.append(max(rows.nights))
        return fit(candidate, rows)

    run(params(LINEAR), fit=watched)
    assert learned == ["2024-01-14", "2024-01-21"]


@pytest.mark.parametrize("nights", [13, 14, 16])
def test_fewer_nights_than_the_folds_need_name_the_keys(nights: int) -> None:
    with pytest.raises(DataError, match=rf"there are {nights} nights .*search\.folds \(2\).*search\.nights_per_fold \(7\)"):
        folds_of(NIGHTS[:nights], params(), 2)
    assert folds_of(NIGHTS[:17], params(), 2)


def test_a_clearly_better_candidate_wins_over_a_simpler_one() -> None:
    found = run(params(LINEAR, FOREST), history(bent=True))
    assert found.chosen == "forest"
    assert "lowest log loss" in found.reason


def test_within_noise_the_candidate_that_is_declared_first_wins() -> None:
    labels, nights = history().labels, history().nights
    better = np.clip(np.where(labels == 1, 0.6, 0.4), 0, 1)
    noise = np.random.default_rng(1).normal(scale=0.1, size=len(labels))
    scores = {"simple": np.clip(better + noise, 0.01, 0.99), "other": np.clip(better - noise, 0.01, 0.99)}
    best = min(scores, key=lambda name: BINARY.losses(labels, scores[name]).mean())
    [worse] = set(scores) - {best}
    chosen, reason = choose(labels, {worse: scores[worse], best: scores[best]}, nights, BINARY, 0.01)
    assert (chosen, "not clearly" in reason) == (worse, True)


def test_too_few_rows_to_judge_keep_the_simplest() -> None:
    labels = np.array([0, 1, 0, 1])
    scores = {"simple": np.array([0.4, 0.6, 0.4, 0.6]), "other": np.array([0.1, 0.9, 0.1, 0.9])}
    assert choose(labels, scores, np.array(["a", "a", "b", "b"]), BINARY, 0.1)[0] == "simple"


def test_rows_in_another_order_give_the_same_result() -> None:
    rows = history(bent=True)
    order = np.random.default_rng(3).permutation(len(rows.labels))
    other = replace(rows, features=rows.features[order], labels=rows.labels[order], rows=rows.rows.take(pa.array(order)))
    assert run(params(LINEAR, FOREST), rows) == run(params(LINEAR, FOREST), other)


def test_a_candidate_that_raises_is_recorded_and_the_others_compete() -> None:
    def raising(candidate: Candidate, rows: History) -> Any:
        if candidate.name == "forest":
            raise FloatingPointError("overflow")
        return fit(candidate, rows)

    found = run(params(FOREST, LINEAR), fit=raising)
    assert found.chosen == "linear"
    assert found.results[0].fault == "FloatingPointError: overflow"


@pytest.mark.parametrize("fault", [MemoryError("300 GiB"), OSError(28, "No space left on device"), TimeoutError("no answer")])
def test_a_fault_of_the_machine_ends_the_search_rather_than_choosing_another_candidate(fault: Exception) -> None:
    def raising(candidate: Candidate, rows: History) -> Any:
        if candidate.name == "forest":
            raise fault
        return fit(candidate, rows)

    with pytest.raises(type(fault)):
        run(params(FOREST, LINEAR), fit=raising)


def test_a_candidate_that_does_not_convert_is_recorded() -> None:
    awkward = {"name": "odd", "estimator": "sklearn.semi_supervised.LabelPropagation"}
    found = run(params(awkward, LINEAR))
    assert found.chosen == "linear"
    assert found.results[0].loss is None
    assert "cannot be used" in str(found.results[0].fault)


def test_no_candidate_with_a_result_is_an_error_with_every_fault() -> None:
    def raising(candidate: Candidate, rows: History) -> Any:
        raise RuntimeError(f"no {candidate.name}")

    with pytest.raises(DataError, match=r"no linear.*no forest"):
        run(params(LINEAR, FOREST), fit=raising)


def test_a_candidate_that_does_not_exist_is_refused_with_its_key() -> None:
    with pytest.raises(
        ConfigError, match=r"search\.candidates\.1\.estimator \(typo\).*did you mean sklearn\.linear_model\.LogisticRegression"
    ):
        require_declared(params(LINEAR, {"name": "typo", "estimator": "sklearn.linear_model.LogisticRegresion"}), "binary")


def test_two_candidates_of_one_name_are_refused() -> None:
    with pytest.raises(ValidationError, match="two are named 'linear'"):
        params(LINEAR, {**FOREST, "name": "linear"})


def test_a_budget_that_ends_before_the_first_candidate_names_the_key() -> None:
    ticks = iter(range(0, 10_000, 100))
    with pytest.raises(ConfigError, match=r"search\.minutes \(1\) ended before any candidate .*Raise search\.minutes"):
        run(params(LINEAR, FOREST, minutes=1.0), clock=lambda: next(ticks))


def test_a_budget_that_ends_later_chooses_among_those_that_are_done() -> None:
    fitted: list[str] = []

    def counted(candidate: Candidate, rows: History) -> Any:
        fitted.append(candidate.name)
        return fit(candidate, rows)

    found = run(params(LINEAR, FOREST, minutes=1.0), history(bent=True), clock=lambda: 61.0 * fitted.count("forest"), fit=counted)
    assert found.chosen == "linear"
    assert found.results[1].fault == "the budget had ended"
    assert fitted == ["linear", "linear", "forest"]
