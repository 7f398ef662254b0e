"""An encoder is registered, promoted and rolled back like a model, under its own name; its gate decides. On a real MLflow and ledger."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib.champions.registry import connect
from pipelines.lib.core import contract, home
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.encoders.evaluation import EncoderEvaluation
from pipelines.lib.records.journal import Journal, Verdict
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.registry.promote import main as promote
from pipelines.registry.register import main as register
from pipelines.registry.rollback import main as roll_back
from tests.evaluations import SOUND_ENCODER
from tests.trained_encoder import PARTITION, START, encoder_bytes

pytestmark = pytest.mark.costly

NAME = "flight_encoder"
REPOSITORY = Path(__file__).parents[3]
REPORT = Path("data/reports/evaluate_encoder")
ONNX, REGISTERED = Path("data/encoder/encoder.onnx"), Path("data/encoder/registered.json")
PROMOTE = ["--registered", str(REGISTERED), "--evaluation", str(REPORT / "evaluation.json")]
METRICS = replace(SOUND_ENCODER, auc=0.76, dimension=32)


class Installation:
    """A home of its own, and the workspace of a training of the encoder, which is the working directory."""

    @property
    def ledger(self) -> Ledger:
        return Ledger(home.ledger_url())

    def champion(self) -> Entry:
        entry = self.ledger.champion(NAME)
        assert entry is not None
        return entry

    def aliases(self) -> dict[str, str]:
        return {alias: str(version) for alias, version in connect().get_registered_model(NAME).aliases.items()}

    def opened(self, run_id: str = "run") -> None:
        """Open a new run that is pinned to the present champion, or to none."""
        champion = self.ledger.champion(NAME)
        pin = {"version": champion.version, "sha256": champion.sha256, "ledger_sequence": champion.sequence} if champion else {}
        pinned = PinnedModel(path="data/champion/encoder.onnx", name=NAME, **pin)
        where = {"dag_id": "encoder_training", "run_id": run_id, "run_ref": f"refs/runs/encoder_training/{run_id}", "git_commit": "c" * 40}
        save_run(RunFile(partition=PARTITION, model=pinned, encoder=pinned, **where))

    def trained(self, seed: int = 42, **evaluation: Any) -> str:
        """Write an encoder and its evaluation, as `evaluate_encoder` does; return its digest."""
        for folder in (ONNX.parent, REPORT):
            folder.mkdir(parents=True, exist_ok=True)
        ONNX.write_bytes(encoder_bytes(seed=seed))
        found = EncoderEvaluation(
            name=NAME,
            partition=PARTITION,
            since=START,
            comparison=None,
            training={"holdout_days": 14},
            metrics=METRICS,
            limits={"minimum_auc": 0.6},
            sha256=sha256_of(ONNX),
            quantization={"chosen": "fp32"},
            faults=(),
        )
        (REPORT / "evaluation.json").write_text(contract.to_json(replace(found, **evaluation)))
        (REPORT / "metrics.json").write_text(json.dumps(asdict(METRICS)))
        (REPORT / "report.html").write_text("<p>The encoder passes</p>")
        return sha256_of(ONNX)


@pytest.fixture(scope="module")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a home with an empty MLflow, which takes seconds; each test gets a copy."""
    directory = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(directory))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        connect()
    return directory


@pytest.fixture
def installation(empty_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    shutil.copytree(empty_home, tmp_path / "home")
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    for name in ("MLFLOW_TRACKING_URI", "NIGHTSHIFT_LEDGER_URL", "NIGHTSHIFT_PUBLISHED_URL"):
        monkeypatch.delenv(name, raising=False)
    workspace = tmp_path / "workspace"
    (workspace / "data" / "reports" / "validate_history").mkdir(parents=True)
    monkeypatch.chdir(workspace)
    for name in ("params.yaml", "requirements.txt"):
        Path(name).write_bytes((REPOSITORY / name).read_bytes())
    Path("dvc.lock").write_text(yaml.safe_dump({"stages": {"ingest_history": {"outs": [{"md5": "d" * 32}]}}}))
    Path("data/reports/validate_history/report.json").write_text(json.dumps({"expectations": []}))
    made = Installation()
    made.trained()
    made.opened()
    return made


def registered() -> int:
    return register(["--encoder", str(ONNX), "--report", str(REPORT), "--registered", str(REGISTERED)])


def version() -> str:
    return str(json.loads(REGISTERED.read_text())["version"])


def failure() -> tuple[str, str, bool]:
    report = json.loads(Path("failure.json").read_text())
    return report["error"], report["message"], report["retryable"]


def test_it_is_registered_promoted_and_rolled_back(installation: Installation) -> None:
    digest = installation.trained()
    for _ in range(2):  # the second time, the version is known
        assert registered() == 0
        assert json.loads(REGISTERED.read_text())["sha256"] == digest
        assert version() == "1"
    found = connect().get_model_version(NAME, "1")
    assert (found.tags["sha256"], found.tags["trained_until"], found.tags["partition"]) == (digest, START, PARTITION)
    logged = connect().get_run(found.run_id).data
    assert logged.metrics == asdict(METRICS)
    assert logged.params["activation"] == "tanh", "the encoder's parameters, not the forest's"
    card = home.home() / "reports" / "models" / NAME / "1" / "model_card.html"
    assert card.read_text() == "<p>The encoder passes</p>"
    assert installation.aliases() == {}

    assert promote(PROMOTE) == 0
    entry = installation.champion()
    assert (entry.version, entry.sha256, entry.actor, entry.reason) == (
        "1",
        digest,
        "evaluate_encoder",
        "AUC 0.760, by neighbours 0.700, fp32",
    )
    assert entry.live_from == PARTITION
    assert "by_hand" not in entry.evidence
    assert entry.evidence["evaluation"]["metrics"] == asdict(METRICS)
    assert entry.evidence["run_ref"] == "refs/runs/encoder_training/run"
    assert installation.aliases() == {"champion": "1"}
    assert "promoted version 1" in json.loads(Path("data/reports/promote/report.json").read_text())["note"]

    installation.opened("second")
    installation.trained(seed=1)
    assert registered() == 0
    assert installation.aliases() == {"champion": "1", "challenger": "2"}
    assert promote(PROMOTE) == 0
    assert installation.aliases() == {"champion": "2", "previous": "1"}
    verdicts = Journal(home.ledger_url()).verdicts(NAME)
    assert [(row.verdict, row.challenger, row.actor) for row in verdicts] == [
        ("promoted", "1", "evaluate_encoder"),
        ("promoted", "2", "evaluate_encoder"),
    ]

    assert roll_back(["--encoder", "--actor", "ada", "--reason", "its index is worse"]) == 0
    assert (installation.champion().version, installation.champion().action) == ("1", "rollback")
    assert installation.aliases() == {"champion": "1", "previous": "2"}
    assert installation.ledger.history("Core_RF_Classifier") == [], "the model's line is another"


def test_a_rollback_of_the_model_leaves_the_encoder_alone(installation: Installation) -> None:
    assert registered() == 0
    assert promote(PROMOTE) == 0
    assert roll_back(["--actor", "ada", "--reason", "the wrong one"]) == 1
    assert "Core_RF_Classifier has no champion yet" in failure()[1]
    assert installation.champion().sequence == 1


def test_an_encoder_that_did_not_pass_is_neither_registered_nor_promoted(installation: Installation) -> None:
    assert registered() == 0
    evaluation = json.loads((REPORT / "evaluation.json").read_text())
    (REPORT / "evaluation.json").write_text(json.dumps({**evaluation, "faults": ["a dimension has collapsed"]}))
    for attempt in (registered, lambda: promote(PROMOTE)):
        assert attempt() == 1
        error, message, retryable = failure()
        assert (error, retryable) == ("GateFailed", False)
        assert "did not pass evaluate_encoder (a dimension has collapsed)" in message
    assert installation.ledger.history(NAME) == []


def test_the_evaluation_of_another_encoder_promotes_nothing(installation: Installation) -> None:
    assert registered() == 0
    installation.trained(seed=1)
    assert promote(PROMOTE) == 1
    assert failure()[0] == "GateFailed"
    assert "run: dvc repro evaluate_encoder" in failure()[1]
    assert installation.ledger.history(NAME) == []


def test_a_champion_that_was_promoted_in_between_stays(installation: Installation) -> None:
    assert registered() == 0
    assert promote(PROMOTE) == 0
    nobody = PinnedModel(path="data/champion/encoder.onnx", name=NAME)
    save_run(RunFile(partition=PARTITION, model=nobody, run_id="slow", run_ref="refs/runs/slow", git_commit="c" * 40))
    installation.trained(seed=1)
    assert registered() == 0
    assert promote(PROMOTE) == 1
    error, message, retryable = failure()
    assert (error, retryable) == ("LedgerConflict", False)
    assert "is version 1, not none; version 2 was not promoted" in message
    assert installation.aliases() == {"champion": "1"}, "and version 2 challenges nobody any more"


def test_a_refused_encoder_is_not_promoted_by_hand_but_its_gate_may_decide_again(installation: Installation) -> None:
    assert registered() == 0
    Journal(home.ledger_url()).record_verdict(Verdict(NAME, "before", PARTITION, None, "1", "refused", "came too late", "evaluate_encoder"))
    manual = ["--registered", str(REGISTERED), "--actor", "ada", "--reason", "I like it"]
    assert promote(manual) == 1
    assert "was turned down" in failure()[1]
    assert promote(PROMOTE) == 0
    assert installation.champion().version == "1"


def test_a_person_may_promote_instead_of_the_gate(installation: Installation) -> None:
    assert registered() == 0
    assert promote([*PROMOTE, "--actor", "ada", "--reason", "the first one"]) == 0
    assert (installation.champion().actor, installation.champion().reason) == ("ada", "the first one")


@pytest.mark.parametrize(
    "given",
    [
        [],
        ["--encoder", str(ONNX), "--model", "model.skops", "--onnx", "model.onnx"],
        ["--model", "model.skops"],
        ["--onnx", "model.onnx"],
        ["--encoder", str(ONNX), "--onnx", "model.onnx"],
    ],
)
def test_the_arguments_must_name_one_file(installation: Installation, given: list[str]) -> None:
    assert register([*given, "--report", str(REPORT), "--registered", str(REGISTERED)]) == 1
    assert failure()[0] == "ConfigError"
    assert "give --model and --onnx, or --encoder" in failure()[1]
