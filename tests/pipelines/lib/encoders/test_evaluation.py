"""The evaluation of an encoder comes back whole or not at all, and its line names the comparison."""

import json
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

from pipelines.lib.core import contract
from pipelines.lib.core.errors import DataError
from pipelines.lib.encoders.comparison import Compared, NotCompared
from pipelines.lib.encoders.evaluation import EncoderEvaluation, read_evaluation
from tests.evaluations import SINCE, SOUND_ENCODER

ALONE = EncoderEvaluation(
    name="encoder",
    partition="2013-04-01",
    since=SINCE,
    comparison=None,
    training={"epochs": 3},
    metrics=SOUND_ENCODER,
    limits={"minimum_auc": 0.6},
    sha256="a" * 64,
    quantization={"chosen": "fp32"},
    faults=(),
)
COMPARED = replace(ALONE, comparison=Compared("1", "b" * 64, SINCE, 6_000, 0.71, 0.69))
MUTE = replace(ALONE, metrics=None, sha256=None, faults=("the encoder gives nan",))


@pytest.mark.parametrize("evaluation", [ALONE, COMPARED, MUTE], ids=["alone", "compared", "mute"])
def test_it_comes_back_as_it_was_written(evaluation: EncoderEvaluation, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    path.write_text(contract.to_json(evaluation), encoding="utf-8")
    assert read_evaluation(path) == evaluation


@pytest.mark.parametrize("name", [field.name for field in fields(ALONE) if field.default is MISSING])
def test_half_of_it_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.json"
    content = json.loads(contract.to_json(ALONE))
    del content[name]
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(DataError, match=f"{name}.*run evaluate_encoder again"):
        read_evaluation(path)


def test_the_line_says_what_it_was_compared_with() -> None:
    line = "AUC 0.700, by neighbours 0.700, fp32"
    assert ALONE.note == line
    assert COMPARED.note == f"{line}; the champion's AUC on the same rows 0.690, its own 0.710"
    assert (
        replace(ALONE, comparison=NotCompared("1", "b" * 64, "too few rows", stops=False)).note
        == f"{line}; not compared with the champion: too few rows"
    )
    assert MUTE.note == "the encoder does not pass: the encoder gives nan"
