"""A workspace a run: opened by many at once, rebuilt, collected, moved."""

import json
import os
import subprocess
import sys
import threading
import time

import pytest
import yaml
from nightshift_airflow import places, workspaces

from tests.stub_repository import commit_all, git

DAG = "nightly_batch_scoring"


@pytest.mark.costly
def test_a_workspace_is_a_worktree_of_the_commit_with_the_shared_cache(repository):
    workspace = workspaces.open_workspace(DAG, "run")
    assert workspace.path == repository / "var" / "workspaces" / DAG / "run"
    assert git(workspace.path, "rev-parse", "HEAD") == workspace.commit == git(repository, "rev-parse", "HEAD")
    assert not workspace.snapshot
    assert git(workspace.path, "status", "--porcelain") == ""
    config = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--list"], cwd=workspace.path, capture_output=True, text=True, check=True
    )
    assert f"cache.dir={repository}/.dvc/cache" in config.stdout
    assert "core.analytics=false" in config.stdout


def test_opening_again_finds_the_same_workspace_though_the_branch_has_moved(repository):
    first = workspaces.open_workspace(DAG, "run")
    (first.path / "kept").write_text("work")
    (repository / "new").write_text("new")
    commit_all(repository, "moved on")
    assert workspaces.open_workspace(DAG, "run") == first
    assert (first.path / "kept").exists()


@pytest.mark.costly
@pytest.mark.parametrize("remains", ["no marker", "torn marker", "directory only", "git entry only"])
def test_what_a_killed_attempt_left_is_rebuilt(repository, remains):
    first = workspaces.open_workspace(DAG, "run")
    marker = first.path / ".dvc" / "tmp" / "workspace.json"
    (first.path / "half").write_text("half")
    if remains == "torn marker":
        marker.write_text('{"commit": ')
    else:
        marker.unlink()
    if remains == "directory only":
        git(repository, "worktree", "remove", "--force", str(first.path))
        first.path.mkdir()
        (first.path / "half").write_text("half")
    if remains == "git entry only":
        first.path.rename(repository.parent / "away")
    again = workspaces.open_workspace(DAG, "run")
    assert not (again.path / "half").exists()
    assert git(again.path, "status", "--porcelain") == ""
    assert workspaces.find_workspace(DAG, "run") == again


@pytest.mark.costly
def test_many_runs_open_at_once(repository):
    """Threads and processes, all adding and pruning worktrees of one repository."""
    failures = []

    def open_some(names):
        try:
            for name in names:
                workspace = workspaces.open_workspace(DAG, name)
                workspaces.remove_workspace(workspace.path)
                workspaces.open_workspace(DAG, name)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=open_some, args=([f"t{number}-{i}" for i in range(3)],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(git(repository, "worktree", "list").splitlines()) == 1 + 12


def test_removing_leaves_nothing_and_may_be_repeated(repository):
    workspace = workspaces.open_workspace(DAG, "run")
    workspaces.remove_workspace(workspace.path)
    workspaces.remove_workspace(workspace.path)
    assert not workspace.path.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_only_what_nobody_touched_for_long_is_collected(repository):
    old, new = workspaces.open_workspace(DAG, "old"), workspaces.open_workspace(DAG, "new")
    for file in (old.path, old.path / ".dvc" / "tmp" / "workspace.json"):
        os.utime(file, (1, 1))
    assert workspaces.collect_workspaces(7) == [old.path]
    assert new.path.exists()
    assert not old.path.exists()


@pytest.mark.costly
@pytest.mark.parametrize(
    ("fraud", "churn", "kept"),
    [
        ({"retention_days": 30}, {"retention_days": 2}, ["nightly_batch_scoring__fraud"]),
        ({"retention_days": 2}, {"retention_days": 30}, ["nightly_batch_scoring__churn"]),
        ({"retention_days": "long"}, {}, []),
    ],
)
def test_a_workspace_is_kept_as_long_as_its_own_dag_says(repository, fraud, churn, kept):
    ten_days_ago = time.time() - 10 * 86_400
    for name, section in (("fraud", fraud), ("churn", churn)):
        declaration = repository / "use_cases" / name / "params.yaml"
        declaration.parent.mkdir(parents=True)
        content = {
            "dataset": {"event_time": "at"},
            "features": {},
            "first_run": {"partition": "2013-01-01"},
            "nightly_batch_scoring": section,
        }
        declaration.write_text(yaml.safe_dump(content))
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "declare use cases")
    opened = [workspaces.open_workspace(f"{DAG}__{name}", "old").path for name in ("fraud", "churn")]
    gone = repository / "var" / "workspaces" / f"{DAG}__gone" / "old"
    gone.mkdir(parents=True)
    for path in (*opened, gone):
        for file in (path, path / ".dvc" / "tmp" / "workspace.json"):
            if file.exists():
                os.utime(file, (ten_days_ago, ten_days_ago))
    collected = workspaces.collect_workspaces(7)
    assert gone in collected
    assert [path.parent.name for path in opened if path.exists()] == kept


@pytest.mark.parametrize("days", [0, -1, float("nan")])
def test_a_number_of_days_that_is_refused_costs_no_run_its_workspace(repository, days):
    declaration = repository / "use_cases" / "fraud" / "params.yaml"
    declaration.parent.mkdir(parents=True)
    content = {"dataset": {"event_time": "at"}, "features": {}, "first_run": {"partition": "2013-01-01"}}
    declaration.write_text(yaml.safe_dump(content))
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "-m", "declare a use case")
    running = workspaces.open_workspace(f"{DAG}__fraud", "running").path
    declaration.write_text(yaml.safe_dump({**content, DAG: {"retention_days": days}}))
    assert workspaces.collect_workspaces(7) == []
    assert running.exists()


def test_the_marker_tells_which_run_it_is(repository):
    workspace = workspaces.open_workspace(DAG, "Run:1")
    content = json.loads((workspace.path / ".dvc" / "tmp" / "workspace.json").read_text())
    assert content == {"dag_id": DAG, "run_id": "Run:1", "commit": workspace.commit, "snapshot": False}


def test_a_moved_workspace_belongs_to_the_moved_repository_again(repository, monkeypatch):
    """Git keeps the path of the workspace in the repository and that of the repository in the workspace; DVC keeps that of the cache."""
    before = workspaces.open_workspace(DAG, "run")
    moved = repository.with_name("moved")
    repository.rename(moved)
    monkeypatch.setattr(places, "REPOSITORY", moved)
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(moved / "var"))
    workspaces.repair_workspaces()
    after = workspaces.find_workspace(DAG, "run")
    assert after is not None
    assert after.path == moved / "var" / "workspaces" / DAG / "run"
    assert git(after.path, "rev-parse", "HEAD") == before.commit
    assert f"dir = {moved}/.dvc/cache" in (after.path / ".dvc" / "config.local").read_text()
    other = workspaces.open_workspace(DAG, "other")  # which prunes what git takes for gone
    assert git(after.path, "status", "--porcelain") == git(other.path, "status", "--porcelain") == ""


def test_a_workspace_that_git_has_forgotten_is_removed_and_that_of_another_repository_stays(repository, tmp_path):
    forgotten = workspaces.open_workspace(DAG, "forgotten")
    (repository / ".git" / "worktrees" / "forgotten").rename(tmp_path / "gone")
    foreign = repository / "var" / "workspaces" / DAG / "foreign"
    git(tmp_path, "init", "--quiet", "elsewhere")
    elsewhere = tmp_path / "elsewhere"
    git(elsewhere, "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "--allow-empty", "-m", "first")
    git(elsewhere, "worktree", "add", "--quiet", "--detach", str(foreign))
    workspaces.repair_workspaces()
    assert not forgotten.path.exists()
    assert foreign.exists()
    assert not (foreign / ".dvc").exists()
