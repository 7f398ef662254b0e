"""A refusal is recorded in three places, and does not change the champion."""

import json
from pathlib import Path

import pytest

from pipelines.lib.champions.registry import connect
from pipelines.registry.refuse import main
from tests.pipelines.registry.test_promote import decide, failure
from tests.registered_models import NAME, Installation

pytestmark = pytest.mark.costly

REGISTERED = ["--registered", "data/models/registered.json"]


@pytest.fixture
def retraining(installation_of_three: Installation) -> Installation:
    installation_of_three.promoted("1")
    installation_of_three.opened("1", "2")
    connect().set_registered_model_alias(NAME, "challenger", "2")
    return installation_of_three


def tags(version: str) -> dict[str, str]:
    return dict(connect().get_model_version(NAME, version).tags)


def test_the_version_the_journal_and_the_note_say_why(retraining: Installation) -> None:
    decide("refuse", "the AUC is lower", "the log loss is higher")
    for _ in range(2):  # the second time changes nothing
        assert main([*REGISTERED, "--decision", "data/reports/decide/decision.json"]) == 0
    assert tags("2") == {"refused": "the AUC is lower; the log loss is higher", "refused_by": "decide"}
    assert retraining.aliases() == {"champion": "1"}, "no challenger any more, and the champion's alias was repaired"
    [verdict] = retraining.journal.verdicts(NAME)
    assert (verdict.verdict, verdict.challenger, verdict.champion, verdict.actor) == ("refused", "2", "1", "decide")
    note = json.loads(Path("data/reports/refuse/report.json").read_text())["note"]
    assert note == "REFUSED version 2 (decide): the AUC is lower; the log loss is higher"
    assert len(retraining.ledger.history(NAME)) == 1


def test_a_person_refuses_with_a_name(retraining: Installation) -> None:
    assert main([*REGISTERED, "--actor", "ada", "--reason", "rejected by ada: not before the holidays"]) == 0
    assert tags("2")["refused_by"] == "ada"


def test_a_newer_challenger_keeps_its_alias(retraining: Installation) -> None:
    connect().set_registered_model_alias(NAME, "challenger", "3")
    assert main([*REGISTERED, "--reason", "worse"]) == 0
    assert retraining.aliases()["challenger"] == "3"


def test_the_champion_that_was_trained_again_is_not_marked(retraining: Installation) -> None:
    retraining.opened("1", "1", run_id="again")
    assert main([*REGISTERED, "--reason", "the same model"]) == 0
    assert tags("1") == {}
    assert retraining.aliases()["champion"] == "1"


def test_without_a_reason_nothing_is_refused(retraining: Installation) -> None:
    assert main(REGISTERED) == 1
    assert failure()[0] == "ConfigError"
    assert tags("2") == {}


def test_a_decision_on_another_version_refuses_nothing(retraining: Installation) -> None:
    path = Path("data/reports/decide/decision.json")
    decide("refuse", "the AUC is lower")
    path.write_text(json.dumps({**json.loads(path.read_text()), "challenger": "3"}))
    assert main([*REGISTERED, "--decision", str(path)]) == 1
    assert "is the decision on version 3, but version 2 is registered" in json.loads(Path("failure.json").read_text())["message"]
    assert "refused" not in tags("2")
