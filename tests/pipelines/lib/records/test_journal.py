"""The journal keeps what was seen and decided: repeats change nothing, corrections are counted, decisions stay."""

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.lib.core.errors import TransientError
from pipelines.lib.records.journal import Decision, Journal, NightRecord, PerformanceRecord, Verdict, of_published
from tests.servers import postgres

NIGHT = NightRecord("forest", "3", "2013-06-01", "refs/runs/a", 900, {"distance": [1, 2, 3]}, {"distance": {"psi": 0.1}})
SEEN = PerformanceRecord("forest", "2013-06-01", "3", "a" * 64, 880, {"auc": 0.7, "low": None}, [{"column": "origin", "value": "JFK"}])
NO = Decision("forest", "2013-06-01", "3", False, "no drift", {"features": []})
REFUSE = Verdict("forest", "drift__3__2013-06-01", "2013-06-01", "3", "4", "refuse", "worse by 0.02 AUC", "policy")


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


@pytest.mark.parametrize("change", [{"version": "4"}, {"publication": "f" * 64}])
def test_performance_of_a_night_that_was_scored_again_is_replaced(journal: Journal, change: dict[str, str]) -> None:
    journal.record_performance(SEEN)
    again = replace(SEEN, figures={"auc": 0.8}, **change)
    assert journal.record_performance(again)
    assert journal.performance("forest") == [replace(again, revision=2)]
    assert not journal.record_performance(again)


def test_what_is_about_another_publication_is_left_out() -> None:
    records = [
        replace(SEEN, partition=f"2013-06-0{day}", publication=published) for day, published in ((1, "a"), (2, "b"), (3, ""), (4, "d"))
    ]
    assert of_published(records, {"2013-06-01": "a", "2013-06-02": "c", "2013-06-03": "c"}) == [records[0], records[2]]


def test_what_is_derived_from_nights_is_kept_with_them(journal: Journal) -> None:
    for day in (1, 2, 3):
        journal.record_night(replace(NIGHT, partition=f"2013-06-{day:02d}"))
    journal.record_night(replace(NIGHT, version="4"))

    def complete(nights: list[NightRecord]) -> list[NightRecord]:
        return [replace(night, drift={"rows": sum(other.rows for other in nights)}) for night in nights[1:]]

    journal.record_nights([replace(NIGHT, rows=1)], since="2013-06-01", until="2013-06-02", complete=complete)
    found = journal.nights("forest", "3", until="2013-06-30")
    assert [(night.rows, night.drift.get("rows")) for night in found] == [(1, None), (900, 901), (900, None)]


OLD_TABLES = [
    """CREATE TABLE nights (name VARCHAR(200) NOT NULL, version VARCHAR(50) NOT NULL, partition VARCHAR(10) NOT NULL, run_ref TEXT NOT NULL,
    rows INTEGER NOT NULL, histogram JSON NOT NULL, drift JSON NOT NULL, PRIMARY KEY (name, version, partition))""",
    """CREATE TABLE performance (name VARCHAR(200) NOT NULL, partition VARCHAR(10) NOT NULL, version VARCHAR(50) NOT NULL,
    outcomes_sha256 VARCHAR(64) NOT NULL, revision INTEGER NOT NULL, rows INTEGER NOT NULL, figures JSON NOT NULL, slices JSON NOT NULL,
    PRIMARY KEY (name, partition))""",
    "INSERT INTO nights VALUES ('forest', '3', '2013-06-01', 'refs/runs/a', 900, '{\"distance\": [1, 2, 3]}', '{\"distance\": {\"psi\": 0.1}}')",
    """INSERT INTO performance (name, partition, version, outcomes_sha256, revision, rows, figures, slices) VALUES ('forest', '2013-06-01', '3', 'aaaa', 1, 880, '{"auc": 0.7}', '[]')""",
]


def test_a_journal_of_an_earlier_nightshift_goes_on(url: str, tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(exist_ok=True)
    with sa.create_engine(url).begin() as connection:
        for statement in OLD_TABLES:
            connection.exec_driver_sql(statement)
    with ThreadPoolExecutor(8) as pool:  # all of them are the first to see the old tables
        found = list(pool.map(lambda _: Journal(url).performance("forest"), range(8)))
    assert found == [[PerformanceRecord("forest", "2013-06-01", "3", "aaaa", 880, {"auc": 0.7})]] * 8
    journal = Journal(url)
    assert journal.nights("forest", until="2013-06-01") == [NIGHT]
    assert journal.record_performance(replace(found[0][0], publication="b" * 64))
    journal.record_night(replace(NIGHT, publication="b" * 64))
    assert journal.nights("forest", until="2013-06-01")[0].publication == journal.performance("forest")[0].publication == "b" * 64
    with sa.create_engine(url).begin() as connection:  # an earlier Nightshift that is still running writes as it did
        connection.exec_driver_sql(OLD_TABLES[3].replace("2013-06-01", "2013-06-02"))
    assert journal.performance("forest")[1].publication == ""


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


def test_a_verdict_is_recorded_once_per_run(journal: Journal) -> None:
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


@pytest.mark.costly
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


@pytest.mark.costly
def test_a_database_that_does_not_answer_is_worth_a_retry() -> None:
    with pytest.raises(TransientError, match=r"the journal at .* did not answer"):
        Journal("postgresql://nobody:secret@127.0.0.1:1/none").record_night(NIGHT)
