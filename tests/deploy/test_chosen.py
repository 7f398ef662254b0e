"""The use case that `make demo` and `make up` choose holds in their own process, and reaches nobody else."""

import os
from pathlib import Path

import pytest
from nightshift_airflow.stage_process import stage_environment
from nightshift_airflow.workspaces import Workspace

from deploy.embedded.chosen import choosing, dag_id, demo_directory
from deploy.embedded.first_nights import first_partitions
from deploy.embedded.server import Server
from pipelines.lib.champions.registry import load_registry
from pipelines.lib.core.use_cases import VARIABLE, find
from pipelines.lib.published.store import scores_url

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that declares the use case *shop* next to the default one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "var"))
    monkeypatch.delenv("NIGHTSHIFT_PUBLISHED_URL", raising=False)
    monkeypatch.delenv(VARIABLE, raising=False)
    for name in ("params.yaml", "run.yaml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "pipelines" / "defaults.yaml").write_bytes((ROOT / "pipelines" / "defaults.yaml").read_bytes())
    shop = tmp_path / "use_cases" / "shop" / "params.yaml"
    shop.parent.mkdir(parents=True)
    shop.write_text("dataset: {event_time: at}\nfeatures: {}\nfirst_run: {partition: '2024-03-30'}\n", encoding="utf-8")
    return tmp_path


def test_dags_tables_names_and_nights_are_those_of_the_chosen_one(repository: Path) -> None:
    with choosing(find("shop", Path())):
        assert dag_id("drift_monitoring") == "drift_monitoring__shop"
        assert load_registry().name == "shop_model"
        assert first_partitions() == ["2024-03-30", "2024-03-31", "2024-04-01", "2024-04-02"]
        assert scores_url() == f"{repository}/var/published/use_cases/shop/scores"
        assert demo_directory() == repository / "var" / "demo" / "shop"
    assert VARIABLE not in os.environ


@pytest.mark.parametrize("name", ["", "flights"])
def test_the_default_one_keeps_its_plain_names(name: str, repository: Path) -> None:
    with choosing(find(name, Path())):
        assert dag_id("drift_monitoring") == "drift_monitoring"
        assert first_partitions()[0] == "2013-04-01"
        assert scores_url() == f"{repository}/var/published/scores"
        assert demo_directory() == repository / "var" / "demo"


def test_the_choice_before_comes_back_also_after_an_error(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "flights")
    with pytest.raises(ValueError, match="stop"), choosing(find("shop", Path())):
        raise ValueError("stop")
    assert os.environ[VARIABLE] == "flights"


def test_the_choice_reaches_neither_airflow_nor_a_workspace(repository: Path) -> None:
    with choosing(find("shop", Path())):
        assert VARIABLE not in Server(repository / "var", repository=repository).environment()
        workspace = Workspace(repository, "drift_monitoring__shop", "run", "run", "", snapshot=False)
        assert VARIABLE not in stage_environment(workspace)
