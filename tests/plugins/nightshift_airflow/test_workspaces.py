"""A workspace a run: pinned, restored, recorded, collected; and nothing from outside becomes a path unchecked."""

import fcntl
import json
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import yaml
from nightshift_airflow import workspaces
from nightshift_airflow.cache_lock import LOCK
from nightshift_airflow.workspaces import RunRefusedError

from tests.stub_repository import commit_all, git

DAG = "nightly_batch_scoring"


def pin(workspace, partition="2013-04-01"):
    """What pin_run does, as far as workspaces can see it."""
    (workspace.path / "run.yaml").write_text(yaml.safe_dump({"partition": partition, "run_id": workspace.run_id}))
    (workspace.path / "dvc.lock").write_text("schema: '2.0'\n")


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
    slug = workspaces.slug_of(run_id)
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,79}", slug)
    assert slug != run_id
    git(repository, "check-ref-format", f"refs/runs/{DAG}/{slug}")


def test_slugs_of_different_runs_differ_and_plain_ids_stay():
    assert workspaces.slug_of("Run") != workspaces.slug_of("run")
    assert workspaces.slug_of("a.b") != workspaces.slug_of("a:b")
    assert workspaces.slug_of("drift-2013-04-01_7") == "drift-2013-04-01_7"


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
    assert workspaces.has_remote(workspace.path)
    assert (workspace.path / ".dvc" / "config.local").stat().st_mode & 0o077 == 0


def test_without_a_remote_there_is_nothing_to_push_to(repository):
    assert not workspaces.has_remote(workspaces.open_workspace(DAG, "run").path)


def test_opening_again_finds_the_same_workspace_though_the_branch_has_moved(repository):
    first = workspaces.open_workspace(DAG, "run")
    (first.path / "kept").write_text("work")
    (repository / "new").write_text("new")
    commit_all(repository, "moved on")
    assert workspaces.open_workspace(DAG, "run") == first
    assert (first.path / "kept").exists()


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


# --- snapshots


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
    assert workspaces.pin_commit() == (git(repository, "rev-parse", "HEAD"), False)


def test_the_same_dirty_tree_gives_the_same_commit(repository):
    (repository / "untracked").write_text("untracked")
    assert workspaces.pin_commit() == workspaces.pin_commit()


def test_production_refuses_a_dirty_tree_with_the_list(repository, monkeypatch):
    monkeypatch.setenv("NIGHTSHIFT_PROFILE", "production")
    (repository / "untracked").write_text("untracked")
    with pytest.raises(RunRefusedError, match="untracked; production runs commits only"):
        workspaces.open_workspace(DAG, "run")
    assert not (repository / "var" / "workspaces").exists()


def test_data_does_not_slip_into_git(repository):
    with (repository / "big.csv").open("wb") as file:
        file.truncate(60 * 2**20)
    with pytest.raises(RunRefusedError, match=r"big\.csv is not committed and has 62,914,560 bytes"):
        workspaces.pin_commit()


def test_nobodys_identity_is_assumed(repository, monkeypatch):
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    (repository / "untracked").write_text("untracked")
    commit, _ = workspaces.pin_commit()
    assert git(repository, "show", "--no-patch", "--format=%an <%ae>", commit) == "Nightshift <nightshift@localhost>"


# --- recording and restoring


def test_a_run_is_recorded_on_top_of_its_commit(repository):
    workspace = workspaces.open_workspace(DAG, "run")
    pin(workspace)
    (workspace.path / "data" / "champion").mkdir(parents=True)
    (workspace.path / "data" / "champion" / ".gitignore").write_text("/model.onnx\n")
    (workspace.path / "data" / "champion" / "model.onnx.dvc").write_text("outs: []\n")
    (workspace.path / "stray").write_text("not part of the record")
    commit = workspaces.record_run(workspace, "success")
    assert git(repository, "rev-parse", f"refs/runs/{DAG}/run") == commit
    assert git(repository, "rev-parse", f"{commit}^") == workspace.commit
    assert sorted(git(repository, "diff", "--name-only", f"{commit}^", commit).splitlines()) == [
        "data/champion/model.onnx.dvc",
        "dvc.lock",
        "dvc.yaml",
        "run.yaml",
    ]
    assert yaml.safe_load(git(repository, "show", f"{commit}:dvc.yaml"))["stages"] == {}, "it has reached no stage"
    assert git(repository, "status", "--porcelain") == ""
    assert "State: success" in git(repository, "show", "--no-patch", "--format=%B", commit)


def test_recording_twice_changes_nothing_and_new_work_is_recorded(repository):
    workspace = workspaces.open_workspace(DAG, "run")
    pin(workspace)
    first = workspaces.record_run(workspace, "success")
    assert workspaces.record_run(workspace, "success") == first
    (workspace.path / "dvc.lock").write_text("schema: '2.0'\nstages:\n  made: {cmd: x}\ndatasets: []\n")
    assert workspaces.record_run(workspace, "success") != first


def test_a_run_that_was_never_pinned_leaves_no_record(repository):
    assert workspaces.record_run(workspaces.open_workspace(DAG, "run"), "failed") is None
    assert git(repository, "for-each-ref", "refs/runs") == ""


@pytest.mark.parametrize("dirty", [False, True])
def test_a_finished_run_is_restored_from_its_ref(repository, dirty):
    if dirty:
        (repository / "untracked").write_text("untracked")
    workspace = workspaces.open_workspace(DAG, "run")
    pin(workspace, "2013-04-07")
    workspaces.record_run(workspace, "success")
    workspaces.remove_workspace(workspace.path)
    (repository / "new").write_text("new")
    commit_all(repository, "moved on")
    again = workspaces.open_workspace(DAG, "run")
    assert again == workspace
    assert yaml.safe_load((again.path / "run.yaml").read_text())["partition"] == "2013-04-07"
    assert (again.path / "dvc.lock").exists()
    assert not (again.path / "new").exists()


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


def test_the_marker_tells_which_run_it_is(repository):
    workspace = workspaces.open_workspace(DAG, "Run:1")
    content = json.loads((workspace.path / ".dvc" / "tmp" / "workspace.json").read_text())
    assert content == {"dag_id": DAG, "run_id": "Run:1", "commit": workspace.commit, "snapshot": False}


def test_home_follows_the_environment(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "elsewhere"))
    assert workspaces.workspace_path(DAG, "run") == Path(tmp_path / "elsewhere" / "workspaces" / DAG / "run")


def test_while_dvc_is_at_work_nobody_frees_space(repository):
    workspace = workspaces.open_workspace(DAG, "run")
    with workspaces.attempt(workspace), (repository / ".dvc" / "cache" / LOCK).open("a") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (repository / ".dvc" / "cache" / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_moved_workspace_belongs_to_the_moved_repository_again(repository, monkeypatch):
    """Git keeps the path of the workspace in the repository and that of the repository in the workspace; DVC keeps that of the cache."""
    before = workspaces.open_workspace(DAG, "run")
    moved = repository.with_name("moved")
    repository.rename(moved)
    monkeypatch.setattr(workspaces, "REPOSITORY", moved)
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
