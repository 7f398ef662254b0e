"""A run is pinned to a commit, also where the working tree differs from it."""

import pytest
from nightshift_airflow import workspaces
from nightshift_airflow.refusals import RunRefusedError
from nightshift_airflow.repository import pin_commit

from tests.stub_repository import git

DAG = "nightly_batch_scoring"


def test_a_dirty_tree_is_snapshotted_and_left_alone(repository, caplog):
    (repository / "run.yaml").write_text('partition: "2013-01-02"\n')
    (repository / "staged").write_text("staged")
    git(repository, "add", "staged")
    (repository / "untracked").write_text("untracked")
    (repository / "pipelines" / "stub.py").unlink()
    before = git(repository, "status", "--porcelain"), git(repository, "rev-parse", "HEAD"), git(repository, "ls-files", "--stage")
    workspace = workspaces.open_workspace(DAG, "run")
    assert workspace.snapshot
    assert (workspace.path / "run.yaml").read_text() == 'partition: "2013-01-02"\n'
    assert (workspace.path / "staged").exists()
    assert (workspace.path / "untracked").exists()
    assert not (workspace.path / "pipelines" / "stub.py").exists()
    assert (
        git(repository, "status", "--porcelain"),
        git(repository, "rev-parse", "HEAD"),
        git(repository, "ls-files", "--stage"),
    ) == before
    assert git(repository, "rev-parse", f"{workspace.commit}^") == before[1]
    assert "the working tree differs" in caplog.text
    assert "untracked" in caplog.text


def test_ignored_files_make_no_tree_dirty(repository):
    (repository / "var").mkdir()
    (repository / "var" / "state").write_text("state")
    (repository / "failure.json").write_text("{}")
    assert pin_commit() == (git(repository, "rev-parse", "HEAD"), False)


def test_the_same_dirty_tree_gives_the_same_commit(repository):
    (repository / "untracked").write_text("untracked")
    assert pin_commit() == pin_commit()


def test_production_refuses_a_dirty_tree_with_the_list(repository, monkeypatch):
    monkeypatch.setenv("NIGHTSHIFT_MODE", "production")
    (repository / "untracked").write_text("untracked")
    with pytest.raises(RunRefusedError, match="untracked; production runs commits only"):
        workspaces.open_workspace(DAG, "run")
    assert not (repository / "var" / "workspaces").exists()


def test_data_does_not_slip_into_git(repository):
    with (repository / "big.csv").open("wb") as file:
        file.truncate(60 * 2**20)
    with pytest.raises(RunRefusedError, match=r"big\.csv is not committed and has 62,914,560 bytes"):
        pin_commit()


def test_nobodys_identity_is_assumed(repository, monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (repository / "untracked").write_text("untracked")
    commit, _ = pin_commit()
    assert git(repository, "show", "--no-patch", "--format=%an <%ae>", commit) == "Nightshift <nightshift@localhost>"
