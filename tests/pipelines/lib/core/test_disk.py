"""A full disk is reported as one, by every library that meets it: on real small file systems, and on limits of file sizes where none can be mounted."""

import errno
import json
import resource
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from pipelines.lib.core import disk, stage
from pipelines.lib.core.errors import DataError, TransientError
from pipelines.lib.records.ledger import Entry, Ledger


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(place)], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place: Path, spare: int = 0) -> None:
    with pytest.raises(OSError) as caught, (place / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert caught.value.errno == errno.ENOSPC
    if spare:
        size = (place / "filler").stat().st_size
        with (place / "filler").open("r+b") as file:
            file.truncate(size - spare)


def test_the_message_names_the_disk_and_the_remedy(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(OSError) as caught:
        (small_disk / "x").write_bytes(bytes(9000))
    caught.value.filename = str(small_disk / "x")
    message = disk.full_disk(caught.value)
    assert isinstance(message, TransientError)
    assert str(message).startswith(f"the disk of {small_disk} is full")
    assert "(0 bytes are free)" in str(message) and "Free space there" in str(message)


def test_a_ledger_on_a_full_disk_says_so(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(small_disk))
    ledger = Ledger(f"sqlite:///{small_disk / 'ledger.db'}")
    assert ledger.history("Core") == []
    fill(small_disk)
    with pytest.raises(TransientError) as caught:
        ledger.append(Entry("Core", 1, "promote", "1", "a" * 64, "uri", None, "2013-04-01", "me", "x" * 100_000))
    message = disk.full_disk(caught.value)
    assert message and f"the disk of {small_disk} is full" in str(message)


def test_a_publication_on_a_full_disk_says_so(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datetime import UTC, datetime

    from pipelines.lib.published.delta_tables import Lineage, publish, read_scores
    from tests import scored_night as night

    monkeypatch.setenv("NIGHTSHIFT_HOME", str(small_disk))
    url = str(small_disk / "scores")
    lineage = Lineage(night.PARTITION, "Core", "1", "a" * 64, "A", "refs/runs/d/A", "c" * 40, False, datetime(2013, 4, 1, 2, tzinfo=UTC))
    publish(night.write_scores(tmp_path / "a.parquet", 10), lineage, expected_rows=10, url=url)
    fill(small_disk, spare=8192)
    with pytest.raises(Exception) as caught:
        publish(night.write_scores(tmp_path / "b.parquet", 60_000), lineage, expected_rows=60_000, url=url)
    assert disk.full_disk(caught.value), repr(caught.value)
    (small_disk / "filler").unlink()
    assert read_scores(night.PARTITION, url).num_rows == 10


def test_a_stage_on_a_full_disk_fails_with_one_line_and_may_be_tried_again(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(small_disk)
    fill(small_disk)

    @stage.stage("score")
    def main() -> None:
        Path("scores").write_bytes(bytes(9000))

    assert main([]) == 1
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("score failed")]
    assert "is full" in line and "Free space there" in line
    assert not Path("failure.json").exists(), "there was no room for it either"


def test_where_no_file_may_grow_the_stage_says_so(tmp_path: Path) -> None:
    program = """
import resource
from pathlib import Path
from pipelines.lib.core import stage
@stage.stage("score")
def main():
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    Path("scores").write_bytes(bytes(9000))
raise SystemExit(main([]))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[4])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    failure = json.loads((tmp_path / "failure.json").read_text())
    assert (failure["error"], failure["retryable"]) == ("TransientError", True)
    assert "a limit on file sizes is used up" in failure["message"]
    assert resource.RLIMIT_FSIZE


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (sqlite3.OperationalError("database or disk is full"), True),
        (sa.exc.OperationalError("INSERT", {}, sqlite3.OperationalError("database or disk is full")), True),
        (RuntimeError("Generic LocalFileSystem error: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, "x"), False),
        (DataError("the column disk is empty"), False),
        (MemoryError(), False),
    ],
)
def test_another_error_than_a_full_disk_is_not_changed(error: Exception, full: bool) -> None:
    assert (disk.full_disk(error) is not None) == full
    wrapped = ValueError("of a library")
    wrapped.__cause__ = error
    assert (disk.full_disk(wrapped) is not None) == full
