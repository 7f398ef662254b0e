"""Every object from DVC's cache is compared with the digest that was recorded; on a real DVC repository."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipelines.lib.core import home, kept, stage
from pipelines.lib.core.errors import DataError
from pipelines.lib.storage import rebuild

pytestmark = pytest.mark.costly

GRAPH = {
    "stages": {
        "ingest_batch": {
            "cmd": "mkdir -p data/raw/sub && cp a data/raw/a && cp b data/raw/sub/ü",
            "deps": ["a", "b"],
            "outs": ["data/raw"],
        },
        "featurize_batch": {"cmd": "cat data/raw/a > data/batch.parquet", "deps": ["data/raw"], "outs": ["data/batch.parquet"]},
        "score": {
            "cmd": f"{sys.executable} score.py --features data/batch.parquet --scores data/scores",
            "deps": ["data/batch.parquet"],
            "outs": ["data/scores"],
        },
        "embed": {
            "matrix": {"month": ["2013-01", "2013-02"]},
            "cmd": "mkdir -p data/vectors/${item.month} && cp a data/vectors/${item.month}/v",
            "outs": ["data/vectors/${item.month}"],
        },
    }
}

SCORE = """
import sys
from pathlib import Path
from pipelines.lib.core.stage import stage

@stage("score")
def main(*, features: Path, scores: Path) -> None:
    scores.write_bytes(features.read_bytes())

sys.exit(main())
"""


def dvc(*arguments: str, fails: bool = False) -> None:
    environment = {**os.environ, "DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(home.REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments, "--quiet"], check=False, capture_output=True, text=True, env=environment
    )
    assert bool(done.returncode) == fails, done.stdout + done.stderr


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "repository"
    path.mkdir()
    before = Path.cwd()
    os.chdir(path)
    try:
        dvc("init", "--no-scm")
        Path("a").write_text("the first file")
        Path("b").write_text("the second")
        Path("score.py").write_text(SCORE)
        Path("data").mkdir()
        Path("dvc.yaml").write_text(yaml.safe_dump(GRAPH))
        dvc("config", "cache.type", "hardlink,copy")
        dvc("repro")
    finally:
        os.chdir(before)
    return path


@pytest.fixture
def repository(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "repository"
    shutil.copytree(made, path)
    monkeypatch.chdir(path)
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(path))
    for variable in ("NIGHTSHIFT_DVC_CACHE", "NIGHTSHIFT_RECORDED", "DVC_STAGE", "DVC_ROOT"):
        monkeypatch.delenv(variable, raising=False)
    return path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[3] ^= 16
    path.chmod(0o644)
    path.write_bytes(content)
    path.chmod(0o444)


LOCK = Path("dvc.lock")


def require(*paths: str, stage: str = "score") -> None:
    kept.require_recorded(LOCK, stage, [Path(path) for path in paths])


def test_what_was_recorded_passes_in_every_form(repository: Path) -> None:
    require(
        "data/raw", "data/batch.parquet", "data/vectors", "data/vectors/2013-01", "data/raw/sub/ü", "data/raw/", "no/such", "2013-04-01", ""
    )
    assert {made.stage for made in kept.outputs(LOCK)} == {"ingest_batch", "featurize_batch", "score", "embed@2013-01", "embed@2013-02"}
    assert kept.outputs(Path("nowhere.lock")) == []


@pytest.mark.parametrize(
    ("altered", "asked", "made_by"),
    [
        ("data/batch.parquet", "data/batch.parquet", "featurize_batch"),
        ("data/raw/sub/ü", "data/raw", "ingest_batch"),
        ("data/raw/sub/ü", "data/raw/sub/ü", "ingest_batch"),
        ("data/vectors/2013-02/v", "data/vectors", "embed@2013-02"),
    ],
)
def test_an_altered_byte_is_refused_with_the_stage_that_made_it(repository: Path, altered: str, asked: str, made_by: str) -> None:
    flip(Path(altered))
    with pytest.raises(DataError, match=rf"what {made_by} made was altered .*recorded was [0-9a-f]{{32}}.*then clear {made_by}"):
        require(asked)


def test_a_stage_that_reads_another_file_of_the_directory_goes_on(repository: Path) -> None:
    flip(Path("data/raw/sub/ü"))
    require("data/raw/a")
    with pytest.raises(DataError):
        require("data/raw")


def test_a_missing_file_of_a_directory_is_refused(repository: Path) -> None:
    Path("data/raw/a").unlink()
    with pytest.raises(DataError, match="raw/a has md5 none"):
        require("data/raw")


def test_without_its_listing_a_directory_is_compared_as_a_whole(repository: Path) -> None:
    [raw] = [made for made in kept.outputs(LOCK) if made.path == Path("data/raw")]
    for damage in (flip, Path.unlink):
        damage(kept.cache_path(raw.md5))
        require("data/raw")
    flip(Path("data/raw/a"))
    with pytest.raises(DataError, match=r"recorded was [0-9a-f]{32}\.dir"):
        require("data/raw")


def test_what_the_stage_itself_makes_is_not_its_input(repository: Path) -> None:
    flip(Path("data/vectors/2013-02/v"))
    require("data/vectors/2013-02", stage="embed")


def test_the_remedy_works(repository: Path) -> None:
    """As the message says: remove the copies, and the stage makes the file again."""
    flip(Path("data/raw/a"))
    with pytest.raises(DataError) as caught:
        require("data/raw")
    command = str(caught.value).partition("(rm -rf ")[2].partition(")")[0].split()
    assert len(command) == 2
    for path in map(Path, command):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    dvc("repro", "--single-item", "ingest_batch")
    require("data/raw")


def test_a_stage_refuses_an_altered_input_before_it_starts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    @stage.stage("score")
    def main(*, features: Path, scores: Path) -> None:
        started.append((features, scores))

    arguments = ["--features", "data/batch.parquet", "--scores", "data/scores.parquet"]
    flip(Path("data/batch.parquet"))
    assert main(arguments) == 0, "by hand, without DVC, people may read what they like"
    monkeypatch.setenv(kept.LOCK_VARIABLE, str(LOCK.resolve()))
    assert main(arguments) == 1
    assert len(started) == 1
    failure = yaml.safe_load(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("DataError", False)


def test_dvc_repro_refuses_an_input_that_was_damaged_in_the_cache(repository: Path) -> None:
    [batch] = [made for made in kept.outputs(LOCK) if made.stage == "featurize_batch"]
    for copy in (batch.path, kept.cache_path(batch.md5)):
        times = copy.stat()
        flip(copy)
        os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns))  # as a disk does it, so that DVC sees nothing
    dvc("repro", "--force", "--single-item", "score", fails=True)
    failure = yaml.safe_load(Path("failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("DataError", False)
    shutil.rmtree(kept.cache_path(batch.md5).parent)
    batch.path.unlink()
    dvc("repro")
    assert Path("data/scores").read_bytes() == b"the first file"


def change_by_hand() -> None:
    Path("data/batch.parquet").unlink()
    Path("data/batch.parquet").write_text("of my own")


def test_dvc_repro_makes_an_input_again_that_was_changed_by_hand(repository: Path) -> None:
    change_by_hand()
    dvc("repro")
    assert Path("data/scores").read_bytes() == Path("data/batch.parquet").read_bytes() == b"the first file"


def test_a_stage_reads_an_input_that_was_changed_by_hand_once_it_is_recorded(repository: Path) -> None:
    change_by_hand()
    dvc("repro", "--single-item", "score", fails=True)
    message = yaml.safe_load(Path("failure.json").read_text())["message"]
    command = message.partition("record your change instead: ")[2].split()
    assert command[0] == "dvc"
    dvc(*command[1:])
    dvc("repro", "--single-item", "score")
    assert Path("data/scores").read_text() == "of my own"


def test_a_replay_names_raw_data_that_was_altered(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rebuild, "RAW", "data/raw")
    rebuild.restore(repository)
    assert rebuild._altered(repository) == []
    times = Path("data/raw/a").stat()
    flip(Path("data/raw/a"))
    os.utime("data/raw/a", ns=(times.st_atime_ns, times.st_mtime_ns))  # as a disk does it, so that DVC sees nothing
    [found] = rebuild._altered(repository)
    assert found.startswith("raw/a altered (md5 ")
