"""How fast features are computed, from raw Parquet to features Parquet, and how much memory that takes.

Speed: a year of flights, the better of two runs. Memory: a process of its own featurizes ten years (the year, repeated) at the engine's default limit.
"""

import tempfile
import time
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from benchmarks.measure import in_process
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import load_section
from pipelines.lib.features.compute import Features, featurize, lookback_days
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import UTC, connect, text, write_parquet

FIRST, DAYS, TIMES = date(2013, 1, 1), 365, 10

TARGETS = {"peak_rss_mib": ("<=", 2048.0)}


def main() -> dict[str, Any]:
    """Prepare a year and ten, measure both."""
    with tempfile.TemporaryDirectory(prefix="featurize-") as directory:
        in_process("benchmarks.featurize:prepare", directory)
        runs = [in_process("benchmarks.featurize:run", directory, "one", 1) for _ in range(2)]
        (rows, seconds), peak = min(runs, key=lambda run: run[0][1])
        (rows_large, seconds_large), peak_large = in_process("benchmarks.featurize:run", directory, "ten", TIMES)
    return {
        "featurize_rows_per_s": round(rows / seconds),
        "peak_rss_mib": round(peak_large, 1),
        "rows": rows,
        "seconds": round(seconds, 2),
        "peak_rss_mib_year": round(peak, 1),
        "rows_ten_years": rows_large,
        "rows_per_s_ten_years": round(rows_large / seconds_large),
    }


def prepare(directory: str) -> None:
    """Write the raw directories ``one`` (the flights' year) and ``ten`` (ten such years, one after the other)."""
    dataset, features = _declared()
    one, ten = Path(directory) / "one", Path(directory) / "ten"
    end = FIRST + timedelta(days=DAYS)
    extract(dataset, partition=end, start=FIRST, end=end, lookback_days=lookback_days(dataset, features), target=one)
    ten.mkdir()
    moments = {"events": dataset.event_time, **{table: side.event_time for table, side in dataset.tables.items()}}
    for table, moment in moments.items():
        with connect(UTC) as (connection, _):
            file = f"read_parquet({text(one / f'{table}.parquet')})"
            years = range(TIMES) if moment else range(1)
            readers = [
                connection.cursor().sql(
                    f'SELECT * REPLACE ("{moment}" + INTERVAL ({year * DAYS}) DAY AS "{moment}") FROM {file} ORDER BY "{moment}"'
                )
                if moment
                else connection.cursor().sql(f"SELECT * FROM {file}")
                for year in years
            ]
            schema = readers[0].to_arrow_table().schema
            write_parquet((batch for reader in readers for batch in reader.to_arrow_reader(32_768)), schema, ten / f"{table}.parquet")


def run(directory: str, raw: str, years: int) -> tuple[int, float]:
    """Featurize `raw` of `directory`; returns rows and seconds, the start of the process left out."""
    dataset, features = _declared()
    begin = time.perf_counter()
    end = FIRST + timedelta(days=DAYS * years)
    rows = featurize(
        dataset, features, raw=Path(directory) / raw, first=FIRST, end=end, labelled=True, target=Path(directory) / "features.parquet"
    )
    return rows, time.perf_counter() - begin


def _declared() -> tuple[Dataset, Features]:
    return load_section("dataset", Dataset, REPOSITORY / "params.yaml"), load_section("features", Features, REPOSITORY / "params.yaml")
