"""A home that was moved or copied, with a real MLflow and a real ledger in it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import mlflow
import pytest

from pipelines.lib.champions.registry import connect, experiment_id, fetch
from pipelines.lib.champions.relocation import follow_artifacts, present_path
from pipelines.lib.core import home
from pipelines.lib.core.errors import ModelError
from pipelines.lib.records.ledger import Entry, Ledger

NAME = "Model"


_MAKE = """
import sys
from pathlib import Path
from pipelines.lib.core import home
from pipelines.lib.core.digest import sha256_of
from pipelines.lib.records.ledger import Entry, Ledger
from pipelines.lib.champions.registry import connect, experiment_id

client, file = connect(), Path(sys.argv[1])
file.write_bytes(b"a model")
run = client.create_run(experiment_id(client, "Experiment"))
client.log_artifact(run.info.run_id, str(file))
uri = f"{run.info.artifact_uri}/{file.name}"
client.create_registered_model("Model")
client.create_model_version("Model", uri, run.info.run_id)
Ledger(home.ledger_url()).append(Entry("Model", 1, "promote", "1", sha256_of(file), uri, None, "2013-04-01", "ada", "first"))
"""
VARIABLES = ("MLFLOW_TRACKING_URI", "NIGHTSHIFT_LEDGER_URL", "NIGHTSHIFT_ARTIFACT_ROOT")


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return where a home with a champion was made by a process of its own, and where it is now; nothing is left at the first place."""
    root = tmp_path_factory.mktemp("template")
    environment = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    environment |= {"NIGHTSHIFT_HOME": str(root / "a_b"), "PYTHONPATH": str(home.REPOSITORY)}
    subprocess.run([sys.executable, "-c", _MAKE, str(root / "model.onnx")], check=True, env=environment, capture_output=True)
    (root / "a_b").rename(root / "moved")
    return root / "a_b", root / "moved"


@pytest.fixture
def moved(template: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a home that was made at the path that is returned."""
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    shutil.copytree(template[1], tmp_path / "else where" / "home")
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "else where" / "home"))
    return template[0]


def champion() -> Entry:
    entry = Ledger(home.ledger_url()).champion(NAME)
    assert entry is not None
    return entry


@pytest.mark.slow
def test_a_moved_home_loads_its_champion(moved: Path, tmp_path: Path) -> None:
    fetch(champion(), tmp_path / "fetched.onnx")
    assert (tmp_path / "fetched.onnx").read_bytes() == b"a model"


@pytest.mark.costly
def test_mlflow_reads_and_writes_at_the_new_place(moved: Path, tmp_path: Path) -> None:
    database, root = home.home() / "mlflow" / "mlflow.db", Path(home.artifact_root())
    assert follow_artifacts(database, root) == str(moved / "mlflow" / "artifacts")
    client = connect()
    assert Path(mlflow.artifacts.download_artifacts(client.get_model_version(NAME, "1").source)).read_bytes() == b"a model"
    new = client.create_run(experiment_id(client, "Experiment"))
    assert Path(new.info.artifact_uri).is_relative_to(root)
    assert not moved.exists()
    assert follow_artifacts(database, root) is None, "a second call changes nothing"


@pytest.mark.costly
def test_a_copy_leaves_the_original_alone(moved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, copy = home.home(), tmp_path / "copy"
    follow_artifacts(original / "mlflow" / "mlflow.db", original / "mlflow" / "artifacts")
    shutil.copytree(original, copy)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(copy))
    assert follow_artifacts(copy / "mlflow" / "mlflow.db", Path(home.artifact_root())) == str(original / "mlflow" / "artifacts")
    for file in original.rglob("model.onnx"):
        file.write_bytes(b"changed in the original")
    fetch(champion(), tmp_path / "fetched.onnx")


@pytest.mark.costly
def test_a_file_that_lacks_at_both_places_is_named_as_the_ledger_has_it(moved: Path, tmp_path: Path) -> None:
    for file in home.home().rglob("model.onnx"):
        file.unlink()
    with pytest.raises(ModelError, match=str(moved)):
        fetch(champion(), tmp_path / "fetched.onnx")


def test_a_store_that_is_not_in_the_home_is_left_alone(tmp_path: Path) -> None:
    assert follow_artifacts(tmp_path / "missing.db", tmp_path / "mlflow" / "artifacts") is None
    assert follow_artifacts(tmp_path / "missing.db", tmp_path / "store") is None
    assert not (tmp_path / "missing.db").exists()
    assert present_path(tmp_path / "model.onnx", tmp_path / "mlflow" / "artifacts") == tmp_path / "model.onnx"
