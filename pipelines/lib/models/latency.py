"""The processor time that a model takes to score one row."""

import time
from dataclasses import dataclass

import numpy as np

from pipelines.lib.models.inference import Matrix, Model


@dataclass(frozen=True)
class Latency:
    """Microseconds of processor time that scoring one row takes."""

    p50_us: float
    p99_us: float


def latency(model: Model, *, rows: Matrix | None = None, runs: int = 2_000) -> Latency:
    """Return how long one row takes, over `runs` runs (after a tenth of them to warm up) on the rows of `rows`, by default zeros.

    It is the processor time of this thread, on which the session runs: `evaluate` judges it, and must not refuse a model because something else is
    running.
    """
    rows = np.zeros((1, len(model.signature.names)), dtype=np.float32) if rows is None else np.ascontiguousarray(rows, dtype=np.float32)
    nanoseconds = np.empty(runs)
    for index in range(-runs // 10, runs):
        row = rows[index % len(rows)][None, :]
        started = time.thread_time_ns()
        model.score(row)
        if index >= 0:
            nanoseconds[index] = time.thread_time_ns() - started
    p50, p99 = np.percentile(nanoseconds, [50, 99]) / 1_000
    return Latency(float(p50), float(p99))
