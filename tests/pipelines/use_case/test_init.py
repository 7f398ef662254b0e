"""``init``: a declaration from a look at the source, which derives, checks, and asks for what it cannot see."""

import datetime as dt
import re
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
import yaml

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.use_cases import effective, find
from pipelines.lib.declarations.candidates import named_as_key
from pipelines.lib.declarations.draft import Wishes
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from pipelines.use_case.check import check
from pipelines.use_case.derive import derive
from pipelines.use_case.init import init
from tests import rides

LABEL = Wishes(label="minutes_late >= 10", label_name="late", delay_days=2)


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A repository in which nobody has declared the rides, and their table."""
    rides.repository(tmp_path, name="others")
    rides.write(tmp_path / "rides.parquet", rides.rides())
    monkeypatch.chdir(tmp_path)


def written(name: str = "rides") -> dict[str, dict[str, object]]:
    text = Path(f"use_cases/{name}/params.yaml").read_text(encoding="utf-8")
    assert sum(not line.startswith("#") for line in text.splitlines()) <= 25
    return dict(yaml.safe_load(text))


@pytest.mark.costly
def test_a_parquet_file_becomes_a_use_case_without_a_fault() -> None:
    init(Path(), "rides", "rides.parquet", LABEL)
    assert written() == {
        "dataset": {
            "name": "rides",
            "source": {"kind": "parquet", "path": "rides.parquet"},
            "key": ["ride"],
            "event_time": "started_at",
            "label": {"name": "late", "expression": "minutes_late >= 10", "delay_days": 2},
            "known_later": ["minutes_late"],
        },
        "features": {
            "numeric": {"distance": {"missing": -1}, "electric": {"missing": -1}},
            "categorical": {"city": {}},
            "calendar": ["hour", "weekday"],
            "lagged": {"rate_by_city": {"by": ["city"], "window_days": 28, "prior_weight": 20}},
        },
    }
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []


@pytest.mark.costly
def test_a_csv_gets_its_dialect() -> None:
    query = f"""SELECT * REPLACE (strftime(started_at, '%d.%m.%Y %H:%M') AS started_at, replace(distance::VARCHAR, '.', ',') AS distance,
        coalesce(city, 'NA') AS city) FROM ({rides.rides()})"""
    duckdb.sql(f"COPY ({query}) TO 'rides.csv' (FORMAT csv, HEADER, DELIMITER ';')")
    init(Path(), "rides", "rides.csv", LABEL)
    assert written()["dataset"]["source"] == {
        "kind": "csv",
        "path": "rides.csv",
        "delimiter": ";",
        "nulls": ["", "NA"],
        "decimal": ",",
        "timestamp_format": "%d.%m.%Y %H:%M",
    }
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []


@pytest.mark.costly
def test_a_table_with_rows_on_mondays_only_says_so_and_is_scored_once_per_week() -> None:
    rides.write(Path("rides.parquet"), f"SELECT * FROM ({rides.rides(days=420)}) WHERE isodow(started_at::DATE) = 1")
    init(Path(), "rides", "rides.parquet", LABEL)
    assert (written()["dataset"]["weekdays"], "nights_without_rows" in written()["dataset"]) == (["monday"], False)
    assert "# Rows on Monday only: see weekdays." in Path("use_cases/rides/params.yaml").read_text(encoding="utf-8")
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []
    derived = yaml.safe_load(Path("use_cases/rides/derived.yaml").read_text(encoding="utf-8"))
    assert derived["nightly_batch_scoring"]["cron"] == "0 2 * * 2", "when Monday is over"
    assert "maximum_empty_date_share" not in derived["validate_history"]


def test_gaps_are_declared_with_a_comment_if_they_are_more_than_one_failure() -> None:
    rides.write(Path("rides.parquet"), f"SELECT * FROM ({rides.rides()}) WHERE started_at::DATE NOT BETWEEN '2024-02-10' AND '2024-02-13'")
    init(Path(), "rides", "rides.parquet", LABEL)
    assert written()["dataset"]["nights_without_rows"] == 4
    assert "A broken feed looks the same" in Path("use_cases/rides/params.yaml").read_text(encoding="utf-8")


def test_a_folder_is_read_as_its_files() -> None:
    Path("rides").mkdir()
    Path("rides.parquet").rename("rides/2024.parquet")
    init(Path(), "rides", "rides", LABEL)
    assert written()["dataset"]["source"] == {"kind": "parquet", "path": "rides"}


def test_all_that_is_missing_is_asked_for_at_once() -> None:
    query = f"SELECT * EXCLUDE (ride), started_at + INTERVAL 1 DAY AS booked_for, city = 'Bonn' AS local FROM ({rides.rides()})"
    rides.write(Path("rides.parquet"), f"{query} UNION ALL {query}")
    with pytest.raises(ConfigError) as asked:
        init(Path(), "rides", "rides.parquet", Wishes())
    said = str(asked.value)
    assert "Columns of two values: electric, local." in said
    assert "--event-time COLUMN: when the event takes place. The source has started_at, booked_for." in said
    assert "--key COLUMN …: the columns that name a row. No combination of up to three columns does." in said
    assert not Path("use_cases/rides").exists()


def test_a_key_of_several_columns_is_found() -> None:
    query = f"SELECT * REPLACE (started_at::DATE AS started_at), right(ride, 3) AS number FROM ({rides.rides()})"
    rides.write(Path("rides.parquet"), f"SELECT * EXCLUDE (ride) FROM ({query})")
    init(Path(), "rides", "rides.parquet", LABEL)
    assert written()["dataset"]["key"] == ["started_at", "number"]


def test_columns_that_know_the_outcome_give_a_warning_and_no_feature() -> None:
    query = f"""SELECT *, CASE WHEN started_at < '2024-04-24' THEN minutes_late END AS delay,
        CASE WHEN started_at < '2024-04-24' THEN 1.0 END AS closed FROM ({rides.rides()})"""
    rides.write(Path("rides.parquet"), query)
    said = init(Path(), "rides", "rides.parquet", Wishes(label="delay >= 10", label_name="late"))
    found = written()
    assert found["dataset"]["known_later"] == ["delay", "closed"]
    assert found["dataset"]["label"] == {"name": "late", "expression": "delay >= 10", "delay_days": 6}  # the last date is 2024-04-29
    assert set(found["features"]["numeric"]) == {"distance", "electric"}  # type: ignore[call-overload]
    assert "WARNING: minutes_late predicts the label alone, with an AUC of 1.000" in said
    assert "WARNING: closed is missing exactly where the label is" in said


def test_a_running_number_does_not_become_a_feature() -> None:
    query = f"SELECT row_number() OVER () AS line, *, 7 * row_number() OVER () % 5000 AS metres FROM ({rides.rides()})"
    rides.write(Path("rides.parquet"), query)
    init(Path(), "rides", "rides.parquet", Wishes(label="minutes_late >= 10", label_name="late", delay_days=2, key=("ride",)))
    assert set(written()["features"]["numeric"]) == {"distance", "electric", "metres"}  # type: ignore[call-overload]
    assert "# No feature: line has another value in each row" in Path("use_cases/rides/params.yaml").read_text(encoding="utf-8")


def test_a_number_that_names_something_groups_outcomes_and_is_not_a_quantity() -> None:
    query = f"SELECT *, ascii(city) * 100 + day(started_at) AS station_id, CAST(distance * 10 AS INT) AS width FROM ({rides.rides()})"
    rides.write(Path("rides.parquet"), query)
    init(Path(), "rides", "rides.parquet", LABEL)
    features = written()["features"]
    assert set(features["numeric"]) == {"distance", "electric", "width"}  # type: ignore[call-overload]
    assert set(features["lagged"]) == {"rate_by_city", "rate_by_station_id"}  # type: ignore[call-overload]


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("order_id", True),
        ("shopId", True),
        ("ID", True),
        ("key", True),
        ("idNum", True),
        ("width", False),
        ("paid", False),
        ("keyboard", False),
    ],
)
def test_a_key_is_known_by_a_word_of_its_name(column: str, *, expected: bool) -> None:
    assert named_as_key(column) is expected


def test_comments_say_how_often_the_label_is_true_and_count_no_more_values_than_rows() -> None:
    query = f"SELECT * REPLACE (CASE WHEN started_at >= '2024-03-01' THEN minutes_late END AS minutes_late) FROM ({rides.rides()})"
    rides.write(Path("rides.parquet"), query)
    init(Path(), "rides", "rides.parquet", LABEL)
    [rows] = duckdb.execute(f"SELECT count(minutes_late), count(*), avg((minutes_late >= 10)::INT) FROM ({query})").fetchall()
    text = Path("use_cases/rides/params.yaml").read_text(encoding="utf-8")
    said = f"Label late: {rows[0]:,} of {rows[1]:,} rows have an outcome, the first of 2024-03-01; it is true for {rows[2]:.1%} of them."
    assert f"# {said}\n" in text
    counts = [int(number.replace(",", "")) for number in re.findall(r"about +([\d,]+) values", text)]
    assert counts, "ride has more values than can be listed"
    assert max(counts) <= rows[1]


def test_an_existing_file_is_never_overwritten() -> None:
    path = Path("use_cases/others/params.yaml")
    before = path.read_bytes()
    for name in ("others", "flights"):
        with pytest.raises(ConfigError, match="exists already"):
            init(Path(), name, "rides.parquet", LABEL)
    assert path.read_bytes() == before


@pytest.mark.slow
def test_wide_tables_and_odd_names_fit_on_25_lines() -> None:
    columns = ", ".join(f"(distance + {number}) AS measure_of_something_{number}" for number in range(300))
    rides.write(Path("rides.parquet"), f'SELECT *, {columns}, city AS "the city\'s ""name"", ü." FROM ({rides.rides(days=60)})')
    init(Path(), "rides", "rides.parquet", LABEL)
    assert len(written()["features"]["numeric"]) > 30  # type: ignore[arg-type]
    assert written()["features"]["categorical"] == {"city": {}, "the_city_s_name_u": {"expression": '"the city\'s ""name"", ü."'}}
    text = Path("use_cases/rides/params.yaml").read_text(encoding="utf-8")
    assert "for want of room" in text
    continued = [line for line in text.splitlines() if line.startswith("    ")]
    assert len(continued) > 10
    assert all(line.count("}") - line.count("{") in (0, 1) for line in continued), "a line breaks between features, never within one"
    derive(find("rides", Path()), dt.date(2024, 9, 2))


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("postgresql://night:secret@db/shop", r"--source is postgresql://…; init looks at files"),
        ("rides.xlsx", "name a .parquet or .csv file"),
        ("none.parquet", "no file is at"),
    ],
)
def test_a_source_that_is_none_is_refused_without_its_password(source: str, said: str) -> None:
    with pytest.raises(Exception, match=said) as refused:
        init(Path(), "rides", source, LABEL)
    assert "secret" not in str(refused.value)


@pytest.mark.costly
def test_times_that_a_parquet_file_holds_as_text_are_times() -> None:
    """So pandas writes what it has read from a CSV without parse_dates."""
    query = f"SELECT * REPLACE (strftime(started_at, '%Y-%m-%dT%H:%M:%S') AS started_at), ride[2:] AS digits FROM ({rides.rides()})"
    rides.write(Path("rides.parquet"), query)
    init(Path(), "rides", "rides.parquet", LABEL)
    assert written()["dataset"]["event_time"] == "started_at"
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []
    columns = effective(find("rides", Path())).params["dataset"]["columns"]
    assert columns["started_at"]["type"] == "timestamp"
    night = dt.date(2024, 3, 4)
    dataset = parse_section(effective(find("rides", Path())).params["dataset"], Dataset, "test")
    extract(dataset, partition=night, start=night, end=night + dt.timedelta(days=1), lookback_days=0, target=Path("raw"))
    [rows] = duckdb.execute("SELECT count(*), min(started_at)::VARCHAR, max(started_at)::VARCHAR FROM 'raw/events.parquet'").fetchall()
    assert rows == (100, "2024-03-04 00:00:30", "2024-03-04 23:45:30")


@pytest.mark.costly
def test_columns_of_our_names_become_features_of_another_name() -> None:
    rides.write(Path("rides.parquet"), f"SELECT *, distance AS score, city AS decision, minutes_late AS outcome FROM ({rides.rides()})")
    wishes = Wishes(label="minutes_late >= 10", delay_days=2, known_later=("outcome",))
    with pytest.raises(ConfigError, match="--label-name is 'outcome', a name that a column has as well; choose another one"):
        init(Path(), "rides", "rides.parquet", wishes)
    init(Path(), "rides", "rides.parquet", replace(wishes, label_name="late"))
    features = written()["features"]
    assert features["numeric"]["own_score"] == {"expression": "score", "missing": -1}  # type: ignore[index]
    assert features["categorical"] == {"city": {}, "own_decision": {"expression": "decision"}}
    derive(find("rides", Path()), rides.TODAY)
    assert check(Path(), ["rides"]) == []


def test_a_line_break_of_the_source_ends_no_comment_and_no_line() -> None:
    note = "CASE WHEN distance > 5 THEN 'far' || chr(10) || 'evaluate: {slices: [zzz]}' ELSE 'near' END"
    rides.write(Path("rides.parquet"), f'SELECT *, {note} AS note, distance * 2 AS "twice{chr(10)}as far" FROM ({rides.rides()})')
    init(Path(), "rides", "rides.parquet", LABEL)
    assert list(written()) == ["dataset", "features"]
    assert "evaluate: {slices: [zzz]}" in Path("use_cases/rides/params.yaml").read_text(encoding="utf-8")
    assert {"expression": '"twice\nas far"', "missing": -1} in written()["features"]["numeric"].values()  # type: ignore[attr-defined]


def test_a_csv_whose_rows_cannot_be_read_is_an_error_of_the_data() -> None:
    lines = [
        "ride,started_at,minutes_late",
        *(f"{n},2024-01-{1 + n % 28:02d} 10:00:00,{n % 20}" for n in range(200)),
        "200,2024-01-05,3,4,5",
    ]
    Path("rides.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"--source rides\.csv cannot be read: .*Line: 202"):
        init(Path(), "rides", "rides.csv", LABEL)
