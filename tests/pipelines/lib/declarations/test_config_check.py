"""The check of the files of a use case: what the model of a section refuses, and files that cannot be used."""

import copy
import datetime as dt
from pathlib import Path

import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.use_cases import effective, find
from pipelines.lib.declarations import derivation
from pipelines.lib.declarations.config_check import require_sound
from pipelines.use_case.check import check
from pipelines.use_case.derive import derive
from tests import rides
from tests.checked_rides import FILE, assert_the_only_fault, broken, setting
from tests.models_of_every_kind import WITHOUT_A_CONVERTER, counted_fits

pytestmark = pytest.mark.usefixtures("checked_rides")


@pytest.mark.costly
@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.parametres", 4, r"train\.parametres: is not a key that is known here; did you mean parameters\?"),
        ("train.max_depth", 8, r"train\.max_depth: has moved to train\.parameters; write train: \{parameters: \{max_depth: 8\}\}"),
        ("train.parameters.max_depht", 4, r"train\.parameters\.max_depht: is not a parameter of sklearn\.ensemble\.RandomForestClassifier; did you mean max_depth\?"),
        ("train.parameters.max_depth", "eight", r"train\.parameters\.max_depth: is 'eight'\. It must be an int in the range \[1, inf\) or None"),
        ("train.parameters.max_depth", 0, r"train\.parameters\.max_depth: is 0\. It must be an int in the range \[1, inf\) or None"),
        ("nightly_batch_scoring.timezone", "Europe/Berln", r"timezone is 'Europe/Berln', which is not in the IANA database; did you mean Europe/Berlin\?"),
        ("nightly_batch_scoring.cron", "2 o'clock", r"cron is \"2 o'clock\"; write minute, hour, day, month and weekday"),
        ("nightly_batch_scoring.cron", "0 */2 * * *", r"cron is '0 \*/2 \* \* \*'; give it one time of day"),
        ("dataset.label.name", "City", r"dataset\.label\.name: 'City' differs from the column 'city' only by case"),
        ("dataset.weekdays", ["monday", "tusday"], r'dataset\.weekdays\.1: is "tusday"; did you mean tuesday\?'),
        ("dataset.weekdays", ["monday", "monday"], r"dataset\.weekdays: names a day twice: monday, monday; name each once"),
        ("dataset.source", {"kind": "excel", "path": "rides.xlsx"}, r'dataset\.source\.kind: is "excel"; write one of csv, delta, flights, parquet, sql'),
        ("dataset.label", {"name": "late", "expression": "minutes_late", "delay_days": 2}, r"dataset\.label\.expression: is a BIGINT; it must be a BOOLEAN"),
        ("features.numeric", {"distance": None}, r"features\.numeric\.distance: is null\. .*; write a mapping, such as distance: \{name: …\}$"),
        ("registry.name", "our rides", r"registry\.name: is 'our rides'; write letters, digits, '_', '\.' and '-', a letter or digit first"),
        ("search.candidates", [{"name": "a", "estimator": "sklearn.linear_model.LogisticRegresion"}],
         r"search\.candidates\.0\.estimator: is 'sklearn\.linear_model\.LogisticRegresion'.*did you mean sklearn\.linear_model\.LogisticRegression\?"),
        ("search.candidates", [{"name": "a b", "estimator": "sklearn.linear_model.LogisticRegression"}], r"search\.candidates\.0\.name: is 'a b'"),
        ("search.candidates", [{"name": "a", "estimator": "sklearn.linear_model.LogisticRegression", "parameters": {"C": -1}}],
         r"search\.candidates\.0\.parameters\.C: is -1\. It must be a float"),
        ("trian", {"max_depth": 3}, r"trian: is an unknown section; did you mean train\?"),
    ],
)  # fmt: skip
def test_a_fault_of_the_files_is_named_with_its_remedy(key: str, value: object, expected: str) -> None:
    assert_the_only_fault(broken(setting(key, value)), expected)


@pytest.mark.costly
def test_the_check_makes_a_trial_that_a_run_does_not_make(monkeypatch: pytest.MonkeyPatch) -> None:
    fits = counted_fits(monkeypatch)
    rides.declare(Path(), {**rides.DECLARED, "train": WITHOUT_A_CONVERTER})
    derivation.write(find("rides", Path()), derivation.derive(find("rides", Path()), rides.TODAY))
    require_sound(effective(find("rides", Path())).params)
    assert fits == []
    [fault] = check(Path(), ["rides"], config_only=True)
    assert "train.estimator: is sklearn.dummy.DummyClassifier" in str(fault)
    assert "cannot be converted to ONNX" in str(fault)
    assert len(fits) == 1


def test_a_date_without_quotes_is_named() -> None:
    [fault] = broken(setting("ingest_history.start", dt.date(2024, 1, 5)))
    assert fault == f'{FILE}: ingest_history.start: is 2024-01-05, which YAML reads as a date; write "2024-01-05"'


def test_a_stale_file_is_named() -> None:
    rides.declare(Path(), {**rides.DECLARED, "features": {"calendar": ["hour"]}})
    found = [str(fault) for fault in check(Path(), ["rides"], config_only=True)]
    assert any("use_cases/rides/derived.yaml: derived_from.sha256: is " in fault and "derive rides --again" in fault for fault in found)


def test_a_run_with_a_section_of_another_kind_is_refused_and_not_retried() -> None:
    broken(setting("features.categorical", ["channel"]))
    with pytest.raises(
        ConfigError, match=r'rides has 1 fault: features\.categorical: is \["channel"\]\. .*such as categorical: \{channel: …\}'
    ):
        require_sound(effective(find("rides", Path())).params)


NO_TEXT = {False: ("a boolean", '"no":'), True: ("a boolean", '"yes":'), 7: ("a number", '"7":'), 1.5: ("a number", '"1.5":'),
           None: ("nothing", '"null":'), dt.date(2024, 3, 1): ("a date", '"2024-03-01":')}  # fmt: skip
"""Keys that YAML does not read as text, what it reads them as, and the line to write instead."""


@pytest.mark.parametrize(
    "above",
    ["dataset.columns", "features.numeric", "features.categorical", "features.joins", "features.lagged", "dataset.tables", "dataset.tables.cities.columns"],
)  # fmt: skip
def test_names_that_yaml_does_not_read_as_text_are_named_with_the_line_to_write(above: str) -> None:
    """The column `no:` was read as one called False, in silence."""
    declared = copy.deepcopy(rides.DECLARED)
    declared["dataset"]["tables"] = {
        "cities": {"source": {"kind": "parquet", "path": "cities.parquet"}, "key": ["city"], "columns": {"city": {"type": "string"}}}
    }
    place = declared
    for part in above.split("."):
        place = place.setdefault(part, {})
    place |= {key: {"type": "float", "nulls": 1} if above.endswith("columns") else {} for key in NO_TEXT}
    rides.declare(Path(), declared)
    Path("use_cases/rides/derived.yaml").unlink()
    expected = {f"{FILE}: {above}.{key}: is a key that YAML reads as {read}; write {line}" for key, (read, line) in NO_TEXT.items()}
    assert expected <= {str(fault) for fault in check(Path(), ["rides"], config_only=True)}
    found = [str(fault) for fault in check(Path(), ["rides"])]
    assert {fault for fault in found if "derived.yaml" not in fault and "cities" not in fault.replace(above, "")} == expected
    with pytest.raises(ConfigError) as refused:
        derive(find("rides", Path()), rides.TODAY)
    assert all(fault in str(refused.value) for fault in expected)


@pytest.mark.parametrize(("value", "read", "written"), [(False, "a boolean", "no"), (7, "a number", "7")])
def test_a_name_in_a_list_is_named_with_what_to_write(value: object, read: str, written: str) -> None:
    [fault] = broken(setting("dataset.known_later", [value]))
    assert f'dataset.known_later.0: is {str(value).lower()}. It must be text; YAML reads it as {read}, so write "{written}"' in fault


def test_data_that_a_worked_example_makes_are_named_with_the_command() -> None:
    declared = copy.deepcopy(rides.DECLARED)
    declared["dataset"]["source"]["path"] = "var/examples/rides/*.parquet"
    rides.declare(Path(), declared)
    Path("use_cases/rides/derived.yaml").unlink()
    [fault] = [str(fault) for fault in check(Path(), ["rides"]) if ".source.path" in str(fault)]
    assert "python -m" not in fault
    Path("use_cases/rides/generate.py").touch()
    [fault] = [str(fault) for fault in check(Path(), ["rides"]) if ".source.path" in str(fault)]
    assert fault.startswith(f"{FILE}: dataset.source.path: no file is at `path: var/examples/rides/*.parquet` in {FILE}; deliver it")
    assert fault.endswith("; or make its data: python -m use_cases.rides.generate")
