"""``check``: every fault of every use case in one list, each with its file, key, value and remedy."""

import copy
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib.core.use_cases import find
from pipelines.lib.declarations import derivation
from pipelines.use_case.__main__ import main
from pipelines.use_case.check import check
from tests import rides

FILE = "use_cases/rides/params.yaml"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose use case of rides has no fault, made once."""
    root = tmp_path_factory.mktemp("sound")
    rides.repository(root)
    rides.write(root / "rides.parquet", rides.rides())
    monkeypatch = pytest.MonkeyPatch()
    monkeypatch.chdir(root)
    use_case = find("rides", Path())
    derivation.write(use_case, derivation.derive(use_case, rides.TODAY))
    monkeypatch.undo()
    return root


@pytest.fixture(autouse=True)
def repository(sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test breaks a copy of its own."""
    shutil.copytree(sound, tmp_path / "repository")
    monkeypatch.chdir(tmp_path / "repository")


def broken(change: Callable[[dict[str, Any]], object], *, config_only: bool = True) -> list[str]:
    """Change the declaration of the rides, let its derived file follow, and return the faults."""
    declared = copy.deepcopy(rides.DECLARED)
    change(declared)
    rides.declare(Path(), declared)
    path = Path("use_cases/rides/derived.yaml")
    derived = yaml.safe_load(path.read_text(encoding="utf-8"))
    derived["derived_from"]["sha256"] = derivation.digest(declared)
    path.write_text(yaml.safe_dump(derived), encoding="utf-8")
    return [str(fault) for fault in check(Path(), ["rides"], config_only=config_only)]


def setting(key: str, value: object) -> Callable[[dict[str, Any]], None]:
    """Return a change that sets the dotted `key`."""

    def change(declared: dict[str, Any]) -> None:
        *path, last = key.split(".")
        for part in path:
            declared = declared.setdefault(part, {})
        declared[last] = value

    return change


def test_what_is_sound_has_no_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert check(Path(), ["rides"]) == []
    assert main(["check", "rides"]) == 0
    assert "No fault in rides" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("train.max_depht", 4, r"train\.max_depht: is not a key that is known here; did you mean max_depth\?"),
        ("train.max_depth", "eight", r'train\.max_depth: is "eight"\. Input should be a valid integer'),
        ("train.max_depth", 0, r"train\.max_depth: is 0\. Input should be greater than or equal to 1"),
        ("nightly_batch_scoring.timezone", "Europe/Berln", r"timezone is 'Europe/Berln', which is not in the IANA database; did you mean Europe/Berlin\?"),
        ("nightly_batch_scoring.cron", "2 o'clock", r"cron is \"2 o'clock\"; write minute, hour, day, month and weekday"),
        ("nightly_batch_scoring.cron", "0 */2 * * *", r"cron is '0 \*/2 \* \* \*'; give it one time of day"),
        ("evaluate.slices", ["cty"], r"evaluate\.slices: names 'cty', which is not there; did you mean city\?"),
        ("measure_performance.slices", ["hour"], r"measure_performance\.slices: names 'hour', which is not there; the columns are city, distance"),
        ("score.order_by", "distanc", r"score\.order_by: is 'distanc', which is not a feature; did you mean distance\?"),
        ("evaluate.golden", [{"change": {"distanze": 1.0}, "expect": "higher"}], r"evaluate\.golden\.0\.change: names 'distanze', .* did you mean distance\?"),
        ("validate_features.maximum_filler_excess_by_feature", {"x": 1}, r"names 'x', which is not there; the features are city, distance"),
        ("validate_scores.minimum_mean_score", 0.9999, None),
        ("validate_history.minimum_label_rate", 0.99, r"minimum_label_rate: is 0\.99, more than validate_history\.maximum_label_rate, which is 0\."),
        ("validate_history.suite", "suites/none.yaml", r"validate_history\.suite: is 'suites/none\.yaml': .*does not exist"),
        ("ingest_history.start", "2024-02-30", r"ingest_history\.start: is '2024-02-30', which is not in the calendar"),
        ("first_run.partition", "2023-12-01", r"first_run\.partition: is 2023-12-01, not after ingest_history\.start"),
        ("registry.encoder", "rides_model", r"registry\.encoder: is 'rides_model', as registry\.name is; give the encoder a name of its own"),
        ("train_encoder.layers", [64, 12], r"code_bytes: is 8, which does not divide the dimension of the vectors, 12"),
        ("dataset.label.name", "City", r"label\.name 'City' differs from the column 'city' only by case"),
        ("dataset.columns", {"city": {"type": "string", "values": [False]}}, r'dataset\.columns\.city\.values: holds False \(bool\), .* write values: \["no"\]'),
        ("dataset.columns", {"city": {"type": "string", "values": [1, 2]}}, r'values: holds 1 \(int\), 2 \(int\), .* write values: \["1", "2"\], or declare type: integer'),
        ("features.categorical", {"city": {"values": [1, 2]}}, r'features\.categorical\.city\.values: holds 1 \(int\).* write values: \["1", "2"\]'),
        ("features.numeric.speed", {"missing": 0}, r"features\.numeric\.speed: is '\"speed\"', but there is no column 'speed'"),
        ("features.numeric.late", {"expression": "minutes_late", "missing": 0}, r"shares its name with a key, the label"),
        ("features.numeric.delay", {"expression": "minutes_late", "missing": 0}, r"'minutes_late' is known only after the event \(dataset\.known_later\)"),
        ("dataset.label", {"name": "late", "expression": "minutes_late", "delay_days": 2}, r"dataset\.label\.expression: is a BIGINT; it must be a BOOLEAN"),
        ("trian", {"max_depth": 3}, r"trian: is an unknown section; did you mean train\?"),
    ],
)  # fmt: skip
def test_a_fault_of_the_files_is_named_with_its_remedy(key: str, value: object, expected: str | None) -> None:
    found = broken(setting(key, value))
    if expected is None:
        assert found == []
        return
    assert len(found) == 1, found
    assert found[0].startswith(f"{FILE}: ") or "code_bytes" in found[0]
    assert re.search(expected, found[0]), found[0]


def test_all_faults_come_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    def change(declared: dict[str, Any]) -> None:
        setting("train.max_depth", "eight")(declared)
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


def test_a_date_without_quotes_is_named() -> None:
    path = Path(FILE)
    path.write_text(path.read_text(encoding="utf-8") + "ingest_history: {start: 2024-01-05}\n", encoding="utf-8")
    stale, fault = check(Path(), ["rides"], config_only=True)  # what was derived follows from the start
    assert "derive rides --again" in str(stale)
    assert str(fault) == f'{FILE}: ingest_history.start: is 2024-01-05, which YAML reads as a date; write "2024-01-05"'


def test_a_cron_that_never_scores_a_weekday_with_rows_is_a_fault() -> None:
    def change(declared: dict[str, Any]) -> None:
        declared["dataset"]["weekdays"] = ["monday", "thursday"]
        declared["nightly_batch_scoring"] = {"cron": "0 3 * * 2", "replay_offset_days": 1}

    [fault] = broken(change)
    assert "nightly_batch_scoring.cron: is '0 3 * * 2' with replay_offset_days 1, so the rows of thursday are never scored" in fault
    assert 'write cron: "0 2 * * 2,5"' in fault


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


@pytest.mark.costly
def test_a_broken_use_case_hides_no_other() -> None:
    for number in range(50):
        rides.declare(Path(), {**rides.DECLARED, "train": {"max_depth": 0}} if number == 17 else rides.DECLARED, f"case_{number}")
    rides.declare(Path(), rides.DECLARED, "No-Name")
    Path("use_cases/case_3/params.yaml").write_text("dataset: [", encoding="utf-8")
    found = [str(fault) for fault in check(Path(), config_only=True)]
    assert [fault for fault in found if "max_depth" in fault] == [
        "use_cases/case_17/params.yaml: train.max_depth: is 0. Input should be greater than or equal to 1; correct it"
    ]
    assert sum("is not valid YAML" in fault for fault in found) == 1
    assert sum("cannot be named 'No-Name'" in fault for fault in found) == 1
    assert (
        sum("does not exist, and first_run.partition is not declared; run python -m pipelines.use_case derive" in fault for fault in found)
        == 49
    )


def test_two_use_cases_of_one_name_or_store_are_named_at_both() -> None:
    rides.declare(Path(), rides.DECLARED, "flights")
    rides.declare(Path(), {**rides.DECLARED, "registry": {"name": "rides_model"}}, "scooters")
    found = [str(fault) for fault in check(Path(), config_only=True)]
    assert any(fault.startswith("use_cases/flights/params.yaml: the use case: is 'flights', as in params.yaml; rename") for fault in found)
    for one, other in (("scooters", "rides"), ("rides", "scooters")):
        said = f"use_cases/{one}/params.yaml: registry.name: is 'rides_model', as in use_cases/{other}/params.yaml"
        assert any(fault.startswith(said) for fault in found)
        assert any(str(fault).startswith(said) for fault in check(Path(), [one], config_only=True)), "asked for alone"


def test_a_stale_file_is_named() -> None:
    rides.declare(Path(), {**rides.DECLARED, "features": {"calendar": ["hour"]}})
    found = [str(fault) for fault in check(Path(), ["rides"], config_only=True)]
    assert any("use_cases/rides/derived.yaml: derived_from.sha256: is " in fault and "derive rides --again" in fault for fault in found)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT * FROM rides UNION ALL SELECT * FROM rides WHERE ride = 'r0001001'", r"dataset\.key: is \[ride\], which 1 rows share with another"),
        ("SELECT * REPLACE (NULL::INT AS minutes_late) FROM rides", r"label\.expression: is 'minutes_late >= 10', which is NULL for every row whose outcome"),
        ("SELECT * REPLACE (3 AS minutes_late) FROM rides", r"label\.expression: is 'minutes_late >= 10', which is False for all 9,[0-9]{3} rows"),
        ("SELECT * REPLACE (CASE WHEN ride < 'r0040' THEN NULL ELSE distance END AS distance) FROM rides", r"distance\.nulls: is 0, but 34\.\d\d% of the rows have no value"),
        ("SELECT * REPLACE (CASE WHEN city = 'Bonn' THEN 'Trier' ELSE city END AS city) FROM rides", r"city\.values: lacks 'Trier' and with it 3\d\.\d\d% of the rows"),
        ("SELECT * EXCLUDE (distance) FROM rides", r"dataset\.source: rides\.parquet has no column 'distance'"),
        ("SELECT * REPLACE ('far' AS distance) FROM rides", r"dataset\.columns\.distance: column 'distance' of rides\.parquet holds 'far'"),
        ("SELECT * FROM rides WHERE started_at::DATE <> DATE '2024-03-02'", r"first_run\.partition: is 2024-03-01; no row is dated 2024-03-02 of the first 4 nights"),
        ("SELECT * FROM rides WHERE started_at >= '2024-02-10'", r"train\.minimum_rows: is 920, but 280 rows before 2024-02-14 have an outcome"),
        ("SELECT * REPLACE (minutes_late * 2.0 + distance / 100 AS distance) FROM rides", r"distance: predicts the label alone, with an AUC of 1\.000; if it is known only after"),
        ("SELECT * REPLACE (CASE WHEN started_at > '2024-04-27' THEN NULL ELSE electric END AS electric) FROM rides", r"electric: is missing in 100% of the rows of the last 3 dates"),
        ("SELECT * REPLACE (CASE WHEN started_at < '2024-04-27' THEN minutes_late END AS minutes_late, CASE WHEN started_at < '2024-04-27' THEN electric END AS electric) FROM rides", r"electric: is missing exactly where the label is"),
    ],
)  # fmt: skip
def test_a_fault_of_the_data_is_named(query: str, expected: str) -> None:
    rides.write(Path("rides.parquet"), query.replace("FROM rides", f"FROM ({rides.rides()})"))
    found = [str(fault) for fault in check(Path(), ["rides"])]
    assert any(re.search(expected, fault) for fault in found), found


def test_a_folder_where_a_file_was_meant_is_answered_with_a_pattern() -> None:
    Path("rides").mkdir()
    Path("rides.parquet").rename("rides/2024.parquet")
    assert broken(setting("dataset.source", {"kind": "parquet", "path": "rides"}), config_only=False) == []
    [found] = broken(setting("dataset.source", {"kind": "parquet", "path": "ride?"}), config_only=False)
    assert re.search(r"dataset\.source\.path: .* matches rides, which is a folder and not a file; write `path: ride\?/\*\.parquet`", found)
    [found] = broken(setting("dataset.source", {"kind": "parquet", "path": "bikes"}), config_only=False)
    assert "dataset.source.path: no file is at `path: bikes` in params.yaml; deliver it, or correct the path" in found


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
