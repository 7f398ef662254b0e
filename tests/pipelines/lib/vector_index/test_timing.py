"""The time of a query: what it computes counts, what else the machine does does not."""

import time
from typing import Any

import numpy as np
import pytest

from pipelines.lib.vector_index import timing


class Busy:
    """An index that computes for `computes` seconds at each search, and waits for `waits`, as for a processor that another process has."""

    def __init__(self, computes: float, waits: float) -> None:
        self.computes, self.waits = computes, waits

    def search(self, *_: Any) -> None:
        end = time.thread_time() + self.computes
        time.sleep(self.waits)
        while time.thread_time() < end:
            pass


@pytest.mark.parametrize(("computes", "waits"), [(0.003, 0.0), (0.003, 0.03)])
def test_what_a_query_computes_counts(computes: float, waits: float) -> None:
    took = timing._processor_seconds(Busy(computes, waits), np.zeros((1, 4), np.float32), 10)  # type: ignore[arg-type]
    assert took >= computes


def test_what_a_query_waits_for_does_not_count() -> None:
    took = timing._processor_seconds(Busy(0.0, 0.05), np.zeros((1, 4), np.float32), 10)  # type: ignore[arg-type]
    assert took < 0.05
