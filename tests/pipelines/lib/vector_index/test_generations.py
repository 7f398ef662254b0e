"""Generations of an index, read: held while they are read, verified; a broken one is reported and not served."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.lib.core.errors import ConfigError, ModelError
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index.generations import CollectedError, ReadLock, current, locate, read_lock, usable
from pipelines.lib.vector_index.publication import rollback
from tests.small_index import INDEX, Published, flip, truncate


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


def test_before_anything_is_published_there_is_nothing(published: Published) -> None:
    assert current(INDEX, published.root) is None
    assert usable(INDEX, published.root) is None
    with pytest.raises(ModelError, match="no generation of flights is published; trigger vector_index_rebuild"):
        read_lock(INDEX, root=published.root)
    with pytest.raises(ModelError, match="nothing to roll back"):
        rollback(INDEX, "previous", "ada", "why", root=published.root)
    assert not published.root.exists(), "looking makes nothing"


def test_what_is_being_read_is_kept_until_nobody_reads_it(published: Published) -> None:
    first = published.publish(1, retain=1)
    held = read_lock(INDEX, root=published.root)
    second = published.publish(2, retain=1)
    assert published.on_disk == [first.generation, second.generation]
    assert generations.verify(held.directory, first.manifest_sha256)["run_ref"] == "refs/runs/1"
    del held
    third = published.publish(3, retain=1)
    assert published.on_disk == [third.generation]


def test_a_reader_that_opens_while_its_generation_is_collected_takes_the_current_one(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(1, retain=1)
    wait = ReadLock.__init__

    def late(self: ReadLock, directory: Path) -> None:
        monkeypatch.setattr(ReadLock, "__init__", wait)
        published.publish(2, retain=1)  # between the look at the pointer and the lock
        wait(self, directory)

    monkeypatch.setattr(ReadLock, "__init__", late)
    assert read_lock(INDEX, root=published.root).manifest["run_ref"] == "refs/runs/2"


def test_a_lock_on_a_generation_that_has_gone_holds_nothing(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was opened before it was renamed out of sight, and locked after."""
    directory = locate(INDEX, published.publish(1).generation, published.root)
    flock = generations.fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        directory.rename(directory.with_name(".gone"))
        flock(descriptor, operation)

    monkeypatch.setattr(generations.fcntl, "flock", late)
    with pytest.raises(FileNotFoundError):
        ReadLock(directory)


@pytest.mark.parametrize(
    "bad", ["", "..", "../2013-06-01-0123456789ab", "2013-06-01-0123456789AB", "2013-06-01-0123456789ab\n", "٢٠١٣-06-01-0123456789ab"]
)
def test_a_value_that_is_not_an_id_becomes_no_path(published: Published, bad: str) -> None:
    published.publish(1)
    for call in (
        lambda: locate(INDEX, bad, published.root),
        lambda: published.rollback(bad),
        lambda: read_lock(INDEX, bad, root=published.root, manifest_sha256="0" * 64),
    ):
        with pytest.raises(ConfigError, match="it must be an id like"):
            call()
    with pytest.raises(ConfigError, match="a name has letters"):
        current(f"../{bad}", published.root)


FILES = ("index.faiss", "rows.arrow", "built.json", "encoder.onnx", "manifest.json")


@pytest.mark.costly
@pytest.mark.parametrize(
    ("file", "damage"), [("lock", Path.unlink), *((file, damage) for file in FILES for damage in (flip, truncate, Path.unlink))]
)
def test_a_damaged_file_is_reported_and_the_generation_before_served(
    published: Published, file: str, damage: Callable[[Path], None]
) -> None:
    first, second = published.publish(1), published.publish(2)
    damage(locate(INDEX, second.generation, published.root) / file)
    with pytest.raises(
        ModelError,
        match=rf"generation {second.generation}: .*{file.partition('.')[0]}.*(sha256|bytes|cannot be read)|{second.generation} .*cannot be opened .*{file}",
    ):
        read_lock(INDEX, root=published.root)
    found = usable(INDEX, published.root)
    assert found is not None
    pointer, fault = found
    assert (pointer.generation, pointer.partition, pointer.sequence) == (first.generation, "2013-06-01", 2)
    assert fault is not None and second.generation in fault
    assert (
        read_lock(INDEX, pointer.generation, manifest_sha256=pointer.manifest_sha256, root=published.root).manifest["run_ref"]
        == "refs/runs/1"
    )
    assert published.rollback().generation == first.generation
    with pytest.raises(ModelError, match=second.generation):
        published.rollback(second.generation)


def test_without_digests_a_truncated_file_is_found_all_the_same(published: Published) -> None:
    directory = locate(INDEX, published.publish(1).generation, published.root)
    flip(directory / "index.faiss")
    read_lock(INDEX, root=published.root, digests=False)
    assert usable(INDEX, published.root, digests=False) == (current(INDEX, published.root), None)
    truncate(directory / "index.faiss")
    with pytest.raises(ModelError, match=r"index.faiss has .* bytes, published were"):
        read_lock(INDEX, root=published.root, digests=False)


@pytest.mark.parametrize("content", ["", "{}", '{"sequence": 1', "null"])
def test_a_torn_pointer_is_reported_and_nothing_is_guessed(published: Published, content: str) -> None:
    published.publish(1)
    (published.place / "pointer.json").write_text(content)
    for call in (lambda: usable(INDEX, published.root), published.rollback, lambda: published.publish(2, expected=1)):
        with pytest.raises(ModelError, match=r"pointer.json is not a pointer .*stale-index.md"):
            call()
    assert len(published.on_disk) == 1


def test_the_manifest_that_was_pinned_is_the_only_one_that_opens(published: Published) -> None:
    pointer = published.publish(1)
    with pytest.raises(ModelError, match="its manifest has sha256"):
        read_lock(INDEX, pointer.generation, manifest_sha256="0" * 64, root=published.root)
    with pytest.raises(ModelError, match="its manifest has sha256"):
        read_lock(INDEX, manifest_sha256="0" * 64, root=published.root)
    with pytest.raises(ModelError, match="unknown or no longer kept; current is"):
        read_lock(INDEX, "2013-06-09-0123456789ab", root=published.root)
    with pytest.raises(CollectedError, match=r"2013-06-09-0123456789ab of flights was collected since"):
        read_lock(INDEX, "2013-06-09-0123456789ab", manifest_sha256="0" * 64, root=published.root)
