"""An installation with registered versions and a published night, on a real MLflow, ledger, git and DVC: where the registry's verbs are
tested.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import onnx
import pytest
import yaml

from pipelines.lib.champions.registry import Registered, connect
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.run import PinnedModel, RunFile, save_run
from pipelines.lib.models import golden
from pipelines.lib.models.inference import load_model, score_parquet
from pipelines.lib.published.delta_tables import Lineage, publish
from pipelines.lib.published.nights import FEATURES, SCORES
from pipelines.lib.records.journal import Journal
from pipelines.lib.records.ledger import Entry, Ledger
from tests import scored_night

NAME = "Core_RF_Classifier"
REPOSITORY = Path(__file__).resolve().parents[1]
NIGHT = scored_night.PARTITION
REF = f"refs/runs/nightly/{NIGHT}"
ROWS = 200


@dataclass
class Installation:
    """A home of its own, and a workspace that is the working directory: a git and DVC repository whose ref `REF` recorded the night
    `NIGHT`.
    """

    root: Path
    versions: dict[str, Registered] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.root / 'home' / 'ledger.db'}"

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.url)

    @property
    def journal(self) -> Journal:
        return Journal(self.url)

    def promoted(self, *versions: str) -> Entry:
        """Have `versions` become champion one after the other, in the ledger alone; return the last entry."""
        for version in versions:
            champion, made = self.ledger.champion(NAME), self.versions[version]
            before = (champion.sequence, champion.version, champion.live_from) if champion else (0, None, "2013-03-01")
            where = (made.version, made.sha256, made.model_uri, before[1], before[2], "test", f"version {version}")
            entry = self.ledger.append(Entry(NAME, before[0] + 1, "promote", *where))
        return entry

    def aliases(self) -> dict[str, str]:
        return {alias: str(version) for alias, version in connect().get_registered_model(NAME).aliases.items()}

    def opened(self, version: str, challenger: str, run_id: str = "run") -> None:
        """Be in the workspace of a retraining that was pinned to the champion `version` and has registered `challenger`."""
        champion = self.ledger.champion(NAME)
        pinned = PinnedModel(
            path="data/champion/model.onnx",
            name=NAME,
            version=version,
            sha256=self.versions[version].sha256,
            ledger_sequence=champion.sequence if champion else None,
        )
        save_run(RunFile(partition=NIGHT, model=pinned, dag_id="retraining", run_id=run_id, run_ref=f"refs/runs/retraining/{run_id}"))
        Path("data/models").mkdir(parents=True, exist_ok=True)
        Path("data/models/registered.json").write_text(self.versions[challenger].model_dump_json())

    def publish(self, version: str = "1", partition: str = NIGHT) -> None:
        """Publish the night that `REF` has recorded as `partition`, scored by `version`."""
        lineage = Lineage(
            partition, NAME, version, self.versions[version].sha256, "night", REF, "c" * 40, False, datetime(2013, 4, 1, 2, tzinfo=UTC)
        )
        publish(self.root / "workspace" / SCORES, lineage, expected_rows=ROWS)


def make_template(directory: Path, count: int = 3) -> None:
    """Write into `directory` a home with `count` registered versions, and a workspace with a recorded night. It takes seconds: copy the
    result for each test.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTSHIFT_HOME", str(directory / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        client = connect()
        client.create_registered_model(NAME)
        for number in range(1, count + 1):
            place = directory / "models" / str(number)
            place.mkdir(parents=True)
            model = onnx.load_from_string(scored_night.onnx_bytes())
            note = model.metadata_props.add()
            note.key, note.value = "version", str(number)  # other bytes, the same scores
            (place / "model.onnx").write_bytes(model.SerializeToString(deterministic=True))
            assert str(client.create_model_version(NAME, str(place)).version) == str(number)
    _make_workspace(directory / "workspace", directory / "models" / "1" / "model.onnx")


def _make_workspace(path: Path, model: Path) -> None:
    """Make a repository in which a night was scored with `model` and recorded as `REF`; the golden set of that model is next to it."""
    made = {FEATURES: path.parent / "features.parquet", SCORES: path.parent / "scores.parquet"}
    scored_night.write_features(made[FEATURES], ROWS)
    loaded = load_model(model)
    score_parquet(loaded, made[FEATURES], made[SCORES], key=scored_night.ORDER, threshold=0.5, threads=1)
    path.mkdir()
    for name in ("params.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(REPOSITORY / name, path)
    stages = {
        name: {"cmd": f"cp {source} {out}", "outs": [out]} for name, (out, source) in zip(("features", "scores"), made.items(), strict=True)
    }
    (path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    for out in made:
        (path / out).parent.mkdir(parents=True, exist_ok=True)
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    _run("git", "init", "--quiet", cwd=path)
    _run(sys.executable, "-m", "dvc", "init", "--quiet", "--force", cwd=path)
    _run(sys.executable, "-m", "dvc", "repro", "--quiet", cwd=path)
    _run("git", "add", "--all", cwd=path)
    _run("git", *identity, "commit", "--quiet", "-m", "night", cwd=path)
    _run("git", "update-ref", REF, "HEAD", cwd=path)
    rows = scored_night.values(20, seed=7)
    (path / "data" / "reports" / "evaluate").mkdir(parents=True)
    written = golden.choose(loaded.signature.names, rows, loaded.score(rows), sha256_of(model), 10)
    (path / "data" / "reports" / "evaluate" / "golden.json").write_text(written.to_json())


def copy_template(template: Path, root: Path, patch: pytest.MonkeyPatch) -> Installation:
    """Return an installation of one's own under `root`, whose workspace becomes the working directory."""
    shutil.copytree(template / "home", root / "home")
    shutil.copytree(template / "models", root / "models")
    shutil.copytree(template / "workspace", root / "workspace")
    _move_versions(root / "home" / "mlflow" / "mlflow.db", str(template), str(root))
    patch.setenv("NIGHTSHIFT_HOME", str(root / "home"))
    for name in (
        "MLFLOW_TRACKING_URI",
        "NIGHTSHIFT_LEDGER_URL",
        "NIGHTSHIFT_PUBLISHED_URL",
        "NIGHTSHIFT_REPOSITORY",
        "NIGHTSHIFT_DVC_CACHE",
    ):
        patch.delenv(name, raising=False)
    patch.chdir(root / "workspace")
    installation = Installation(root)
    for place in sorted((root / "models").iterdir()):
        file = place / "model.onnx"
        installation.versions[place.name] = Registered(name=NAME, version=place.name, sha256=sha256_of(file), model_uri=str(file))
    return installation


def _move_versions(database: Path, before: str, after: str) -> None:
    import sqlite3

    with sqlite3.connect(database) as connection:
        for column in ("source", "storage_location"):
            connection.execute(f"UPDATE model_versions SET {column} = replace({column}, ?, ?)", (before, after))
    connection.close()


def _run(*command: str, cwd: Path) -> None:
    environment = {**{key: value for key, value in os.environ.items() if not key.startswith("GIT_")}, "DVC_NO_ANALYTICS": "1"}
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, env=environment)


def change_score(file: Path, answer: Path) -> None:
    """Write to `answer` the model of `file` with every leaf of its forest turned round: the contrary scores, still a model."""
    model = onnx.load(file)
    [forest] = [node for node in model.graph.node if node.op_type == "TreeEnsembleClassifier"]
    [weights] = [attribute for attribute in forest.attribute if attribute.name == "class_weights"]
    trees = len({*next(attribute for attribute in forest.attribute if attribute.name == "class_treeids").ints})
    for index, weight in enumerate(weights.floats):
        weights.floats[index] = 1 / trees - weight
    answer.write_bytes(model.SerializeToString(deterministic=True))
