"""Parameters that follow from a table: each where the declaration is silent, and always the same ones."""

import copy
import datetime as dt
from pathlib import Path
from typing import Any

import duckdb
import pytest
import yaml

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.core.use_cases import UseCase, effective, find
from pipelines.lib.declarations import derivation
from pipelines.lib.tables.dataset import Dataset
from pipelines.use_case.check import check
from tests import rides


@pytest.fixture
def use_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """The use case of the rides, whose table covers 120 days."""
    rides.repository(tmp_path)
    rides.write(tmp_path / "rides.parquet", rides.rides())
    monkeypatch.chdir(tmp_path)
    return find("rides", Path())


def changed(**sections: Any) -> dict[str, Any]:
    declared = copy.deepcopy(rides.DECLARED)
    for section, content in sections.items():
        declared.setdefault(section, {}).update(content)
    return declared


def test_a_table_whose_columns_nobody_declared_gets_them(use_case: UseCase) -> None:
    columns = derivation.derive(use_case, rides.TODAY)["dataset"]["columns"]
    assert columns == {
        "started_at": {"type": "timestamp"},
        "ride": {"type": "string"},
        "minutes_late": {"type": "integer", "nulls": 1},
        "distance": {"type": "float"},
        "electric": {"type": "boolean"},
        "city": {"type": "string", "nulls": 0.09, "values": ["Bonn", "Köln", "Mainz"], "unseen": 0.02},
    }


def test_gates_get_bands_with_headroom(use_case: UseCase) -> None:
    found = derivation.derive(use_case, rides.TODAY)
    # 100 rides on a weekday and 40 on Saturdays and Sundays: each weekday has as many as the same one before.
    assert found["validate_batch"]["row_count"] == {"every_days": 7, "minimum_ratio": 0.8, "maximum_ratio": 1.25, "minimum_rows": 10}
    assert found["validate_history"]["row_count"] == found["validate_batch"]["row_count"]
    assert found["validate_history"]["minimum_label_rate"] < 3 / 13 < found["validate_history"]["maximum_label_rate"]
    assert found["validate_batch"]["minimum_outcomes_known"] == 0.5
    assert found["validate_batch"]["last_event_minutes"] == 30


def test_a_label_that_is_never_null_does_not_tell_whether_outcomes_arrive(use_case: UseCase) -> None:
    rides.declare(Path(), changed(dataset={"label": {"name": "late", "expression": "coalesce(minutes_late, 0) >= 10", "delay_days": 2}}))
    assert "minimum_outcomes_known" not in derivation.derive(use_case, rides.TODAY)["validate_batch"]


def test_the_first_run_has_history_before_it_and_four_nights(use_case: UseCase) -> None:
    found = derivation.derive(use_case, rides.TODAY)
    # The second half begins on 2024-02-29; the next date whose fifth night is a Tuesday, as tomorrow's, is a Friday.
    assert found["first_run"] == {"partition": "2024-03-01", "shards": ["2024-01", "2024-02"]}
    assert found["nightly_batch_scoring"] == found["weekly_index_rebuild"] == {"replay_offset_days": 182}
    assert found["ingest_history"] == {"start": "2024-01-01"}


@pytest.mark.costly
def test_a_history_begins_with_the_first_outcome(use_case: UseCase) -> None:
    """The first half of the table was recorded without outcomes: its rows teach nothing."""
    early = f"SELECT * REPLACE (CASE WHEN started_at >= '2024-03-01' THEN minutes_late END AS minutes_late) FROM ({rides.rides()})"
    rides.write(Path("rides.parquet"), early)
    found = derivation.derive(use_case, rides.TODAY)
    assert found["ingest_history"] == {"start": "2024-03-01"}
    assert "2024-03-30" <= found["first_run"]["partition"] <= "2024-04-06"  # the second half of the dates with outcomes
    assert found["first_run"]["shards"][0] == "2024-03"
    assert found["train"]["minimum_rows"] > 200
    assert found["validate_batch"]["minimum_outcomes_known"] == 0.5
    derivation.write(use_case, found)
    assert check(Path(), ["rides"]) == []


def test_a_label_that_is_null_for_every_row_is_refused(use_case: UseCase) -> None:
    rides.write(Path("rides.parquet"), f"SELECT * REPLACE (NULL::INT AS minutes_late) FROM ({rides.rides()})")
    with pytest.raises(ConfigError, match="'minutes_late >= 10', which is NULL for every row from 2024-01-01 to 2024-04-29; correct it"):
        derivation.derive(use_case, rides.TODAY)
    rides.write(Path("rides.parquet"), rides.rides())
    rides.declare(Path(), changed(ingest_history={"start": "2024-05-01"}))
    with pytest.raises(ConfigError, match=r"ingest_history\.start is 2024-05-01, but the last row is of 2024-04-29"):
        derivation.derive(use_case, rides.TODAY)


def test_slices_are_features_for_the_holdout_and_columns_for_published_nights(use_case: UseCase) -> None:
    found = derivation.derive(use_case, rides.TODAY)
    assert found["evaluate"]["slices"] == ["city", "electric"]
    assert found["measure_performance"]["slices"] == ["city", "electric"]


def test_a_category_of_many_values_makes_no_slices(use_case: UseCase) -> None:
    rides.write(Path("rides.parquet"), f"SELECT *, 'street ' || (distance * 10)::INT AS street FROM ({rides.rides()})")
    rides.declare(Path(), changed(features={"categorical": {"street": {}, "city": {}}}))
    assert derivation.derive(use_case, rides.TODAY)["evaluate"]["slices"] == ["city", "electric"]


def test_no_slice_is_made_by_a_column_that_published_rows_have_as_well(use_case: UseCase) -> None:
    rides.write(Path("rides.parquet"), f"SELECT *, city AS decision FROM ({rides.rides()})")
    rides.declare(Path(), changed(features={"categorical": {"decided": {"expression": "decision"}}}))
    assert derivation.derive(use_case, rides.TODAY)["measure_performance"]["slices"] == ["city", "electric"]


@pytest.mark.costly
def test_the_same_table_and_day_give_the_same_bytes(use_case: UseCase) -> None:
    written = []
    for _ in range(2):
        derivation.write(use_case, derivation.derive(use_case, rides.TODAY))
        written.append(use_case.derived.read_bytes())
    assert written[0] == written[1]
    assert yaml.safe_load(written[0])["derived_from"] == {
        "sha256": derivation.digest(yaml.safe_load(use_case.declaration.read_text(encoding="utf-8"))),
        "source": "rides.parquet",
        "rows": 9960,
        "outcomes": 9960,
        "positive": duckdb.execute(f"SELECT count(*) FROM ({rides.rides()}) WHERE minutes_late >= 10").fetchall()[0][0],
        "first": "2024-01-01",
        "last": "2024-04-29",
    }


def test_a_declared_value_stays_and_the_others_follow_from_it(use_case: UseCase) -> None:
    rides.declare(
        Path(),
        changed(
            train={"holdout_days": 7},
            first_run={"partition": "2024-04-10"},
            validate_batch={"row_count": {"every_days": 1}},
            dataset={"columns": {"city": {"type": "string", "nulls": 0.5}}},
        ),
    )
    found = derivation.derive(use_case, rides.TODAY)
    assert "holdout_days" not in found["train"]
    assert found["train_encoder"]["holdout_days"] == 7
    assert found["first_run"] == {"shards": ["2024-01", "2024-02", "2024-03", "2024-04"]}
    assert "every_days" not in found["validate_batch"]["row_count"]
    assert found["validate_batch"]["row_count"]["minimum_ratio"] < 0.5  # a Saturday against a Friday
    assert found["dataset"]["columns"]["city"] == {"values": ["Bonn", "Köln", "Mainz"], "unseen": 0.02}


def test_the_effective_parameters_are_whole_and_valid(use_case: UseCase) -> None:
    derivation.write(use_case, derivation.derive(use_case, rides.TODAY))
    found = effective(use_case)
    dataset = parse_section(found.params["dataset"], Dataset, "dataset")
    assert set(dataset.columns) == {"started_at", "ride", "minutes_late", "distance", "electric", "city"}
    assert found.origin["train.minimum_rows"] == "derived"


def test_a_table_of_the_present_begins_with_its_last_nights(use_case: UseCase) -> None:
    found = derivation.derive(use_case, rides.FIRST.replace(month=4, day=30))
    assert found["first_run"]["partition"] == "2024-04-26"
    assert found["nightly_batch_scoring"] == {"replay_offset_days": 1}


@pytest.mark.costly
def test_a_csv_gets_the_types_that_all_its_values_have(use_case: UseCase) -> None:
    query = f"SELECT *, '0' || (10000 + minutes_late) AS postcode FROM ({rides.rides()})"
    rides.write(Path("rides.csv"), query)
    declared = changed(dataset={"source": {"kind": "csv", "path": "rides.csv"}})
    declared["features"]["lagged"]["late_postcode"] = {"by": ["postcode"], "window_days": 7}
    rides.declare(Path(), declared)
    columns = derivation.derive(use_case, rides.TODAY)["dataset"]["columns"]
    assert {column: content["type"] for column, content in columns.items()} == {
        "started_at": "timestamp",
        "ride": "string",
        "minutes_late": "integer",
        "distance": "float",
        "electric": "boolean",
        "city": "string",
        "postcode": "string",
    }


def test_a_short_table_is_refused_with_what_it_lacks(use_case: UseCase) -> None:
    rides.write(Path("rides.parquet"), rides.rides(days=5))
    with pytest.raises(DataError, match="rows of 5 dates; at least 8 are needed"):
        derivation.derive(use_case, rides.TODAY)
    rides.write(Path("rides.parquet"), rides.rides(days=11))
    with pytest.raises(DataError, match="no 4 nights in a row with data have 10 dates before them"):
        derivation.derive(use_case, rides.TODAY)


def test_a_label_that_is_a_number_is_forecast_unless_its_task_is_declared(use_case: UseCase) -> None:
    number = {"name": "late", "expression": "minutes_late", "delay_days": 2}
    rides.declare(Path(), changed(dataset={"label": number}))
    assert derivation.derive(use_case, rides.TODAY)["dataset"]["label"] == {"task": "regression"}
    rides.declare(Path(), changed(dataset={"label": {**number, "task": "binary"}}))
    remedy = r"compare it, so that it is true or false, as in minutes_late > 0, or write task: regression to forecast the number"
    with pytest.raises(ConfigError, match=rf"label\.expression is 'minutes_late', which is a BIGINT; {remedy}"):
        derivation.derive(use_case, rides.TODAY)


def test_a_changed_declaration_makes_what_was_derived_stale(use_case: UseCase) -> None:
    derivation.write(use_case, derivation.derive(use_case, rides.TODAY))
    assert derivation.staleness(use_case) is None
    rides.declare(Path(), changed(train={"parameters": {"max_depth": 4}}))  # neither the table nor its features
    assert derivation.staleness(use_case) is None
    for bound in ({"first_run": {"partition": "2024-04-10"}}, {"ingest_history": {"start": "2024-02-01"}}):
        rides.declare(Path(), changed(**bound))  # other rows are before the first night, and other months in its index
        assert "first_run.partition than use_cases/rides/params.yaml declares now" in str(derivation.staleness(use_case))
    rides.declare(Path(), changed(features={"calendar": ["weekday"]}))
    assert "derive rides --again" in str(derivation.staleness(use_case))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("per_day", "start", "months"),
    [(100, dt.date(2017, 1, 1), 24), (56, dt.date(2016, 8, 1), 29), (3, dt.date(2014, 1, 1), 60)],
)
def test_a_history_of_ten_years_begins_with_the_latest_months_that_are_enough(
    use_case: UseCase, per_day: int, start: dt.date, months: int
) -> None:
    """Each month is a shard of the vector index: ten years would be 60 of them at the partition in the middle, or 120 at the end."""
    rides.write(Path("rides.parquet"), rides.rides(first=dt.date(2012, 1, 1), days=2650, per_day=per_day, weekend=1))
    rides.declare(Path(), changed(first_run={"partition": "2019-01-15"}))
    found = derivation.derive(use_case, rides.TODAY)
    assert found["ingest_history"]["start"] == str(start)
    assert len(found["first_run"]["shards"]) == months + 1
    assert (found["first_run"]["shards"][0], found["first_run"]["shards"][-1]) == (f"{start:%Y-%m}", "2019-01")
    derivation.write(use_case, found)
    text = use_case.derived.read_text(encoding="utf-8")
    assert f"# The rows of 2012-01-01 to {start - dt.timedelta(days=1)} are left out" in text
    assert found["validate_vectors"]["minimum_rows"] <= per_day * 31 * months / 4, "of what the index has"


@pytest.mark.costly
def test_a_declared_start_is_kept_however_early(use_case: UseCase) -> None:
    rides.write(Path("rides.parquet"), rides.rides(first=dt.date(2012, 1, 1), days=2600, per_day=3, weekend=1))
    rides.declare(Path(), changed(first_run={"partition": "2019-01-15"}, ingest_history={"start": "2012-01-01"}))
    found = derivation.derive(use_case, rides.TODAY)
    assert len(found["first_run"]["shards"]) == 85
    derivation.write(use_case, found)
    assert "left out" not in use_case.derived.read_text(encoding="utf-8")
