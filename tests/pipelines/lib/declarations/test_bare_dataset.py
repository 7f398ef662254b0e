"""Section dataset before anything is derived: each fault that the declaration shows by itself, all at once."""

import copy
from typing import Any

import pytest

from pipelines.lib.declarations.bare_dataset import bare_dataset_faults
from tests import rides
from tests.checked_rides import setting


def faults(*changes: tuple[str, object]) -> list[str]:
    declared: dict[str, Any] = copy.deepcopy(rides.DECLARED)
    declared["dataset"]["name"] = "rides"
    for key, value in changes:
        setting(key, value)(declared)
    return [str(fault) for fault in bare_dataset_faults(declared["dataset"], declared["features"])]


def test_a_bare_declaration_has_no_fault() -> None:
    assert faults() == []
    assert (
        faults(("dataset.time_zone", "Europe/Berlin"), ("dataset.columns", {"started_at": {"type": "timestamp", "written_in": "UTC"}}))
        == []
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("dataset.source.kind", "excel", 'dataset.source.kind: is "excel"; write one of csv, delta, flights, parquet, sql'),
        ("dataset.weekdays", ["tusday"], 'dataset.weekdays.0: is "tusday"; did you mean tuesday?'),
        ("dataset.nights_without_rows", "many", 'dataset.nights_without_rows: is "many". It must be a whole number; write one, such as nights_without_rows: 3'),
        ("dataset.knwon_later", ["city"], "dataset.knwon_later: is not a key that is known here; did you mean known_later?"),
        ("dataset.label.name", "City", "dataset.label.name: 'City' differs from the column 'city' only by case; give the label a name"),
        ("dataset.label.name", "city", "dataset.label.name: 'city' is also a column; give the label a name of its own"),
        ("dataset.time_zone", "Europe/Berln", "dataset.time_zone: is 'Europe/Berln', which is not in the IANA database; did you mean Europe/Berlin?"),
        ("dataset.source.delimiter", ";", "dataset.source: delimiter is of a csv source, this one is of kind parquet; remove it"),
        ("dataset.columns", {"city": {"type": "text"}}, 'dataset.columns.city.type: is "text"; write one of boolean, date, float, integer, string, timestamp'),
        ("dataset.columns", "soon", 'dataset.columns: is "soon". '),
        ("dataset.columns", {"started_at": {"type": "string"}}, "dataset.event_time: 'started_at' is a string; declare it as timestamp or date"),
        ("dataset.key", [], "dataset.key: is empty; write one at least"),
    ],
)  # fmt: skip
def test_a_fault_of_the_declaration_is_named_with_its_key(key: str, value: object, expected: str) -> None:
    [found] = faults((key, value))
    assert found.startswith(expected)


def test_one_fault_hides_no_other() -> None:
    found = faults(
        ("dataset.source.kind", "excel"),
        ("dataset.weekdays", ["tusday"]),
        ("dataset.nights_without_rows", "many"),
        ("dataset.label", {"name": "City", "expression": "minutes_late >= 10", "delay_days": -1}),
        ("dataset.time_zone", "Mars/Crater"),
        ("dataset.known_later", ["started_at"]),
        ("dataset.unheard", 1),
    )
    assert sorted(fault.split(":")[0] for fault in found) == [
        "dataset.known_later",
        "dataset.label.delay_days",
        "dataset.label.name",
        "dataset.nights_without_rows",
        "dataset.source.kind",
        "dataset.time_zone",
        "dataset.unheard",
        "dataset.weekdays.0",
    ]


@pytest.mark.parametrize("key", ["source", "key", "event_time", "label"])
def test_what_is_missing_is_named_and_the_rest_is_checked(key: str) -> None:
    declared: dict[str, Any] = copy.deepcopy(rides.DECLARED)
    del declared["dataset"][key]
    declared["dataset"] |= {"name": "rides", "weekdays": ["tusday"]}
    found = [str(fault) for fault in bare_dataset_faults(declared["dataset"], declared["features"])]
    assert f"dataset.{key}: is missing; add it" in found
    assert any(fault.startswith("dataset.weekdays.0") for fault in found)


def test_what_is_not_a_section_is_named() -> None:
    [fault] = bare_dataset_faults(["rides"], {})
    assert fault.key == "dataset"
