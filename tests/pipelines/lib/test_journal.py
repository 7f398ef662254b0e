"""The journal keeps what was seen and decided: repeats change nothing, corrections are counted, decisions stay."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.lib.errors import TransientError
from pipelines.lib.journal import Decision, Journal, NightRecord, PerformanceRecord, Verdict
from tests.servers import postgres

NIGHT = NightRecord("forest", "3", "2013-06-01", "refs/runs/a", 900, {"distance": [1, 2, 3]}, {"distance": {"psi": 0.1}})
SEEN = PerformanceRecord("forest", "2013-06-01", "3", "a" * 64, 880, {"auc": 0.7, "low": None}, [{"column": "origin", "value": "JFK"}])
NO = Decision("forest", "2013-06-01", "3", False, "no drift", {"features": []})
REFUSE = Verdict("forest", "drift__3__2013-06-01", "2013-06-01", "3", "4", "refuse", "worse by .02 AUC", "policy")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"
    else:
        with postgres() as socket:
            yield f"postgresql+psycopg2://postgres@/postgres?host={socket}"


@pytest.fixture
def journal(url: str) -> Journal:
    return Journal(url)


def test_an_empty_journal_has_nothing_to_say(journal: Journal) -> None:
    assert journal.nights("forest", "3", until="2014-01-01", count=7) == []
    assert journal.performance("forest") == []
    assert journal.decisions("forest") == []
    assert journal.verdicts("forest") == []


def test_a_night_comes_back_as_recorded_and_a_repeat_replaces_it(journal: Journal) -> None:
    journal.record_night(NIGHT)
    journal.record_night(NIGHT)
    assert journal.nights("forest", "3", until="2013-06-01", count=7) == [NIGHT]
    journal.record_night(replace(NIGHT, rows=901, histogram={"distance": [1, 2, 4]}))
    [night] = journal.nights("forest", "3", until="2013-06-01", count=7)
    assert (night.rows, night.histogram) == (901, {"distance": [1, 2, 4]})


def test_the_window_holds_the_last_nights_of_one_version_oldest_first(journal: Journal) -> None:
    for day in range(1, 10):
        journal.record_night(replace(NIGHT, partition=f"2013-06-{day:02d}"))
    journal.record_night(replace(NIGHT, version="4", partition="2013-06-05"))
    journal.record_night(replace(NIGHT, name="other"))
    window = journal.nights("forest", "3", until="2013-06-08", count=3)
    assert [night.partition for night in window] == ["2013-06-06", "2013-06-07", "2013-06-08"]
    assert len(journal.nights("forest", until="2013-06-30")) == 10


def test_performance_changes_only_with_its_outcomes(journal: Journal) -> None:
    assert journal.record_performance(SEEN)
    assert not journal.record_performance(replace(SEEN, figures={"auc": 0.1}))
    assert journal.performance("forest") == [SEEN]
    assert journal.record_performance(replace(SEEN, outcomes_sha256="b" * 64, figures={"auc": 0.6}, revision=7))
    [seen] = journal.performance("forest")
    assert (seen.revision, seen.figures) == (2, {"auc": 0.6})


def test_performance_of_a_night_that_another_version_scored_again_is_replaced_but_not_corrected(journal: Journal) -> None:
    journal.record_performance(SEEN)
    assert journal.record_performance(replace(SEEN, version="4", figures={"auc": 0.8}))
    [seen] = journal.performance("forest")
    assert (seen.version, seen.revision, seen.figures) == ("4", 1, {"auc": 0.8})


def test_performance_is_read_from_since_to_until(journal: Journal) -> None:
    for day in (3, 1, 2):
        journal.record_performance(replace(SEEN, partition=f"2013-06-{day:02d}"))
    assert [seen.partition for seen in journal.performance("forest", since="2013-06-02", until="2013-06-02")] == ["2013-06-02"]
    assert [seen.partition for seen in journal.performance("forest")] == ["2013-06-01", "2013-06-02", "2013-06-03"]


def test_a_decision_that_says_the_same_again_adds_nothing(journal: Journal) -> None:
    first = journal.record_decision(NO)
    journal.record_decision(replace(NO, partition="2013-06-02"))
    assert first.recorded_at is not None
    assert journal.record_decision(replace(NO, findings={"features": ()})) == first  # a tuple is a list once it is JSON
    assert [row.sequence for row in journal.decisions("forest")] == [1, 2]


def test_a_decision_that_was_turned_over_is_another_row_and_so_is_turning_it_back(journal: Journal) -> None:
    for retrain in (False, True, False):
        journal.record_decision(replace(NO, retrain=retrain))
    assert [(row.sequence, row.retrain) for row in journal.decisions("forest", until="2013-06-01")] == [(1, False), (2, True), (3, False)]
    assert journal.decisions("forest", until="2013-05-31") == []


def test_a_verdict_is_recorded_once_a_run(journal: Journal) -> None:
    first = journal.record_verdict(REFUSE)
    assert journal.record_verdict(replace(REFUSE, reason="asked again")) == first
    done = journal.record_verdict(replace(REFUSE, verdict="refused"))
    other = journal.record_verdict(replace(REFUSE, run_id="drift__3__2013-06-09", champion=None))
    assert journal.verdicts("forest") == [first, done, other]


def test_a_verdict_on_another_challenger_of_a_run_of_the_same_name_is_another_one(journal: Journal) -> None:
    """On a laptop every run is called alike."""
    first = journal.record_verdict(replace(REFUSE, run_id="laptop"))
    second = journal.record_verdict(replace(REFUSE, run_id="laptop", challenger="5"))
    assert journal.record_verdict(replace(REFUSE, run_id="laptop", challenger="5", reason="asked again")) == second
    assert journal.verdicts("forest") == [first, second]


def _write(url: str, number: int) -> tuple[bool, int]:
    journal = Journal(url)
    journal.record_night(replace(NIGHT, rows=number))
    changed = journal.record_performance(SEEN)
    journal.record_verdict(REFUSE)
    journal.record_decision(NO)
    return changed, journal.record_decision(replace(NO, partition=f"2013-06-{2 + number % 4:02d}")).sequence


def test_many_processes_at_once_write_each_thing_once(url: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        written = pool.starmap(_write, [(url, number) for number in range(16)])
    journal = Journal(url)
    assert sum(changed for changed, _ in written) == 1
    assert len(journal.nights("forest", "3", until="2013-06-01", count=9)) == 1
    assert len(journal.verdicts("forest")) == 1
    decisions = journal.decisions("forest")
    assert [row.sequence for row in decisions] == [1, 2, 3, 4, 5]
    assert {row.partition for row in decisions} == {f"2013-06-{day:02d}" for day in range(1, 6)}


@pytest.mark.parametrize("table", ["decisions", "verdicts"])
@pytest.mark.parametrize("statement", ["UPDATE {} SET reason = 'another'", "DELETE FROM {}"])
def test_what_was_decided_cannot_be_changed_or_removed(url: str, table: str, statement: str) -> None:
    journal = Journal(url)
    journal.record_decision(NO)
    journal.record_verdict(REFUSE)
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), sa.create_engine(url).begin() as connection:
        connection.execute(sa.text(statement.format(table)))
    assert journal.decisions("forest")[0].reason == "no drift"


def test_a_database_that_does_not_answer_is_worth_a_retry() -> None:
    with pytest.raises(TransientError, match=r"the journal at .* did not answer"):
        Journal("postgresql://nobody:secret@127.0.0.1:1/none").record_night(NIGHT)
