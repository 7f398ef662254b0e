"""A night's ref gives back the night, and nothing of another one."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.real_repository import DAG_ID, RealRepository

pytestmark = [pytest.mark.integration, pytest.mark.slow]

PARTITION = "2013-04-02"
STAGES = ["ingest_batch", "validate_batch", "featurize_batch", "validate_features", "score", "validate_scores"]
_NIGHT = f"""
import sys
from nightshift_airflow import process, run_record, workspaces
from nightshift_airflow.stage_process import reproduce, run_stage
workspace = workspaces.open_workspace({DAG_ID!r}, "night")
pin = ["--partition", {PARTITION!r}, "--dag-id", {DAG_ID!r}, "--run-id", "night", "--run-ref", workspace.ref]
pin += ["--git-commit", workspace.commit, "--opened-at", "2026-01-01T02:00:00+00:00"]
run_stage("pin_run", [sys.executable, "-m", "pipelines.registry.pin_run", *pin], workspace)
for stage in {STAGES!r}:
    reproduce(stage, workspace)
run_record.record_run(workspace, "success")
workspaces.remove_workspace(workspace.path)
"""

_ALTERED = f"""
import sys
from pathlib import Path
import yaml
from airflow.sdk.exceptions import AirflowFailException
from nightshift_airflow import run_record, workspaces
from nightshift_airflow.stage_process import run_dvc, run_stage
from pipelines.lib.core import kept
workspace = workspaces.open_workspace({DAG_ID!r}, "night")
lock = yaml.safe_load((workspace.path / "dvc.lock").read_text())
held = kept.cache_path(lock["stages"]["score"]["outs"][0]["md5"])
whole = held.read_bytes()
publish = [sys.executable, "-m", "pipelines.scoring.publish_scores", "--scores=data/scores/scores.parquet", "--gate=data/reports/validate_scores"]
try:
    for place in range(1000, len(whole) - 4000, (len(whole) - 5000) // 3):
        held.chmod(0o644)
        held.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1:])
        held.chmod(0o444)
        run_dvc("checkout", ["checkout", "--allow-missing", "--force"], workspace)
        try:
            run_stage("publish_scores", publish, workspace)
        except AirflowFailException as error:
            assert "what score made was altered on disk or in DVC's cache" in str(error), error
        else:
            raise AssertionError(f"byte {{place}} was published as another value")
finally:
    held.chmod(0o644)
    held.write_bytes(whole)
    held.chmod(0o444)
(workspace.path / "data/scores/scores.parquet").unlink()
run_dvc("checkout", ["checkout", "--allow-missing", "--force"], workspace)
run_stage("publish_scores", publish, workspace)
workspaces.remove_workspace(workspace.path)
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> RealRepository:
    """Return a clone with a champion, and one night whose cache holds that night alone."""
    repository = RealRepository(tmp_path_factory.mktemp("run_ref"))
    repository.train()
    run(repository, repository.root, "-c", _NIGHT)
    return repository


def run(repository: RealRepository, directory: Path, *arguments: str) -> None:
    environment = repository.environment() | {"NIGHTSHIFT_DVC_CACHE": str(repository.home / "cache")}
    done = subprocess.run([sys.executable, *arguments], cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_a_nights_ref_gives_the_whole_night_back_from_a_cache_that_holds_it_alone(repository: RealRepository, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    subprocess.run(["git", "worktree", "add", "--detach", str(tree), f"refs/runs/{DAG_ID}/night"], cwd=repository.root, check=True)
    assert sorted(yaml.safe_load((tree / "dvc.lock").read_text())["stages"]) == sorted(STAGES)
    run(repository, tree, "-m", "dvc", "config", "--local", "cache.dir", str(repository.home / "cache"))
    run(repository, tree, "-m", "dvc", "checkout")
    for name in (
        "raw/batch/events.parquet",
        "features/batch.parquet",
        "champion/model.onnx",
        "scores/scores.parquet",
        "reports/validate_scores/report.json",
    ):
        assert (tree / "data" / name).exists(), name
    assert {
        json.loads((tree / "data" / "reports" / stage / "report.json").read_text())["partition"] for stage in STAGES if "validate" in stage
    } == {PARTITION}
    assert not (tree / "data" / "raw" / "history").exists()


def test_a_byte_that_was_altered_in_the_cache_is_never_published(repository: RealRepository) -> None:
    run(repository, repository.root, "-c", _ALTERED)
    assert len(repository.published(PARTITION)) > 500
