"""Shards side by side in one workspace, with real DVC processes that are killed at the worst moment, alone and next to each other."""

import concurrent.futures
import fcntl
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from airflow.sdk.exceptions import AirflowFailException
from nightshift_airflow import dvc_lock, places, run_note, run_record, workspaces
from nightshift_airflow.cache_lock import LOCK
from nightshift_airflow.retries import StageError
from nightshift_airflow.stage_operators import DvcStageOperator
from nightshift_airflow.stage_process import reproduce, run_dvc, stage_environment

from pipelines.lib.core.yaml_text import parse_yaml
from tests.stub_repository import SHARDS

DAG_ID = "vector_index_rebuild"

# Every Python that starts in the workspace reads this. A file .dvc/tmp/die-<where>-<stage> has DVC write so much of the file and kill itself.
_DIE = """
import os, pathlib, signal, sys

if "--single-item" in sys.orig_argv:
    import io
    import dvc.rwlock
    from dvc.utils.serialize import _yaml

    def until(write):
        def die(data, stream):
            where = {"dvc.lock": "lock", "rwlock": "rwlock"}.get(pathlib.Path(stream.name).name, "runs")
            order = pathlib.Path(f".dvc/tmp/die-{where}-{sys.orig_argv[-1]}")
            if not order.exists():
                return write(data, stream)
            whole = io.StringIO()
            write(data, whole)
            text, share = whole.getvalue(), float(order.read_text())
            order.unlink()
            stream.write(text[: min(int(len(text) * share), len(text) - 1)])
            stream.flush()
            os.kill(os.getpid(), signal.SIGKILL)
        return die

    _yaml._dump = until(_yaml._dump)
    class Json:
        load, JSONDecodeError, dumps, loads = dvc.rwlock.json.load, dvc.rwlock.json.JSONDecodeError, dvc.rwlock.json.dumps, dvc.rwlock.json.loads
        dump = staticmethod(until(dvc.rwlock.json.dump))
    dvc.rwlock.json = Json
"""


@pytest.fixture(scope="module")
def sharded(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the stub repository, whose workspaces can have DVC die."""
    import shutil

    path = tmp_path_factory.mktemp("sharded") / "repository"
    shutil.copytree(pristine, path)
    (path / "sitecustomize.py").write_text(_DIE)
    return path


@pytest.fixture
def workspace(sharded: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest, tmp_path: Path) -> workspaces.Workspace:
    """A workspace with what the shards depend on, and a cache of its own: what another test has made must be made again, not restored."""
    monkeypatch.setattr(places, "REPOSITORY", sharded)
    for name in ("NIGHTSHIFT_HOME", "NIGHTSHIFT_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NIGHTSHIFT_DVC_CACHE", str(tmp_path / "cache"))
    run_id = places.slug_of(request.node.name.replace("[", "-").replace("]", ""))
    opened = workspaces.open_workspace(DAG_ID, run_id)
    run = {"partition": "2013-04-01", "run_id": run_id, "shards": list(SHARDS)}
    (opened.path / "run.yaml").write_text(yaml.safe_dump(run))
    (opened.path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    return provide(opened)


def provide(workspace: workspaces.Workspace) -> workspaces.Workspace:
    """Return `workspace` with what the shards depend on."""
    history = workspace.path / "data" / "reports" / "shard_history" / "report.json"
    history.parent.mkdir(parents=True)
    history.write_text("{}")
    return workspace


def repro(stage: str) -> list[str]:
    """Return the command of a DVC that nobody supervises."""
    return [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", stage]


def order_death(workspace: workspaces.Workspace, stage: str, share: float, where: str = "lock") -> None:
    (workspace.path / ".dvc" / "tmp" / f"die-{where}-{stage}").write_text(str(share))


def behave(workspace: workspaces.Workspace, stage: str, what: str) -> Path:
    file = places.home() / "behave" / f"{stage}-2013-04-01"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(what)
    return file


def run_all(workspace: workspaces.Workspace, stages: list[str]) -> dict[str, Exception | None]:
    """Run `stages` at once, as mapped tasks do; what each raised."""
    with concurrent.futures.ThreadPoolExecutor(len(stages)) as pool:
        futures = {stage: pool.submit(reproduce, stage, workspace) for stage in stages}
        return {stage: future.exception() for stage, future in futures.items()}  # type: ignore[misc]


def until_done(workspace: workspaces.Workspace, stages: list[str], tries: int = 4) -> int:
    """Run `stages` at once, and again those that failed in a way that a retry fixes; how many tries it took."""
    for number in range(1, tries + 1):
        failed = {stage: error for stage, error in run_all(workspace, stages).items() if error}
        assert all(isinstance(error, StageError) for error in failed.values()), failed
        stages = list(failed)
        if not stages:
            return number
    raise AssertionError(f"{stages} did not end well in {tries} tries: {failed}")


def entries(workspace: workspaces.Workspace) -> dict[str, object]:
    return dict(parse_yaml((workspace.path / "dvc.lock").read_text())["stages"])


def is_up_to_date(workspace: workspaces.Workspace, *stages: str) -> bool:
    """Return what DVC itself says: nothing has changed, and every output is what ``dvc.lock`` says."""
    command = [sys.executable, "-m", "dvc", "status", *stages]
    done = subprocess.run(command, cwd=workspace.path, env=stage_environment(workspace), capture_output=True, text=True, check=True)
    return "up to date" in done.stdout + done.stderr


EMBEDDED = [f"embed@{shard}" for shard in SHARDS]


@pytest.mark.costly
def test_shards_run_side_by_side_and_all_are_recorded(workspace):
    assert until_done(workspace, EMBEDDED) == 1
    assert set(entries(workspace)) == set(EMBEDDED)
    assert is_up_to_date(workspace, *EMBEDDED)


@pytest.mark.costly
def test_each_shard_tells_its_own_failure(workspace):
    orders = [behave(workspace, EMBEDDED[0], "gate"), behave(workspace, EMBEDDED[1], "once")]
    failed = run_all(workspace, EMBEDDED)
    orders[0].unlink()
    assert isinstance(failed[EMBEDDED[0]], AirflowFailException)
    assert isinstance(failed[EMBEDDED[1]], StageError)
    assert failed[EMBEDDED[2]] is None
    states = {"embed_0": "failed", "embed_1": "failed", "embed_2": "success", "publish_index": "upstream_failed"}
    run = run_note.Run(workspace.dag_id, workspace.run_id, "2013-04-01", ["embed", "publish_index"], states)
    assert run_note.describe_run(run, workspace.path).startswith(f"NOT PUBLISHED 2013-04-01: {EMBEDDED[0]}: column carrier: 3 nulls. ")


@pytest.mark.faults
@pytest.mark.parametrize("share", [0, 0.5, 0.97, 1])
def test_a_lock_torn_by_one_shard_loses_nothing_of_another(workspace, share):
    assert until_done(workspace, EMBEDDED[:1]) == 1
    before = entries(workspace)
    order_death(workspace, EMBEDDED[1], share)
    assert until_done(workspace, EMBEDDED[1:]) > 1
    assert entries(workspace).items() >= before.items()
    assert set(entries(workspace)) == set(EMBEDDED)
    assert is_up_to_date(workspace, *EMBEDDED)


@pytest.mark.faults
@pytest.mark.parametrize("shares", [(0, 0.5, 0.9), (0.99, 0.99, 0.99), (0.6, 0.6, 1)])
def test_siblings_that_are_killed_at_once_leave_a_whole_lock(workspace, shares):
    for stage, share in zip(EMBEDDED, shares, strict=True):
        order_death(workspace, stage, share)
    until_done(workspace, EMBEDDED, tries=8)
    assert set(entries(workspace)) == set(EMBEDDED)
    assert is_up_to_date(workspace, *EMBEDDED)


@pytest.mark.faults
@pytest.mark.parametrize("share", [0, 0.5])
def test_a_torn_list_of_claims_stops_nobody_for_long(workspace, share):
    order_death(workspace, EMBEDDED[0], share, where="rwlock")
    until_done(workspace, EMBEDDED)
    assert is_up_to_date(workspace, *EMBEDDED)


@pytest.mark.faults
@pytest.mark.parametrize("share", [0.2, 0.45])
def test_a_torn_record_of_what_a_stage_has_made_stops_nobody_for_long(workspace, share):
    """In the cache that all workspaces share."""
    order_death(workspace, EMBEDDED[0], share, where="runs")
    assert 1 < until_done(workspace, EMBEDDED) < 4
    assert set(entries(workspace)) == set(EMBEDDED)
    assert is_up_to_date(workspace, *EMBEDDED)


@pytest.mark.faults
def test_what_a_sibling_wrote_into_a_lock_that_was_torn_after_it_is_restored(workspace, caplog):
    """The sibling has written its entry and ended; before its task has looked, another DVC dies over the file."""
    caplog.set_level("INFO")
    with dvc_lock.attempt(workspace):
        subprocess.run(repro(EMBEDDED[0]), cwd=workspace.path, env=stage_environment(workspace), check=True)
        order_death(workspace, EMBEDDED[1], 0.99)
        died = subprocess.run(repro(EMBEDDED[1]), cwd=workspace.path, env=stage_environment(workspace), check=False)
        assert died.returncode == -signal.SIGKILL
    assert not dvc_lock.is_kept(workspace, EMBEDDED[0])
    caplog.clear()
    assert until_done(workspace, EMBEDDED) == 1
    assert f"{EMBEDDED[0]} computes" not in caplog.text, "DVC has it in its cache"
    assert is_up_to_date(workspace, *EMBEDDED)


@pytest.mark.faults
def test_a_shard_that_ends_well_in_a_torn_lock_is_tried_again(workspace):
    """It must not count as done: its entry was put away with the torn file."""
    sleeping = behave(workspace, EMBEDDED[0], "sleep")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        slow = pool.submit(reproduce, EMBEDDED[0], workspace)
        deadline = time.monotonic() + 60
        while not (workspace.path / "data" / "index").exists() and "at work" not in tail_of(workspace):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        order_death(workspace, EMBEDDED[1], 0)  # an empty file is good YAML
        subprocess.run(repro(EMBEDDED[1]), cwd=workspace.path, env=stage_environment(workspace), check=False)
        sleeping.unlink()  # the slow one completes what is left of the file, without knowing
        with pytest.raises(StageError):
            slow.result()
    assert until_done(workspace, EMBEDDED) == 1
    assert set(entries(workspace)) == set(EMBEDDED)
    assert is_up_to_date(workspace, *EMBEDDED)


def tail_of(workspace: workspaces.Workspace) -> str:
    claims = workspace.path / ".dvc" / "tmp" / "rwlock"
    return "at work" if claims.exists() and "embed" in claims.read_text() else ""


@pytest.mark.costly
def test_claims_of_dead_processes_are_removed_only_while_dvc_is_not_running(workspace):
    """A number of a process is given again, in a container soon."""
    claims = workspace.path / ".dvc" / "tmp" / "rwlock"
    claims.write_text('{"write": {"data": {"pid": 1, "cmd": "of somebody who died"}}}')
    with dvc_lock.attempt(workspace):
        assert not claims.exists()
        claims.write_text('{"write": {}}')
        with dvc_lock.attempt(workspace):
            assert claims.exists(), "those of the first"
        claims.write_text('{"wri')
        with dvc_lock.attempt(workspace):
            assert not claims.exists()


@pytest.mark.parametrize("shard", ["2013-1", "../2013-01", "2013-01@x", "", "2013-01\n", 201301, "２０１３-01"])
def test_a_shard_is_a_month(shard):
    with pytest.raises(AirflowFailException, match="it must be a month such as 2013-01"):
        _ = DvcStageOperator(task_id="embed", shard=shard).stage


@pytest.mark.costly
def test_half_the_shards_of_a_run_are_recorded_and_come_back(workspace):
    assert until_done(workspace, EMBEDDED[:2]) == 1
    commit = run_record.record_run(workspace, "failed")
    workspaces.remove_workspace(workspace.path)
    again = workspaces.open_workspace(workspace.dag_id, workspace.run_id)
    run_dvc("checkout", ["checkout", "--allow-missing", "--force"], again)
    assert sorted(path.name for path in (again.path / "data" / "index" / "embed").iterdir() if path.is_dir()) == list(SHARDS[:2])
    shown = subprocess.run(["git", "show", f"{commit}:dvc.yaml"], cwd=again.path, capture_output=True, text=True, check=True).stdout
    assert parse_yaml(shown)["stages"]["embed"]["matrix"] == {"shard": list(SHARDS[:2])}
    assert until_done(provide(again), EMBEDDED) == 1
    assert run_record.record_run(again, "success") != commit


def test_space_is_not_freed_while_dvc_is_running(repository):
    workspace = workspaces.open_workspace(DAG_ID, "run")
    with dvc_lock.attempt(workspace), (repository / ".dvc" / "cache" / LOCK).open("a") as lock, pytest.raises(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with (repository / ".dvc" / "cache" / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
