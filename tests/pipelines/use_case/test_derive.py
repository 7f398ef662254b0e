"""``derive``: the file is written once, and another declaration is not mixed with it."""

from pathlib import Path

import pytest
import yaml

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.use_cases import UseCase, find
from pipelines.use_case.check import check
from pipelines.use_case.derive import derive
from tests import rides


@pytest.fixture
def use_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> UseCase:
    """The use case of the rides and its table."""
    rides.repository(tmp_path)
    rides.write(tmp_path / "rides.parquet", rides.rides())
    monkeypatch.chdir(tmp_path)
    return find("rides", Path())


@pytest.mark.costly
def test_an_existing_file_stays_until_it_is_asked_for_again(use_case: UseCase) -> None:
    said = derive(use_case, rides.TODAY)
    assert "9,960 rows of 2024-01-01 to 2024-04-29. 9,960 rows have an outcome; it is true for 23.1% of them." in said
    assert "The first partition is 2024-03-01." in said
    before = use_case.derived.read_bytes()
    rides.write(Path("rides.parquet"), rides.rides(days=90))
    assert "kept" in derive(use_case, rides.TODAY)
    assert use_case.derived.read_bytes() == before
    derive(use_case, rides.TODAY, again=True)
    assert use_case.derived.read_bytes() != before


@pytest.mark.costly
def test_gaps_that_the_declaration_does_not_allow_are_reported_and_not_allowed(use_case: UseCase) -> None:
    rides.write(Path("rides.parquet"), f"SELECT * FROM ({rides.rides()}) WHERE started_at::DATE NOT BETWEEN '2024-02-10' AND '2024-02-13'")
    said = derive(use_case, rides.TODAY)
    assert "WARNING: 4 nights without rows, at most 4 in a row. nights_without_rows: 4 allows that." in said
    derived = yaml.safe_load(use_case.derived.read_text(encoding="utf-8"))
    assert derived["derived_from"]["nights"].startswith("4 nights without rows")
    assert "nights_without_rows" not in derived["dataset"]
    rides.declare(Path(), {**rides.DECLARED, "dataset": {**rides.DECLARED["dataset"], "nights_without_rows": 4}})
    assert "WARNING" not in derive(use_case, rides.TODAY, again=True)


def test_a_file_of_another_declaration_is_an_error(use_case: UseCase) -> None:
    derive(use_case, rides.TODAY)
    rides.declare(Path(), {**rides.DECLARED, "features": {"calendar": ["hour"]}})
    with pytest.raises(ConfigError, match="derive rides --again"):
        derive(use_case, rides.TODAY)


def test_a_table_that_cannot_be_read_leaves_the_file_as_it_was(use_case: UseCase) -> None:
    derive(use_case, rides.TODAY)
    before = use_case.derived.read_bytes()
    Path("rides.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigError, match="not a whole Parquet file"):
        derive(use_case, rides.TODAY, again=True)
    assert use_case.derived.read_bytes() == before
    assert sorted(path.name for path in use_case.derived.parent.iterdir()) == ["derived.yaml", "params.yaml"]


def test_a_repeated_key_is_refused(use_case: UseCase) -> None:
    rides.write(Path("rides.parquet"), f"SELECT * FROM ({rides.rides()}) UNION ALL SELECT * FROM ({rides.rides(days=2)})")
    with pytest.raises(
        ConfigError, match=r"params\.yaml: dataset\.key is \[ride\], which 200 rows share with another; name the columns that tell"
    ):
        derive(use_case, rides.TODAY)
    assert not use_case.derived.exists()


@pytest.mark.costly
def test_what_check_finds_in_the_rows_is_refused_before_the_file_is_written(use_case: UseCase) -> None:
    """It wrote the file, and `check` then refused it."""
    label = {"name": "late", "expression": "minutes_late > -100", "delay_days": 2}
    rides.declare(Path(), {**rides.DECLARED, "dataset": {**rides.DECLARED["dataset"], "label": label}})
    with pytest.raises(ConfigError) as refused:
        derive(use_case, rides.TODAY)
    assert str(refused.value).splitlines()[:2] == [
        "2 faults in rides:",
        f"{use_case.declaration}: dataset.label.expression: is 'minutes_late > -100', which is True for all 9,820 rows; "
        "correct it: a model needs both outcomes",
    ]
    assert not use_case.derived.exists()
    rides.declare(Path(), rides.DECLARED)
    rides.write(Path("rides.parquet"), f"SELECT * REPLACE (minutes_late * 2.0 AS distance) FROM ({rides.rides()})")
    leaks = "does not name distance, which predicts the label alone, with an AUC of 1.000; if it is known only after the event, write known_later"
    with pytest.raises(ConfigError, match=leaks):
        derive(use_case, rides.TODAY)
    assert not use_case.derived.exists()


def test_names_that_the_table_does_not_have_are_faults_before_anything_is_derived(use_case: UseCase) -> None:
    """They were named only once ``derived.yaml`` was there."""
    wrong = {"evaluate": {"slices": ["shopp"]}, "measure_performance": {"slices": ["shopp"]}, "score": {"order_by": "shopp"}}
    rides.declare(Path(), {**rides.DECLARED, **wrong})
    found = [str(fault) for fault in check(Path(), ["rides"], config_only=True)]
    assert [fault.split(": ")[1] for fault in found] == ["evaluate.slices", "measure_performance.slices", "score.order_by", "the file"]
    assert all("'shopp', which is not" in fault for fault in found[:3])
    rides.declare(Path(), {**rides.DECLARED, "evaluate": {"slices": ["city", "ride"]}, "measure_performance": {"slices": ["city"]}})
    assert len(check(Path(), ["rides"], config_only=True)) == 1


def test_features_that_cannot_be_computed_are_refused_as_check_refuses_them(use_case: UseCase) -> None:
    """It wrote the file, and `check` then listed the faults."""
    numeric = {"far": {"expression": "no_such(distance)", "missing": -1}, "late": {"expression": "minutes_late + 1", "missing": -1}}
    rides.declare(Path(), {**rides.DECLARED, "features": {**rides.DECLARED["features"], "numeric": numeric}})
    with pytest.raises(ConfigError) as refused:
        derive(use_case, rides.TODAY)
    assert not use_case.derived.exists()
    for key in ("features.numeric.far", "features.numeric.late"):
        assert f"{use_case.declaration}: {key}" in str(refused.value)


def test_faults_that_show_only_with_derived_values_are_refused_before_the_file_is_written(use_case: UseCase) -> None:
    rides.declare(Path(), {**rides.DECLARED, "evaluate": {"slices": ["town"]}})
    with pytest.raises(ConfigError, match=r"use_cases/rides/params\.yaml: evaluate\.slices: names 'town', which is not there"):
        derive(use_case, rides.TODAY)
    assert not use_case.derived.exists()


def test_an_error_names_the_file_of_the_use_case(use_case: UseCase) -> None:
    """It said params.yaml, which is the file of the default use case."""
    declared = {**rides.DECLARED["dataset"], "columns": {"distance": {"type": "integer"}}}
    rides.declare(Path(), {**rides.DECLARED, "dataset": declared})
    with pytest.raises(DataError, match=r"column 'distance' .* or correct the type in use_cases/rides/params\.yaml"):
        derive(use_case, rides.TODAY)
    rides.declare(Path(), {**rides.DECLARED, "dataset": {**declared, "source": {"kind": "parquet", "path": "none.parquet"}}})
    with pytest.raises(ConfigError, match=r"no file is at `path: none\.parquet` in use_cases/rides/params\.yaml; deliver it"):
        derive(use_case, rides.TODAY)


@pytest.mark.parametrize("partition", ["2030-01-01", "2023-12-01"])
def test_a_first_partition_beyond_the_rows_is_refused(use_case: UseCase, partition: str) -> None:
    rides.declare(Path(), {**rides.DECLARED, "first_run": {"partition": partition}})
    with pytest.raises(
        ConfigError, match=rf"first_run\.partition is {partition}, but the rows are of 2024-01-01 to 2024-04-29; declare a date"
    ):
        derive(use_case, rides.TODAY)
    assert not use_case.derived.exists()
