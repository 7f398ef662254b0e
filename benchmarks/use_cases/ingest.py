"""Ingest of one night from a folder of 365 files, one per date, compared with a bare read of the files that the night needs.

The bare read decodes the needed files with pyarrow, sorts their rows and writes them as one Parquet file, which is the least that any ingest does. Both run
in the same process, so neither has the start of Python in it.

One more ingest is watched: a file is read if it is opened again after its footer. With the date in the path, files that are not needed are not opened at all.
"""

import datetime as dt
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from benchmarks.use_cases.opened_files import opened_files
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import ROW_GROUP

FILES, ROWS, LOOKBACK_DAYS, ROUNDS = 365, 20_000, 30, 7
_NEEDED = LOOKBACK_DAYS + 1
TARGETS = {"ingest_night_ratio": ("<=", 2.0), "ingest_files_read": ("<=", _NEEDED), "ingest_files_opened_by_date": ("<=", _NEEDED)}
FIRST, NIGHT = dt.date(2024, 1, 1), dt.date(2024, 12, 29)


def main() -> dict[str, Any]:
    """Return the seconds of a night's ingest and of the bare read (medians), the ratio, and how many files the ingest reads and opens."""
    with tempfile.TemporaryDirectory(prefix="nightshift-ingest-") as directory:
        folder = Path(directory) / "payments"
        folder.mkdir()
        for day in range(FILES):
            pq.write_table(_payments(day), folder / f"{FIRST + dt.timedelta(days=day)}.parquet")
        dataset = _dataset(str(folder))
        needed = [folder / f"{NIGHT - dt.timedelta(days=days)}.parquet" for days in range(LOOKBACK_DAYS, -1, -1)]
        ingests, bare_reads = [], []
        for number in range(ROUNDS):
            target = Path(directory) / f"raw_{number}"
            ingests.append(_seconds(partial(_ingest, dataset, target)))
            bare_reads.append(_seconds(partial(_read, needed, Path(directory) / f"bare_{number}.parquet")))
        with opened_files(folder) as opened:
            _ingest(dataset, Path(directory) / "watched")
        with opened_files(folder) as opened_by_date:
            _ingest(_dataset(f"{folder}/{{partition}}.parquet"), Path(directory) / "watched_by_date")
    ingest, bare = statistics.median(ingests), statistics.median(bare_reads)
    return {
        "files": FILES,
        "rows_per_file": ROWS,
        "files_needed": len(needed),
        "ingest_s": round(ingest, 3),
        "bare_s": round(bare, 3),
        "ingest_night_ratio": round(ingest / bare, 2),
        "ingest_files_read": sum(times > 1 for times in opened.values()),
        "ingest_files_opened_by_date": len(opened_by_date),
    }


def _payments(day: int) -> pa.Table:
    random = np.random.default_rng(day)
    seconds = np.sort(random.integers(0, 86_400, ROWS))
    start = np.datetime64(FIRST + dt.timedelta(days=day), "us")
    return pa.table(
        {
            "payment": pa.array([f"P{day:03d}-{number:06d}" for number in range(ROWS)]),
            "paid_at": start + seconds.astype("timedelta64[s]").astype("timedelta64[us]"),
            "customer": random.integers(0, 5_000, ROWS),
            "terminal": random.integers(0, 10_000, ROWS),
            "amount": np.round(random.lognormal(3.5, 1.0, ROWS), 2),
            "confirmed": random.random(ROWS) < 0.01,
        }
    )


def _dataset(path: str) -> Dataset:
    content = {
        "name": "payments",
        "source": {"kind": "parquet", "path": path},
        "key": ["payment"],
        "event_time": "paid_at",
        "label": {"name": "fraud", "expression": "confirmed", "delay_days": 7},
        "columns": {
            "payment": {"type": "string"},
            "paid_at": {"type": "timestamp"},
            "customer": {"type": "integer"},
            "terminal": {"type": "integer"},
            "amount": {"type": "float"},
            "confirmed": {"type": "boolean"},
        },
        "known_later": ["confirmed"],
    }
    return parse_section(content, Dataset, "dataset")


def _ingest(dataset: Dataset, target: Path) -> None:
    extract(dataset, partition=NIGHT, start=NIGHT, end=NIGHT + dt.timedelta(days=1), lookback_days=LOOKBACK_DAYS, target=target)


def _read(files: list[Path], target: Path) -> None:
    rows = ds.dataset(files).to_table().sort_by([("paid_at", "ascending"), ("payment", "ascending")])
    pq.write_table(rows, target, compression="zstd", row_group_size=ROW_GROUP)


def _seconds(work: Callable[[], None]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start
