"""Nothing from outside becomes a path or a ref unchecked."""

import re
from pathlib import Path

import pytest
from nightshift_airflow import places, workspaces
from nightshift_airflow.refusals import RunRefusedError

from pipelines.lib.core import home
from pipelines.lib.core.errors import ConfigError
from tests.stub_repository import git

DAG = "nightly_batch_scoring"


@pytest.mark.parametrize(
    "run_id",
    ["../../etc", "a/b", "..", "a..b", "", "-x", ".x", "a b", "a\nb", "ü", "x" * 201, "x" * 10_000, "a;rm -rf /", "a'--", None, 7, "a\0b"],
)
def test_an_unfit_run_id_is_refused_before_a_path_is_made(repository, run_id):
    with pytest.raises(RunRefusedError, match=r"dag_run_id is .*; it must be"):
        workspaces.open_workspace(DAG, run_id)
    assert not (repository / "var").exists()


@pytest.mark.parametrize("dag_id", ["../x", "a/b", "..", ""])
def test_an_unfit_dag_id_is_refused(repository, dag_id):
    with pytest.raises(RunRefusedError, match="dag_id is"):
        workspaces.open_workspace(dag_id, "run")


@pytest.mark.parametrize("run_id", ["manual__2013-04-01T02:00:00+00:00", "UPPER", "x" * 200, "a.b~c", "name.lock"])
def test_an_odd_run_id_becomes_a_safe_slug_with_a_hash(repository, run_id):
    slug = places.slug_of(run_id)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", slug)
    assert slug != run_id
    git(repository, "check-ref-format", f"refs/runs/{DAG}/{slug}")


def test_slugs_of_different_runs_differ_and_plain_ids_stay():
    assert places.slug_of("Run") != places.slug_of("run")
    assert places.slug_of("a.b") != places.slug_of("a:b")
    assert places.slug_of("drift-2013-04-01_7") == "drift-2013-04-01_7"


def test_home_follows_the_environment(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "elsewhere"))
    assert places.workspace_path(DAG, "run") == Path(tmp_path / "elsewhere" / "workspaces" / DAG / "run")


def test_the_plugin_and_the_stages_have_one_home(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(repository))
    assert places.home() == home.home() == repository / "var"
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "elsewhere"))
    assert places.home() == home.home() == tmp_path / "elsewhere"


def test_a_home_whose_files_would_end_up_elsewhere_is_refused(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "50%"))
    with pytest.raises(ConfigError, match=r"NIGHTSHIFT_HOME is .*Choose a directory"):
        places.workspace_path(DAG, "run")
