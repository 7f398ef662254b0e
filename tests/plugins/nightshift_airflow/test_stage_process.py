"""The meaning of an exit code: done, failed for good, or to be tried again."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from airflow.sdk.exceptions import AirflowFailException
from nightshift_airflow import places, process, workspaces
from nightshift_airflow.retries import StageError
from nightshift_airflow.run_note import FAILURES
from nightshift_airflow.stage_process import stage_environment

from pipelines.lib.core.yaml_text import parse_yaml
from tests.opened_night import DAG_ID, behave, commands
from tests.stub_repository import git


@pytest.mark.costly
def test_a_gate_fails_without_retry_and_its_report_is_kept(night):
    behave(night.repository, "ingest_batch", "gate")
    night("open_run")
    with pytest.raises(AirflowFailException, match="ingest_batch failed: GateFailed: column carrier: 3 nulls"):
        night("ingest_batch")
    assert (night.repository / "var" / "reports" / DAG_ID / "run" / "ingest_batch" / "report.html").exists()
    instance = night("close_run", states={"ingest_batch": "failed", "publish_scores": "upstream_failed"})
    assert instance.pushed["note"].startswith("NOT PUBLISHED 2013-04-01: ingest_batch: column carrier: 3 nulls. Report: ")
    assert instance.pushed["note"].endswith(f"[ingest_batch](</nightshift/reports/{DAG_ID}/run/ingest_batch>)")
    assert workspaces.find_workspace(DAG_ID, "run"), "kept for inspection"
    assert "(failed)" in git(night.repository, "show", "--no-patch", "--format=%s", f"refs/runs/{DAG_ID}/run")


@pytest.mark.costly
@pytest.mark.parametrize("task", [pytest.param("ingest_batch", marks=pytest.mark.costly), "publish_scores"])
def test_what_may_pass_is_tried_again(night, task):
    behave(night.repository, task, "once")
    night("open_run")
    with pytest.raises(StageError, match=f"{task} failed"):
        night(task)
    night(task)


@pytest.mark.costly
def test_a_failure_that_tells_nothing_is_tried_again_and_quotes_the_last_lines(night):
    night("open_run")
    workspace = places.workspace_path(DAG_ID, "run")
    (workspace / "failure.json").write_text('{"stage": "old", "error": "E", "message": "of an earlier stage", "retryable": false}')
    (workspace / "pipelines" / "stub.py").write_text("def main(name): raise MemoryError('all of it')")
    with pytest.raises(StageError, match="ended with exit code") as caught:
        night("publish_scores")
    assert "MemoryError: all of it" in str(caught.value)
    assert "earlier stage" not in str(caught.value)


@pytest.mark.costly
@pytest.mark.parametrize(
    ("code", "fact"),
    [
        ("def main(name) return", "SyntaxError: "),
        ("  def main(name): pass\nmain()", "IndentationError: "),
        ("from pipelines import absent", "ImportError: cannot import name 'absent' from 'pipelines'"),
        ("import pipelines.absent", "ModuleNotFoundError: No module named 'pipelines.absent'"),
    ],
)
def test_code_that_python_cannot_read_is_named_with_its_file_and_not_tried_again(night, code, fact):
    night("open_run")
    (places.workspace_path(DAG_ID, "run") / "pipelines" / "stub.py").write_text(code)
    with pytest.raises(AirflowFailException, match=rf"publish_scores failed: {fact}.*pipelines/stub\.py.*, line 1.*no retry fixes"):
        night("publish_scores")
    failure = json.loads((places.workspace_path(DAG_ID, "run") / FAILURES / "publish_scores.json").read_text())
    assert failure["retryable"] is False
    assert fact in night("close_run", states={"publish_scores": "failed"}).pushed["note"]


@pytest.mark.costly
def test_a_missing_module_of_another_package_is_tried_again(night):
    night("open_run")
    (places.workspace_path(DAG_ID, "run") / "pipelines" / "stub.py").write_text("import absent_library")
    with pytest.raises(StageError, match="No module named 'absent_library'"):
        night("publish_scores")


@pytest.mark.costly
def test_the_failure_of_a_stage_next_to_it_is_not_taken_for_its_own(night):
    """Else an alert would fail for good because a report could not be drawn."""
    night("open_run")
    other = {"stage": "beside", "error": "E", "message": "of the next stage", "retryable": False}
    stub = f"import pathlib\ndef main(name):\n    pathlib.Path('failure.json').write_text({json.dumps(other)!r})\n    raise SystemExit(1)"
    (places.workspace_path(DAG_ID, "run") / "pipelines" / "stub.py").write_text(stub)
    with pytest.raises(StageError, match="publish_scores ended with exit code 1"):
        night("publish_scores")


@pytest.mark.costly
def test_a_stage_that_runs_next_to_another_undoes_nothing_of_dvc(night):
    for task in ("open_run", "ingest_batch"):
        night(task)
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    (workspace.path / "dvc.lock").write_text("half, since DVC is writing")
    night("publish_scores")
    assert (workspace.path / "dvc.lock").read_text() == "half, since DVC is writing"


@pytest.mark.costly
def test_what_a_kill_has_torn_is_put_back_before_the_next_attempt(night):
    for task in ("open_run", "ingest_batch"):
        night(task)
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    lock = workspace.path / "dvc.lock"
    whole = lock.read_text()
    lock.write_text(whole[: len(whole) // 2])  # the machine dies while DVC writes
    (workspace.path / ".dvc" / "tmp" / "rwlock").write_text("")
    night("validate_batch")
    assert sorted(parse_yaml(lock.read_text())["stages"]) == ["ingest_batch", "validate_batch"]


@pytest.mark.costly
def test_a_killed_stage_can_run_again_at_once(night):
    """DVC's own locks must not outlive the kill."""
    night("open_run")
    sleeping = behave(night.repository, "ingest_batch", "sleep")
    failures = []

    def run():
        try:
            night("ingest_batch")
        except StageError as error:
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 30
    while not process._running or not any("pipelines.data.ingest_batch" in command for command in commands(night.repository)):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.stop_running()
    thread.join()
    assert len(failures) == 1
    assert not any("pipelines.data.ingest_batch" in command for command in commands(night.repository))
    sleeping.unlink()
    night("ingest_batch")


def test_a_stage_sees_no_secret_of_airflow(repository, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__FERNET_KEY", "secret")
    monkeypatch.setenv("GIT_DIR", "/elsewhere")
    workspace = workspaces.open_workspace(DAG_ID, "run")
    env = stage_environment(workspace)
    assert not [key for key in env if "AIRFLOW" in key or key.startswith("GIT_")]
    assert env["PYTHONPATH"] == str(workspace.path)
    assert env["NIGHTSHIFT_HOME"] == str(repository / "var")
    assert env["NIGHTSHIFT_REPOSITORY"] == str(repository)
    assert env["DVC_NO_ANALYTICS"] == "1"
    assert env["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert env["PATH"].split(os.pathsep)[1:] == os.environ["PATH"].split(os.pathsep)


@pytest.mark.costly
@pytest.mark.parametrize("path", ["var/shop/*.csv", "{root}/var/shop/orders.csv"])
def test_a_source_in_the_repository_is_found_from_a_workspace(repository, path):
    """The table is next to the code and is ignored by git, so no workspace has it."""
    (repository / "var" / "shop").mkdir(parents=True)
    (repository / "var" / "shop" / "orders.csv").write_text("id\n1\n")
    workspace = workspaces.open_workspace(DAG_ID, "run")
    code = "import sys; from pipelines.lib.sources.adapters import Source, revision; print(revision(Source(kind='csv', path=sys.argv[1])))"
    env = {**stage_environment(workspace), "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run(
        [sys.executable, "-c", code, path.format(root=repository)], cwd=workspace.path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.costly
def test_a_stage_gets_the_digests_that_its_inputs_must_have(night):
    for task in ("open_run", "ingest_batch"):
        night(task)
    workspace = workspaces.find_workspace(DAG_ID, "run")
    assert workspace is not None
    recorded = Path(stage_environment(workspace)["NIGHTSHIFT_RECORDED"])
    assert list(parse_yaml(recorded.read_text())["stages"]) == ["ingest_batch"]
