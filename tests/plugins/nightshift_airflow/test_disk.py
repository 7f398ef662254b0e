"""A run that meets a full disk says so in a sentence: opening, recording, and DVC in between; on real small file systems."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from nightshift_airflow import disk, workspaces
from nightshift_airflow.retries import StageError
from nightshift_airflow.stage_process import reproduce, run_stage

DAG = "nightly_batch_scoring"


@pytest.fixture
def small_home(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The home of an installation on a file system of twelve mebibytes."""
    place = repository.parent / "home"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(place)], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, spare: int) -> Path:
    filler = place / "filler"
    free = shutil.disk_usage(place).free
    filler.write_bytes(bytes(free - spare))
    return filler


@pytest.mark.costly
@pytest.mark.parametrize("spare", [0, 20_000, 200_000])
def test_a_run_that_finds_no_room_says_so_and_opens_when_there_is(repository: Path, small_home: Path, spare: int) -> None:
    for number in range(60):
        (repository / f"file-{number}").write_bytes(bytes(range(256)) * 8)
    subprocess.run(["git", "add", "--all"], cwd=repository, check=True)
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@l", "commit", "-qm", "large"], cwd=repository, check=True)
    filler = fill(small_home, spare)
    with pytest.raises(StageError) as caught, disk.full_disk_is_said():
        workspaces.open_workspace(DAG, "run")
    assert str(caught.value).startswith(f"the disk of {small_home} is full")
    assert len(str(caught.value).splitlines()) == 1
    assert "pipelines.registry.free_space" in str(caught.value)
    filler.unlink()
    assert workspaces.open_workspace(DAG, "run").path.exists()


def test_a_stage_that_finds_no_room_says_so(repository: Path, small_home: Path) -> None:
    workspace = workspaces.open_workspace(DAG, "run")
    (workspace.path / "pipelines" / "stub.py").write_text("def main(name): open('data/large', 'wb').write(bytes(2**24))")
    (workspace.path / "data").mkdir(exist_ok=True)
    with pytest.raises(StageError, match=rf"publish_scores failed: the disk of {small_home} is full"):
        run_stage("publish_scores", ["python", "-m", "pipelines.scoring.publish_scores"], workspace)


@pytest.mark.costly
def test_dvc_that_finds_no_room_in_its_cache_says_so(repository: Path, small_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC logs the failure and ends with 0: the run would be green, and its files nowhere."""
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(repository / "var"))
    monkeypatch.setenv("NIGHTSHIFT_DVC_CACHE", str(small_home / "cache"))
    workspace = workspaces.open_workspace(DAG, "run")
    stub = (workspace.path / "pipelines" / "stub.py").read_text()
    large = "\n    (out / 'large').write_bytes(os.urandom(2**20))\n"
    assert "    out.mkdir" in stub
    place = stub.index("\n", stub.index("    out.mkdir"))
    (workspace.path / "pipelines" / "stub.py").write_text(stub[:place] + large + stub[place:])
    (workspace.path / "run.yaml").write_text('partition: "2013-04-01"\nrun_id: run\n')
    filler = fill(small_home, 300_000)
    with pytest.raises(StageError) as caught:
        reproduce("ingest_batch", workspace)
    assert f"ingest_batch failed: the disk of {small_home} is full" in str(caught.value)
    filler.unlink()
    reproduce("ingest_batch", workspace)
    held = [file.stat().st_size for file in (small_home / "cache" / "files" / "md5").rglob("*") if file.is_file()]
    assert 2**20 in held, "the next attempt keeps what the first could not"


def test_other_failures_stay_what_they_are() -> None:
    assert disk.explain_full_disk("fatal: not a git repository") is None
    with pytest.raises(OSError, match="git status failed"), disk.full_disk_is_said():
        raise OSError("git status failed with 128: fatal: bad object")
