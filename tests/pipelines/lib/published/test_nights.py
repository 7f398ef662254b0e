"""Published nights, looked at again: on a real table, and on refs of a real git and DVC repository."""

import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.published.delta_tables import Lineage, publish
from pipelines.lib.published.nights import fetch, published_night, published_nights, require_no_future
from tests import scored_night as night

REF = "refs/runs/nightly/one"


def publish_night(url: str, scores: Path, partition: str, *, version: str = "1", name: str = "Core") -> None:
    ref = f"refs/runs/nightly/{partition}"
    lineage = Lineage(partition, name, version, "a" * 64, f"run {partition}", ref, "c" * 40, False, datetime(2013, 4, 1, 2, tzinfo=UTC))
    publish(scores, lineage, expected_rows=10, url=url)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A table of four nights: two scored by version 1, two by version 2."""
    url, scores = str(tmp_path / "published" / "scores"), night.write_scores(tmp_path / "scores.parquet", 10)
    for partition, version in (("2013-04-03", "2"), ("2013-04-01", "1"), ("2013-04-04", "2"), ("2013-04-02", "1")):
        publish_night(url, scores, partition, version=version)
    return url


def test_nights_come_oldest_first_and_say_who_scored_them(url: str) -> None:
    found = published_nights("Core", until="2013-04-03", count=2, url=url)
    assert [(one.partition, one.model_version, one.rows) for one in found] == [("2013-04-02", "1", 10), ("2013-04-03", "2", 10)]
    assert found[0].run_ref == "refs/runs/nightly/2013-04-02"
    assert found[0].run_id == "run 2013-04-02"


def test_nights_of_one_version_are_those_of_no_other(url: str) -> None:
    assert [one.partition for one in published_nights("Core", until="2013-04-04", count=9, version="1", url=url)] == [
        "2013-04-01",
        "2013-04-02",
    ]
    assert published_nights("Other", until="2013-04-04", count=9, url=url) == []


def test_where_nothing_was_published_there_are_no_nights(tmp_path: Path) -> None:
    assert published_nights("Core", until="2013-04-04", count=9, url=str(tmp_path / "none")) == []
    with pytest.raises(ConfigError, match="2013-04-04 is not published by Core"):
        published_night("Core", "2013-04-04", str(tmp_path / "none"))


def test_a_night_that_is_not_published_is_not_the_one_before_it(url: str) -> None:
    assert published_night("Core", "2013-04-04", url).model_version == "2"
    with pytest.raises(ConfigError, match="2013-04-05 is not published"):
        published_night("Core", "2013-04-05", url)


def _run(*command: str, cwd: Path) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "GIT_CONFIG_COUNT": "0"}
    subprocess.run(command, cwd=cwd, check=True, capture_output=True, env=environment)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository whose ref `REF`, on no branch, holds a run that made data/features/batch.parquet; it is the working directory."""
    path = tmp_path / "repository"
    path.mkdir()
    _run("git", "init", "--quiet", cwd=path)
    _run(sys.executable, "-m", "dvc", "init", "--quiet", cwd=path)
    made = path / "data" / "features" / "batch.parquet"
    made.parent.mkdir(parents=True)
    (path / "dvc.yaml").write_text(
        "stages:\n  featurize_batch:\n    cmd: cp source data/features/batch.parquet\n    deps: [source]\n    outs: [data/features/batch.parquet]\n"
    )
    (path / "source").write_text("features of one night")
    _run(sys.executable, "-m", "dvc", "repro", "--quiet", cwd=path)
    _run("git", "add", "--all", cwd=path)
    _run("git", "-c", "user.name=t", "-c", "user.email=t@localhost", "commit", "--quiet", "-m", "run", cwd=path)
    _run("git", "update-ref", REF, "HEAD", cwd=path)
    made.unlink()
    monkeypatch.chdir(path)
    return path


@pytest.mark.costly
def test_a_run_gives_its_files_back(repository: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere" / "night.parquet"
    fetch(REF, "data/features/batch.parquet", target)
    assert target.read_text() == "features of one night"


@pytest.mark.costly
def test_what_a_run_did_not_make_and_who_did_not_run_are_told_apart(repository: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no data/scores/scores\.parquet"):
        fetch(REF, "data/scores/scores.parquet", tmp_path / "x")
    with pytest.raises(ConfigError, match="refs/runs/nightly/two is not a recorded run"):
        fetch("refs/runs/nightly/two", "data/features/batch.parquet", tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.costly
def test_a_file_that_left_the_cache_is_asked_for_again(repository: Path, tmp_path: Path) -> None:
    for file in (repository / ".dvc" / "cache" / "files").rglob("*"):
        if file.is_file():
            file.unlink()
    with pytest.raises(TransientError, match="DVC's cache"):
        fetch(REF, "data/features/batch.parquet", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_nobody_trains_as_of_a_night_that_was_not_scored(url: str, tmp_path: Path) -> None:
    require_no_future("Core", "2013-04-04", url)
    with pytest.raises(ConfigError, match="2013-04-05 is after 2013-04-04, the newest night that Core has published"):
        require_no_future("Core", "2013-04-05", url)
    require_no_future("Core", "2013-04-05", str(tmp_path / "none"))


@pytest.mark.costly
def test_a_flipped_byte_in_the_cache_is_refused_and_comes_whole_from_the_remote(repository: Path, tmp_path: Path) -> None:
    [held] = [file for file in (repository / ".dvc" / "cache" / "files").rglob("*") if file.is_file()]
    whole = held.read_bytes()
    _run(sys.executable, "-m", "dvc", "remote", "add", "--local", "--default", "store", str(tmp_path / "store"), cwd=repository)
    _run(sys.executable, "-m", "dvc", "push", cwd=repository)
    held.chmod(0o644)
    for place in range(len(whole)):
        held.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
        held.chmod(0o444)
        with pytest.raises(DataError, match=r"altered in DVC's cache or remote.*rm -f .*/files/md5/"):
            fetch(REF, "data/features/batch.parquet", tmp_path / "x")
        assert not (tmp_path / "x").exists()
        held.chmod(0o644)
    held.unlink()
    fetch(REF, "data/features/batch.parquet", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == whole
