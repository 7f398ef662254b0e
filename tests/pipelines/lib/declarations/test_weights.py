"""The check warns of weights of classes, since a weighted model does not give probabilities."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.declarations.weights import weight_warnings
from pipelines.use_case.check import check, look
from tests import rides

LIMIT = {"maximum_calibration_error_increase": 0.03}
INNER = {"estimator": {"estimator": "sklearn.ensemble.RandomForestClassifier", "parameters": {"class_weight": "balanced"}}}


@pytest.mark.parametrize(
    ("parameters", "key"),
    [
        ({"class_weight": "balanced"}, "class_weight"),
        ({"class_weight": {"0": 1, "1": 9}}, "class_weight"),
        ({"scale_pos_weight": 139}, "scale_pos_weight"),
        ({"is_unbalance": True}, "is_unbalance"),
        (INNER, "estimator.parameters.class_weight"),
    ],
)
def test_weights_are_warned_of_at_their_key(parameters: dict[str, Any], key: str) -> None:
    [warning] = weight_warnings({"train": {"parameters": parameters}, "decide": LIMIT})
    assert (warning.key, warning.warning) == (f"train.parameters.{key}", True)
    assert "decide.maximum_calibration_error_increase, which is 0.03" in warning.fact


@pytest.mark.parametrize("parameters", [None, {}, {"class_weight": None}, {"scale_pos_weight": 1.0}, {"is_unbalance": False}])
def test_a_value_that_changes_nothing_gives_no_warning(parameters: object) -> None:
    assert list(weight_warnings({"train": {"parameters": parameters}, "decide": LIMIT})) == []


@pytest.mark.costly
def test_the_check_shows_the_warning_and_is_not_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rides.repository(tmp_path, {**rides.DECLARED, "train": {"parameters": {"class_weight": "balanced"}}})
    weighted = [str(fault) for fault in look(Path(), ["rides"], config_only=True) if fault.finding.warning]
    assert len(weighted) == 1
    assert "use_cases/rides/params.yaml: train.parameters.class_weight: is 'balanced'" in weighted[0]
    assert not any("class_weight" in str(fault) for fault in check(Path(), ["rides"], config_only=True))
