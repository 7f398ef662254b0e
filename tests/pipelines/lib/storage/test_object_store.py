"""Caches and remotes are listed, read and freed alike; a bucket is one of fsspec's own file systems here."""

import datetime as dt
import time
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest
from dvc_data.hashfile.db import HashFileDB
from dvc_objects.fs.base import FileSystem

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.storage.object_store import Bucket, Cache, _moment, remote_of

FILE, LISTING = "ab" + "1" * 30, "cd" + "2" * 30 + ".dir"


class Memory(FileSystem):
    """DVC's wrapper of fsspec's memory, as it wraps S3."""

    protocol = "memory"
    PARAM_CHECKSUM = "md5"

    def __init__(self) -> None:
        super().__init__(fs=fsspec.filesystem("memory", skip_instance_cache=True))


def test_a_bucket_is_listed_read_and_freed() -> None:
    fs = Memory()
    bucket = Bucket(HashFileDB(fs, "/store/files/md5"))
    fs.fs.store.clear()
    assert list(bucket.objects()) == []
    for md5, content in ((FILE, b"12345"), (LISTING, b"[]")):
        fs.fs.pipe_file(f"/store/files/md5/{md5[:2]}/{md5[2:]}", content)
    fs.fs.pipe_file("/store/files/md5/no-object", b"x")
    found = {one.md5: one for one in bucket.objects()}
    assert {md5: one.size for md5, one in found.items()} == {FILE: 5, LISTING: 2}
    assert all(abs(one.modified - time.time()) < 60 for one in found.values())
    assert bucket.read(LISTING) == b"[]"
    bucket.remove((found[FILE],))
    bucket.remove((found[FILE],))
    assert bucket.read(FILE) is None
    assert [one.md5 for one in bucket.objects()] == [LISTING]


def test_a_cache_holds_objects_and_leaves_other_files_alone(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    assert list(cache.objects()) == []
    for md5 in (FILE, LISTING):
        place = tmp_path / "files" / "md5" / md5[:2] / md5[2:]
        place.parent.mkdir(parents=True)
        place.write_bytes(b"12345")
    (place.parent / ".half.tmp").write_bytes(b"x")
    assert {(one.md5, one.size) for one in cache.objects()} == {(FILE, 5), (LISTING, 5)}
    cache.remove(tuple(cache.objects()))
    assert list(cache.objects()) == []
    assert (place.parent / ".half.tmp").exists()
    assert cache.read(FILE) is None


@pytest.mark.parametrize(
    ("listed", "moment"),
    [
        ({"LastModified": dt.datetime(2024, 1, 1, tzinfo=dt.UTC)}, 1704067200.0),
        ({"mtime": 5.5}, 5.5),
        ({"updated": "2024-01-01T00:00:00.000Z"}, 1704067200.0),
        ({"size": 5}, float("inf")),
    ],
)
def test_an_object_of_unknown_age_counts_as_new(listed: dict[str, object], moment: float) -> None:
    assert _moment(listed) == moment


@pytest.mark.costly
def test_a_repository_without_a_remote_is_reported(tmp_path: Path) -> None:
    from dvc.repo import Repo

    Repo.init(str(tmp_path), no_scm=True)
    with pytest.raises(ConfigError, match="has no default DVC remote"):
        remote_of(tmp_path)
