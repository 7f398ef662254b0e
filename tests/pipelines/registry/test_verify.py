"""A new champion with any fault is rolled back immediately; a check that cannot be made is tried again."""

import errno
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pipelines.lib.champions import registry
from pipelines.lib.champions.registry import Registered, connect, project_aliases
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.features.signature import Signature
from pipelines.lib.models import inference
from pipelines.lib.models.golden import Golden
from pipelines.lib.models.inference import load_model
from pipelines.lib.published import nights
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.registry.verify import Verify, main, shadow_faults, verify
from tests import scored_night
from tests.pipelines.registry.test_promote import failure
from tests.registered_models import NAME, REF, ROWS, Installation, change_score

pytestmark = pytest.mark.costly

ARGUMENTS = ["--registered", "data/models/registered.json", "--golden", "data/reports/evaluate/golden.json"]
GOLDEN = Path("data/reports/evaluate/golden.json")


@pytest.fixture
def promoted(installation_of_three: Installation) -> Installation:
    """The installation after version 2 has replaced champion 1. A night that version 1 has scored is published."""
    installation_of_three.publish()
    installation_of_three.promoted("1", "2")
    installation_of_three.opened("1", "2")
    project_aliases(connect(), installation_of_three.ledger, NAME)
    return installation_of_three


def note() -> str:
    return str(json.loads(Path("data/reports/verify/report.json").read_text())["note"])


def rolled_back(installation: Installation, why: str) -> None:
    """Run `verify`, and assert that it failed, said why, and made version 1 champion again everywhere."""
    assert main(ARGUMENTS) == 1
    error, message, retryable = failure()
    assert (error, retryable) == ("GateFailed", False)
    assert message.startswith("ROLLED BACK to version 1, live from 2013-04-02: version 2 differs from the promoted model: ")
    assert why in message
    entry = installation.ledger.champion(NAME)
    assert entry is not None
    assert (entry.version, entry.action, entry.actor, entry.live_from) == ("1", "rollback", "verify", "2013-04-02")
    assert why in entry.reason
    assert installation.aliases() == {"champion": "1", "previous": "2"}
    assert why in connect().get_model_version(NAME, "2").tags["rolled_back"]
    assert installation.journal.verdicts(NAME)[-1].verdict == "rolled_back"
    assert note() == "ROLLED BACK to version 1, live from 2013-04-02"


def test_a_sound_champion_stays(promoted: Installation) -> None:
    for _ in range(2):
        assert main(ARGUMENTS) == 0
    assert promoted.aliases() == {"champion": "2", "previous": "1"}
    assert len(promoted.ledger.history(NAME)) == 2
    note = f"verified version 2, rank correlation 1.000 with the {ROWS} scores of 2013-04-01 that version 1 has published"
    assert json.loads(Path("data/reports/verify/report.json").read_text()) == {"note": note, "faults": []}


def test_without_a_published_night_the_other_checks_count(installation_of_three: Installation) -> None:
    installation_of_three.promoted("1", "2")
    installation_of_three.opened("1", "2")
    assert main(ARGUMENTS) == 0
    assert note() == "verified version 2, without a night to compare its scores with: no night is published up to 2013-04-01"
    assert installation_of_three.aliases() == {"champion": "2", "previous": "1"}, "the aliases of a promotion that was killed were repaired"


@pytest.mark.parametrize(("fault", "why"), [("missing", "cannot read"), ("altered", "has sha256"), ("torn", "has sha256")])
def test_a_file_that_differs_from_the_promoted_one(promoted: Installation, fault: str, why: str) -> None:
    file = Path(promoted.versions["2"].model_uri)
    content = file.read_bytes()
    file.unlink() if fault == "missing" else file.write_bytes(content[:-1] if fault == "torn" else content + b"\0")
    rolled_back(promoted, why)


def test_an_alias_that_points_to_another_file(promoted: Installation) -> None:
    """Somebody has replaced the registry's file and its digest with those of another model: the ledger's digest counts."""
    shutil.copyfile(promoted.versions["3"].model_uri, promoted.versions["2"].model_uri)
    rolled_back(promoted, "was registered; the file was altered")


def test_an_alias_that_points_to_another_version_than_the_ledger(promoted: Installation, tmp_path: Path) -> None:
    """The alias is repaired before the check; a change after the repair is found."""
    entry, client = promoted.ledger.champion(NAME), connect()
    assert entry is not None
    client.set_registered_model_alias(NAME, "champion", "3")
    faults, _ = verify(client, entry, GOLDEN, tmp_path, "2013-04-01", Verify(minimum_correlation=0.3))
    assert faults == ["the alias champion points to version 3, but the ledger says version 2"]


def test_golden_rows_that_get_another_score(promoted: Installation) -> None:
    golden = Golden.from_json(GOLDEN.read_text())
    GOLDEN.write_text(Golden(golden.names, golden.features, (golden.scores + np.float32(0.01)), golden.sha256).to_json())
    rolled_back(promoted, "10 of 10 golden rows get another score")


@pytest.mark.parametrize(
    ("content", "why"), [(None, "golden set data/reports/evaluate/golden.json cannot be read"), ("{", "not a golden set")]
)
def test_a_golden_set_that_is_gone_or_torn(promoted: Installation, content: str | None, why: str) -> None:
    GOLDEN.unlink() if content is None else GOLDEN.write_text(content)
    rolled_back(promoted, why)


def test_a_model_that_contradicts_the_published_night(promoted: Installation) -> None:
    """The file, its digest and the golden set are those that were promoted: only the published night shows the fault."""
    file = Path(promoted.versions["3"].model_uri)
    change_score(file, file)
    poisoned = Registered(name=NAME, version="3", sha256=sha256_of(file), model_uri=str(file))
    promoted.versions["3"] = poisoned
    promoted.promoted("3")
    promoted.opened("2", "3")
    golden = Golden.from_json(GOLDEN.read_text())
    scores = load_model(file).score(golden.features)
    GOLDEN.write_text(Golden(golden.names, golden.features, scores, poisoned.sha256).to_json())
    assert main(ARGUMENTS) == 1
    assert "ROLLED BACK to version 2" in failure()[1]
    assert "differs from the promoted model: rank correlation -" in failure()[1]


def test_a_night_of_another_declaration_of_features_is_not_a_fault(promoted: Installation, tmp_path: Path) -> None:
    """As after a new declaration of features: the model was judged with it, and the night was made before it."""
    entry, other = promoted.ledger.champion(NAME), Signature(scored_night.NAMES, "6" * 64)
    assert entry is not None
    file = tmp_path / "other.onnx"
    file.write_bytes(scored_night.onnx_bytes(other))
    faults, compared = shadow_faults(load_model(file), NAME, "2013-04-01", tmp_path, Verify(minimum_correlation=1))
    assert faults == []
    assert compared == "without a night to compare its scores with: 2013-04-01 has features of another declaration"


def test_a_store_that_does_not_answer_is_not_a_fault_of_the_model(promoted: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(promoted.root / "workspace" / ".dvc" / "cache")
    assert main(ARGUMENTS) == 1
    assert (failure()[0], failure()[2]) == ("TransientError", True)
    assert len(promoted.ledger.history(NAME)) == 2
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        assert main(ARGUMENTS) == 1
    assert (failure()[0], failure()[2]) == ("TransientError", True)
    assert len(promoted.ledger.history(NAME)) == 2


def test_a_champion_that_somebody_has_replaced_since_is_left_alone(promoted: Installation) -> None:
    promoted.promoted("3")
    assert main(ARGUMENTS) == 0
    assert note() == "NOT verified: version 2 is no longer champion; version 3 is"
    assert len(promoted.ledger.history(NAME)) == 3


def test_a_second_run_after_a_rollback_reports_it_again_and_rolls_back_nothing_else(promoted: Installation) -> None:
    Path(promoted.versions["2"].model_uri).unlink()
    assert main(ARGUMENTS) == 1
    assert main(ARGUMENTS) == 1
    assert "ROLLED BACK to version 1 by an earlier attempt" in failure()[1]
    assert len(promoted.ledger.history(NAME)) == 3
    assert len(promoted.journal.verdicts(NAME)) == 1


def raising(error: Exception) -> Callable[..., None]:
    def call(*_: object, **__: object) -> None:
        raise error

    return call


def untouched(installation: Installation, entries: int) -> None:
    """Assert that the ledger did not change, and that no record mentions a rollback."""
    assert len(installation.ledger.history(NAME)) == entries
    assert installation.journal.verdicts(NAME) == []
    assert "rolled_back" not in connect().get_model_version(NAME, "2").tags


def test_without_a_champion_before_it_says_so_and_records_no_rollback(installation_of_three: Installation) -> None:
    installation_of_three.promoted("2")
    installation_of_three.opened("2", "2")
    Path(installation_of_three.versions["2"].model_uri).unlink()
    assert main(ARGUMENTS) == 1
    assert "NOT rolled back: there is no champion before version 2" in failure()[1]
    assert note().startswith("NOT rolled back")
    untouched(installation_of_three, entries=1)


def test_a_champion_that_somebody_has_just_changed_is_not_rolled_back(promoted: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    Path(promoted.versions["2"].model_uri).unlink()
    append = Ledger.append

    def overtaken(ledger: Ledger, entry: Entry) -> Entry:
        monkeypatch.setattr(Ledger, "append", append)
        promoted.promoted("3")
        return append(ledger, entry)

    monkeypatch.setattr(Ledger, "append", overtaken)
    assert main(ARGUMENTS) == 1
    assert "NOT rolled back: somebody has just changed the champion" in failure()[1]
    untouched(promoted, entries=3)
    assert promoted.aliases()["champion"] == "3"


def test_a_champion_before_that_is_broken_too_does_not_come_back(promoted: Installation) -> None:
    Path(promoted.versions["2"].model_uri).unlink()
    with Path(promoted.versions["1"].model_uri).open("ab") as file:
        file.write(b"\0")
    assert main(ARGUMENTS) == 1
    error, message, retryable = failure()
    assert (error, retryable) == ("GateFailed", False)
    assert message.startswith("NOT rolled back: the champion before is broken too (Core_RF_Classifier version 1: ")
    untouched(promoted, entries=2)


def test_a_champion_before_that_cannot_be_read_is_tried_again(promoted: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "next_night", raising(OSError("the object store did not answer")))
    Path(promoted.versions["2"].model_uri).unlink()
    assert main(ARGUMENTS) == 1
    assert (failure()[0], failure()[2]) == ("TransientError", True)
    untouched(promoted, entries=2)


def test_a_night_whose_ref_is_unknown_here_is_not_a_fault(promoted: Installation) -> None:
    subprocess.run(["git", "update-ref", "-d", REF], check=True)
    assert main(ARGUMENTS) == 0
    assert note().startswith(
        f"verified version 2, without a night to compare its scores with: {REF} is not a recorded run of this repository"
    )
    untouched(promoted, entries=2)


def test_a_night_whose_run_has_kept_no_features_is_not_a_fault(promoted: Installation) -> None:
    """As if the ref was recorded by a run that stopped before."""
    tree = subprocess.run(
        ["git", "hash-object", "-t", "tree", "-w", "/dev/null"], check=True, capture_output=True, text=True
    ).stdout.strip()
    identity = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    commit = ["git", *identity, "commit-tree", tree, "-m", "empty"]
    empty = subprocess.run(commit, check=True, capture_output=True, text=True).stdout.strip()
    subprocess.run(["git", "update-ref", REF, empty], check=True)
    assert main(ARGUMENTS) == 0
    assert "verified version 2, without a night to compare its scores with: " in note()
    untouched(promoted, entries=2)


@pytest.mark.parametrize(
    ("where", "name", "error"),
    [
        (nights, "published_nights", OSError("Generic S3 error: error sending request")),
        (nights, "fetch", ConnectionError(errno.ECONNREFUSED, "Connection refused")),
        (registry.shutil, "copyfile", OSError(errno.ENOSPC, "No space left on device")),
        (inference, "score_parquet", OSError(errno.ENOSPC, "No space left on device")),
    ],
    ids=["table down", "remote down", "no room for the model", "no room for the scores"],
)
def test_a_store_that_is_down_or_a_full_disk_rolls_back_nothing(
    promoted: Installation, monkeypatch: pytest.MonkeyPatch, where: ModuleType, name: str, error: OSError
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(where, name, raising(error))
        assert main(ARGUMENTS) == 1
    assert (failure()[0], failure()[2]) == ("TransientError", True)
    untouched(promoted, entries=2)
    assert main(ARGUMENTS) == 0, "and with the store back it is verified"


def test_a_published_table_that_does_not_answer_rolls_back_nothing(promoted: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in production: S3 on a port where no server listens."""
    access = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1", "AWS_ALLOW_HTTP": "true"}
    for key, value in {**access, "AWS_ENDPOINT_URL": "http://127.0.0.1:9", "NIGHTSHIFT_PUBLISHED_URL": "s3://published"}.items():
        monkeypatch.setenv(key, value)
    assert main(ARGUMENTS) == 1
    assert (failure()[0], failure()[2]) == ("TransientError", True)
    untouched(promoted, entries=2)
