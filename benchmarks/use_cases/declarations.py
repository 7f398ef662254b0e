"""The commands by which a person declares a table of 1.75 million rows: `init`, `derive` and `check`, from Parquet and from CSV.

Each command runs as a person runs it, so its seconds include the start of Python. Its processor time does not depend on other work of the machine.
"""

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.csv
import pyarrow.parquet as pq

from benchmarks.use_cases import payments
from pipelines.lib.core.home import REPOSITORY

ROWS = 1_750_000
TARGETS = {f"{command}{kind}_s": ("<=", 10.0) for command in ("init", "check") for kind in ("", "_csv")}


def main() -> dict[str, Any]:
    """Return the seconds and the processor time of each command: ``check_s`` for Parquet, ``check_csv_s`` for CSV."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="nightshift-declarations-") as directory:
        root = Path(directory)
        (root / "pipelines").mkdir()
        for name in ("params.yaml", "pipelines/defaults.yaml"):
            (root / name).write_bytes((REPOSITORY / name).read_bytes())
        payments.write_payments(ROWS, root)
        pyarrow.csv.write_csv(pq.read_table(root / "events.parquet"), root / "events.csv")
        for kind, file in (("", "events.parquet"), ("_csv", "events.csv")):
            name = f"payments{kind}"
            wishes = ("--source", file, "--key", "payment", "--event-time", "paid_at", "--label", "confirmed", "--delay-days", "7")
            for command, *arguments in (("init", name, *wishes), ("derive", name), ("check", name)):
                seconds, processor_seconds = _run(root, command, *arguments)
                figures |= {f"{command}{kind}_s": seconds, f"{command}{kind}_processor_s": processor_seconds}
    return figures


def _run(root: Path, *arguments: str) -> tuple[float, float]:
    """Run a command of ``pipelines.use_case`` in `root`; return its seconds and its processor time."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "pipelines.use_case", *arguments], cwd=root, env=environment, check=True, stdout=subprocess.DEVNULL
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return round(time.perf_counter() - started, 2), round(used, 2)
