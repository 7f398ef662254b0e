"""The record of nights without rows: told from nights that nobody has scored, replaced by late rows, and never in place of scores."""

import dataclasses
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable

from pipelines.lib.core.errors import DataError
from pipelines.lib.published.delta_tables import Lineage, publish, read_scores
from pipelines.lib.published.empty_nights import empty_nights, forget_empty_night, late_rows, record_empty_night
from pipelines.lib.published.store import empty_nights_url, scores_url
from tests import scored_night as night

REASON = "night 1 in a row without rows, of at most 2"
LINEAGE = Lineage(night.PARTITION, "Core", "4", "b" * 64, "nightly-1", "refs/runs/d/nightly-1", "c" * 40, False, datetime.now(UTC))


@pytest.fixture(autouse=True)
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", str(tmp_path / "published"))


def later(minutes: int) -> Lineage:
    """Return the lineage of a run of the same night that is opened later."""
    return dataclasses.replace(LINEAGE, run_id=f"nightly-{minutes}", scored_at=LINEAGE.scored_at + timedelta(minutes=minutes))


def test_a_night_without_rows_is_recorded_once_with_its_reason_and_origin() -> None:
    assert record_empty_night(REASON, LINEAGE, attempts=3).changed
    assert not record_empty_night(REASON, LINEAGE, attempts=3).changed
    [row] = read_scores(night.PARTITION, empty_nights_url()).to_pylist()
    assert (row["reason"], row["run_ref"], row["model_version"]) == (REASON, LINEAGE.run_ref, "4")
    assert empty_nights() == [night.PARTITION]


def test_rows_that_come_late_replace_the_record(tmp_path: Path) -> None:
    record_empty_night(REASON, LINEAGE, attempts=3)
    publish(night.write_scores(tmp_path / "scores.parquet", 10), later(1), expected_rows=10)
    assert empty_nights() == []  # the scores count, also before the record is removed
    assert forget_empty_night(later(1))
    assert not forget_empty_night(later(1))
    assert read_scores(night.PARTITION, empty_nights_url()).num_rows == 0
    assert read_scores(night.PARTITION).num_rows == 10


def test_rows_that_have_vanished_do_not_delete_published_scores(tmp_path: Path) -> None:
    publish(night.write_scores(tmp_path / "scores.parquet", 10), LINEAGE, expected_rows=10)
    version = DeltaTable(scores_url()).version()
    with pytest.raises(DataError, match=r"has no rows in the source any more, but its scores are published; they were not changed"):
        record_empty_night(REASON, later(1), attempts=3)
    assert (DeltaTable(scores_url()).version(), read_scores(night.PARTITION).num_rows) == (version, 10)
    assert empty_nights() == []


def test_a_night_may_become_empty_again_when_its_scores_were_deleted_by_hand(tmp_path: Path) -> None:
    record_empty_night(REASON, LINEAGE, attempts=3)
    publish(night.write_scores(tmp_path / "scores.parquet", 10), later(1), expected_rows=10)
    forget_empty_night(later(1))
    DeltaTable(scores_url()).delete(f"partition = '{night.PARTITION}'")
    assert record_empty_night(REASON, later(2), attempts=3).changed
    assert empty_nights() == [night.PARTITION]


def test_nothing_is_recorded_where_nothing_was() -> None:
    assert empty_nights() == []
    assert not forget_empty_night(LINEAGE)


def test_nights_whose_rows_came_after_they_were_recorded_are_named() -> None:
    recorded = ["2013-03-31", "2013-04-01", "2013-04-02"]
    assert (
        late_rows(recorded, {"2013-03-30": 4, "2013-04-01": 7}) == "LATE ROWS, not scored: 2013-04-01 (7 rows); trigger these nights again"
    )
    assert late_rows(recorded, {"2013-03-30": 4}) == ""
