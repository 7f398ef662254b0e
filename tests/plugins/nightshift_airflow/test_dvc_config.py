"""A workspace has the settings of its repository, and the cache that all share."""

import subprocess
import sys

import pytest
from nightshift_airflow import dvc_config, workspaces

DAG = "nightly_batch_scoring"


@pytest.mark.costly
def test_the_local_dvc_settings_come_along(repository):
    local = "[core]\n    remote = store\n    hardlink_lock = true\n['remote \"store\"']\n    url = s3://bucket/%2Fx\n    secret_access_key = s%cret\n"
    (repository / ".dvc" / "config.local").write_text(local)
    workspace = workspaces.open_workspace(DAG, "run")
    config = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--list"], cwd=workspace.path, capture_output=True, text=True, check=True
    )
    assert "remote.store.secret_access_key=s%cret" in config.stdout
    assert "core.hardlink_lock=false" in config.stdout, "workspaces hold DVC's own lock, of the usual kind"
    assert "remote.store.verify=true" in config.stdout
    assert dvc_config.has_remote(workspace.path)
    assert (workspace.path / ".dvc" / "config.local").stat().st_mode & 0o077 == 0


def test_without_a_remote_there_is_nothing_to_push_to(repository):
    assert not dvc_config.has_remote(workspaces.open_workspace(DAG, "run").path)
