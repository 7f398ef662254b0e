"""A source as the check sees it before anything is derived: what to write, all at once; and `derive`, which refuses with the same list."""

import copy
import re
import sqlite3
from pathlib import Path
from typing import Any

import duckdb
import pytest

from pipelines.lib.core.errors import ConfigError, NightshiftError
from pipelines.lib.core.use_cases import find
from pipelines.lib.declarations.draft import Wishes
from pipelines.use_case.check import check
from pipelines.use_case.derive import derive
from pipelines.use_case.init import init
from tests import rides
from tests.checked_rides import FILE, setting

pytestmark = pytest.mark.costly

NOT_DERIVED = (
    "use_cases/rides/derived.yaml: the file: does not exist, and first_run.partition is not declared; "
    "run python -m pipelines.use_case derive rides and commit the file"
)

GERMAN = "strftime(started_at, '%d.%m.%Y %H:%M')"
MIXED = f"CASE WHEN ride < 'r0020' THEN {GERMAN} ELSE strftime(started_at, '%Y-%m-%d %H:%M:%S') END"
COMMA = "replace(distance::VARCHAR, '.', ',') AS distance"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository in which nothing is derived."""
    rides.repository(tmp_path)
    monkeypatch.chdir(tmp_path)


def faults(*changes: tuple[str, object]) -> list[str]:
    """Return the faults of the bare declaration but the last, that nothing is derived. `derive` must refuse with the same ones."""
    declared: dict[str, Any] = copy.deepcopy(rides.DECLARED)
    for key, value in changes:
        setting(key, value)(declared)
    rides.declare(Path(), declared)
    *found, last = [str(fault) for fault in check(Path(), ["rides"])]
    assert last == NOT_DERIVED
    if found:
        with pytest.raises(ConfigError, match=r"faults? in rides:\n") as refused:
            derive(find("rides", Path()), rides.TODAY)
        assert str(refused.value).splitlines()[1:] == found
    assert not Path("use_cases/rides/derived.yaml").exists()
    return found


def csv(replaced: str = "", delimiter: str = ",") -> None:
    columns = f"* REPLACE ({replaced})" if replaced else "*"
    duckdb.sql(f"COPY (SELECT {columns} FROM ({rides.rides(days=40)})) TO 'rides.csv' (FORMAT csv, HEADER, DELIMITER '{delimiter}')")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replaced", "delimiter", "source", "expected"),
    [
        ("", ";", {}, [r"dataset\.source\.delimiter: is ',', but rides\.csv separates its fields by ';'; write delimiter: \";\""]),
        (COMMA, ";", {"delimiter": ";"}, [r"dataset\.source\.decimal: is '\.', but column 'distance' holds '0,0'; write decimal: \",\""]),
        (f"{GERMAN} AS started_at", ",", {}, [r"dataset\.source\.timestamp_format: is not declared, but column 'started_at' is written like %d\.%m\.%Y %H:%M; write timestamp_format: \"%d\.%m\.%Y %H:%M\""]),
        ("strftime(started_at, '%d.%m.%Y') AS started_at", ",", {}, [r"dataset\.source\.date_format: is not declared, .* write date_format: \"%d\.%m\.%Y\""]),
        (f"{GERMAN} AS started_at", ",", {"timestamp_format": "%m/%d/%Y %H:%M"}, [r"timestamp_format: is '%m/%d/%Y %H:%M', but .* write timestamp_format: \"%d\.%m\.%Y %H:%M\""]),
        (f"{MIXED} AS started_at", ",", {}, [r"dataset\.source\.timestamp_format: cannot be one format: column 'started_at' holds \d+ values like .* and \d+ values like .*; deliver all dates in one format"]),
        ("'soon' AS started_at", ",", {}, [r"dataset\.event_time: is 'started_at', a column of type string with values such as 'soon'; name a column"]),
        (f"{COMMA}, {GERMAN} AS started_at", ";", {}, [r"dataset\.source\.delimiter: .* write delimiter: \";\"", r"dataset\.source\.decimal: .* write decimal: \",\"", r"timestamp_format: .* write timestamp_format: "]),
    ],
)  # fmt: skip
def test_how_a_csv_is_written_is_answered_with_what_to_declare(
    replaced: str, delimiter: str, source: dict[str, str], expected: list[str]
) -> None:
    csv(replaced, delimiter)
    found = faults(("dataset.source", {"kind": "csv", "path": "rides.csv", **source}))
    assert len(found) == len(expected), found
    for fault, pattern in zip(found, expected, strict=True):
        assert fault.startswith(f"{FILE}: dataset.")
        assert re.search(pattern, fault), fault


COMMAS = {"delimiter": ";", "decimal": ","}


@pytest.mark.parametrize("declared", [{}, {"columns": {"distance": {"type": "float"}}}])
@pytest.mark.parametrize(
    ("number", "example", "remedy"),
    [
        ("'2.5'", "2.5", 'write decimal: "."'),
        ("'2.500'", "2.500", 'write decimal: "."; or if that point groups thousands, deliver the number without it'),
        ("'1.234,5'", "1.234,5", "deliver the number without the points between its thousands"),
        ("'1.234.567'", "1.234.567", "deliver the number without the points between its thousands"),
        ("'1,234.5'", "1,234.5", 'deliver the number without the commas between its thousands, and write decimal: "."'),
        ("'1,234,567'", "1,234,567", "deliver the number without the commas between its thousands"),
    ],
)
def test_numbers_with_points_or_grouped_thousands_are_not_read_with_the_declared_decimal_comma(
    number: str, example: str, remedy: str, declared: dict[str, Any]
) -> None:
    csv(f"{number} AS distance", ";")
    found = [
        fault
        for fault in faults_of_source({"kind": "csv", "path": "rides.csv", **COMMAS}, declared.get("columns", {}))
        if ".decimal" in fault
    ]
    assert found == [f"{FILE}: dataset.source.decimal: is ',', but column 'distance' holds '{example}'; {remedy}"]


def test_a_comma_that_may_group_thousands_is_not_a_decimal_comma_unless_the_column_is_declared() -> None:
    csv("CASE WHEN electric THEN '1,250' ELSE '900' END AS distance", ";")
    source = {"kind": "csv", "path": "rides.csv", **COMMAS}
    found = [fault for fault in faults_of_source(source, {}) if ".decimal" in fault]
    assert found == [
        f"{FILE}: dataset.source.decimal: is ',', but the commas of column 'distance' may group thousands, as in '1,250'; deliver the numbers "
        "without them; or if they are decimal commas, declare dataset.columns: {distance: {type: float}}"
    ]
    assert not [fault for fault in faults_of_source(source, {"distance": {"type": "float"}}) if ".decimal" in fault]


def test_another_column_with_a_decimal_comma_shows_what_the_comma_is() -> None:
    csv("'1,250' AS distance, '0,5' AS minutes_late", ";")
    assert not [fault for fault in faults_of_source({"kind": "csv", "path": "rides.csv", **COMMAS}, {}) if ".decimal" in fault]


def test_a_declared_timestamp_is_looked_at_as_well() -> None:
    csv(f"{GERMAN} AS started_at")
    [fault] = faults(("dataset.source", {"kind": "csv", "path": "rides.csv"}), ("dataset.columns", {"started_at": {"type": "timestamp"}}))
    assert 'write timestamp_format: "%d.%m.%Y %H:%M"' in fault


def test_what_is_written_as_declared_has_no_fault_and_can_be_derived() -> None:
    # Every date could also be one of month/day/year.
    replaced = f"{COMMA}, strftime(make_date(2024, 1 + day(started_at) % 3, 1 + day(started_at) % 9) + started_at::TIME, '%d/%m/%Y %H:%M') AS started_at"
    csv(replaced, ";")
    source = {"kind": "csv", "path": "rides.csv", "delimiter": ";", "decimal": ",", "timestamp_format": "%d/%m/%Y %H:%M"}
    columns = {"started_at": {"type": "timestamp"}, "distance": {"type": "float"}}
    assert not [fault for fault in faults_of_source(source, columns) if "dataset.source" in fault]
    assert not [fault for fault in faults_of_source(source, {}) if "dataset.source" in fault]


def faults_of_source(source: dict[str, str], columns: dict[str, Any]) -> list[str]:
    rides.declare(Path(), {**rides.DECLARED, "dataset": {**rides.DECLARED["dataset"], "source": source, "columns": columns}})
    return [str(fault) for fault in check(Path(), ["rides"])]


def test_faults_of_the_declaration_and_of_the_source_come_at_once() -> None:
    csv(f"{COMMA}, {GERMAN} AS started_at", ";")
    found = faults(
        ("dataset.source", {"kind": "csv", "path": "rides.csv"}),
        ("dataset.weekdays", ["tusday"]),
        ("dataset.label.name", "CITY"),
        ("dataset.nights_without_rows", "many"),
        ("train.parameters.max_depth", 0),
    )
    for key in (
        "dataset.weekdays.0", "dataset.label.name", "dataset.nights_without_rows", "train.parameters.max_depth",
        "dataset.source.delimiter", "dataset.source.decimal", "dataset.source.timestamp_format",
    ):  # fmt: skip
        assert sum(f": {key}: " in fault for fault in found) == 1, (key, found)
    assert len(found) == 7
    assert all(len(fault) < 250 for fault in found), "no section is shown whole"


def test_a_list_of_columns_that_is_one_name_is_the_only_fault() -> None:
    """Each of its letters was called a column that the source does not have."""
    rides.write(Path("rides.parquet"), rides.rides(days=40))
    found = [fault for fault in faults(("dataset.key", "ride")) if "derived.yaml" not in fault]
    assert found == [f'{FILE}: dataset.key: is "ride". It must be a list; write key: [ride]']


def test_names_are_compared_with_the_columns_of_the_source() -> None:
    rides.write(Path("rides.parquet"), f"SELECT *, 1 AS Unused FROM ({rides.rides(days=40)})")
    found = faults(
        ("dataset.label.name", "unused"), ("dataset.event_time", "Started_At"), ("dataset.key", ["rid"]), ("dataset.known_later", [])
    )
    assert found == [
        f"{FILE}: dataset.event_time: names 'Started_At', which the source does not have as a column; did you mean started_at?",
        f"{FILE}: dataset.key: names 'rid', which the source does not have as a column; did you mean ride?",
        f"{FILE}: dataset.label.name: 'unused' differs from the column 'Unused' only by case; give the label a name of its own",
    ]


def test_a_path_without_files_is_named() -> None:
    [fault] = faults(("dataset.source.path", "nowhere.parquet"))
    assert fault.startswith(f"{FILE}: dataset.source.path: ")


def test_a_sound_declaration_lacks_its_derived_file_only() -> None:
    rides.write(Path("rides.parquet"), rides.rides())
    assert faults() == []
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []


def test_columns_that_folders_name_are_columns_of_the_source() -> None:
    query = f"SELECT * EXCLUDE started_at, started_at::DATE AS day FROM ({rides.rides(days=30)}) WHERE city IS NOT NULL"
    duckdb.sql(f"COPY ({query}) TO 'rides' (FORMAT parquet, PARTITION_BY (day, city))")
    source = [("dataset.source", {"kind": "parquet", "path": "rides"}), ("features.calendar", ["weekday"])]
    assert faults(*source, ("dataset.event_time", "days")) == [
        "use_cases/rides/params.yaml: dataset.event_time: names 'days', which the source does not have as a column; did you mean day?"
    ]
    assert faults(*source, ("dataset.event_time", "day")) == []
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "rides.csv has no header: it is empty or its first line is; deliver it whole"),
        ("ride,started_at,city,distance,electric,minutes_late\n", "rides.csv has the columns ride, started_at, city, distance, electric, minutes_late, but no row; deliver it"),
        ("r1,2024-01-01 10:00:00,Bonn,0.5,true,3\n" * 2, "rides.csv has no header: its first line is 'r1,2024-01-01 10:00:00,Bonn,0.5,true,3'"),
    ],
    ids=["empty", "header", "rows"],
)  # fmt: skip
def test_a_csv_without_a_header_or_without_a_row_gets_one_answer(content: str, said: str) -> None:
    rides.write(Path("rides.csv"), rides.rides(days=40))
    source = {"kind": "csv", "path": "rides.csv"}
    rides.declare(Path(), {**rides.DECLARED, "dataset": {**rides.DECLARED["dataset"], "source": source}})
    derive(find("rides", Path()), rides.TODAY)
    Path("rides.csv").write_text(content, encoding="utf-8")
    [fault] = [str(fault) for fault in check(Path(), ["rides"])]
    assert fault.startswith(f"{FILE}: dataset.source: {said}"), "after it was derived"
    Path("use_cases/rides/derived.yaml").unlink()
    [fault] = faults(("dataset.source", source))
    assert fault.startswith(f"{FILE}: dataset.source: {said}"), "and before"
    with pytest.raises(NightshiftError, match=re.escape(said)):
        init(Path(), "others", "rides.csv", Wishes(label="minutes_late >= 10", event_time="started_at", key=("ride",)))


def test_a_parquet_file_without_a_row_is_named_as_well() -> None:
    rides.write(Path("rides.parquet"), f"SELECT * FROM ({rides.rides()}) WHERE false")
    [fault] = faults()
    assert "dataset.source: rides.parquet has the columns ride, started_at," in fault
    assert "but no row" in fault


@pytest.mark.parametrize("read", [{"table": "rides"}, {"query": "SELECT * FROM rides"}])
def test_the_columns_of_a_database_are_compared_before_anything_is_derived(read: dict[str, str]) -> None:
    frame = duckdb.sql(f"SELECT * REPLACE (started_at::VARCHAR AS started_at), 1 AS Late FROM ({rides.rides(days=40)})").df()
    with sqlite3.connect("shop.db") as database:
        frame.to_sql("rides", database, index=False)
    source = {"kind": "sql", "url": "sqlite:///shop.db", **read}
    found = faults(("dataset.source", source), ("dataset.event_time", "startet_at"), ("dataset.key", ["Ride"]))
    assert found == [
        f"{FILE}: dataset.event_time: names 'startet_at', which the source does not have as a column; did you mean started_at?",
        f"{FILE}: dataset.key: names 'Ride', which the source does not have as a column; did you mean ride?",
        f"{FILE}: dataset.label.name: 'late' differs from the column 'Late' only by case; give the label a name of its own",
    ]
    [fault] = faults(("dataset.source", {**source, "table": "riders", "query": None}), ("dataset.label.name", "is_late"))
    assert f"{FILE}: dataset.source: riders at sqlite:///shop.db cannot be read: no such table: riders; correct `source` in {FILE}" == fault


SIDE: dict[str, Any] = {
    "source": {"kind": "csv", "path": "cities.csv"},
    "key": ["city", "since"],
    "columns": {"city": {"type": "string"}, "since": {"type": "date"}, "rent": {"type": "float"}},
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "changes", "expected"),
    [
        ("city;since;rent\nBonn;2020-01-01;1\n", {}, ["source.delimiter: is ',', but cities.csv separates its fields by ';'; write delimiter: \";\""]),
        ("city;since;rent\nBonn;01.02.2020;1,5\n", {"source": {"delimiter": ";"}}, ["source.date_format: is not declared, but column 'since' is written like %d.%m.%Y; write date_format: \"%d.%m.%Y\"", "source.decimal: is '.', but column 'rent' holds '1,5'; write decimal: \",\""]),
        ("city;since;rent\nBonn;01.02.2020;1,5\n", {}, ["source.delimiter: is", "source.date_format: is not declared", "source.decimal: is '.'"]),
        ("City,since,rent\nBonn,2020-01-01,1\n", {}, ["key: names 'city', which the source does not have as a column; did you mean City?"]),
        ("city,since,rent\n", {}, ["source: cities.csv has the columns city, since, rent, but no row"]),
        ("city,since,rent\nBonn,2020-01-01,much\n", {}, []),
    ],
)  # fmt: skip
def test_how_a_csv_of_a_side_table_is_written_is_answered_as_that_of_the_events(
    text: str, changes: dict[str, Any], expected: list[str]
) -> None:
    rides.write(Path("rides.parquet"), rides.rides())
    Path("cities.csv").write_text(text, encoding="utf-8")
    side = {**SIDE, "source": {**SIDE["source"], **changes.get("source", {})}}
    rides.declare(Path(), {**rides.DECLARED, "dataset": {**rides.DECLARED["dataset"], "tables": {"cities": side}}})
    found = sorted(str(fault) for fault in check(Path(), ["rides"]) if str(fault) != NOT_DERIVED)
    if not expected:
        [fault] = found
        assert fault.startswith(f"{FILE}: dataset.tables.cities.columns.rent: column 'rent' of cities.csv holds 'much'")
        return
    assert len(found) == len(expected)
    for one in expected:
        assert any(fault.startswith(f"{FILE}: dataset.tables.cities.{one}") for fault in found), (one, found)
    with pytest.raises(ConfigError, match=rf"{len(found)} faults? in rides:"):
        derive(find("rides", Path()), rides.TODAY)


def test_the_notation_of_a_side_table_is_compared_after_it_was_derived_as_well() -> None:
    rides.write(Path("rides.parquet"), rides.rides())
    Path("cities.csv").write_text("city,since,rent\nBonn,2020-01-01,1\n", encoding="utf-8")
    rides.declare(Path(), {**rides.DECLARED, "dataset": {**rides.DECLARED["dataset"], "tables": {"cities": SIDE}}})
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []
    Path("cities.csv").write_text("city,since,rent\nBonn,01.02.2020,1\n", encoding="utf-8")
    [fault] = [str(fault) for fault in check(Path(), ["rides"])]
    assert fault.startswith(
        f"{FILE}: dataset.tables.cities.source.date_format: is not declared, but column 'since' is written like %d.%m.%Y"
    )


def test_a_row_that_cannot_be_read_is_the_fault_of_the_source_and_not_of_a_column() -> None:
    """A bad row after those that the engine samples ended the check, or was named at the event time."""
    rides.write(Path("rides.csv"), rides.rides(days=300))
    with Path("rides.csv").open("a", encoding="utf-8") as file:
        file.write("r1,2024,too,many,fields,x,y\n")
    [found] = faults(("dataset.source", {"kind": "csv", "path": "rides.csv"}))
    assert found.startswith(f"{FILE}: dataset.source: rides.csv cannot be read: Invalid Input Error: CSV Error on Line: 24")
