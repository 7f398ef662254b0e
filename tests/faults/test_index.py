"""An index whose writers and readers are killed, race, and run out of disk: readers see whole generations, and nothing else."""

import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from pipelines.lib.core.errors import LedgerConflict, TransientError
from pipelines.lib.vector_index.generations import current, usable
from tests.index_processes import (
    Answers,
    answers,
    build,
    build_and_publish,
    hold_on,
    look,
    processes,
    publish_at_once,
    publish_with_little_room,
    read_on,
)
from tests.small_index import INDEX, Published

pytestmark = [pytest.mark.faults, pytest.mark.slow]

KILLS_AT_STEPS = 40
KILLS_BY_CLOCK = 10
READERS = 8
QUESTIONS = 10_000
SWITCHES = "pppprpppprpppprpppprppppr"
"""20 publications and 5 rollbacks."""

SERVER = processes()


@pytest.fixture
def published(tmp_path: Path) -> Published:
    return Published(tmp_path)


def start(target: Callable[..., None], *arguments: object) -> BaseProcess:
    process = SERVER.Process(target=target, args=arguments)
    process.start()
    return process


def ended(*started: BaseProcess) -> list[int | None]:
    """Return the exit codes of processes, once they have ended."""
    for process in started:
        process.join(120)
    return [process.exitcode for process in started]


def known(published: Published) -> set[str]:
    pointer = current(INDEX, published.root)
    return {one.generation for one in pointer.known} if pointer else set()


def require_clean(published: Published) -> None:
    """Check that the generations that the pointer knows exist, the current one whole, and nothing next to them."""
    assert set(published.on_disk) == known(published)
    assert {path.name for path in published.place.iterdir()} == {"generations", "pointer.json", "writer.lock"}
    assert usable(INDEX, published.root) == (current(INDEX, published.root), None)


def test_a_writer_killed_at_forty_points_leaves_a_whole_generation_and_the_next_run_finishes(published: Published, tmp_path: Path) -> None:
    """Fifty generations: the process that builds and publishes each is killed once, before a step of its own or amid one, then run
    again.
    """
    steps, queue = SERVER.Value("i", 0), SERVER.SimpleQueue()

    def run(mark: int, kill_at: int | None = None, after_s: float | None = None) -> int | None:
        steps.value = 0
        process = start(build_and_publish, published.directory, mark, mark - 1, kill_at, steps)
        if after_s is not None:
            process.join(after_s)
            process.kill()
        return ended(process)[0]

    assert [run(1), run(2)] == [0, 0]
    started = time.perf_counter()
    assert run(3) == 0
    whole_s, whole_steps = time.perf_counter() - started, steps.value
    kills: list[tuple[int | None, float | None]] = [(int(step), None) for step in np.linspace(1, whole_steps, KILLS_AT_STEPS)]
    kills += [(None, whole_s * share) for share in np.linspace(0.1, 0.9, KILLS_BY_CLOCK)]
    expected: Answers = {mark: answers(build(tmp_path / "expected", mark)) for mark in range(3, len(kills) + 4)}
    killed, served, debris = 0, [], 0
    for mark, (kill_at, after_s) in enumerate(kills, 4):
        killed += run(mark, kill_at, after_s) == -9
        debris += set(published.on_disk) != known(published)
        assert ended(start(look, published.directory, expected, queue)) == [0]
        found, wrong = queue.get()
        assert found in (mark - 1, mark) and not wrong, wrong
        served.append(found == mark)
        assert run(mark) == 0
        pointer = current(INDEX, published.root)
        assert pointer is not None and pointer.sequence == mark, "one switch a generation, however often it was begun"
        require_clean(published)
    assert killed >= KILLS_AT_STEPS, "by the clock some may come too late"
    assert debris >= 3 and any(served) and not all(served), "kills before, amid and after the publication"


def test_no_answer_mixes_generations_while_they_are_published_and_rolled_back(published: Published) -> None:
    builds = {mark: build(published.directory, mark) for mark in range(1, SWITCHES.count("p") + 2)}
    expected: Answers = {mark: answers(built) for mark, built in builds.items()}
    published.publish(1, build=builds[1], retain=2)
    asked, done, queue = SERVER.Value("i", 0), SERVER.Event(), SERVER.SimpleQueue()
    readers = [start(read_on, published.directory, expected, number, QUESTIONS // READERS, asked, done, queue) for number in range(READERS)]
    mark = 1
    for switch in f"{SWITCHES}.":
        until = asked.value + QUESTIONS / (len(SWITCHES) + 1)
        while asked.value < until and all(reader.is_alive() for reader in readers):
            time.sleep(0.001)
        if switch == "r":
            published.rollback()
        elif switch == "p":
            mark += 1
            published.publish(mark, build=builds[mark], retain=2)
    done.set()
    found = [queue.get() for _ in readers]
    assert ended(*readers) == [0] * READERS
    assert not [fault for wrong, _ in found for fault in wrong]
    assert asked.value >= QUESTIONS
    assert set().union(*(seen for _, seen in found)) == set(builds), "each generation has answered"
    pointer = current(INDEX, published.root)
    assert pointer is not None and pointer.sequence == len(SWITCHES) + 1
    published.publish(mark, build=builds[mark - 2], run_ref="refs/runs/last", retain=2)
    require_clean(published)


def test_of_eight_that_publish_at_once_one_wins_and_the_others_get_the_reason(published: Published) -> None:
    for round_, expected in enumerate((0, 1, 2)):
        barrier, queue = SERVER.Barrier(READERS), SERVER.SimpleQueue()
        marks = range(10 * round_ + 1, 10 * round_ + READERS + 1)
        builds = {mark: published.build(mark) for mark in marks}
        racers = [start(publish_at_once, published.directory, mark, builds[mark], expected, barrier, queue) for mark in marks]
        ends = dict(queue.get() for _ in racers)
        assert ended(*racers) == [0] * READERS
        [winner] = [end for end in ends.values() if isinstance(end, str)]
        assert sum(isinstance(end, LedgerConflict) for end in ends.values()) == READERS - 1
        pointer = current(INDEX, published.root)
        assert pointer is not None and (pointer.generation, pointer.sequence) == (winner, expected + 1)
        require_clean(published)


def test_a_reader_that_is_killed_holds_nothing_any_more(published: Published) -> None:
    first = published.publish(1, retain=1)
    ready, never = SERVER.Event(), SERVER.Event()
    reader = start(hold_on, published.directory, ready, never)
    assert ready.wait(60)
    published.publish(2, retain=1)
    assert first.generation in published.on_disk
    reader.kill()
    assert ended(reader) == [-9]
    published.publish(3, retain=1)
    require_clean(published)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a quarter of a mebibyte."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)], check=False, capture_output=True).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_leaves_the_pointer_and_no_debris(published: Published, small_disk: Path, tmp_path: Path) -> None:
    disk = Published(small_disk)
    first = disk.publish(1, build=published.build(1))
    before = (disk.place / "pointer.json").read_bytes()
    filler = small_disk / "filler"
    filler.write_bytes(bytes(1024 * (256 - 48)))
    large = build(tmp_path, 3)
    with pytest.raises(
        TransientError,
        match=r"no room under .*disk/index/flights for [\d,]+ bytes, [\d,]+ are free; make room .* The published index is as it was",
    ):
        disk.publish(2, build=large)
    assert (disk.place / "pointer.json").read_bytes() == before
    assert usable(INDEX, disk.root) == (first, None)
    filler.unlink()
    assert disk.publish(2, build=large).sequence == 2
    require_clean(disk)


@pytest.mark.parametrize("limit", [100, 2_000, 20_000])
def test_a_file_that_cannot_be_written_leaves_the_pointer_and_no_debris(published: Published, limit: int) -> None:
    first, built = published.publish(1), build(published.directory, 3)
    before, queue = (published.place / "pointer.json").read_bytes(), SERVER.SimpleQueue()
    assert ended(start(publish_with_little_room, published.directory, 2, built, 1, limit, queue)) == [0]
    error = queue.get()
    assert isinstance(error, TransientError) and "no room under" in str(error)
    assert (published.place / "pointer.json").read_bytes() == before
    assert usable(INDEX, published.root) == (first, None)
    assert published.publish(2, build=built).sequence == 2
    require_clean(published)
