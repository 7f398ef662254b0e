"""Reading an evaluation back: only a whole one is accepted, whether the model gave scores or not."""

import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.challengers import report
from pipelines.lib.challengers.evaluation import Evaluation, Unscored, as_trained, evidence_of, read_evaluation, tags_of_training
from pipelines.lib.challengers.search import Found, Result
from pipelines.lib.core import contract
from pipelines.lib.core.errors import DataError
from tests.evaluations import any_evaluation, better, opponent, part

WHOLE = any_evaluation("Core", "b" * 64, comparison=better(opponent("1", "a" * 64), slices=(part("UA", 0.01, 0.2),)))
MUTE = Unscored("Core", "2013-04-01", {"holdout_days": 14}, None, ("2800 of 2800 scores are not finite",))


@pytest.mark.parametrize("evaluation", [WHOLE, MUTE], ids=["scored", "unscored"])
def test_an_evaluation_comes_back_as_it_was_written(evaluation: Evaluation | Unscored, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(contract.to_json(evaluation), encoding="utf-8")
    found = read_evaluation(path)
    assert type(found) is type(evaluation)
    assert contract.to_json(found) == contract.to_json(evaluation)


@pytest.mark.parametrize(
    "change",
    [
        *({field.name: ...} for field in fields(WHOLE) if field.default is MISSING),
        {"unknown": 1},
        {"faults": "none"},
        {"metrics": {"auc": 0.7}},
    ],
    ids=str,
)
def test_half_of_an_evaluation_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    content = {name: value for name, value in (json.loads(contract.to_json(WHOLE)) | change).items() if value is not ...}
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=r"evaluation\.json is not a whole evaluation .*; run evaluate again"):
        read_evaluation(path)


def test_an_evaluation_without_scores_and_without_a_fault_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(json.dumps(asdict(MUTE) | {"faults": []}), encoding="utf-8")
    with pytest.raises(DataError, match="is not a whole evaluation"):
        read_evaluation(path)


def test_the_ledger_keeps_the_comparison_without_the_points_of_charts() -> None:
    kept = json.loads(evidence_of(WHOLE))
    assert (kept["version"], kept["quality_difference"]["value"]) == ("1", 0.02)
    assert not {"calibration", "roc"} & set(kept)
    assert evidence_of(MUTE) == "null"


SEARCH = Found((Result("linear", 0.47, 0.7), Result("forest", 0.45, 0.72), Result("odd", fault="MemoryError")), "forest", "it is better")


@pytest.mark.costly
def test_the_candidates_become_metrics_and_the_chosen_one_a_tag(tmp_path: Path) -> None:
    judged = any_evaluation("Core", "a" * 64, search=SEARCH)
    report.write(tmp_path / "report", judged, None)
    assert read_evaluation(tmp_path / "report" / "evaluation.json") == judged
    assert tags_of_training(tmp_path / "report") == {"search": "forest"}
    metrics = json.loads((tmp_path / "report" / "metrics.json").read_text(encoding="utf-8"))
    assert {name: value for name, value in metrics.items() if name.startswith("search_")} == {
        "search_loss_linear": 0.47, "search_quality_linear": 0.7, "search_loss_forest": 0.45, "search_quality_forest": 0.72,
    }  # fmt: skip


@pytest.mark.costly
def test_a_model_without_a_search_has_neither(tmp_path: Path) -> None:
    report.write(tmp_path / "report", any_evaluation("Core", "a" * 64), None)
    assert tags_of_training(tmp_path / "report") == {}
    assert "search" not in (tmp_path / "report" / "metrics.json").read_text(encoding="utf-8")


def test_the_logged_parameters_are_those_of_the_chosen_candidate() -> None:
    own = {"estimator": "sklearn.ensemble.RandomForestClassifier", "steps": ["a"], "parameters": {"max_depth": 8}, "random_state": 42}
    params = {"train": own, "search": {"candidates": [{"name": "linear", "estimator": "LogisticRegression", "parameters": {"C": 2}}]}}
    assert as_trained(params, "train", None) == own
    assert as_trained(params, "train", "linear") == {
        "estimator": "LogisticRegression", "steps": [], "parameters": {"C": 2}, "random_state": 42,
    }  # fmt: skip
