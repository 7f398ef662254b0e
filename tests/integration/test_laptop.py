"""The work of a data scientist on a laptop, without Airflow: dvc repro, metrics, plots, an experiment, and a register that asks for a
commit.
"""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.lib.tables.dataset import Dataset
from tests.real_repository import SOURCE, RealRepository

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture(scope="module")
def laptop(tmp_path_factory: pytest.TempPathFactory) -> RealRepository:
    """Return a fresh clone with an empty cache in which everything has been reproduced. ``keys`` next to it has the parameters that each
    stage read.
    """
    repository = RealRepository(tmp_path_factory.mktemp("laptop"))
    keys = repository.root.parent / "keys"
    keys.mkdir()
    path = os.pathsep.join([str(repository.root / "tests" / "keys_read"), repository.environment()["PYTHONPATH"]])
    dvc(repository, "repro", KEYS_READ=str(keys), PYTHONPATH=path)
    return repository


def dvc(repository: RealRepository, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=repository.root,
        env={**repository.environment(), **environment},
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
"""Stages that add up floats, and what follows from them: each kind of processor adds in an order of its own, so the last bits are its own
as well.
"""


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
    """Return the parts of a stage's entry that do not depend on the processor: its command, its parameters, its code, and what it makes."""
    code = [dependency for dependency in stage["deps"] if not dependency["path"].startswith("data/")]
    return stage["cmd"], stage.get("params"), code, [output["path"] for output in stage["outs"]]


def test_nothing_runs_again_where_nothing_has_changed(laptop: RealRepository) -> None:
    assert "Data and pipelines are up to date." in dvc(laptop, "repro")


def test_a_stage_depends_on_the_parameters_that_it_reads(laptop: RealRepository) -> None:
    stages = yaml.safe_load((laptop.root / "dvc.yaml").read_text())["stages"]
    for name, stage in stages.items():
        files = list((laptop.root.parent / "keys").glob(f"{stage['cmd'].split()[2]}.*.json"))
        assert files, f"{name} did not run"
        read = [json.loads(file.read_text()) for file in files]
        sections = {section for one in read for section in one["sections"]}
        keys = {key for one in read for key in one["keys"]}
        declared = {key for key in stage["params"] if isinstance(key, str)}
        assert {key.partition(".")[0] for key in declared} == sections, f"dvc.yaml, stages.{name}.params"
        missing = {key for key in keys if key not in declared and key.partition(".")[0] not in declared}
        assert not missing, f"dvc.yaml, stages.{name}.params: add {', '.join(sorted(missing))}"
        unread = {key for key in declared if "." in key and key not in keys}
        assert not unread, f"dvc.yaml, stages.{name}.params: remove {', '.join(sorted(unread))}, which it does not read"
        if "dataset" in declared:  # a key with a default cannot be named
            optional = {field for field, info in Dataset.model_fields.items() if not info.is_required()}
            assert {f"dataset.{field}" for field in optional} & keys, f"dvc.yaml, stages.{name}.params: name the keys of dataset, {keys}"


def stages_of(output: str) -> list[str]:
    """Return the stages that `dvc repro` has run, in order."""
    return re.findall(r"^Running stage '([^']+)'", output, re.MULTILINE)


@pytest.fixture
def changed(laptop: RealRepository) -> Iterator[RealRepository]:
    """The laptop for a test that changes files; afterwards they are as they were."""
    lock = (laptop.root / "dvc.lock").read_text()
    yield laptop
    subprocess.run(["git", "checkout", "--quiet", "--", "."], cwd=laptop.root, check=True)
    (laptop.root / "dvc.lock").write_text(lock)
    dvc(laptop, "checkout", "--force")


def test_what_changes_runs_again_and_nothing_else(changed: RealRepository) -> None:
    page = changed.root / "pipelines" / "lib" / "pages" / "templates" / "gate.html"
    page.write_text(page.read_text() + "<!-- a new look -->\n")
    ran = stages_of(dvc(changed, "repro", "evaluate"))
    assert ran == ["validate_history", "evaluate"]  # which have pages; nothing is trained

    params = yaml.safe_load((changed.root / "params.yaml").read_text())
    params["validate_history"]["maximum_label_rate"] = 0.46
    (changed.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    assert stages_of(dvc(changed, "repro", "evaluate")) == ["validate_history"]

    params["train"]["parameters"]["max_depth"] = 3
    (changed.root / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    assert stages_of(dvc(changed, "repro", "evaluate")) == ["train", "export_onnx", "evaluate"]


def test_metrics_and_plots_are_shown(laptop: RealRepository) -> None:
    metrics = json.loads(dvc(laptop, "metrics", "show", "--json"))[""]["data"]["data/reports/evaluate/metrics.json"]["data"]
    assert metrics["auc"] > 0.65
    page = Path(dvc(laptop, "plots", "show").strip().removeprefix("file://"))
    assert "ROC on the holdout" in page.read_text()


def test_an_experiment_changes_a_number_and_what_follows_from_it(laptop: RealRepository) -> None:
    before = yaml.safe_load((laptop.root / "dvc.lock").read_text())["stages"]
    dvc(laptop, "exp", "run", "--name", "small", "-S", "train.parameters.n_estimators=20", "evaluate")
    after = yaml.safe_load((laptop.root / "dvc.lock").read_text())["stages"]
    assert after["featurize_history"] == before["featurize_history"]
    assert after["export_onnx"]["outs"] != before["export_onnx"]["outs"]
    rows = json.loads(dvc(laptop, "exp", "show", "--json"))
    assert "small" in json.dumps(rows)
