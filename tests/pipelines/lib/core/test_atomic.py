"""A file or directory appears whole or not at all."""

import os
import shutil
from pathlib import Path

import pytest
from dvc.fs import localfs
from dvc.repo import Repo

from pipelines.lib.core.atomic import replacing


def test_a_file_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "new" / "file"
    for text in ("old", "new"):
        with replacing(target) as temporary:
            temporary.write_text(text)
    assert target.read_text() == "new"
    assert [path.name for path in target.parent.iterdir()] == ["file"]


def test_a_directory_replaces_the_old_one(tmp_path: Path) -> None:
    target = tmp_path / "reports"
    for name in ("old", "new"):
        with replacing(target) as temporary:
            temporary.mkdir()
            (temporary / name).write_text(name)
    assert [path.name for path in target.iterdir()] == ["new"]


def test_a_failure_leaves_the_old_one_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), replacing(target) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_all_of_it_is_on_disk_before_its_name_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a power failure a name must point to a whole file, and a name that anybody has read must still exist."""
    done: list[str] = []
    flush, rename = os.fsync, os.replace

    def record_flush(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        flush(descriptor)

    def record_rename(source: Path, target: Path) -> None:
        done.append("renamed")
        rename(source, target)

    monkeypatch.setattr(os, "fsync", record_flush)
    monkeypatch.setattr(os, "replace", record_rename)
    with replacing(tmp_path / "index") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "one").touch()
        (temporary / "deep" / "two").touch()
    assert set(done[:4]) == {"one", "two", "deep", temporary.name}
    assert done[4:] == ["renamed", tmp_path.name]


def test_a_file_that_a_killed_process_was_writing_is_not_an_input(tmp_path: Path) -> None:
    """DVC goes over a directory that a stage depends on by the repository's own .dvcignore."""
    shutil.copy(Path(__file__).resolve().parents[4] / ".dvcignore", tmp_path)
    repo = Repo.init(str(tmp_path), no_scm=True)
    with replacing(tmp_path / "vectors" / "2013-01") as temporary:
        temporary.mkdir()
        (temporary / "half").touch()
        (temporary.parent / "whole").touch()
        assert [Path(file).name for file in repo.dvcignore.find(localfs, str(tmp_path / "vectors"))] == ["whole"]


def test_a_block_that_makes_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "file"):
        pass
