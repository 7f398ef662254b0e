"""Tables that do not have rows every night, through the real stages: derived, trained, scored, watched and governed over their gaps."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.lib.core.home import ledger_url
from pipelines.lib.published.delta_tables import read_scores
from pipelines.lib.published.empty_nights import empty_nights
from pipelines.lib.published.nights import publications
from pipelines.lib.records.journal import Journal
from tests.sparse_tables import HOLIDAY, Workspace, clinic, market

pytestmark = pytest.mark.costly

SIX_DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)  # so that the working directory is put back
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(tmp_path / "repository"))
    yield tmp_path


def watched(workspace: Workspace) -> list[str]:
    return [night.partition for night in Journal(ledger_url()).nights(workspace.name, until="2099-01-01")]


@pytest.mark.slow
def test_a_clinic_over_its_holiday(home: Path) -> None:
    nights = clinic()
    workspace = Workspace(home, "clinic", nights, weekdays=SIX_DAYS, nights_without_rows=4)
    assert (workspace.derived["profile"], workspace.derived["report_drift"]) == ({"window_nights": 6}, {"nights": 70})
    assert "nights" not in workspace.derived["derived_from"], "the declaration allows what the history shows"
    workspace.train()
    first = HOLIDAY[0] - dt.timedelta(days=6)
    span = [first + dt.timedelta(days=day) for day in range((HOLIDAY[1] - first).days + 3)]
    ended = {night: workspace.night(night) for night in span}
    assert ended == {night: "govern" if nights[night] else "publish_empty_night" for night in span}
    assert sorted(publications()) == watched(workspace) == [str(night) for night in span if nights[night]]
    assert empty_nights() == [str(night) for night in span if not nights[night]]
    drift = workspace.report("detect_drift")
    assert drift["window"] == [str(night) for night in span if nights[night]][-6:], "a window is of nights with rows"
    assert workspace.report("publish_scores")["rows"] == nights[span[-1]]
    measured = workspace.report("measure_performance")
    assert measured["partition"] == str(span[-1])
    decisions = Journal(ledger_url()).decisions(workspace.name)
    assert [row.partition for row in decisions] == watched(workspace)
    assert not any(row.retrain for row in decisions)

    last_open = HOLIDAY[0] - dt.timedelta(days=1)
    workspace.remove(last_open)
    assert "its scores are published; they were not changed" in workspace.night(last_open, "again")
    assert read_scores(str(last_open)).num_rows == nights[last_open], "rows that have vanished delete nothing"

    late = HOLIDAY[1]
    workspace.add({last_open: nights[last_open], late: 12})
    assert workspace.night(span[-1], "again") == "govern"
    assert f"LATE ROWS, not scored: {late} (12 rows)" in workspace.report("publish_scores")["note"]
    assert workspace.night(late, "late") == "govern"
    assert str(late) not in empty_nights()
    assert read_scores(str(late)).num_rows == 12


@pytest.mark.slow
def test_a_fifth_night_without_rows_stops_the_clinic(home: Path) -> None:
    nights = clinic()
    workspace = Workspace(home, "clinic", nights, weekdays=SIX_DAYS, nights_without_rows=4)
    workspace.train()
    fifth = HOLIDAY[1] + dt.timedelta(days=1)
    workspace.remove(fifth)
    assert workspace.night(HOLIDAY[1]) == "publish_empty_night"
    assert "more than 4 nights in a row without rows: the last rows before it are of 2024-03-28" in workspace.night(fifth)
    assert empty_nights() == [str(HOLIDAY[1])]


@pytest.mark.slow
def test_a_weekly_table_is_judged_over_its_weeks(home: Path) -> None:
    nights = market()
    workspace = Workspace(home, "market", nights, weekdays=["monday"])
    derived = workspace.derived
    assert (derived["profile"], derived["report_drift"]) == ({"window_nights": 5}, {"nights": 420})
    assert derived["validate_batch"]["row_count"]["every_days"] == 7
    assert derived["nightly_batch_scoring"]["cron"] == "0 2 * * 1", "replayed by whole weeks"
    assert derived["first_run"]["nights"] == [str(workspace.first + dt.timedelta(weeks=week)) for week in range(4)]
    workspace.train()
    mondays = [workspace.first + dt.timedelta(weeks=week) for week in range(7)]
    assert [workspace.night(night) for night in mondays] == ["govern"] * 7
    drift = workspace.report("detect_drift")
    assert (drift["nights"], drift["lacking"]) == (5, "")
    assert drift["window"] == [str(night) for night in mondays[-5:]]
    assert Journal(ledger_url()).decisions(workspace.name)[-1].findings["judged"]["drift"] is True
    assert [record.partition for record in Journal(ledger_url()).performance(workspace.name)] == [str(night) for night in mondays[:-1]]
    tuesday = mondays[-1] + dt.timedelta(days=1)
    assert workspace.night(tuesday) == "publish_empty_night"
    assert workspace.report("publish_empty_night")["note"] == "none are expected on a Tuesday"
    workspace.add({tuesday: 5})
    assert f"5 rows of Tuesday {tuesday}, a weekday that dataset.weekdays does not name" in workspace.night(tuesday, "again")
    assert workspace.night(mondays[-1], "again") == "govern"
