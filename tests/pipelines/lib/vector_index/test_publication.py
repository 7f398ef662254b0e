"""Writers of the pointer: generations published whole, switched at once, rolled back, collected; nothing by halves when something fails."""

import json
from pathlib import Path
from typing import Any

import faiss
import pytest

from pipelines.lib.core.digest import sha256_of
from pipelines.lib.core.errors import ConfigError, DataError, LedgerConflict, ModelError, TransientError
from pipelines.lib.vector_index import generations
from pipelines.lib.vector_index import publication as index_publication
from pipelines.lib.vector_index.generations import Pointer, current, locate, read_lock, usable, verify
from tests.small_index import INDEX, Published, flip, make_build, make_encoder, truncate


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


def test_a_generation_holds_its_files_its_encoder_and_says_where_it_comes_from(published: Published) -> None:
    pointer = published.publish(1)
    directory = locate(INDEX, pointer.generation, published.root)
    manifest = json.loads((directory / "manifest.json").read_text())
    assert pointer.generation == f"2013-06-01-{pointer.manifest_sha256[:12]}"
    assert {path.name for path in directory.iterdir()} == {*manifest["files"], "manifest.json", "lock"}
    assert set(manifest["files"]) == {"index.faiss", "rows.arrow", "built.json", "encoder.onnx"}
    assert (manifest["kind"], manifest["run_ref"], manifest["encoder_version"]) == ("hnsw", "refs/runs/1", "1")
    assert (manifest["parameters"], manifest["faiss"]) == ({"m": 8}, faiss.__version__)
    assert verify(directory, pointer.manifest_sha256) == manifest
    assert (pointer.sequence, pointer.line, pointer.history[0].action) == (1, (), "publish")
    assert current(INDEX, published.root) == pointer


def test_the_same_run_again_changes_nothing(published: Published) -> None:
    first = published.publish(1)
    before = (published.place / "pointer.json").stat().st_mtime_ns
    assert published.publish(1, expected=0) == first
    second = published.publish(2)
    assert published.publish(1, expected=0) == second, (
        "it was published, and is not any more current: that is not a reason to bring it back"
    )
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
    assert published.on_disk[0] == first.generation and len(published.on_disk) == 2


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
    assert published.on_disk == made[2:]
    pointer = published.publish(5, retain=1)
    assert (published.on_disk, pointer.line) == ([pointer.generation], ())
    pointer = published.publish(6, retain=3)
    assert [one.generation for one in pointer.known] == list(reversed(published.on_disk))


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
    assert published.on_disk == sorted([first, second, third])
    fourth = published.publish(4)
    assert [one.generation for one in fourth.known] == [fourth.generation, second, first]
    assert published.on_disk == [first, second, fourth.generation], "what stood aside is collected with the next publication"


def test_a_request_is_fulfilled_once(published: Published) -> None:
    first, _, _ = [published.publish(mark) for mark in (1, 2, 3)]
    once = published.rollback(request="index_rollback/one")
    assert published.rollback(request="index_rollback/one") == once
    assert published.rollback(request="index_rollback/two").generation == first.generation


def test_only_what_is_kept_can_be_made_current(published: Published) -> None:
    pointer = published.publish(1)
    with pytest.raises(
        ModelError, match=r"2013-06-09-0123456789ab of flights is unknown or no longer kept; these can be made current: none"
    ):
        published.rollback("2013-06-09-0123456789ab")
    with pytest.raises(ConfigError, match="is current already, since switch 1 by test; nothing was changed"):
        published.rollback(pointer.generation)
    assert current(INDEX, published.root) == pointer


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
    assert published.on_disk == [first, third.generation]


def test_what_cannot_be_read_at_the_moment_is_kept(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fails once must not cost the generations that one would roll back to."""
    kept = [published.publish(mark).generation for mark in (1, 2)]

    def fails(path: Path) -> str:
        raise OSError(5, "Input/output error", str(path))

    with monkeypatch.context() as patch:
        build = published.build(3)
        patch.setattr(generations, "sha256_of", lambda path: fails(path) if path.parent.name in kept else sha256_of(path))
        third = published.publish(3, build=build)
    assert [one.generation for one in third.line] == kept
    assert usable(INDEX, published.root) == (third, None)
    assert published.rollback().generation == kept[1]


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
        patch.setattr(index_publication.shutil, "copyfile", full)
        with pytest.raises(TransientError, match="no room"):
            published.publish(2, expected=0)
    assert published.on_disk == [first.generation]
    second = published.publish(2, expected=0)
    assert published.on_disk == [second.generation], "a generation that is in no pointer is removed then"


def test_a_run_that_runs_again_repairs_a_lock_that_was_lost(published: Published) -> None:
    pointer = published.publish(1)
    (locate(INDEX, pointer.generation, published.root) / "lock").unlink()
    assert published.publish(1, expected=0) == pointer
    assert read_lock(INDEX, root=published.root).manifest["mark"] == 1


def test_where_nothing_is_whole_a_rebuild_that_has_seen_nothing_is_let_through(published: Published) -> None:
    for generation in [published.publish(mark).generation for mark in (1, 2)]:
        truncate(locate(INDEX, generation, published.root) / "index.faiss")
    with pytest.raises(ModelError, match=r"no generation of flights is whole: .*2013-06-02.*2013-06-01"):
        usable(INDEX, published.root)
    assert published.publish(3, expected=0).sequence == 3
    with pytest.raises(LedgerConflict):
        published.publish(4, expected=0)


def test_a_run_that_runs_again_repairs_its_damaged_files(published: Published) -> None:
    pointer = published.publish(1)
    flip(locate(INDEX, pointer.generation, published.root) / "index.faiss")
    assert published.publish(1, expected=0) == pointer
    assert usable(INDEX, published.root) == (pointer, None)


def test_another_encoder_is_refused_when_publishing_and_when_opening(published: Published, tmp_path: Path) -> None:
    other = make_encoder(tmp_path / "other.onnx", b"another encoder")
    with pytest.raises(ModelError, match="was built by another encoder than the one to be published with it"):
        published.publish(1, encoder=other)
    assert current(INDEX, published.root) is None
    published.publish(1)
    with pytest.raises(ModelError, match="distances between vectors of two encoders mean nothing"):
        read_lock(INDEX, encoder_sha256="0" * 64, root=published.root)


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
    assert published.on_disk == sorted([one.generation for one in second.known] + ["notes"])
    assert not list(published.place.glob(".*"))


def test_a_build_that_is_not_whole_is_not_published(published: Published, tmp_path: Path) -> None:
    build = make_build(tmp_path / "build")
    (build / "built.json").write_text("{")
    with pytest.raises(DataError, match=r"build is not a whole build .*run build_index again"):
        published.publish(1, build=build)
    with pytest.raises(ConfigError, match="partition is"):
        published.publish(1, partition="../../x")
    assert not published.root.exists()


def test_a_file_that_changes_while_it_is_copied_is_found(published: Published, tmp_path: Path) -> None:
    build = make_build(tmp_path / "build")
    judged = index_publication.built_files(build)
    flip(build / "index.faiss")
    with pytest.raises(ModelError, match=r"index.faiss has sha256"):
        published.publish(1, build=build, files=judged)
    assert current(INDEX, published.root) is None
    assert published.on_disk == []


def test_a_disk_that_fails_is_reported_and_tried_again(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    published.publish(1)

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(index_publication.shutil, "copyfile", fails)
        with pytest.raises(TransientError, match=r"fails .*Input/output error.* The published index is as it was"):
            published.publish(2)
    assert published.publish(2).sequence == 2


def test_a_disk_that_is_full_before_anything_was_published_is_reported(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no directory yet, of which one could ask how much room is left."""
    build, make = published.build(1), Path.mkdir

    def full(self: Path, *arguments: Any, **options: Any) -> None:
        if self == published.place:
            raise OSError(28, "No space left on device")
        make(self, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", full)
        with pytest.raises(TransientError, match=r"no room under .*flights for [\d,]+ bytes, [\d,]+ are free"):
            published.publish(1, build=build)
    assert published.publish(1, build=build).sequence == 1


def test_the_history_does_not_grow_for_ever(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_publication, "_REMEMBERED", 3)
    published.publish(1)
    published.publish(2)
    pointers: list[Pointer] = [published.rollback(current(INDEX, published.root).known[1].generation) for _ in range(4)]  # type: ignore[union-attr]
    assert [switch.sequence for switch in pointers[-1].history] == [4, 5, 6]
