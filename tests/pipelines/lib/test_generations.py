"""Generations of an index: published whole, switched at once, rolled back, collected; what is broken is told and not served."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.lib import generations
from pipelines.lib.errors import ConfigError, DataError, LedgerConflict, ModelError, TransientError
from pipelines.lib.generations import CollectedError, Hold, Pointer, current, hold, locate, rollback, usable
from tests.small_index import INDEX, Published, make_build, make_encoder


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


def on_disk(published: Published) -> list[str]:
    return sorted(path.name for path in (published.place / "generations").iterdir())


def test_before_anything_is_published_there_is_nothing(published: Published) -> None:
    assert current(INDEX, published.root) is None
    assert usable(INDEX, published.root) is None
    with pytest.raises(ModelError, match="no generation of flights is published; trigger vector_index_rebuild"):
        hold(INDEX, root=published.root)
    with pytest.raises(ModelError, match="nothing to roll back"):
        rollback(INDEX, "previous", "ada", "why", root=published.root)
    assert not published.root.exists(), "looking makes nothing"


def test_a_generation_holds_its_files_its_encoder_and_says_where_it_comes_from(published: Published) -> None:
    pointer = published.publish(1)
    directory = locate(INDEX, pointer.generation, published.root)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert pointer.generation == f"2013-06-01-{pointer.manifest_sha256[:12]}"
    assert {path.name for path in directory.iterdir()} == {*manifest["files"], "manifest.json", "lock"}
    assert set(manifest["files"]) == {"index.faiss", "rows.arrow", "built.json", "encoder.onnx"}
    assert (manifest["kind"], manifest["run_ref"], manifest["encoder_version"]) == ("hnsw", "refs/runs/1", "1")
    assert generations.verify(directory, pointer.manifest_sha256) == manifest
    assert (pointer.sequence, pointer.line, pointer.history[0].action) == (1, (), "publish")
    assert current(INDEX, published.root) == pointer


def test_the_same_run_again_changes_nothing(published: Published) -> None:
    first = published.publish(1)
    before = (published.place / "pointer.json").stat().st_mtime_ns
    assert published.publish(1, expected=0) == first
    second = published.publish(2)
    assert published.publish(1, expected=0) == second, "it was published, and is not any more current: that is no reason to bring it back"
    assert published.publish(2, expected=1) == second
    assert (published.place / "pointer.json").stat().st_mtime_ns > before
    assert [switch.sequence for switch in second.history] == [1, 2]


def test_who_has_not_seen_the_last_switch_publishes_nothing(published: Published) -> None:
    first = published.publish(1)
    published.publish(2)
    with pytest.raises(
        LedgerConflict, match=r"built when switch 1 was the last one, and since then .* has made 2013-06-02-\w+ current \(switch 2, publish"
    ):
        published.publish(3, expected=1)
    with pytest.raises(LedgerConflict, match="built when switch 0 was the last"):
        published.publish(3, expected=0)
    assert on_disk(published)[0] == first.generation and len(on_disk(published)) == 2


def test_what_was_rolled_back_from_does_not_come_back_by_a_repetition(published: Published) -> None:
    published.publish(1)
    second = published.publish(2)
    published.rollback()
    with pytest.raises(
        LedgerConflict, match=rf"generation {second.generation} of flights was rolled back from: .* \(switch 3, rollback: it lied\)"
    ):
        published.publish(2, expected=1)


def test_as_many_generations_are_kept_as_were_asked_for(published: Published) -> None:
    made = [published.publish(mark, retain=2).generation for mark in (1, 2, 3, 4)]
    assert on_disk(published) == made[2:]
    pointer = published.publish(5, retain=1)
    assert (on_disk(published), pointer.line) == ([pointer.generation], ())
    pointer = published.publish(6, retain=3)
    assert [one.generation for one in pointer.known] == list(reversed(on_disk(published)))


def test_what_is_being_read_is_kept_until_nobody_reads_it(published: Published) -> None:
    first = published.publish(1, retain=1)
    held = hold(INDEX, root=published.root)
    second = published.publish(2, retain=1)
    assert on_disk(published) == [first.generation, second.generation]
    assert generations.verify(held.directory, first.manifest_sha256)["run_ref"] == "refs/runs/1"
    del held
    third = published.publish(3, retain=1)
    assert on_disk(published) == [third.generation]


def test_a_reader_that_opens_while_its_generation_is_collected_takes_the_current_one(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    published.publish(1, retain=1)
    wait = Hold.__init__

    def late(self: Hold, directory: Path) -> None:
        monkeypatch.setattr(Hold, "__init__", wait)
        published.publish(2, retain=1)  # between the look at the pointer and the lock
        wait(self, directory)

    monkeypatch.setattr(Hold, "__init__", late)
    assert hold(INDEX, root=published.root).manifest["run_ref"] == "refs/runs/2"


def test_a_lock_on_a_generation_that_has_gone_holds_nothing(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file was opened before it was renamed out of sight, and locked after."""
    directory = locate(INDEX, published.publish(1).generation, published.root)
    flock = generations.fcntl.flock

    def late(descriptor: int, operation: int) -> None:
        directory.rename(directory.with_name(".gone"))
        flock(descriptor, operation)

    monkeypatch.setattr(generations.fcntl, "flock", late)
    with pytest.raises(FileNotFoundError):
        Hold(directory)


def test_rolling_back_goes_along_the_line_and_forward_by_name(published: Published) -> None:
    first, second, third = [published.publish(mark).generation for mark in (1, 2, 3)]
    assert published.rollback().generation == second
    assert published.rollback().generation == first
    with pytest.raises(ModelError, match=rf"stands before {first}; name one to roll forward to: {second}, {third}|{third}, {second}"):
        published.rollback()
    assert published.rollback(third).generation == third
    assert published.rollback().generation == first, "what was rolled back from does not come back by itself"
    pointer = published.rollback(second)
    assert [one.generation for one in pointer.line] == [first]
    assert pointer.sequence == 8
    assert (pointer.history[-1].actor, pointer.history[-1].reason) == ("ada", "it lied")
    assert on_disk(published) == sorted([first, second, third])
    fourth = published.publish(4)
    assert [one.generation for one in fourth.known] == [fourth.generation, second, first]
    assert on_disk(published) == [first, second, fourth.generation], "what stood aside is collected with the next publication"


def test_a_request_is_fulfilled_once(published: Published) -> None:
    first, _, _ = [published.publish(mark) for mark in (1, 2, 3)]
    once = published.rollback(request="index_rollback/one")
    assert published.rollback(request="index_rollback/one") == once
    assert published.rollback(request="index_rollback/two").generation == first.generation


@pytest.mark.parametrize(
    "bad", ["", "..", "../2013-06-01-0123456789ab", "2013-06-01-0123456789AB", "2013-06-01-0123456789ab\n", "٢٠١٣-06-01-0123456789ab"]
)
def test_what_is_no_id_becomes_no_path(published: Published, bad: str) -> None:
    published.publish(1)
    for call in (
        lambda: locate(INDEX, bad, published.root),
        lambda: published.rollback(bad),
        lambda: hold(INDEX, bad, root=published.root, manifest_sha256="0" * 64),
    ):
        with pytest.raises(ConfigError, match="it must be an id like"):
            call()
    with pytest.raises(ConfigError, match="a name has letters"):
        current(f"../{bad}", published.root)


def test_only_what_is_kept_can_be_made_current(published: Published) -> None:
    pointer = published.publish(1)
    with pytest.raises(
        ModelError, match=r"2013-06-09-0123456789ab of flights is unknown or no longer kept; these can be made current: none"
    ):
        published.rollback("2013-06-09-0123456789ab")
    with pytest.raises(ConfigError, match="is current already, since switch 1 by test; nothing was changed"):
        published.rollback(pointer.generation)
    assert current(INDEX, published.root) == pointer


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


FILES = ("index.faiss", "rows.arrow", "built.json", "encoder.onnx", "manifest.json")


@pytest.mark.parametrize(
    ("file", "damage"), [("lock", Path.unlink), *((file, damage) for file in FILES for damage in (flip, truncate, Path.unlink))]
)
def test_a_damaged_file_is_told_and_the_generation_before_served(published: Published, file: str, damage: Callable[[Path], None]) -> None:
    first, second = published.publish(1), published.publish(2)
    damage(locate(INDEX, second.generation, published.root) / file)
    with pytest.raises(
        ModelError,
        match=rf"generation {second.generation}: .*{file.partition('.')[0]}.*(sha256|bytes|cannot be read)|{second.generation} .*cannot be opened .*{file}",
    ):
        hold(INDEX, root=published.root)
    found = usable(INDEX, published.root)
    assert found is not None
    pointer, fault = found
    assert (pointer.generation, pointer.partition, pointer.sequence) == (first.generation, "2013-06-01", 2)
    assert fault is not None and second.generation in fault
    assert (
        hold(INDEX, pointer.generation, manifest_sha256=pointer.manifest_sha256, root=published.root).manifest["run_ref"] == "refs/runs/1"
    )
    assert published.rollback().generation == first.generation
    with pytest.raises(ModelError, match=second.generation):
        published.rollback(second.generation)


def test_what_is_broken_is_passed_over_on_the_way_back_and_told(published: Published, caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = [published.publish(mark).generation for mark in (1, 2, 3)]
    flip(locate(INDEX, second, published.root) / "rows.arrow")
    assert published.rollback().generation == first
    assert f"passed over: generation {second}: rows.arrow has sha256" in caplog.text
    with pytest.raises(ModelError, match=f"name one to roll forward to: {second}, {third}"):
        published.rollback()


def test_what_is_broken_takes_no_place_among_those_that_are_kept(published: Published) -> None:
    first, second = [published.publish(mark).generation for mark in (1, 2)]
    flip(locate(INDEX, second, published.root) / "rows.arrow")
    third = published.publish(3, retain=2)
    assert [one.generation for one in third.line] == [first]
    assert on_disk(published) == [first, third.generation]


def test_where_nothing_before_is_whole_there_is_no_way_back(published: Published) -> None:
    first, second = published.publish(1), published.publish(2)
    truncate(locate(INDEX, first.generation, published.root) / "rows.arrow")
    with pytest.raises(
        ModelError, match=rf"that is whole stands before {second.generation} \(generation {first.generation}: .*rebuild instead"
    ):
        published.rollback()
    assert current(INDEX, published.root) == second


def test_a_lost_pointer_costs_no_generation_before_the_new_one_stands(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    first = published.publish(1)
    (published.place / "pointer.json").unlink()
    (published.place / "generations" / ".2013-06-02-0123456789ab.77.tmp").mkdir()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(generations.shutil, "copyfile", full)
        with pytest.raises(TransientError, match="no room"):
            published.publish(2, expected=0)
    assert on_disk(published) == [first.generation]
    second = published.publish(2, expected=0)
    assert on_disk(published) == [second.generation], "what no pointer knows goes then"


def test_a_run_that_runs_again_mends_a_lock_that_was_lost(published: Published) -> None:
    pointer = published.publish(1)
    (locate(INDEX, pointer.generation, published.root) / "lock").unlink()
    assert published.publish(1, expected=0) == pointer
    assert hold(INDEX, root=published.root).manifest["mark"] == 1


def test_without_digests_a_truncated_file_is_found_all_the_same(published: Published) -> None:
    directory = locate(INDEX, published.publish(1).generation, published.root)
    flip(directory / "index.faiss")
    hold(INDEX, root=published.root, digests=False)
    assert usable(INDEX, published.root, digests=False) == (current(INDEX, published.root), None)
    truncate(directory / "index.faiss")
    with pytest.raises(ModelError, match=r"index.faiss has .* bytes, published were"):
        hold(INDEX, root=published.root, digests=False)


def test_where_nothing_is_whole_a_rebuild_that_has_seen_nothing_is_let_through(published: Published) -> None:
    for generation in [published.publish(mark).generation for mark in (1, 2)]:
        truncate(locate(INDEX, generation, published.root) / "index.faiss")
    with pytest.raises(ModelError, match=r"no generation of flights is whole: .*2013-06-02.*2013-06-01"):
        usable(INDEX, published.root)
    assert published.publish(3, expected=0).sequence == 3
    with pytest.raises(LedgerConflict):
        published.publish(4, expected=0)


def test_a_run_that_runs_again_mends_what_was_damaged_of_it(published: Published) -> None:
    pointer = published.publish(1)
    flip(locate(INDEX, pointer.generation, published.root) / "index.faiss")
    assert published.publish(1, expected=0) == pointer
    assert usable(INDEX, published.root) == (pointer, None)


@pytest.mark.parametrize("content", ["", "{}", '{"sequence": 1', "null"])
def test_a_torn_pointer_is_told_and_nothing_is_guessed(published: Published, content: str) -> None:
    published.publish(1)
    (published.place / "pointer.json").write_text(content)
    for call in (lambda: usable(INDEX, published.root), published.rollback, lambda: published.publish(2, expected=1)):
        with pytest.raises(ModelError, match=r"pointer.json is no pointer .*stale-index.md"):
            call()
    assert len(on_disk(published)) == 1


def test_another_encoder_is_refused_when_publishing_and_when_opening(published: Published, tmp_path: Path) -> None:
    other = make_encoder(tmp_path / "other.onnx", b"another encoder")
    with pytest.raises(ModelError, match="was built by another encoder than the one to be published with it"):
        published.publish(1, encoder=other)
    assert current(INDEX, published.root) is None
    published.publish(1)
    with pytest.raises(ModelError, match="distances between vectors of two encoders mean nothing"):
        hold(INDEX, encoder_sha256="0" * 64, root=published.root)


def test_the_manifest_that_was_pinned_is_the_only_one_that_opens(published: Published) -> None:
    pointer = published.publish(1)
    with pytest.raises(ModelError, match="its manifest has sha256"):
        hold(INDEX, pointer.generation, manifest_sha256="0" * 64, root=published.root)
    with pytest.raises(ModelError, match="its manifest has sha256"):
        hold(INDEX, manifest_sha256="0" * 64, root=published.root)
    with pytest.raises(ModelError, match="unknown or no longer kept; current is"):
        hold(INDEX, "2013-06-09-0123456789ab", root=published.root)
    with pytest.raises(CollectedError, match=r"2013-06-09-0123456789ab of flights was collected since"):
        hold(INDEX, "2013-06-09-0123456789ab", manifest_sha256="0" * 64, root=published.root)


def test_what_killed_writers_left_goes_with_the_next_one(published: Published) -> None:
    published.publish(1)
    places = published.place / "generations"
    (places / ".2013-06-02-0123456789ab.77.tmp").mkdir()
    (places / ".2013-06-02-0123456789ab.gone").mkdir()
    (places / "2013-06-02-0123456789ab").mkdir()  # complete, but the pointer was never switched; even its lock is missing
    (places / "2013-06-02-0123456789ab" / "index.faiss").write_text("x")
    (places / "notes").mkdir()  # none of ours
    (published.place / ".pointer.json.77.tmp").write_text("{")
    second = published.publish(2)
    assert on_disk(published) == sorted([one.generation for one in second.known] + ["notes"])
    assert not list(published.place.glob(".*"))


def test_a_build_that_is_not_whole_is_not_published(published: Published, tmp_path: Path) -> None:
    build = make_build(tmp_path / "build")
    (build / "built.json").write_text("{")
    with pytest.raises(DataError, match=r"build is no whole build .*run build_index again"):
        published.publish(1, build=build)
    with pytest.raises(ConfigError, match="partition is"):
        published.publish(1, partition="../../x")
    assert not published.root.exists()


def test_a_file_that_changes_while_it_is_copied_is_found(published: Published, tmp_path: Path) -> None:
    build = make_build(tmp_path / "build")
    judged = generations.built_files(build)
    flip(build / "index.faiss")
    with pytest.raises(ModelError, match=r"index.faiss has sha256"):
        published.publish(1, build=build, files=judged)
    assert current(INDEX, published.root) is None
    assert on_disk(published) == []


def test_a_disk_that_fails_is_told_and_tried_again(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    published.publish(1)

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(generations.shutil, "copyfile", fails)
        with pytest.raises(TransientError, match=r"fails .*Input/output error.* The published index is as it was"):
            published.publish(2)
    assert published.publish(2).sequence == 2


def test_the_history_does_not_grow_for_ever(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(generations, "_REMEMBERED", 3)
    published.publish(1)
    published.publish(2)
    pointers: list[Pointer] = [published.rollback(current(INDEX, published.root).known[1].generation) for _ in range(4)]  # type: ignore[union-attr]
    assert [switch.sequence for switch in pointers[-1].history] == [4, 5, 6]
