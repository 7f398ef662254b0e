"""``check``: every fault of every use case in one list, each with its file, key, value and remedy."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.use_case.__main__ import main
from pipelines.use_case.check import check
from tests import rides
from tests.checked_rides import broken, setting

pytestmark = pytest.mark.usefixtures("checked_rides")


@pytest.mark.costly
def test_what_is_sound_has_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(Path(), ["rides"]) == []
    assert main(["check", "rides"]) == 0
    assert "No fault in rides" in capsys.readouterr().out


def test_all_faults_come_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    def change(declared: dict[str, Any]) -> None:
        setting("train.holdout_days", "eight")(declared)
        setting("features.numeric.speed", {"missing": 0})(declared)
        setting("features.numeric.power", {"missing": 0})(declared)
        setting("nightly_batch_scoring.timezone", "Mars/Crater")(declared)
        setting("evaluate.slices", ["x", "y"])(declared)

    found = broken(change)
    assert len(found) == 6
    assert main(["check", "rides", "--config-only"]) == 1
    said = capsys.readouterr().err
    assert "6 faults in rides:" in said
    assert all(fault in said for fault in found)


@pytest.mark.slow
def test_a_broken_use_case_hides_no_other() -> None:
    for number in range(50):
        rides.declare(Path(), {**rides.DECLARED, "train": {"holdout_days": 0}} if number == 17 else rides.DECLARED, f"case_{number}")
    rides.declare(Path(), rides.DECLARED, "No-Name")
    Path("use_cases/case_3/params.yaml").write_text("dataset: [", encoding="utf-8")
    found = [str(fault) for fault in check(Path(), config_only=True)]
    assert [fault for fault in found if "holdout_days" in fault] == [
        "use_cases/case_17/params.yaml: train.holdout_days: is 0. It must be at least 1; correct it"
    ]
    assert sum("is not valid YAML" in fault for fault in found) == 1
    assert sum("cannot be named 'No-Name'" in fault for fault in found) == 1
    assert (
        sum("does not exist, and first_run.partition is not declared; run python -m pipelines.use_case derive" in fault for fault in found)
        == 49
    )


@pytest.mark.costly
def test_two_use_cases_of_one_name_or_store_are_named_at_both() -> None:
    rides.declare(Path(), rides.DECLARED, "flights")
    rides.declare(Path(), {**rides.DECLARED, "registry": {"name": "rides_model"}}, "scooters")
    found = [str(fault) for fault in check(Path(), config_only=True)]
    assert any(fault.startswith("use_cases/flights/params.yaml: the use case: is 'flights', as in params.yaml; rename") for fault in found)
    for one, other in (("scooters", "rides"), ("rides", "scooters")):
        said = f"use_cases/{one}/params.yaml: registry.name: is 'rides_model', as in use_cases/{other}/params.yaml"
        assert any(fault.startswith(said) for fault in found)
        assert any(str(fault).startswith(said) for fault in check(Path(), [one], config_only=True)), "asked for alone"
