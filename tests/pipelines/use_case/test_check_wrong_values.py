"""A value of the wrong kind at any declared key: `check` and `derive` name it, and no other use case pays for it."""

import copy
import datetime as dt
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib.core.use_cases import UseCase, find
from pipelines.lib.declarations import derivation
from pipelines.lib.declarations.config_check import check_config
from pipelines.lib.declarations.faults import Fault
from pipelines.use_case.__main__ import main
from pipelines.use_case.check import check
from tests import rides
from tests.checked_rides import FILE, setting

WRONG: tuple[Any, ...] = (7, "soon", ["soon"], None, dt.date(2024, 3, 1), {"soon": 1}, True)

OTHER = "scooters"

DECLARED: dict[str, Any] = {
    "dataset": rides.DECLARED["dataset"]
    | {
        "columns": {
            "city": {"type": "string", "values": ["Bonn", "Köln", "Mainz"], "unseen": 0.02, "nulls": 0.1},
            "started_at": {"type": "timestamp", "written_in": "UTC"},
        },
        "weekdays": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
        "plausible_days": 400,
        "time_zone": "UTC",
    },
    "features": rides.DECLARED["features"] | {"holidays": {"dates": ["2024-01-01"], "within_days": 3}},
    "first_run": {"partition": "2024-04-10", "shards": ["2024-01", "2024-02", "2024-03"]},
    "ingest_history": {"start": "2024-01-03"},
    "validate_history": {"minimum_label_rate": 0.01, "maximum_label_rate": 0.9, "row_count": {"quiet_dates": ["2024-02-01"]}},
    "validate_batch": {"row_count": {"nights": 4, "every_days": 7, "quiet_dates": []}},
    "validate_features": {"quiet_dates": [], "maximum_filler_excess_by_feature": {"distance": 0.5}},
    "train": {"holdout_days": 14, "minimum_rows": 10, "parameters": {"max_depth": 4}},
    "evaluate": {"slices": ["city"], "golden": [{"change": {"distance": 3}, "expect": "higher"}]},
    "measure_performance": {"slices": ["city"]},
    "score": {"order_by": "distance"},
    "registry": {"name": "rides_model", "encoder": "rides_encoder"},
    "nightly_batch_scoring": {"cron": "0 2 * * *", "replay_offset_days": 7, "timezone": "UTC"},
    "profile": {"window_nights": 7},
}

RIGHT: dict[str, tuple[Any, ...]] = {
    "dataset.source.path": ("soon",),  # a file that the data check looks for
    "dataset.label.name": ("soon",),
    "dataset.label.delay_days": (7,),
    "dataset.columns.city.values": (["soon"], None),  # the data check counts the others
    "dataset.columns.started_at.written_in": (None,),  # refused by the data check
    "dataset.plausible_days": (7,),
    "features.numeric.distance.missing": (7,),
    "features.numeric.electric.missing": (7,),
    "features.lagged.late_city.window_days": (7,),
    "features.lagged.late_city.prior_weight": (7,),
    "features.holidays": (None,),
    "features.holidays.within_days": (7,),
    "ingest_history.start": (None,),
    "validate_batch.row_count.nights": (7,),
    "validate_batch.row_count.every_days": (7,),
    "train.holdout_days": (7,),
    "train.minimum_rows": (7,),
    "train.parameters.max_depth": (7, None, True),
    "score.order_by": (None,),
    "registry.name": ("soon",),
    "registry.encoder": ("soon",),
    "nightly_batch_scoring.replay_offset_days": (7,),
    "profile.window_nights": (7,),
}
"""The values that a key may have by the files alone."""

ELSEWHERE = {
    "dataset.source.path": "dataset.source",
    "dataset.time_zone": "dataset.columns",
    "dataset.columns.started_at.written_in": "dataset.columns",
}
"""Keys whose fault may be named at another key, which contradicts it."""


def keys(content: dict[str, Any], above: str = "") -> Iterator[str]:
    """Yield each dotted key below the sections of `content`."""
    for key, value in content.items():
        if above:
            yield f"{above}{key}"
        if isinstance(value, dict):
            yield from keys(value, f"{above}{key}.")


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the sound use case rides, and `OTHER`, which has one fault."""
    root = tmp_path_factory.mktemp("wrong_values")
    rides.repository(root, DECLARED)
    rides.write(root / "rides.parquet", rides.rides(per_day=30))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        use_case = find("rides", Path())
        derivation.write(use_case, derivation.derive(use_case, rides.TODAY))
        assert check(Path(), ["rides"]) == []
    rides.declare(root, {**DECLARED, "train": {"parameters": {"max_depth": 0}}, "registry": {}}, OTHER)
    return root


@pytest.fixture(autouse=True)
def here(derived: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(derived)


def declare(key: str, value: Any) -> None:
    """Write `value` at the dotted `key` of the rides, and let their derived file follow."""
    declared = copy.deepcopy(DECLARED)
    setting(key, value)(declared)
    Path(FILE).write_text(yaml.dump(declared, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper)), encoding="utf-8")
    path = find("rides", Path()).derived
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"sha256: \w+", f"sha256: {derivation.digest(declared)}", text), encoding="utf-8")


def faults_of(key: str, value: Any, *, config_only: bool) -> list[str]:
    """Return the faults of the rides with `value` at `key`. No rule may end in an exception."""
    declare(key, value)
    found = [str(fault) for fault in check(Path(), ["rides"], config_only=config_only)]
    assert not [fault for fault in found if "stopped with" in fault], (key, value)
    return found


def names(fault: str, key: str) -> bool:
    """Return whether `fault` is one at `key`, below it, or at a key that contradicts it."""
    at = fault.split(": ")[1]
    return f"{at}.".startswith((f"{key}.", f"{ELSEWHERE.get(key, key)}."))


@pytest.mark.slow
@pytest.mark.parametrize(
    "value", [value if value in ("soon", {"soon": 1}) else pytest.param(value, marks=pytest.mark.slow) for value in WRONG]
)
def test_each_wrong_value_is_named_at_its_key(value: Any) -> None:
    for key in keys(DECLARED):
        found = faults_of(key, value, config_only=True)
        if any(value == right and type(value) is type(right) for right in RIGHT.get(key, ())):
            assert found == [], (key, value)
        else:
            assert any(names(fault, key) for fault in found), (key, value, found)
            assert not [fault for fault in found if not names(fault, key)], "another key is named for it"


@pytest.mark.slow
def test_no_wrong_value_ends_the_check_of_the_data() -> None:
    """The data is judged by sections dataset and features, and by what the first run needs of others."""
    for key in keys({section: DECLARED[section] for section in ("dataset", "features", "first_run", "train")}):
        for value in ("soon",) if key.startswith(("dataset", "features")) else WRONG:
            found = faults_of(key, value, config_only=False)
            assert any(names(fault, key) for fault in found) or value in RIGHT.get(key, ()), (key, value, found)


@pytest.mark.costly
@pytest.mark.parametrize("config_only", [True, False])
@pytest.mark.parametrize(
    ("key", "value"), [("features.categorical", ["channel"]), ("first_run.partition", dt.date(2024, 3, 1)), ("train.holdout_days", "soon")]
)
def test_another_use_case_is_judged_all_the_same(key: str, value: Any, config_only: bool, capsys: pytest.CaptureFixture[str]) -> None:
    declare(key, value)
    assert main(["check", "rides", OTHER, *(["--config-only"] if config_only else [])]) == 1
    said = capsys.readouterr().err
    assert f"{FILE}: {key}: is " in said
    assert f"use_cases/{OTHER}/params.yaml: train.parameters.max_depth: is 0. " in said


@pytest.mark.costly
def test_a_rule_that_fails_hides_no_other_use_case(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(use_case: UseCase) -> list[Fault]:
        if use_case.name == "rides":
            raise TypeError("'int' object is not iterable")
        return check_config(use_case)

    monkeypatch.setattr("pipelines.use_case.check.check_config", failing)
    found = [str(fault) for fault in check(Path(), ["rides", OTHER], config_only=True)]
    assert found[0].startswith(f"{FILE}: the check: stopped with TypeError: 'int' object is not iterable; correct the other faults")
    assert any("train.parameters.max_depth: is 0" in fault for fault in found)


@pytest.mark.costly
@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("dataset.key", 7, "is 7"),
        ("dataset.key", "ride", "write key: [ride]"),
        ("dataset.known_later", 7, "is 7"),
        ("dataset.columns", "soon", 'is "soon"'),
        ("features.categorical", ["channel"], "write a mapping, such as categorical: {channel: …}"),
        ("first_run.partition", "soon", "is 'soon'"),
        ("train.holdout_days", "soon", 'is "soon"'),
    ],
)
def test_derive_refuses_what_check_refuses_together_with_the_path_of_the_source(
    key: str, value: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    declared = copy.deepcopy(DECLARED)
    setting(key, value)(declared)
    setting("dataset.source.path", "nowhere.parquet")(declared)
    rides.declare(Path(), declared)
    assert main(["derive", "rides", "--again"]) == 1
    refused = capsys.readouterr().err.splitlines()
    assert refused[0] == "2 faults in rides:"
    assert refused[1].startswith(f"{FILE}: {key}: ")
    assert said in refused[1]
    assert refused[2].startswith(f"{FILE}: dataset.source.path: ")


@pytest.mark.costly
def test_a_column_that_yaml_reads_as_a_date_is_named() -> None:
    declared = copy.deepcopy(DECLARED)
    declared["dataset"]["columns"][dt.date(2024, 3, 1)] = {"type": "float"}
    rides.declare(Path(), declared)
    found = [str(fault) for fault in check(Path(), ["rides"], config_only=True)]
    assert f'{FILE}: dataset.columns.2024-03-01: is a key that YAML reads as a date; write "2024-03-01":' in found
