"""The ledger keeps every decision, lets nobody change one, and of many at once lets one through."""

import multiprocessing
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.lib.core.errors import ConfigError, LedgerConflict, NightshiftError, TransientError
from pipelines.lib.records.ledger import Entry, Ledger

FIRST = Entry("forest", 1, "promote", "1", "a" * 64, "/models/1/model.onnx", None, "2013-04-01", "ada", "first")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'state' / 'ledger.db'}"


def _append(url: str, version: str) -> str | None:
    try:
        Ledger(url).append(replace(FIRST, sequence=2, version=version))
    except LedgerConflict:
        return None
    return version


def test_an_empty_ledger_knows_no_champion(url: str) -> None:
    ledger = Ledger(url)
    assert ledger.champion("forest") is None
    assert ledger.previous("forest") is None
    assert ledger.champion_as_of("forest", "2013-04-01") is None


def test_entries_come_back_as_they_were_recorded(url: str) -> None:
    entry = replace(FIRST, evidence={"auc": 0.7})
    recorded = Ledger(url).append(entry)
    assert recorded.recorded_at is not None
    assert Ledger(url).history("forest") == [recorded]
    assert replace(recorded, recorded_at=None) == entry


def test_previous_is_the_version_before_also_after_a_rollback(url: str) -> None:
    ledger = Ledger(url)
    ledger.append(FIRST)
    ledger.append(replace(FIRST, sequence=2, version="2", live_from="2013-05-01"))
    ledger.append(replace(FIRST, sequence=3, version="1", action="rollback", live_from="2013-05-03"))
    champion, previous = ledger.champion("forest"), ledger.previous("forest")
    assert champion and previous
    assert (champion.version, previous.version) == ("1", "2")


@pytest.mark.parametrize(
    ("moves", "line", "previous"),
    [
        ("", "", None),
        ("1", "1", None),
        ("1 2 3", "123", "2"),
        ("1 2 3 <2", "12", "1"),
        ("1 2 3 <2 <1", "1", "2"),
        ("1 2 3 <1 <3", "13", "1"),
        ("1 2 <1 3", "13", "1"),
        ("1 2 1 3 <1", "121", "2"),
    ],
)
def test_the_line_leaves_out_what_was_rolled_back_from(url: str, moves: str, line: str, previous: str | None) -> None:
    """A rollback leads to the champion before, and a second one to the one before that, not forward to what was just left."""
    ledger = Ledger(url)
    for number, move in enumerate(moves.split(), 1):
        action = "rollback" if move.startswith("<") else "promote"
        ledger.append(replace(FIRST, sequence=number, version=move.removeprefix("<"), action=action))
    assert "".join(entry.version for entry in ledger.line("forest")) == line
    found = ledger.previous("forest")
    assert (found.version if found else None) == previous


@pytest.mark.parametrize(("partition", "version"), [("2013-03-31", None), ("2013-04-01", "1"), ("2013-04-30", "1"), ("2013-05-01", "2")])
def test_as_of_a_partition_the_version_that_was_live_then(url: str, partition: str, version: str | None) -> None:
    ledger = Ledger(url)
    ledger.append(FIRST)
    ledger.append(replace(FIRST, sequence=2, version="2", live_from="2013-05-01"))
    entry = ledger.champion_as_of("forest", partition)
    assert (entry.version if entry else None) == version


def test_names_do_not_mix(url: str) -> None:
    ledger = Ledger(url)
    ledger.append(FIRST)
    ledger.append(replace(FIRST, name="encoder", version="9"))
    champion = ledger.champion("forest")
    assert champion and champion.version == "1"
    assert ledger.names() == ["encoder", "forest"]


@pytest.mark.parametrize("sequence", [0, 2, 7])
def test_a_stale_sequence_is_refused(url: str, sequence: int) -> None:
    with pytest.raises(LedgerConflict, match="decide again"):
        Ledger(url).append(replace(FIRST, sequence=sequence))


def test_nothing_is_live_before_what_it_follows(url: str) -> None:
    ledger = Ledger(url)
    ledger.append(replace(FIRST, live_from="2013-05-01"))
    with pytest.raises(ConfigError, match=r"cannot be live from 2013-04-30: .* version 1, is live from 2013-05-01 \(entry 1\)"):
        ledger.append(replace(FIRST, sequence=2, version="2", live_from="2013-04-30"))
    assert len(ledger.history("forest")) == 1
    ledger.append(replace(FIRST, sequence=2, version="2", live_from="2013-05-01"))


@pytest.mark.costly
def test_of_eight_at_once_one_wins(url: str) -> None:
    Ledger(url).append(FIRST)
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        won = [version for version in pool.starmap(_append, [(url, str(version)) for version in range(2, 10)]) if version]
    assert len(won) == 1
    assert [entry.version for entry in Ledger(url).history("forest")] == ["1", *won]


@pytest.mark.parametrize("statement", ["UPDATE ledger SET version = '2'", "DELETE FROM ledger"])
def test_a_line_cannot_be_changed_or_removed(url: str, statement: str) -> None:
    ledger = Ledger(url)
    recorded = ledger.append(FIRST)
    with pytest.raises(sa.exc.IntegrityError, match="append-only"), sa.create_engine(url).begin() as connection:
        connection.execute(sa.text(statement))
    assert ledger.history("forest") == [recorded]


def test_a_database_that_does_not_answer_is_worth_a_retry(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises((TransientError, OSError)):
        Ledger(f"sqlite:///{tmp_path / 'file' / 'ledger.db'}").champion("forest")
    with pytest.raises(TransientError, match="did not answer"):
        Ledger("postgresql://nobody:secret@127.0.0.1:1/none").champion("forest")


def test_the_password_is_never_shown() -> None:
    with pytest.raises(NightshiftError) as error:
        Ledger("postgresql://nobody:secret@127.0.0.1:1/none").champion("forest")
    assert "secret" not in str(error.value)


def test_other_databases_are_refused() -> None:
    with pytest.raises(NightshiftError, match="cannot live in 'mysql'"):
        Ledger("mysql://localhost/x")
