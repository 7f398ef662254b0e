"""One step back, by name or to the one before: recorded, fenced, verified, and undone in the same way."""

import json
from pathlib import Path

import pytest

from pipelines.lib.champions.registry import load_registry, next_night
from pipelines.lib.core.errors import ConfigError, LedgerConflict, ModelError
from pipelines.registry.rollback import main, rollback
from tests.registered_models import NAME, Installation

pytestmark = pytest.mark.costly

BY = ["--actor", "ada", "--reason", "it missed the storm"]


def back(installation: Installation, to: str = "previous", **more: str) -> str:
    return rollback(installation.ledger, NAME, to=to, actor="ada", reason="it missed the storm", **more).version


def failure() -> dict[str, object]:
    return dict(json.loads(Path("failure.json").read_text()))


def test_one_step_back_is_on_record_and_in_the_aliases(installation_of_three: Installation) -> None:
    installation_of_three.promoted("1", "2")
    assert main(["--to", "previous", *BY]) == 0
    entry = installation_of_three.ledger.champion(NAME)
    assert entry is not None
    assert (entry.action, entry.version, entry.from_version) == ("rollback", "1", "2")
    assert (entry.actor, entry.reason, entry.sha256) == ("ada", "it missed the storm", installation_of_three.versions["1"].sha256)
    assert installation_of_three.aliases() == {"champion": "1", "previous": "2"}
    assert "version 1 is champion from" in json.loads(Path("data/reports/rollback/report.json").read_text())["note"]


def test_it_is_live_from_the_night_after_the_newest_published_one(installation_of_three: Installation) -> None:
    installation_of_three.promoted("1", "2")
    back(installation_of_three)
    entry = installation_of_three.ledger.champion(NAME)
    assert entry and entry.live_from == "2013-03-01", "nothing is published: from where the champion was"
    installation_of_three.publish()
    back(installation_of_three, "2")
    entry = installation_of_three.ledger.champion(NAME)
    assert entry and entry.live_from == "2013-04-02"
    as_was = installation_of_three.ledger.champion_as_of(NAME, "2013-04-01")
    assert as_was and as_was.version == "1"


def test_an_encoder_is_live_from_the_models_next_night(installation_of_three: Installation) -> None:
    """No night is published under the encoder's name: its rollback would be live from the old champion's first night, and the index overdue."""
    installation_of_three.publish()
    encoder = load_registry().encoder
    assert encoder != NAME
    assert next_night(encoder, "2013-03-01") == "2013-04-02"
    assert next_night(encoder, "2013-05-01") == "2013-05-01"
    assert next_night("another", "2013-03-01") == "2013-03-01"


def test_two_steps_back_are_two_steps_and_forward_again_goes_by_name(installation_of_three: Installation) -> None:
    installation_of_three.promoted("1", "2", "3")
    assert [back(installation_of_three), back(installation_of_three)] == ["2", "1"]
    with pytest.raises(ModelError, match=r" had no champion before version 1; name a version to roll forward to: 2, 3"):
        back(installation_of_three)
    assert back(installation_of_three, "3") == "3"
    assert back(installation_of_three) == "1", "what was rolled back from does not come back by itself"
    assert [entry.sequence for entry in installation_of_three.ledger.history(NAME)] == list(range(1, 8))


@pytest.mark.parametrize("to", ["3", "99"])
def test_a_version_that_never_was_champion_is_refused(installation_of_three: Installation, to: str) -> None:
    installation_of_three.promoted("1", "2")
    with pytest.raises(ModelError, match=rf"version {to} is unknown or was never champion; name a former champion: 1, 2"):
        back(installation_of_three, to)
    assert len(installation_of_three.ledger.history(NAME)) == 2


def test_the_champion_itself_is_refused(installation_of_three: Installation) -> None:
    installation_of_three.promoted("1", "2")
    with pytest.raises(ConfigError, match="version 2 is already champion, since entry 2 by test; nothing was changed"):
        back(installation_of_three, "2")


def test_without_any_champion_there_is_nothing_to_roll_back(installation_of_three: Installation) -> None:
    with pytest.raises(ModelError, match="has no champion yet"):
        back(installation_of_three)


@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_a_target_whose_file_is_not_whole_changes_nothing(installation_of_three: Installation, fault: str) -> None:
    installation_of_three.promoted("1", "2")
    file = Path(installation_of_three.versions["1"].model_uri)
    file.unlink() if fault == "missing" else file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(ModelError, match="version 1"):
        back(installation_of_three)
    assert len(installation_of_three.ledger.history(NAME)) == 2


def test_a_request_that_expects_another_champion_changes_nothing(installation_of_three: Installation) -> None:
    installation_of_three.promoted("1", "2", "3")
    with pytest.raises(LedgerConflict, match="is version 3, not 2"):
        back(installation_of_three, expect="2")
    assert back(installation_of_three, expect="3") == "2"


def test_a_request_that_is_repeated_is_fulfilled_once(installation_of_three: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow is down: the ledger changes nevertheless, and the task's next attempt repairs the aliases without a second step."""
    installation_of_three.promoted("1", "2", "3")
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        assert main(["--to", "previous", *BY, "--request", "champion_rollback/one"]) == 1
    assert (failure()["error"], failure()["retryable"]) == ("TransientError", True)
    champion = installation_of_three.ledger.champion(NAME)
    assert champion and champion.version == "2"
    assert main(["--to", "previous", *BY, "--request", "champion_rollback/one"]) == 0
    assert installation_of_three.aliases() == {"champion": "2", "previous": "1"}
    assert len(installation_of_three.ledger.history(NAME)) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "../1", *BY], "--to is '../1'"),
        (["--to", "", *BY], "--to is ''"),
        (["--to", "1" * 10, *BY], "--to is"),
        (["--to", "1\n", *BY], "--to is"),
        (["--to", "١", *BY], "--to is"),
        (["--actor", " ", "--reason", "x"], "--actor is empty"),
        (["--actor", "ada", "--reason", ""], "--reason is empty"),
    ],
)
def test_an_argument_that_is_not_a_version_or_is_empty_is_refused_by_name(
    installation_of_three: Installation, arguments: list[str], message: str
) -> None:
    installation_of_three.promoted("1", "2")
    assert main(arguments) == 1
    assert (failure()["error"], failure()["retryable"]) == ("ConfigError", False)
    assert str(failure()["message"]).startswith(message)
    assert len(installation_of_three.ledger.history(NAME)) == 2
