"""A promotion records its evidence, changes nothing if the evidence is against it, and repairs the aliases after a killed promotion."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from pipelines.lib.challengers.decision import Decision
from pipelines.lib.champions.registry import Registered, connect, day_after, project_aliases
from pipelines.lib.core.errors import LedgerConflict
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.models.golden import Golden
from pipelines.lib.records.journal import Verdict
from pipelines.registry.promote import main, promote
from pipelines.registry.rollback import main as roll_back
from pipelines.registry.verify import main as verify
from tests.registered_models import NAME, Installation

pytestmark = pytest.mark.costly

REGISTERED = ["--registered", "data/models/registered.json"]
DECIDED = [*REGISTERED, "--decision", "data/reports/decide/decision.json", "--comparison", "data/reports/evaluate/comparison.json"]


def decide(verdict: Literal["promote", "refuse", "ask"], *reasons: str) -> None:
    for path, content in (
        (
            "data/reports/decide/decision.json",
            asdict(Decision("2013-04-01", "1", "2", verdict, reasons or ("AUC .03 better",), None)),
        ),
        ("data/reports/evaluate/comparison.json", {"quality_difference": 0.03}),
    ):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(content))


def failure() -> tuple[str, str, bool]:
    expected = json.loads(Path("failure.json").read_text())
    return expected["error"], expected["message"], expected["retryable"]


@pytest.fixture
def retraining(installation_of_three: Installation) -> Installation:
    """The workspace of a retraining that was pinned to version 1, has registered version 2 and decided to promote it."""
    installation_of_three.promoted("1")
    installation_of_three.opened("1", "2")
    decide("promote")
    connect().set_registered_model_alias(NAME, "challenger", "2")
    return installation_of_three


def test_the_ledger_has_the_evidence_and_the_version_is_live_from_the_day_after(retraining: Installation) -> None:
    assert main(DECIDED) == 0
    entry = retraining.ledger.champion(NAME)
    assert entry is not None
    assert (entry.version, entry.from_version, entry.live_from) == ("2", "1", "2013-04-02")
    assert (entry.actor, entry.reason) == ("decide", "AUC .03 better")
    assert entry.evidence["decision"]["verdict"] == "promote"
    assert entry.evidence["comparison"] == {"quality_difference": 0.03}
    assert entry.evidence["run_ref"] == "refs/runs/retraining/run"
    assert retraining.aliases() == {"champion": "2", "previous": "1"}, "version 2 is no longer a challenger"
    [verdict] = retraining.journal.verdicts(NAME)
    assert (verdict.verdict, verdict.champion, verdict.challenger, verdict.actor) == ("promoted", "1", "2", "decide")
    assert json.loads(Path("data/reports/promote/report.json").read_text())["note"] == "promoted version 2, live from 2013-04-02, by decide"


def test_the_approver_is_the_actor_of_the_promotion(retraining: Installation) -> None:
    decide("ask", "the interval holds zero")
    assert main([*DECIDED, "--approver", "ada", "--reason", "the slice matters"]) == 0
    entry = retraining.ledger.champion(NAME)
    assert entry and (entry.actor, entry.reason, entry.evidence["approver"]) == ("ada", "the slice matters", "ada")
    assert entry.evidence["decision"]["reasons"] == ["the interval holds zero"]


@pytest.mark.parametrize(
    ("verdict", "more", "expected"),
    [("refuse", [], "it was refused"), ("refuse", ["--approver", "ada"], "it was refused"), ("ask", [], "nobody has approved it")],
)
def test_nobody_promotes_past_the_evidence(
    retraining: Installation, verdict: Literal["refuse", "ask"], more: list[str], expected: str
) -> None:
    decide(verdict, "the AUC is lower")
    assert main([*DECIDED, *more]) == 1
    error, message, retryable = failure()
    assert (error, retryable) == ("GateFailed", False)
    assert expected in message and "the AUC is lower" in message
    assert len(retraining.ledger.history(NAME)) == 1


@pytest.mark.parametrize("content", ["", "{", "[]", '{"verdict": "yes", "reasons": []}', '{"verdict": "promote"}'])
def test_a_torn_decision_promotes_nothing(retraining: Installation, content: str) -> None:
    Path("data/reports/decide/decision.json").write_text(content)
    assert main(DECIDED) == 1
    assert failure()[0] == "DataError"
    assert len(retraining.ledger.history(NAME)) == 1


def test_a_decision_on_another_version_promotes_nothing(retraining: Installation) -> None:
    path = Path("data/reports/decide/decision.json")
    for challenger, named in (
        ("3", "is the decision on version 3, but version 2 is registered"),
        (None, "is not a whole decision (challenger: "),
    ):
        path.write_text(json.dumps({**json.loads(path.read_text()), "challenger": challenger}))
        assert main(DECIDED) == 1
        assert failure()[1].startswith(f"{path} {named}")
    assert len(retraining.ledger.history(NAME)) == 1


def test_a_champion_that_was_promoted_in_between_stays(retraining: Installation) -> None:
    retraining.promoted("3")
    assert main(DECIDED) == 1
    error, message, retryable = failure()
    assert (error, retryable) == ("LedgerConflict", False)
    assert "is version 3, not 1; version 2 was not promoted" in message
    assert [entry.version for entry in retraining.ledger.history(NAME)] == ["1", "3"]
    assert retraining.aliases() == {"champion": "3", "previous": "1"}, "repaired, and version 2 is no longer a challenger"
    [verdict] = retraining.journal.verdicts(NAME)
    assert (verdict.verdict, verdict.challenger, verdict.champion, verdict.reason) == ("refused", "2", "1", message)


@pytest.mark.parametrize("fault", ["missing", "altered"])
def test_a_file_that_was_edited_after_registration_is_not_promoted(retraining: Installation, fault: str) -> None:
    file = Path(retraining.versions["2"].model_uri)
    file.unlink() if fault == "missing" else file.write_bytes(file.read_bytes() + b"\0")
    assert main(DECIDED) == 1
    assert failure()[0] == "ModelError"
    assert len(retraining.ledger.history(NAME)) == 1


def test_if_mlflow_is_down_it_is_tried_again_and_the_champion_stays(retraining: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        assert main(DECIDED) == 1
    error, message, retryable = failure()
    assert (error, retryable) == ("TransientError", True)
    assert message.startswith("MLflow at http://127.0.0.1:9 did not answer")
    assert len(retraining.ledger.history(NAME)) == 1


def test_without_a_decision_actor_and_reason_must_be_named(retraining: Installation) -> None:
    assert main(REGISTERED) == 1
    assert failure()[:1] == ("ConfigError",)
    assert main([*REGISTERED, "--actor", "ada", "--reason", "by hand", "--expect", "1", "--live-from", "2013-05-01"]) == 0
    entry = retraining.ledger.champion(NAME)
    assert entry and (entry.actor, entry.live_from) == ("ada", "2013-05-01")
    assert entry.evidence == {"run_ref": "refs/runs/retraining/run", "by_hand": True}
    assert retraining.journal.verdicts(NAME) == [], "no retraining"


def test_a_bad_first_night_is_refused(retraining: Installation) -> None:
    assert main([*DECIDED, "--live-from", "2013-02-30"]) == 1
    assert failure()[0] == "ConfigError"


def test_a_repetition_appends_nothing_and_repairs_the_aliases(retraining: Installation) -> None:
    assert main(DECIDED) == 0
    client = connect()
    client.set_registered_model_alias(NAME, "champion", "3")
    client.delete_registered_model_alias(NAME, "previous")
    assert main(DECIDED) == 0
    assert retraining.aliases() == {"champion": "2", "previous": "1"}
    assert len(retraining.ledger.history(NAME)) == 2
    assert len(retraining.journal.verdicts(NAME)) == 1


def test_a_repetition_does_not_promote_again_after_a_person_rolled_back(retraining: Installation) -> None:
    assert main(DECIDED) == 0
    assert roll_back(["--to", "previous", "--actor", "ada", "--reason", "it missed the storm"]) == 0
    for _ in range(2):  # the task is tried again, or cleared
        assert main(DECIDED) == 1
        error, message, retryable = failure()
        assert (error, retryable) == ("LedgerConflict", False)
        assert "version 2 was promoted by this run as entry 2, and entry 3 took it back (ada: it missed the storm)" in message
    assert [entry.version for entry in retraining.ledger.history(NAME)] == ["1", "2", "1"]
    assert retraining.aliases() == {"champion": "1", "previous": "2"}


def test_a_repetition_does_not_promote_again_after_verify_rolled_back(retraining: Installation) -> None:
    assert main(DECIDED) == 0
    golden = Path("data/reports/evaluate/golden.json")
    known = Golden.from_json(golden.read_text())
    golden.write_text(Golden(known.names, known.features, known.scores + np.float32(0.01), known.sha256).to_json())
    assert verify([*REGISTERED, "--golden", str(golden)]) == 1
    assert main(DECIDED) == 1
    assert failure()[0] == "LedgerConflict"
    assert "promoted by this run as entry 2, and entry 3 took it back (verify: 10 of 10 golden rows" in failure()[1]
    assert [entry.version for entry in retraining.ledger.history(NAME)] == ["1", "2", "1"]


def test_a_champion_that_was_replaced_and_came_back_is_another_entry(retraining: Installation) -> None:
    retraining.promoted("3")
    assert roll_back(["--to", "1", "--actor", "ada", "--reason", "worse"]) == 0
    assert main(DECIDED) == 1
    assert failure()[0] == "LedgerConflict"
    assert "is version 1 by entry 3, not by entry 1 as when the run opened" in failure()[1]
    assert [entry.version for entry in retraining.ledger.history(NAME)] == ["1", "3", "1"]


def test_a_repetition_after_a_roll_forward_changes_nothing(retraining: Installation) -> None:
    assert main(DECIDED) == 0
    for to in ("1", "2"):
        assert roll_back(["--to", to, "--actor", "ada", "--reason", "to and fro"]) == 0
    assert main(DECIDED) == 0
    assert [entry.version for entry in retraining.ledger.history(NAME)] == ["1", "2", "1", "2"]


def test_by_hand_only_the_expected_version_counts(retraining: Installation) -> None:
    arguments = [*REGISTERED, "--actor", "ada", "--reason", "by hand", "--expect", "1"]
    assert main(arguments) == 0
    assert roll_back(["--to", "1", "--actor", "ada", "--reason", "worse"]) == 0
    assert main(arguments) == 0
    assert [entry.version for entry in retraining.ledger.history(NAME)] == ["1", "2", "1", "2"]


@pytest.mark.parametrize("published", ["2013-03-31", "2013-04-01", "2013-04-09"])
def test_it_is_live_after_all_published_nights(retraining: Installation, published: str) -> None:
    retraining.publish(partition=published)
    assert main(DECIDED) == 0
    entry = retraining.ledger.champion(NAME)
    assert entry and entry.live_from == max("2013-04-02", day_after(parse_partition(published)))
    as_was = retraining.ledger.champion_as_of(NAME, published)
    assert as_was and as_was.version == "1"


def test_it_is_not_live_before_the_champion_that_it_follows(retraining: Installation) -> None:
    arguments = [*REGISTERED, "--actor", "ada", "--reason", "by hand"]
    assert main([*arguments, "--live-from", "2013-05-01"]) == 0
    retraining.opened("2", "3")
    assert main([*arguments, "--live-from", "2013-04-30"]) == 1
    assert failure()[0] == "ConfigError"
    assert failure()[1].startswith("--live-from is 2013-04-30, but version 2 became champion from 2013-05-01 on (entry 2)")
    assert len(retraining.ledger.history(NAME)) == 2
    retraining.publish("2", "2013-05-09")
    assert main([*arguments, "--live-from", "2013-05-01"]) == 0, "a person who asks for it changes the champion of published nights, too"
    retraining.opened("3", "1")
    assert main(arguments) == 0
    entry = retraining.ledger.champion(NAME)
    assert entry and (entry.version, entry.live_from) == ("1", "2013-05-10")


@pytest.mark.parametrize("where", ["refused", "rolled_back", "journal"])
def test_nobody_promotes_a_refused_version_by_hand(retraining: Installation, where: str) -> None:
    if where == "journal":
        retraining.journal.record_verdict(Verdict(NAME, "run", "2013-04-01", "1", "2", "refuse", "the AUC is lower", "decide"))
    else:
        connect().set_model_version_tag(NAME, "2", where, "the AUC is lower")
    assert main([*REGISTERED, "--actor", "ada", "--reason", "by hand"]) == 1
    error, message, retryable = failure()
    assert (error, retryable) == ("GateFailed", False)
    assert "version 2 was turned down" in message and "the AUC is lower" in message and "Trigger a retraining" in message
    assert len(retraining.ledger.history(NAME)) == 1


def test_a_new_decision_of_a_retraining_removes_the_marks(retraining: Installation) -> None:
    for mark in ("refused", "refused_by", "rolled_back", "verdict"):
        connect().set_model_version_tag(NAME, "2", mark, "once")
    assert main(DECIDED) == 0
    assert dict(connect().get_model_version(NAME, "2").tags) == {"verdict": "once"}


def test_the_champion_that_was_trained_again_was_not_turned_down(retraining: Installation) -> None:
    """A retraining that gives the champion's bytes again is refused, but the version is not marked, also after a rollback from it."""
    retraining.journal.record_verdict(Verdict(NAME, "again", "2013-04-01", "2", "2", "refused", "it is already the champion", "decide"))
    assert main([*REGISTERED, "--actor", "ada", "--reason", "by hand"]) == 0


def test_a_projection_that_was_overtaken_is_done_again(retraining: Installation) -> None:
    """A process reads the ledger, another promotion overtakes it, and it writes the alias last."""
    client, ledger = connect(), retraining.ledger

    class Overtaken:
        """The ledger as a slow process sees it: while it writes, version 3 becomes champion and is projected."""

        def __init__(self) -> None:
            self.seen = 0

        def champion(self, name: str) -> object:
            found = ledger.champion(name)
            self.seen += 1
            if self.seen == 1:
                retraining.promoted("3")
                project_aliases(client, ledger, NAME)
            return found

        def previous(self, name: str) -> object:
            return ledger.previous(name)

    project_aliases(client, Overtaken(), NAME)  # type: ignore[arg-type]
    assert retraining.aliases()["champion"] == "3"


def test_two_promotions_of_one_run_pinned_to_the_same_champion_make_one(retraining: Installation) -> None:
    more: dict[str, Any] = {"live_from": "2013-04-02", "actor": "test", "reason": "test"}
    promote(retraining.ledger, retraining.versions["2"], expect="1", **more)
    with pytest.raises(LedgerConflict):
        promote(retraining.ledger, retraining.versions["3"], expect="1", **more)
    assert [entry.sequence for entry in retraining.ledger.history(NAME)] == [1, 2]


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_a_torn_comparison_changes_nothing_and_is_not_tried_again(retraining: Installation, content: str) -> None:
    Path("data/reports/evaluate/comparison.json").write_text(content)
    assert main(DECIDED) == 1
    error, message, retryable = failure()
    assert (error, retryable) == ("DataError", False)
    assert "comparison.json is not a whole comparison" in message
    assert [entry.version for entry in retraining.ledger.history(NAME)] == ["1"]


def test_an_entry_of_an_older_form_is_read_and_its_version_not_promoted_twice(retraining: Installation) -> None:
    """Evidence of earlier entries lacks fields that entries have today; only the run is read from it."""
    old = {
        "run_ref": "refs/runs/retraining/run",
        "decision": {"verdict": "promote", "reasons": ["better"]},
        "comparison": {"quality_difference": 0.03},
    }
    version = Registered.model_validate_json(Path("data/models/registered.json").read_text())
    promote(retraining.ledger, version, expect="1", live_from="2013-04-02", actor="decide", reason="better", evidence=old)
    entry = retraining.ledger.champion(NAME)
    assert entry and entry.evidence == old
    assert roll_back(["--actor", "ada", "--reason", "the wrong one"]) == 0
    assert main(DECIDED) == 1
    assert "was promoted by this run as entry 2" in failure()[1]
