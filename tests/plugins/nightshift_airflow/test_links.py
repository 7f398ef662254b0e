"""Where the buttons on a task lead."""

from types import SimpleNamespace

import pytest
import yaml
from nightshift_airflow import places, workspaces
from nightshift_airflow.links import ModelCard

KEY = SimpleNamespace(dag_id="nightly_batch_scoring", run_id="run")


@pytest.fixture
def link(repository):
    def get() -> str:
        return ModelCard().get_link(SimpleNamespace(), ti_key=KEY)

    workspace = workspaces.open_workspace(KEY.dag_id, KEY.run_id)
    model = {"name": "Core", "version": "7"}
    (workspace.path / "run.yaml").write_text(yaml.safe_dump({"run_id": "run", "model": model}))
    return get


def test_the_card_unless_people_can_reach_mlflow(link, monkeypatch):
    monkeypatch.delenv("NIGHTSHIFT_MLFLOW_UI_URL", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:secret@mlflow:5000")
    assert link() == "/nightshift/models/Core/7"
    monkeypatch.setenv("NIGHTSHIFT_MLFLOW_UI_URL", "https://mlflow.example.org/")
    assert link() == "https://mlflow.example.org/#/models/Core/versions/7"


def test_nothing_for_a_run_without_a_version(link):
    (places.workspace_path(KEY.dag_id, KEY.run_id) / "run.yaml").write_text("model: {name: Core}\n")
    assert link() == ""
