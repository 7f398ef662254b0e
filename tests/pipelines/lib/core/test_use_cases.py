"""Use cases: names, the layers of their parameters, and the files that a workspace gets."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib.core import use_cases
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import read_params
from pipelines.lib.core.run import load_run
from pipelines.lib.published.store import evidence_url, scores_url

ROOT = Path(__file__).resolve().parents[4]
FRAUD: dict[str, Any] = {
    "dataset": {"event_time": "paid_at"},
    "features": {},
    "evaluate": {"golden_rows": 50},
    "first_run": {"partition": "2024-03-01"},
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the shipped default use case, and no other one yet."""
    (tmp_path / "pipelines").mkdir()
    for name in ("params.yaml", "run.yaml", "pipelines/defaults.yaml"):
        shutil.copyfile(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def declare(repository: Path, name: str, content: dict[str, Any] | str, file: str = "params.yaml") -> Path:
    path = repository / "use_cases" / name / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_default_use_case_comes_first_and_has_the_name_of_its_table(repository: Path) -> None:
    declare(repository, "fraud", FRAUD)
    declare(repository, "churn", FRAUD)
    assert [(one.name, one.default) for one in use_cases.use_cases(repository)] == [("flights", True), ("churn", False), ("fraud", False)]


def test_the_shipped_default_use_case_is_whole() -> None:
    """So `dvc repro` needs nothing but git and params.yaml."""
    effective = use_cases.effective(use_cases.find("", ROOT)).params
    del effective["use_case"]
    assert effective == yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))


def test_a_use_case_that_names_another_estimator_starts_without_the_parameters_of_the_default(repository: Path) -> None:
    declare(repository, "fraud", {**FRAUD, "train": {"estimator": "lightgbm.LGBMClassifier", "parameters": {"num_leaves": 31}}})
    found = use_cases.effective(use_cases.find("fraud", repository))
    assert found.params["train"]["parameters"] == {"num_leaves": 31}
    assert {key for key in found.origin if key.startswith("train.parameters")} == {"train.parameters.num_leaves"}
    declare(repository, "fraud", {**FRAUD, "train": {"parameters": {"max_depth": 4}}})
    assert use_cases.effective(use_cases.find("fraud", repository)).params["train"]["parameters"] == {"n_estimators": 100, "max_depth": 4}


def test_a_declared_value_wins_over_a_derived_one_a_name_and_a_default(repository: Path) -> None:
    declare(repository, "fraud", {**FRAUD, "registry": {"encoder": "cards"}})
    declare(
        repository,
        "fraud",
        {"derived_from": {"sha256": "ab"}, "evaluate": {"golden_rows": 70, "slices": ["country"]}, "registry": {"encoder": "x"}},
        "derived.yaml",
    )
    found = use_cases.effective(use_cases.find("fraud", repository))
    assert found.params["use_case"] == {"name": "fraud", "default": False}
    assert found.params["evaluate"]["golden_rows"] == 50
    assert found.params["evaluate"]["slices"] == ["country"]
    assert found.params["export_onnx"] == {"opset": 22}
    assert found.params["registry"] == {"experiment": "fraud", "name": "fraud_model", "encoder": "cards"}
    assert found.params["dataset"]["name"] == "fraud"
    keys = ("evaluate.golden_rows", "evaluate.slices", "registry.name", "registry.encoder", "export_onnx.opset")
    assert [found.origin[key] for key in keys] == ["declared", "derived", "name", "declared", "default"]


def test_every_use_case_has_parameters_and_origins_of_its_own(repository: Path) -> None:
    declare(repository, "fraud", FRAUD)
    before = use_cases.effective(use_cases.find("fraud", repository))
    changed = use_cases.effective(use_cases.find("fraud", repository))
    changed.params["export_onnx"]["opset"] = 1
    changed.origin.clear()
    assert use_cases.effective(use_cases.find("fraud", repository)) == before


def test_changed_defaults_are_read_again(repository: Path) -> None:
    declare(repository, "fraud", FRAUD)
    assert use_cases.effective(use_cases.find("fraud", repository)).params["export_onnx"] == {"opset": 22}
    defaults = repository / use_cases.DEFAULTS
    defaults.write_text(defaults.read_text(encoding="utf-8").replace("opset: 22", "opset: 21"), encoding="utf-8")
    os.utime(defaults, ns=(0, defaults.stat().st_mtime_ns + 1_000_000))
    assert use_cases.effective(use_cases.find("fraud", repository)).params["export_onnx"] == {"opset": 21}


def test_a_mapping_replaces_a_single_value_as_a_whole(repository: Path) -> None:
    declare(repository, "fraud", {**FRAUD, "score": {"threshold": {"alerts_per_night": 200}}})
    found = use_cases.effective(use_cases.find("fraud", repository))
    assert found.params["score"]["threshold"] == {"alerts_per_night": 200}
    assert found.origin["score.threshold"] == "declared"


def test_effective_parameters_are_objects_of_their_own(repository: Path) -> None:
    declare(repository, "fraud", FRAUD)
    use_cases.effective(use_cases.find("fraud", repository)).params["build_index"]["hnsw"]["ef"].append(0)
    assert 0 not in use_cases.effective(use_cases.find("fraud", repository)).params["build_index"]["hnsw"]["ef"]


@pytest.mark.parametrize("name", ["Fraud", "card-fraud", "a__b", "1st", "_x", "x_", "f" * 41, "fr aud", "default_pool"])
def test_a_name_that_is_not_an_identifier_is_refused(repository: Path, name: str) -> None:
    declare(repository, name, FRAUD)
    with pytest.raises(ConfigError, match="cannot be named") as refused:
        use_cases.effective(use_cases.find(name, repository))
    assert f"use_cases/{name}/params.yaml" in str(refused.value)


@pytest.mark.costly
@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("train: [1, 2", "is not valid YAML"),
        ("- train", "must hold a mapping of sections"),
        ("train: 7", "must hold a mapping of sections, each of them a mapping; train is 7"),
        ("train:", "must hold a mapping of sections, each of them a mapping; train is None. Write its keys, or take it out"),
        ("tran: {max_depth: 3}", "unknown section 'tran'"),
        ("use_case: {name: x, default: false}", "unknown section 'use_case'"),
    ],
)
def test_a_broken_file_is_named(repository: Path, content: str, said: str) -> None:
    declare(repository, "fraud", content)
    with pytest.raises(ConfigError, match=said) as refused:
        use_cases.effective(use_cases.find("fraud", repository))
    assert "use_cases/fraud/params.yaml" in str(refused.value)


def test_a_broken_default_file_hides_no_other_use_case(repository: Path) -> None:
    (repository / "params.yaml").write_text("dataset: [", encoding="utf-8")
    declare(repository, "fraud", FRAUD)
    assert [one.name for one in use_cases.use_cases(repository)] == ["default", "fraud"]


def test_an_unknown_name_is_answered_with_those_that_exist(repository: Path) -> None:
    declare(repository, "fraud", FRAUD)
    with pytest.raises(ConfigError, match="there are flights, fraud"):
        use_cases.find("frauds", repository)


def test_a_workspace_gets_the_whole_parameters_and_a_run_of_its_use_case(repository: Path) -> None:
    declare(repository, "fraud", FRAUD)
    assert use_cases.write_into(repository, "fraud")
    written = read_params()
    assert (written["use_case"], written["train"]["parameters"]["max_depth"]) == ({"name": "fraud", "default": False}, 8)
    run = load_run()
    assert (run.partition, run.model.name, run.encoder.name) == ("2024-03-01", "fraud_model", "fraud_encoder")
    assert scores_url().endswith("/use_cases/fraud/scores")
    assert evidence_url().endswith("/use_cases/fraud/evidence")


def test_a_whole_default_use_case_keeps_its_files_byte_for_byte(repository: Path) -> None:
    before = (repository / "params.yaml").read_bytes()
    assert not use_cases.write_into(repository, "")
    assert (repository / "params.yaml").read_bytes() == before
    assert "use_cases" not in scores_url()


def test_a_short_default_file_is_filled(repository: Path) -> None:
    content = yaml.safe_load((repository / "params.yaml").read_text(encoding="utf-8"))
    (repository / "params.yaml").write_text(
        yaml.safe_dump({"dataset": content["dataset"], "features": content["features"]}), encoding="utf-8"
    )
    assert use_cases.write_into(repository, "")
    assert read_params()["train"]["parameters"]["max_depth"] == 8
    assert "use_cases" not in scores_url()


def test_the_variable_chooses_a_use_case_in_the_repository(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(repository, "fraud", FRAUD)
    monkeypatch.setenv("NIGHTSHIFT_USE_CASE", "fraud")
    assert read_params()["registry"]["name"] == "fraud_model"
    assert load_run().partition == "2024-03-01"
    assert scores_url().endswith("/use_cases/fraud/scores")


def test_the_variable_does_not_turn_a_workspace_into_that_of_another_use_case(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(repository, "fraud", FRAUD)
    use_cases.write_into(repository, "fraud")
    monkeypatch.setenv("NIGHTSHIFT_USE_CASE", "flights")
    with pytest.raises(ConfigError, match="is of the use case 'fraud'; unset the variable"):
        scores_url()


def test_a_use_case_without_a_first_run_says_how_to_get_one(repository: Path) -> None:
    declare(repository, "fraud", {key: value for key, value in FRAUD.items() if key != "first_run"})
    with pytest.raises(ConfigError, match=r"first_run\.partition is missing; .*use_case derive fraud"):
        use_cases.write_into(repository, "fraud")
