"""Promotions that race or die: there is always exactly one champion, and the ledger has no gap."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.lib.challengers.decision import Decision
from pipelines.lib.champions.registry import connect
from pipelines.lib.core import home
from pipelines.lib.records.ledger import Entry, Ledger
from tests.registered_models import NAME, Installation, copy_template, make_template
from tests.servers import postgres

pytestmark = [pytest.mark.faults, pytest.mark.slow]

RACERS = 50
ROOT = Path(__file__).resolve().parents[2]

RACE = """
import multiprocessing, sys
from pipelines.lib.champions.registry import Registered
from pipelines.lib.core import home
from pipelines.lib.core.errors import LedgerConflict
from pipelines.lib.records.ledger import Ledger
from pipelines.registry.promote import promote


def race(number, ready, ends):
    version = Registered(name="forest", version=str(number), sha256=f"{number:064x}", model_uri=f"/models/{number}/model.onnx")
    ready.wait()
    try:
        entry = promote(Ledger(home.ledger_url()), version, expect="1", live_from="2013-04-02", actor=f"racer {number}", reason="a race")
        ends.put(f"champion {entry.sequence}")
    except LedgerConflict as error:
        ends.put(f"LedgerConflict: {error}")


racers, fork = int(sys.argv[1]), multiprocessing.get_context("fork")
ready, ends = fork.Barrier(racers), fork.Queue()
started = [fork.Process(target=race, args=(number, ready, ends)) for number in range(2, racers + 2)]
for process in started:
    process.start()
print(*(ends.get(timeout=120) for _ in started), sep="\\n")
"""
"""Processes that have imported everything before they part, so that all of them are ready at once."""

KILLED = """
import os, signal, sys
from importlib import import_module
from pipelines.lib.records.ledger import Ledger

stage = import_module("pipelines.registry." + sys.argv[1])
appended = Ledger.append


def append(*arguments, **more):  # from here on it dies between the ledger and the aliases
    stage.project_aliases = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    return appended(*arguments, **more)


Ledger.append = append
sys.exit(stage.main(sys.argv[2:]))
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ledger.db'}"
        return
    with postgres() as socket:
        yield f"postgresql+psycopg://postgres@/postgres?host={socket}"


def test_of_fifty_at_once_one_wins_and_the_others_get_the_reason(url: str) -> None:
    """Processes of their own, which start together."""
    ledger = Ledger(url)
    ledger.append(Entry("forest", 1, "promote", "1", "a" * 64, "/models/1/model.onnx", None, "2013-04-01", "ada", "first"))
    environment = {**os.environ, "NIGHTSHIFT_LEDGER_URL": url, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", RACE, str(RACERS)], env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    ends = done.stdout.splitlines()
    assert ends.count("champion 2") == 1
    refused = [end for end in ends if end != "champion 2"]
    assert len(refused) == RACERS - 1
    assert all(end.startswith("LedgerConflict: ") and "decide again" in end for end in refused), refused
    history = ledger.history("forest")
    assert [entry.sequence for entry in history] == [1, 2]
    assert history[1].from_version == "1"
    assert history[1].actor == f"racer {history[1].version}"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registered")
    make_template(directory)
    return directory


@pytest.fixture
def installation(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Version 2 is champion after version 1, everywhere; the run that works here has registered version 3."""
    found = copy_template(template, tmp_path / "installation", monkeypatch)
    found.promoted("1", "2")
    found.opened("2", "3")
    client = connect()
    client.set_registered_model_alias(NAME, "champion", "2")
    client.set_registered_model_alias(NAME, "previous", "1")
    return found


def _run(code: list[str]) -> int:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, *code], env=environment, check=False, capture_output=True).returncode


PROMOTE = ["--registered", "data/models/registered.json", "--actor", "ada", "--reason", "better"]
ROLLBACK = ["--to", "previous", "--actor", "ada", "--reason", "worse", "--request", "one"]
VERIFY = ["--registered", "data/models/registered.json", "--golden", "data/reports/evaluate/golden.json"]
REFUSE = ["--registered", "data/models/registered.json", "--reason", "worse"]


@pytest.mark.parametrize(
    ("killed", "touch", "aliases"),
    [
        (["promote", *PROMOTE], ["promote", *PROMOTE], {"champion": "3", "previous": "2"}),
        (["promote", *PROMOTE], ["verify", *VERIFY], {"champion": "3", "previous": "2"}),
        (["promote", *PROMOTE], ["refuse", *REFUSE], {"champion": "3", "previous": "2"}),
        (["promote", *PROMOTE], ["rollback", *ROLLBACK], {"champion": "2", "previous": "1"}),
        (["rollback", *ROLLBACK], ["rollback", *ROLLBACK], {"champion": "1", "previous": "2"}),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_kill_between_the_ledger_and_the_aliases_is_repaired_at_the_next_touch(
    installation: Installation, killed: list[str], touch: list[str], aliases: dict[str, str]
) -> None:
    assert _run(["-c", KILLED, *killed]) == -signal.SIGKILL
    assert installation.aliases() == {"champion": "2", "previous": "1"}, "not yet"
    moved = Ledger(home.ledger_url()).champion(NAME)
    assert moved is not None
    assert moved.sequence == 3
    assert _run(["-m", f"pipelines.registry.{touch[0]}", *touch[1:]]) == 0
    assert installation.aliases() == aliases
    entries = 4 if (killed[0], touch[0]) == ("promote", "rollback") else 3
    assert [entry.sequence for entry in installation.ledger.history(NAME)] == list(range(1, entries + 1))


def test_a_verification_that_is_killed_in_its_rollback_ends_it_when_it_runs_again(installation: Installation) -> None:
    assert _run(["-m", "pipelines.registry.promote", *PROMOTE]) == 0
    Path(installation.versions["3"].model_uri).unlink()
    assert _run(["-c", KILLED, "verify", *VERIFY]) == -signal.SIGKILL
    assert installation.aliases() == {"champion": "3", "previous": "2"}, "not yet"
    assert _run(["-m", "pipelines.registry.verify", *VERIFY]) == 1, "red, since it was rolled back"
    assert installation.aliases() == {"champion": "2", "previous": "1"}
    assert [entry.version for entry in installation.ledger.history(NAME)] == ["1", "2", "3", "2"]
    assert [verdict.verdict for verdict in installation.journal.verdicts(NAME)] == ["rolled_back"]


def test_of_two_retrainings_at_once_one_wins_and_the_other_is_on_record_as_refused(template: Path, tmp_path: Path) -> None:
    """Two workspaces that were pinned to version 1, the tasks of both runs side by side in processes of their own."""
    with pytest.MonkeyPatch.context() as patch:
        found = copy_template(template, tmp_path / "installation", patch)
        found.promoted("1")
        places = {}
        for challenger in ("2", "3"):
            places[challenger] = found.root / f"workspace-{challenger}"
            shutil.copytree(found.root / "workspace", places[challenger])
            patch.chdir(places[challenger])
            found.opened("1", challenger, run_id=f"run-{challenger}")
            decided = Decision("2013-04-01", "1", challenger, "promote", ("AUC 0.03 better",), None)
            decision = places[challenger] / "data/reports/decide/decision.json"
            decision.parent.mkdir(parents=True)
            decision.write_text(decided.to_json())
        connect().set_registered_model_alias(NAME, "challenger", "3")
        promoted = _at_once(
            places, "promote", "--registered", "data/models/registered.json", "--decision", "data/reports/decide/decision.json"
        )
        assert sorted(promoted.values()) == [0, 1]
        [winner] = [challenger for challenger, code in promoted.items() if code == 0]
        [loser] = set(places) - {winner}
        messages = json.loads((places[loser] / "failure.json").read_text())
        assert (messages["error"], messages["retryable"]) == ("LedgerConflict", False)
        assert set(_at_once(places, "verify", *VERIFY).values()) == {0}, "there is nothing to verify for the one that lost"
        assert [entry.version for entry in found.ledger.history(NAME)] == ["1", winner]
        assert [entry.sequence for entry in found.ledger.history(NAME)] == [1, 2]
        assert found.aliases() == {"champion": winner, "previous": "1"}
        verdicts = {(row.run_id, row.verdict): row.reason for row in found.journal.verdicts(NAME)}
        assert set(verdicts) == {(f"run-{winner}", "promoted"), (f"run-{loser}", "refused")}
        assert verdicts[f"run-{loser}", "refused"] == messages["message"]


def _at_once(places: dict[str, Path], stage: str, *arguments: str) -> dict[str, int]:
    """Return the exit codes of `stage`, run in all `places` at the same time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", f"pipelines.registry.{stage}", *arguments]
    runs = {name: subprocess.Popen(command, cwd=place, env=environment, stdout=subprocess.DEVNULL) for name, place in places.items()}
    return {name: run.wait(timeout=120) for name, run in runs.items()}
