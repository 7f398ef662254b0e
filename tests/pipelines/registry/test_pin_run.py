"""Opening a run: its workspace afterwards."""

import datetime as dt
import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipelines.data import ingest_batch
from pipelines.lib.core.yaml_text import parse_yaml
from pipelines.registry.pin_run import main
from tests.datasets import orders
from tests.models_of_every_kind import WITHOUT_A_CONVERTER, counted_fits

REPOSITORY = Path(__file__).parents[3]
RUN = ["--partition", "2013-04-02", "--dag-id", "training", "--run-id", "run", "--run-ref", "refs/runs/training/run"]
RUN += ["--git-commit", "0" * 40, "--opened-at", "2026-01-01T02:00:00+00:00", "--model", "own"]


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with this repository's params.yaml, run.yaml and dvc.lock."""
    for name in ("params.yaml", "run.yaml", "dvc.lock"):
        shutil.copy(REPOSITORY / name, tmp_path)
    shutil.copytree(REPOSITORY / "pipelines" / "suites", tmp_path / "pipelines" / "suites")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.mark.costly
def test_a_run_begins_with_an_empty_lock_and_keeps_its_own_outputs(workspace: Path) -> None:
    lock = workspace / "dvc.lock"
    assert parse_yaml(lock.read_text())["stages"], "that of a laptop's night"
    assert main(RUN) == 0
    assert parse_yaml(lock.read_text()) == {"schema": "2.0", "stages": {}}
    lock.write_text("schema: '2.0'\nstages: {train: {cmd: x}}\n")
    assert main(RUN) == 0
    assert "train" in lock.read_text(), "opened again, it is pinned already"


@pytest.mark.parametrize(
    ("section", "value", "key"),
    [
        ("ingest_history", {"start": dt.date(2013, 1, 1)}, "ingest_history.start (2013-01-01)"),
        ("any", [{"at": dt.date(2013, 1, 2)}], "any.0.at (2013-01-02)"),
    ],
)
def test_an_unquoted_date_is_refused_by_name_and_not_tried_again(workspace: Path, section: str, value: object, key: str) -> None:
    params = parse_yaml((workspace / "params.yaml").read_text())
    params[section] = value
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    assert main(RUN) == 1
    message = json.loads((workspace / "failure.json").read_text())
    assert (message["error"], message["retryable"]) == ("ConfigError", False)
    assert key in message["message"]
    assert "quoted strings" in message["message"]


def test_a_run_with_faulty_parameters_is_refused_with_all_faults(workspace: Path) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["train"]["parameters"]["max_depth"] = 0
    params["evaluate"]["slices"] = ["orgin"]
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    before = (workspace / "run.yaml").read_bytes()
    assert main(RUN) == 1
    failure = json.loads((workspace / "failure.json").read_text())
    assert failure["retryable"] is False
    assert "params.yaml of the use case flights has 2 faults: " in failure["message"]
    assert "train.parameters.max_depth: is 0. It must be an int in the range [1, inf) or None" in failure["message"]
    assert "evaluate.slices: names 'orgin', which is not there; did you mean origin?" in failure["message"]
    assert (workspace / "run.yaml").read_bytes() == before


@pytest.mark.costly
def test_opening_a_run_fits_no_model(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["train"] |= WITHOUT_A_CONVERTER
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    fits = counted_fits(monkeypatch)
    assert main(RUN) == 0, "only a trial could have refused this estimator"
    assert fits == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"estimator": "sklearn.dummy.DumyClassifier"}, "train.estimator: is 'sklearn.dummy.DumyClassifier', which is not a classifier"),
        ({"parameters": {"stratgy": "prior"}}, "train.parameters.stratgy: is not a parameter of sklearn.dummy.DummyClassifier; did you mean strategy?"),
        ({"parameters": {"strategy": "best"}}, "train.parameters.strategy: is 'best'. It must be a str among"),
    ],
)  # fmt: skip
def test_a_run_whose_estimator_has_a_wrong_name_or_value_is_refused_without_a_fit(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, object], said: str
) -> None:
    params = yaml.safe_load((workspace / "params.yaml").read_text())
    params["train"] |= {**WITHOUT_A_CONVERTER, **wrong}
    (workspace / "params.yaml").write_text(yaml.safe_dump(params))
    fits = counted_fits(monkeypatch)
    assert main(RUN) == 1
    assert said in json.loads((workspace / "failure.json").read_text())["message"]
    assert fits == []


def test_a_run_pins_the_files_of_its_source_and_its_ingest_reads_these(workspace: Path) -> None:
    orders.prepare(workspace)
    assert main(RUN) == 0
    pinned = yaml.safe_load((workspace / "run.yaml").read_text())
    assert {table: len(files) for table, files in pinned["files"].items()} == {"events": 16, "products": 16}
    assert ingest_batch.main(["--raw", "raw"]) == 0
    orders.write(orders.orders(days=40), workspace / "orders.parquet")
    assert ingest_batch.main(["--raw", "raw"]) == 1
    failure = json.loads((workspace / "failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("DataError", False)
    assert "orders.parquet was replaced or written after the run was opened" in failure["message"]
    assert main(RUN) == 0, "opened again, the run keeps its pins"
    assert yaml.safe_load((workspace / "run.yaml").read_text()) == pinned
