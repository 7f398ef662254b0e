"""A use case that names LightGBM, through the real stages, and the card and metrics that it gets."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.params import read_params
from pipelines.lib.core.use_cases import find, write_into
from pipelines.lib.declarations import derivation
from pipelines.lib.models import skops_file
from pipelines.lib.models.profile import Profile
from pipelines.use_case.check import check
from tests import rides
from tests.laptop_stages import HISTORY, first_failure
from tests.page_rules import broken_rules

pytestmark = pytest.mark.costly

LIGHTGBM = {
    "estimator": "lightgbm.LGBMClassifier",
    "parameters": {"n_estimators": 50, "num_leaves": 15, "learning_rate": 0.1},
    "minimum_rows": 100,
}


def train_and_evaluate(root: Path, train: dict[str, Any]) -> dict[str, bytes]:
    """Run the training line on the rides in a new repository at `root`, the working directory, with their section `train`; return the files it writes."""
    rides.repository(root)
    rides.write(root / "rides.parquet", rides.rides(per_day=30))
    rides.declare(root, {**rides.DECLARED, "train": train, "evaluate": {"minimum_auc": 0.3, "latency_p99_limit_ms": 1000.0}})
    use_case = find("rides", root)
    derivation.write(use_case, derivation.derive(use_case, rides.TODAY))
    assert check(root, ["rides"]) == []
    write_into(root, "rides")
    assert first_failure(*HISTORY) is None
    return {path.name: path.read_bytes() for path in sorted(Path("data/models").iterdir())}


@pytest.mark.slow
def test_lightgbm_is_trained_exported_and_evaluated_with_the_same_bytes_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    files = []
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        files.append(train_and_evaluate(Path(), LIGHTGBM))
    first, second = files
    assert first == second
    assert read_params()["train"]["parameters"] == LIGHTGBM["parameters"]
    assert type(skops_file.load(Path("data/models/model.skops"))).__name__ == "LGBMClassifier"

    evaluation = json.loads(Path("data/reports/evaluate/evaluation.json").read_text(encoding="utf-8"))
    assert (evaluation["importance_kind"], evaluation["not_reproducible"]) == ("gain of its splits", None)
    assert evaluation["metrics"]["parity_max_difference"] <= 1e-6
    assert evaluation["trained_on"]["rows_per_tree"] is None
    described = Profile.from_json(first["profile.json"])
    assert evaluation["importances"] == {column.binning.name: column.importance for column in described.features}
    metrics = json.loads(Path("data/reports/evaluate/metrics.json").read_text(encoding="utf-8"))
    assert metrics["training_rows"] == evaluation["trained_on"]["rows"]
    assert "training_rows_per_tree" not in metrics
    card = Path("data/reports/evaluate/report.html").read_text(encoding="utf-8")
    assert not list(broken_rules(card))
    assert "lightgbm.LGBMClassifier" in card
    assert "not reproducible to the byte" not in card


def test_the_card_of_a_model_that_depends_on_the_machine_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    train_and_evaluate(Path(), LIGHTGBM | {"parameters": {"n_estimators": 5, "n_jobs": -1}})
    card = Path("data/reports/evaluate/report.html").read_text(encoding="utf-8")
    assert "It is not reproducible to the byte: n_jobs of lightgbm.LGBMClassifier is -1" in card
