"""`make demo` brings a champion where there is none, and leaves everybody else's alone."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from deploy.embedded.first_champion import ACTOR, TrainingError, train_first_champion
from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core import home
from pipelines.lib.records.ledger import Entry, Ledger


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path))
    monkeypatch.delenv("NIGHTSHIFT_LEDGER_URL", raising=False)


def _promoted(actor: str, reason: str) -> Entry:
    entry = Entry(load_registry().name, 1, "promote", "7", "a" * 64, "/model.onnx", None, "2013-04-01", actor, reason)
    return Ledger(home.ledger_url()).append(entry)


def test_a_champion_that_somebody_chose_is_kept_and_nothing_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.embedded.first_champion.workspaces.open_workspace", lambda *_: pytest.fail("it trains"))
    messages: list[str] = []
    chosen = _promoted("ada", "version 8 missed the storm")
    assert train_first_champion(messages.append) == chosen
    assert messages == ["keeping version 7, which ada made champion (version 8 missed the storm)"]


@pytest.mark.parametrize("before", ["nobody", ACTOR])
def test_its_own_champion_and_none_give_way_to_the_trees_model(before: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class TrainsError(Exception):
        pass

    def trains(*_: object) -> None:
        raise TrainsError

    monkeypatch.setattr("deploy.embedded.first_champion.workspaces.open_workspace", trains)
    if before == ACTOR:
        _promoted(ACTOR, "first champion")
    with pytest.raises(TrainsError):
        train_first_champion(lambda _: None)


def test_a_first_night_before_the_champions_own_is_refused_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger knows no champion of such a night, so its monitoring would fail after all nights were published."""
    monkeypatch.setattr("deploy.embedded.first_champion.workspaces.open_workspace", lambda *_: pytest.fail("it trains"))
    Ledger(home.ledger_url()).append(
        Entry(load_registry().name, 1, "promote", "7", "a" * 64, "/m.onnx", None, "2013-05-01", ACTOR, "first")
    )
    with pytest.raises(TrainingError, match=r"first night is 2013-04-01, but .* is champion from 2013-05-01 on"):
        train_first_champion(lambda _: None)


def test_its_next_champion_replaces_its_own_on_the_nights_that_are_scored_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nights of the demo are published already: the ledger must still say that they are this champion's, which scores them again."""
    commands: list[list[str]] = []
    module = "deploy.embedded.first_champion"
    place = SimpleNamespace(
        dag_id="first_champion", run_id="run", ref="refs/runs/first_champion/run", commit="c" * 40, snapshot=False, path=tmp_path
    )
    for name, answer in (("workspaces.open_workspace", place), ("run_record.record_run", None), ("workspaces.remove_workspace", None)):
        monkeypatch.setattr(f"{module}.{name}", lambda *_, answer=answer: answer)
    monkeypatch.setattr(f"{module}._run", lambda _, command, progress: commands.append(list(command)))
    _promoted(ACTOR, "first champion")
    train_first_champion(lambda _: None)
    promote = next(command for command in commands if "pipelines.registry.promote" in command)
    assert promote[promote.index("--live-from") + 1] == "2013-04-01"
    assert promote[promote.index("--expect") + 1] == "7"
