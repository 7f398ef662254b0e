"""Reading an evaluation back: only a whole one is accepted, whether the model gave scores or not."""

import json
from dataclasses import MISSING, asdict, fields
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.challengers.evaluation import Evaluation, Unscored, evidence_of, read_evaluation
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
