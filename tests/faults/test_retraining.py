"""Retrainings whose tasks are killed at random moments and run again: one champion, no gap, and a version is registered once."""

import json
import multiprocessing
import os
import random
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from importlib import import_module
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import onnx
import pytest
import yaml

from pipelines.lib.challengers.evaluation import Evaluation
from pipelines.lib.champions.registry import connect
from pipelines.lib.core import contract
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.run import load_run, save_run
from pipelines.lib.models import costs, golden, skops_file
from pipelines.lib.models.costs import Costs
from pipelines.lib.models.inference import load_model
from tests import scored_night
from tests.evaluations import compared, evaluated, opponent
from tests.registered_models import NAME, NIGHT, Installation, copy_template, make_template

pytestmark = [pytest.mark.faults, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
KILLS = 2
"""Of each task of each retraining."""

HANGS_S = 600
"""A task of a few seconds that has not ended by then never will."""

REGISTERED = ["--registered", "data/models/registered.json"]
DECISION = ["--decision", "data/reports/decide/decision.json"]
ARGUMENTS = {
    "registry.register": [
        *("--model", "data/models/model.skops", "--onnx", "data/models/model.onnx", "--report", "data/reports/evaluate"),
        *REGISTERED,
    ],
    "training.shadow": [],
    "training.decide": [],
    "registry.promote": [*REGISTERED, *DECISION],
    "registry.verify": [*REGISTERED, "--golden", "data/reports/evaluate/golden.json"],
    "registry.refuse": [*REGISTERED, *DECISION],
}
JUDGED = ("registry.register", "training.shadow", "training.decide")
PRELOADED = ["mlflow.onnx", "mlflow.sklearn", "deltalake", "dvc.api", "onnxruntime", "scipy.stats", "skops.io", "sklearn.ensemble"]


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServerContext]:
    """Processes that have MLflow and the others imported when they begin: a kill then meets work, not imports."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    yield context


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("registered")
    make_template(directory, count=1)
    return directory


@pytest.fixture
def installation(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    """Version 1 is champion and has scored the published night."""
    found = copy_template(template, tmp_path / "installation", monkeypatch)
    found.publish("1")
    found.promoted("1")
    shutil.copy(ROOT / "requirements.txt", ".")
    lock = yaml.safe_load(Path("dvc.lock").read_text())
    lock["stages"]["ingest_history"] = {"outs": [{"md5": "d" * 32}]}
    Path("dvc.lock").write_text(yaml.safe_dump(lock))
    return found


def open_run(installation: Installation, run_id: str, *, better: bool) -> None:
    """Be in the workspace of a retraining whose challenger was trained and evaluated, as clearly better or as clearly worse than the
    champion.
    """
    shutil.rmtree("data/models", ignore_errors=True)
    champion = installation.ledger.champion(NAME)
    assert champion is not None
    installation.opened("1", "1", run_id)
    Path("data/models/registered.json").unlink()
    run = load_run()
    pinned = run.model.model_copy(update={"version": champion.version, "sha256": champion.sha256})
    save_run(run.model_copy(update={"git_commit": "c" * 40, "model": pinned}))
    for name in ("champion", "reports/validate_history", "reports/evaluate"):
        Path("data", name).mkdir(parents=True, exist_ok=True)
    shutil.copy(champion.model_uri, "data/champion/model.onnx")
    model = onnx.load_from_string(scored_night.onnx_bytes())
    note = model.metadata_props.add()
    note.key, note.value = "challenger", run_id  # bytes of its own
    Path("data/models/model.onnx").write_bytes(model.SerializeToString(deterministic=True))
    skops_file.dump(scored_night.forest(), Path("data/models/model.skops"))
    digest = sha256_of(Path("data/models/model.onnx"))
    evaluation = evaluate(digest, champion.sha256, champion.version, better=better)
    known = load_model(Path("data/models/model.onnx"))
    rows = scored_night.values(20, seed=7)
    measured = {
        name: Costs(sha256, p50_us=20.0, p99_us=45.0, memory_mib=30.0, size_mib=0.5)
        for name, sha256 in (("challenger", digest), ("champion", champion.sha256))
    }
    costs.write(Path("data/reports/latency.json"), measured)
    Path("data/reports/evaluate/evaluation.json").write_text(contract.to_json(evaluation))
    Path("data/reports/evaluate/metrics.json").write_text(json.dumps(asdict(evaluation.metrics)))
    Path("data/reports/evaluate/golden.json").write_text(
        golden.choose(known.signature.names, rows, known.score(rows), digest, 10).to_json()
    )
    Path("data/reports/validate_history/report.json").write_text(json.dumps({"expectations": []}))


def evaluate(digest: str, champion: str, version: str, *, better: bool) -> Evaluation:
    rng = np.random.default_rng(0)
    seen, unseen = rng.uniform(-0.24, 0.24, (2, 2_000))
    poor, good, nights = 0.5 + seen, 0.5 + seen + unseen, np.arange(2_000) // 100
    labels = (rng.random(2_000) < good).astype(np.int8)  # both are calibrated, one knows more
    theirs, mine = (poor, good) if better else (good, poor)
    against = opponent(version, champion)
    found = compared(labels, theirs, mine, nights, against=against)
    return evaluated(labels, mine, nights, name=NAME, sha256=digest, partition=NIGHT, comparison=found)


def work(stage: str, workspace: Path, environment: dict[str, str], log: Path) -> None:
    """Run as a task's process."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(workspace)
    with log.open("ab") as file:
        for descriptor in (1, 2):
            os.dup2(file.fileno(), descriptor)
    raise SystemExit(import_module(f"pipelines.{stage}").main(ARGUMENTS[stage]))


class Retrainings:
    """Runs tasks to their end, but kills each of them first, `KILLS` times; what must hold, holds after every kill."""

    def __init__(self, installation: Installation, processes: ForkServerContext, seed: int) -> None:
        self.installation, self.processes = installation, processes
        self.random = random.Random(seed)
        self.log = installation.root / "log"
        self.killed: Counter[str] = Counter()

    def run(self, stage: str, code: int = 0) -> None:
        """Run `stage`; its last attempt, which nobody kills, must end with `code`."""
        latest = 1.5  # s; what ends before that tells how long it takes, so that a kill meets work on a fast machine and on a slow one
        for _ in range(4 * KILLS):
            if self.killed[stage] >= KILLS:
                break
            if (took := self.attempt(stage, self.random.uniform(0, latest))) is None:
                self.killed[stage] += 1
            else:
                latest = took * 0.9
            self.check()
        assert self.killed[stage] == KILLS
        self.end(stage, code)

    def end(self, stage: str, code: int = 0) -> None:
        """Run `stage` to its end, which must be `code`."""
        assert self.attempt(stage, HANGS_S, code) is not None, f"{stage} hangs"
        self.check()
        champion = self.installation.ledger.champion(NAME)
        if stage in ("registry.promote", "registry.verify", "registry.refuse"):
            assert champion and self.installation.aliases()["champion"] == champion.version

    def attempt(self, stage: str, patience: float, code: int | None = None) -> float | None:
        """Return how long a process of `stage` took, or None if it was killed after `patience` seconds."""
        process = self.processes.Process(target=work, args=(stage, Path.cwd(), dict(os.environ), self.log))
        started = time.monotonic()
        process.start()
        process.join(patience)
        if process.exitcode is None:
            process.kill()
        process.join()
        if process.exitcode == -9:
            return None
        if code is not None:
            assert process.exitcode == code, self.log.read_text(errors="replace")[-3000:]
        return time.monotonic() - started

    def check(self) -> None:
        history = self.installation.ledger.history(NAME)
        assert [entry.sequence for entry in history] == list(range(1, len(history) + 1))
        promoted = Counter(entry.evidence["run_ref"] for entry in history if entry.action == "promote" and entry.sequence > 1)
        assert set(promoted.values()) <= {1}, "a run promotes once"
        digests = Counter(found.tags.get("sha256") for found in connect().search_model_versions(f"name = '{NAME}'"))
        del digests[None]  # the first one, which this test has not registered
        assert set(digests.values()) <= {1}, "a model is one version"


def test_killed_anywhere_and_run_again_there_is_one_champion_and_nothing_twice(
    installation: Installation, processes: ForkServerContext
) -> None:
    """Three retrainings in a row: one is promoted, one is promoted and rolled back by its verification, one is refused."""
    runs = Retrainings(installation, processes, seed=20130401)
    open_run(installation, "good", better=True)
    for stage in (*JUDGED, "registry.promote", "registry.verify"):
        runs.run(stage)
    assert [entry.version for entry in installation.ledger.history(NAME)] == ["1", "2"]

    open_run(installation, "faulty", better=True)
    for stage in (*JUDGED, "registry.promote"):
        runs.end(stage)
    runs.killed.clear()
    Path("data/reports/evaluate/golden.json").unlink()
    runs.run("registry.verify", code=1)
    runs.run("registry.promote", code=1)  # cleared: what was rolled back does not come back
    assert [entry.version for entry in installation.ledger.history(NAME)] == ["1", "2", "3", "2"]

    open_run(installation, "refused", better=False)
    for stage in JUDGED:
        runs.end(stage)
    runs.run("registry.refuse")
    assert [entry.version for entry in installation.ledger.history(NAME)] == ["1", "2", "3", "2"]
    assert installation.aliases() == {"champion": "2", "previous": "1"}
    verdicts = [(row.run_id, row.verdict) for row in installation.journal.verdicts(NAME)]
    assert len(verdicts) == len(set(verdicts))
    ends = {("good", "promoted"), ("faulty", "rolled_back"), ("refused", "refused")}
    assert ends < set(verdicts)
