"""The check of a declaration against its data: each fault has its key, its value and its remedy."""

import re
from pathlib import Path

import pytest

from pipelines.use_case.check import check
from tests import rides
from tests.checked_rides import FILE, broken, setting

pytestmark = [pytest.mark.costly, pytest.mark.usefixtures("checked_rides")]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT * FROM rides UNION ALL SELECT * FROM rides WHERE ride = 'r0001001'", r"dataset\.key: is \[ride\], which 1 row shares with another"),
        ("SELECT * REPLACE (NULL::INT AS minutes_late) FROM rides", r"label\.expression: is 'minutes_late >= 10', which is NULL for every row whose outcome"),
        ("SELECT * REPLACE (3 AS minutes_late) FROM rides", r"label\.expression: is 'minutes_late >= 10', which is False for all 9,[0-9]{3} rows"),
        ("SELECT * REPLACE (CASE WHEN ride < 'r0040' THEN NULL ELSE distance END AS distance) FROM rides", r"distance\.nulls: is 0, but 34\.\d\d% of the rows have no value"),
        ("SELECT * REPLACE (CASE WHEN city = 'Bonn' THEN 'Trier' ELSE city END AS city) FROM rides", r"city\.values: lacks 'Trier' and with it 3\d\.\d\d% of the rows"),
        ("SELECT * EXCLUDE (distance) FROM rides", r"dataset\.source: rides\.parquet has no column 'distance'"),
        ("SELECT * REPLACE ('far' AS distance) FROM rides", r"dataset\.columns\.distance: column 'distance' of rides\.parquet holds 'far'"),
        ("SELECT * FROM rides WHERE started_at::DATE <> DATE '2024-03-02'", r"first_run\.partition: is 2024-03-01; no row is dated 2024-03-02 of the first 4 nights"),
        ("SELECT * FROM rides WHERE started_at >= '2024-02-10'", r"train\.minimum_rows: is 920, but 280 rows before 2024-02-14 have an outcome"),
        ("SELECT * REPLACE (minutes_late * 2.0 + distance / 100 AS distance) FROM rides", r"params\.yaml: dataset\.known_later: does not name distance, which predicts the label alone, with an AUC of 1\.000; if it is known only after .* out of the features$"),
        ("SELECT * REPLACE (CASE WHEN started_at > '2024-04-27' THEN NULL ELSE electric END AS electric) FROM rides", r"known_later: does not name electric, which is missing in 100% of the rows of the last 3 dates"),
        ("SELECT * REPLACE (CASE WHEN started_at < '2024-04-27' THEN minutes_late END AS minutes_late, CASE WHEN started_at < '2024-04-27' THEN electric END AS electric) FROM rides", r"known_later: does not name electric, which is missing exactly where the label is"),
    ],
)  # fmt: skip
def test_a_fault_of_the_data_is_named(query: str, expected: str) -> None:
    rides.write(Path("rides.parquet"), query.replace("FROM rides", f"FROM ({rides.rides()})"))
    found = [str(fault) for fault in check(Path(), ["rides"])]
    assert any(re.search(expected, fault) for fault in found), found


def test_a_delay_longer_than_the_history_is_the_fault_and_not_the_label() -> None:
    label = {**rides.DECLARED["dataset"]["label"], "delay_days": 4000}
    found = broken(setting("dataset.label", label), config_only=False)
    assert found[0] == (
        f"{FILE}: dataset.label.delay_days: is 4000, so no outcome of the rows from 2024-01-01 to 2024-04-29 is known on the day after the last one; "
        "lower it, or deliver a longer history"
    )


def test_a_holdout_that_leaves_nothing_to_learn_from_is_the_fault_and_not_the_rows() -> None:
    [found] = broken(setting("train.holdout_days", 100), config_only=False)
    said = "train.holdout_days: is 100, so no row with an outcome is left before 2023-11-20 to learn from; lower it, or choose a later first_run.partition"
    assert found == f"use_cases/rides/params.yaml: {said}"


def test_a_folder_where_a_file_was_meant_is_answered_with_a_pattern() -> None:
    Path("rides").mkdir()
    Path("rides.parquet").rename("rides/2024.parquet")
    assert broken(setting("dataset.source", {"kind": "parquet", "path": "rides"}), config_only=False) == []
    [found] = broken(setting("dataset.source", {"kind": "parquet", "path": "ride?"}), config_only=False)
    assert re.search(r"dataset\.source\.path: .* matches rides, which is a folder and not a file; write `path: ride\?/\*\.parquet`", found)
    [found] = broken(setting("dataset.source", {"kind": "parquet", "path": "bikes"}), config_only=False)
    assert "dataset.source.path: no file is at `path: bikes` in use_cases/rides/params.yaml; deliver it, or correct the path" in found


def test_a_wrong_declaration_that_only_reading_shows_is_named_by_its_own_key() -> None:
    """It was shown at the key `dataset`."""
    rides.write(Path("rides.csv"), rides.rides())
    [found] = broken(setting("dataset.source", {"kind": "csv", "path": "rides.csv", "timestamp_format": "%H:%M"}), config_only=False)
    assert found.startswith(f"{FILE}: dataset.source.timestamp_format: is '%H:%M', which does not hold a whole date")
    sql = {"kind": "sql", "url": "sqlite:///${SHOP_OF_NO_ONE}.db", "table": "rides"}
    [found] = broken(setting("dataset.source", sql), config_only=False)
    assert found.startswith(f"{FILE}: dataset.source.url: needs the environment variable SHOP_OF_NO_ONE, which is not set")


def test_a_missing_main_file_does_not_hide_a_missing_side_table() -> None:
    Path("rides.parquet").unlink()
    cities = {
        "source": {"kind": "csv", "path": "cities.csv"},
        "key": ["city"],
        "columns": {"city": {"type": "string"}, "hills": {"type": "integer"}},
    }
    found = broken(setting("dataset.tables", {"cities": cities}), config_only=False)
    keys = [fault.split(": ")[1] for fault in found if "no file is at" in fault]
    assert keys == ["dataset.source.path", "dataset.tables.cities.source.path"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("query", "delimiter", "source", "expected"),
    [
        ("SELECT * FROM rides", ";", {}, r"dataset\.source\.delimiter: is ',', but rides\.csv separates its fields by ';'; write delimiter: \";\""),
        ("SELECT * REPLACE (replace(distance::VARCHAR, '.', ',') AS distance) FROM rides", ";", {"delimiter": ";"}, r"dataset\.source\.decimal: is '\.', but column 'distance' holds '0,0'; write decimal: \",\""),
        ("SELECT * REPLACE (strftime(started_at, '%d.%m.%Y %H:%M') AS started_at) FROM rides", ",", {}, r"timestamp_format: is not declared, but column 'started_at' is written like %d\.%m\.%Y %H:%M; write timestamp_format: \"%d\.%m\.%Y %H:%M\""),
        ("SELECT * REPLACE (CASE WHEN ride < 'r0060' THEN strftime(started_at, '%d.%m.%Y %H:%M') ELSE strftime(started_at, '%Y-%m-%d %H:%M:%S') END AS started_at) FROM rides", ",", {}, r"timestamp_format: cannot be one format: column 'started_at' holds \d+ values like %d\.%m\.%Y %H:%M and \d+ values like %Y-%m-%d %H:%M:%S"),
    ],
)  # fmt: skip
def test_a_csv_that_is_written_otherwise_is_answered_with_what_to_declare(
    query: str, delimiter: str, source: dict[str, str], expected: str
) -> None:
    import duckdb

    duckdb.sql(
        f"COPY ({query.replace('FROM rides', f'FROM ({rides.rides()})')}) TO 'rides.csv' (FORMAT csv, HEADER, DELIMITER '{delimiter}')"
    )
    found = broken(setting("dataset.source", {"kind": "csv", "path": "rides.csv", **source}), config_only=False)
    assert len(found) == 1, found
    assert re.search(expected, found[0]), found[0]


def test_rows_on_weekdays_that_are_not_declared_are_a_fault() -> None:
    found = broken(setting("dataset.weekdays", ["monday", "tuesday", "wednesday", "thursday", "friday"]), config_only=False)
    assert any(
        "dataset.weekdays: is [monday, tuesday, wednesday, thursday, friday], but 34 other dates have rows, such as Sunday" in one
        for one in found
    )


def test_first_nights_that_are_named_must_have_rows() -> None:
    query = f"SELECT * FROM ({rides.rides()}) WHERE started_at::DATE <> DATE '2024-03-02'"
    rides.write(Path("rides.parquet"), query)
    nights = ["2024-03-01", "2024-03-03", "2024-03-04", "2024-03-05"]
    assert not [fault for fault in broken(setting("first_run.nights", nights), config_only=False) if "first_run" in fault]
    [fault] = [fault for fault in broken(setting("first_run.nights", ["2024-03-02"]), config_only=False) if "first_run" in fault]
    assert "first_run.nights: names 2024-03-02, without rows" in fault


def test_a_label_like_a_column_that_nobody_uses_is_a_fault_after_the_columns_were_derived() -> None:
    rides.write(Path("rides.parquet"), f"SELECT *, 1 AS Late FROM ({rides.rides()})")
    [fault] = [str(fault) for fault in check(Path(), ["rides"])]
    assert fault == f"{FILE}: dataset.label.name: 'late' differs from the column 'Late' only by case; give the label a name of its own"


def test_to_derive_again_is_proposed_only_where_it_helps() -> None:
    again = "run python -m pipelines.use_case derive rides --again"
    query = "SELECT * REPLACE (CASE WHEN ride < 'r0040' THEN NULL ELSE distance END AS distance) FROM"
    rides.write(Path("rides.parquet"), f"{query} ({rides.rides()})")
    [fault] = [str(fault) for fault in check(Path(), ["rides"])]
    assert fault.startswith("use_cases/rides/derived.yaml: dataset.columns.distance.nulls: ")
    assert fault.endswith(f"raise it, or correct the data: declare it in {FILE}, or {again}")
    rides.write(
        Path("rides.parquet"),
        f"SELECT * REPLACE (CASE WHEN ride = 'r0001001' THEN 'far' ELSE distance::VARCHAR END AS distance) FROM ({rides.rides()})",
    )
    [fault] = [str(fault) for fault in check(Path(), ["rides"])]
    assert fault.startswith("use_cases/rides/derived.yaml: dataset.columns.distance: column 'distance' of rides.parquet holds 'far'")
    assert fault.endswith(f"correct the type in {FILE}")
