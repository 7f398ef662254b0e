"""What a data scientist does on a laptop, without Airflow: dvc repro, metrics, plots, an experiment, and a register that asks for a commit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.real_repository import SOURCE, RealRepository

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> RealRepository:
    """A fresh clone with an empty cache in which everything has been reproduced."""
    repository = RealRepository(tmp_path_factory.mktemp("laptop"))
    dvc(repository, "repro")
    return repository


def dvc(repository: RealRepository, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=repository.root,
        env=repository.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


OF_THIS_PROCESSOR = {
    *("train_encoder", "quantize", "evaluate_encoder"),
    *("embed", "validate_vectors", "plan_index", "fill_shard", "build_index", "evaluate_index"),
}
"""Stages that add up floats, and what follows from them: each kind of processor adds in an order of its own, so the last bits are its own as well."""


def test_a_fresh_clone_gives_the_committed_lock_back(laptop: RealRepository) -> None:
    made, committed = ((root / "dvc.lock").read_text() for root in (laptop.root, SOURCE))
    if made == committed:
        return
    found, wanted = (yaml.safe_load(text)["stages"] for text in (made, committed))
    assert found.keys() == wanted.keys()
    for name, stage in wanted.items():
        if name.partition("@")[0] in OF_THIS_PROCESSOR:
            assert said(found[name]) == said(stage), name
        else:
            assert found[name] == stage, name


def said(stage: dict[str, Any]) -> tuple[Any, ...]:
    """Of a stage's entry what no processor has a say in: its command, its parameters, its code, and what it makes."""
    code = [dependency for dependency in stage["deps"] if not dependency["path"].startswith("data/")]
    return stage["cmd"], stage.get("params"), code, [output["path"] for output in stage["outs"]]


def test_nothing_runs_again_where_nothing_has_changed(laptop: RealRepository) -> None:
    assert "Data and pipelines are up to date." in dvc(laptop, "repro")


def test_metrics_and_plots_are_shown(laptop: RealRepository) -> None:
    metrics = json.loads(dvc(laptop, "metrics", "show", "--json"))[""]["data"]["data/reports/evaluate/metrics.json"]["data"]
    assert metrics["auc"] > 0.65
    page = Path(dvc(laptop, "plots", "show").strip().removeprefix("file://"))
    assert "ROC on the holdout" in page.read_text()


def test_an_experiment_changes_a_number_and_what_follows_from_it(laptop: RealRepository) -> None:
    before = yaml.safe_load((laptop.root / "dvc.lock").read_text())["stages"]
    dvc(laptop, "exp", "run", "--name", "small", "-S", "train.n_estimators=20", "evaluate")
    after = yaml.safe_load((laptop.root / "dvc.lock").read_text())["stages"]
    assert after["featurize_history"] == before["featurize_history"]
    assert after["export_onnx"]["outs"] != before["export_onnx"]["outs"]
    rows = json.loads(dvc(laptop, "exp", "show", "--json"))
    assert "small" in json.dumps(rows)
