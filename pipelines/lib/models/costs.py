"""The costs of running a model on this machine: time for a row, memory, size. A measurement of this machine, so never a versioned output."""

import json
import resource
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from pipelines.lib.core.atomic import replacing
from pipelines.lib.models.inference import RUN_ROWS, Model, load_model
from pipelines.lib.models.latency import latency


@dataclass(frozen=True)
class Costs:
    """Of the model of digest `sha256`: microseconds that one row takes, MiB that loading and running it adds to a process, MiB on disk."""

    sha256: str
    p50_us: float
    p99_us: float
    memory_mib: float
    size_mib: float


def measure(model: Model, path: Path, rows: np.ndarray) -> Costs:
    """Return the costs of `model`, which is at `path`, on real `rows` [n, f]; takes about a second."""
    took = latency(model, rows=rows[:1000])
    # In a process of its own: what this one has allocated and freed before would be used again and so not be seen.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        memory = pool.submit(_memory_mib, path, rows[:RUN_ROWS]).result()
    size = path.stat().st_size / 2**20
    return Costs(model.sha256, round(took.p50_us, 2), round(took.p99_us, 2), round(memory, 2), round(size, 2))


def write(path: Path, costs: Mapping[str, Costs | None]) -> None:
    """Write the costs of each named model to `path`, null where it was not measured."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({name: found and asdict(found) for name, found in costs.items()}, indent=2), encoding="utf-8")


def read(path: Path, name: str, sha256: str) -> Costs | None:
    """Return what was measured of model `name`, if it was the one of digest `sha256`: where DVC restored a report, nothing was measured."""
    try:
        found = Costs(**json.loads(path.read_text(encoding="utf-8"))[name])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found if found.sha256 == sha256 else None


def _memory_mib(path: Path, rows: np.ndarray) -> float:
    before = _resident_mib()
    model = load_model(path)
    model.score(rows)
    return _resident_mib() - before


def _resident_mib() -> float:
    """Return what this process holds in memory (proc(5), field 2 of statm); the peak of `getrusage` would be that of the process it came from.

    Where there is no /proc, as on a Mac, nothing is measured: 0, which is compared with nothing.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except FileNotFoundError:
        return 0.0
    return pages * resource.getpagesize() / 2**20
