"""Tools that the benchmarks share: a process of its own with its peak memory, the origin of figures, and the file for them."""

import datetime as dt
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.home import REPOSITORY, home
from pipelines.lib.models.inference import cores

Targets = Mapping[str, tuple[str, float]]
"""For some of the keys of a benchmark's figures: ``(">=", 0.9)`` or ``("<=", 60)``."""


def in_process(function: str, *arguments: Any) -> tuple[Any, float]:
    """Call `function` (``module:name``) with `arguments` (what JSON can carry) in a process of its own.

    Returns what it returned and the peak of its resident memory in MiB (``ru_maxrss``: imports and interpreter included).
    """
    read, write = os.pipe()  # what the function prints stays apart from what it returns
    try:
        command = [sys.executable, "-m", "benchmarks.measure", str(write), function, json.dumps(arguments)]
        subprocess.run(command, check=True, cwd=REPOSITORY, pass_fds=(write,))
    finally:
        os.close(write)
        with os.fdopen(read) as pipe:
            output = pipe.read()
    answer = json.loads(output)
    return answer["result"], answer["peak_rss_mib"]


def machine() -> str:
    """Describe the machine in a line: a figure without it says little."""
    processor = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine()
    )
    memory = next((int(line.split()[1]) / 2**20 for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0.0)
    libraries = ", ".join(f"{name} {version(name)}" for name in ("onnxruntime", "faiss-cpu", "pyarrow", "scikit-learn", "duckdb"))
    return f"{processor}, {cores()} cores, {memory:.0f} GiB, load {os.getloadavg()[0]:.1f}; Python {platform.python_version()}, {libraries}"


def origin() -> dict[str, str]:
    """Return the date (UTC), the commit and the machine of figures that are measured now."""
    asked = subprocess.run(["git", "rev-parse", "HEAD"], check=False, cwd=REPOSITORY, capture_output=True, text=True)
    return {
        "measured": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": asked.stdout.strip() or "unknown",
        "machine": machine(),
    }


def missed(figures: Mapping[str, Any], targets: Targets) -> list[str]:
    """Return the missed targets, in words."""
    return [
        f"{key} is {figures[key]}; the target is {sign} {limit}"
        for key, (sign, limit) in targets.items()
        if not (figures[key] >= limit if sign == ">=" else figures[key] <= limit)
    ]


def record(name: str, figures: Mapping[str, Any]) -> Path:
    """Write ``var/bench/<name>.json``: the figures and their origin. Return its path."""
    path = home() / "bench" / f"{name}.json"
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({**figures, **origin()}, indent=2) + "\n", encoding="utf-8")
    return path


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def _answer(descriptor: str, function: str, arguments: str) -> None:
    module, name = function.split(":")
    result = getattr(importlib.import_module(module), name)(*json.loads(arguments))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    with os.fdopen(int(descriptor), "w") as pipe:
        json.dump({"result": result, "peak_rss_mib": peak}, pipe)


if __name__ == "__main__":
    _answer(*sys.argv[1:])
