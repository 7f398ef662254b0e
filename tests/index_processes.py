"""Processes that use an index root, for tests that let them race, and kill them.

They are forked from a server that has imported everything, so that each starts within milliseconds.
"""

import multiprocessing
import os
import resource
import signal
import sys
from multiprocessing.context import ForkServerContext
from multiprocessing.queues import SimpleQueue
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Barrier, Event
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.lib.core.errors import NightshiftError
from pipelines.lib.vector_index.params import IvfPq, PlanIndex
from pipelines.lib.vector_index.reader import VectorIndex, open_generation
from pipelines.lib.vector_index.search import Searcher
from tests.small_index import ENCODER_SHA256, INDEX, Published, build_from_arrays, rows_of, vectors_of

ROWS = 400
QUESTIONS = vectors_of(16, seed=1_000)
NEIGHBOURS = 10

Answers = dict[int, np.ndarray]
"""The answers of each build to all `QUESTIONS`, by its mark: ids."""


def processes() -> ForkServerContext:
    """Return the server that processes are forked from."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["__main__", "pytest", "pandas", "faiss", __name__])
    return found


def on_one_thread() -> None:
    """Have FAISS leave the other processors to the other processes."""
    import faiss

    faiss.omp_set_num_threads(1)


def build(directory: Path, mark: int) -> Path:
    """Return the build of that mark, made as the stages make it: of an odd one an HNSW, of an even one an IVF-PQ, whose lists and vectors
    are files of their own.
    """
    target, params = directory / f"build-{mark}", PlanIndex(kind="hnsw" if mark % 2 else "ivfpq", ivfpq=IvfPq(code_bytes=2))
    build_from_arrays(vectors_of(ROWS, seed=mark), rows_of(ROWS, mark), target, plan_index=params, encoder_sha256=ENCODER_SHA256)
    return target


def answers(built: Path) -> np.ndarray:
    """Return what that build answers."""
    return Searcher.open(built).search(QUESTIONS, NEIGHBOURS)[1]


def faults(index: VectorIndex, expected: Answers, number: int) -> list[str]:
    """Return what is wrong with the answer of `index` to one of the questions: ids, rows and manifest must be of one generation."""
    mark = index.manifest["mark"]
    ids = index.search(QUESTIONS[number : number + 1], NEIGHBOURS)[1][0]
    rows = set(index.rows(ids)["carrier"].to_pylist())
    found = [] if rows == {f"build {mark}"} else [f"rows of {rows} from generation {mark}"]
    return found + ([] if ids.tolist() == expected[mark][number].tolist() else [f"generation {mark} answers {ids} to question {number}"])


def build_and_publish(directory: Path, mark: int, expected: int, kill_at: int | None, seen: "Synchronized[int]") -> None:
    """Build generation `mark` and publish it. At the step with the number `kill_at` this process kills itself; `seen` counts them.

    A step is any action that Python reports to its auditors on a file in `directory`: open, rename, remove, make a directory.
    """

    def count(event: str, arguments: tuple[Any, ...]) -> None:
        if event.partition(".")[0] in ("open", "os", "shutil") and any(str(directory) in str(one) for one in arguments):
            seen.value += 1
            if seen.value == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    on_one_thread()
    sys.addaudithook(count)
    Published(directory).publish(mark, build=build(directory, mark), expected=expected, retain=2)


def look(directory: Path, expected: Answers, queue: "SimpleQueue[Any]") -> None:
    """Open the current generation as any reader does; tell which it is, and what is wrong with its answers."""
    on_one_thread()
    with open_generation(INDEX, root=directory / "index") as index:
        queue.put((index.manifest["mark"], [fault for number in range(len(QUESTIONS)) for fault in faults(index, expected, number)]))


def read_on(
    directory: Path, expected: Answers, first: int, share: int, asked: "Synchronized[int]", done: Event, queue: "SimpleQueue[Any]"
) -> None:
    """Ask at least `share` questions, and go on until it is `done`; open again or refresh every few questions.

    Tells what was wrong, and which generations have answered.
    """
    on_one_thread()
    wrong: list[str] = []
    seen: set[int] = set()
    number = first
    try:
        index = open_generation(INDEX, root=directory / "index")
        while number < first + share or not done.is_set():
            if number % 10 == 5:
                index.refresh()
            if number % 10 == 0:
                index.close()
                index = open_generation(INDEX, root=directory / "index")
            wrong += faults(index, expected, number % len(QUESTIONS))
            seen.add(index.manifest["mark"])
            number += 1
            with asked.get_lock():
                asked.value += 1
    except Exception as error:  # any at all: it is what the test is about
        wrong.append(f"{type(error).__name__}: {error}")
    queue.put((wrong, seen))


def publish_at_once(directory: Path, mark: int, built: Path, expected: int, start: Barrier, queue: "SimpleQueue[Any]") -> None:
    """Publish `built` at the same moment as others do, and tell what came of it."""
    start.wait()
    try:
        queue.put((mark, Published(directory).publish(mark, build=built, expected=expected).generation))
    except NightshiftError as error:
        queue.put((mark, error))


def publish_with_little_room(directory: Path, mark: int, built: Path, expected: int, limit: int, queue: "SimpleQueue[Any]") -> None:
    """Publish where no file may be larger than `limit` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        queue.put(Published(directory).publish(mark, build=built, expected=expected))
    except NightshiftError as error:
        queue.put(error)


def hold_on(directory: Path, ready: Event, never: Event) -> None:
    """Hold the current generation until this process is killed."""
    with open_generation(INDEX, root=directory / "index"):
        ready.set()
        never.wait()
