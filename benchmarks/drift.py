"""Counting rows into a profile's bins and measuring drift, compared with plain NumPy, with NannyML, and with reading Parquet alone.

Ten million rows of the flights' 22 features, drawn with replacement from the feature history, against bins and counts made as `train` makes
them. Rounds are interleaved in one run, and a ratio is the median over the rounds of two runs that followed each other.

*In memory*: `count` and `compare` (PSI, KS, Jensen-Shannon) against ``searchsorted`` + ``bincount`` + PSI, both on float32 columns.
*NannyML* 0.13.1, in an environment of its own under ``var/bench/nannyml``, on 327,000 of the rows, with the two of our distances that it has, KS and
Jensen-Shannon, as one chunk: ``ratio_to_nannyml`` is against ``fit`` and ``calculate``, since it keeps no profile and begins from the reference rows;
``ratio_to_nannyml_calculate`` is against ``calculate`` alone. Loading is in neither.
*Streaming*: `count_parquet` against the same columns read and dropped, by the faster of pyarrow's own threads and one thread per core.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import in_process
from pipelines.lib.core.home import REPOSITORY, home
from pipelines.lib.core.params import load_section
from pipelines.lib.features.compute import Features
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures.binning import Binning
from pipelines.lib.measures.drift import Measures, compare
from pipelines.lib.measures.histogram import Histogram, count, count_parquet
from pipelines.lib.models.inference import cores
from pipelines.lib.models.profile import ProfileParams, binning_of
from pipelines.lib.tables.dataset import Dataset

HISTORY = REPOSITORY / "data" / "features" / "history.parquet"
ROWS, FEWER = 10_000_000, 327_000
CHUNK = 65_536  # rows per row group, as featurize writes them
ROUNDS = 5
FLOOR = 0.0001
NANNYML = ("nannyml==0.13.1", "statsmodels==0.15.0")  # it imports statsmodels without declaring it

TARGETS = {
    "ratio_to_numpy": (">=", 10.0),
    "ratio_to_nannyml": (">=", 20.0),
    "ratio_to_parquet_read": (">=", 0.7),
    "peak_rss_mib": ("<=", 1024.0),
}

Columns = dict[str, np.ndarray]

NANNYML_PROGRAM = """
import sys, time, warnings
import pandas as pd
from nannyml import UnivariateDriftCalculator
warnings.filterwarnings("ignore")
reference, current = (pd.read_parquet(path) for path in sys.argv[1:])
for _ in sys.stdin:
    started = time.perf_counter()
    calculator = UnivariateDriftCalculator(
        column_names=list(reference.columns), treat_as_categorical=[], chunk_number=1,
        continuous_methods=["kolmogorov_smirnov", "jensen_shannon"],
    ).fit(reference)
    fitted = time.perf_counter()
    calculator.calculate(current)
    ended = time.perf_counter()
    print("seconds", ended - started, ended - fitted, flush=True)
"""


def main() -> dict[str, Any]:
    """Make the rows, measure, remove them again."""
    if not HISTORY.exists():
        subprocess.run([sys.executable, "-m", "dvc", "repro", "featurize_history"], check=True, cwd=REPOSITORY)
    (home() / "bench").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home() / "bench", prefix="drift-") as name:
        in_process("benchmarks.drift:prepare", name)
        figures: dict[str, Any] = {}
        for contest in ("in_memory", "compared_with_nannyml", "streaming"):
            figures |= in_process(f"benchmarks.drift:{contest}", name)[0]
        _, peak = in_process("benchmarks.drift:stream", name)
    return {**figures, "peak_rss_mib": round(peak, 1), "rows": ROWS, "rows_nannyml": FEWER}


def prepare(name: str) -> None:
    """Draw the rows chunk by chunk; write the first of them apart, and the reference for NannyML."""
    directory, rng = Path(name), np.random.default_rng(42)
    table = pq.read_table(HISTORY, columns=list(signature_of_features(HISTORY).names)).replace_schema_metadata()
    pq.write_table(table, directory / "reference.parquet")
    with (
        pq.ParquetWriter(directory / f"{ROWS}.parquet", table.schema, compression="zstd") as writer,
        pq.ParquetWriter(directory / f"{FEWER}.parquet", table.schema, compression="zstd") as fewer,
    ):
        for start in range(0, ROWS, CHUNK):
            rows = table.take(pa.array(rng.integers(0, len(table), min(CHUNK, ROWS - start))))
            writer.write_table(rows)
            if start < FEWER:
                fewer.write_table(rows.slice(0, FEWER - start))


def in_memory(name: str) -> dict[str, Any]:
    """Compare our histogram with plain NumPy on columns that are in memory."""
    binnings, reference = _reference(name)
    learned, columns = _columns(Path(name) / "reference.parquet"), _columns(Path(name) / f"{ROWS}.parquet")
    expected = {binning.name: _bincount(learned[binning.name], binning) for binning in binnings}
    plain, ours = _plain(columns, binnings, expected), _measure(columns, binnings, reference)
    unlike = [binning.name for binning in binnings if binning.filler is None and abs(ours[binning.name].psi - plain[binning.name]) > 1e-5]
    assert not unlike, f"the two find another PSI for {unlike}"  # with a filler, ours has a bin more
    seconds = _rounds({"ours": lambda: _measure(columns, binnings, reference), "numpy": lambda: _plain(columns, binnings, expected)})
    return {"ratio_to_numpy": _ratio(seconds["numpy"], seconds["ours"]), "rows_per_s_in_memory": _speed(ROWS, seconds["ours"])}


def compared_with_nannyml(name: str) -> dict[str, Any]:
    """Compare ours and NannyML in turn on the same rows; NannyML waits in a process of its own with the rows in memory."""
    binnings, reference = _reference(name)
    columns = _columns(Path(name) / f"{FEWER}.parquet")
    command = [str(_nannyml()), "-c", NANNYML_PROGRAM, f"{name}/reference.parquet", f"{name}/{FEWER}.parquet"]
    environment = {**os.environ, "NML_DISABLE_USAGE_LOGGING": "1", "PYTHONPATH": ""}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        answers = iter(process.stdout)
        calculating: list[float] = []

        def nannyml() -> float:
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            whole, calculate = next(answer for answer in answers if answer.startswith("seconds")).split()[1:]
            calculating.append(float(calculate))
            return float(whole)

        seconds = _rounds({"ours": lambda: _measure(columns, binnings, reference), "nannyml": nannyml}, rounds=15)
        process.stdin.close()
    return {
        "ratio_to_nannyml": _ratio(seconds["nannyml"], seconds["ours"]),
        "ratio_to_nannyml_calculate": _ratio(calculating[1:], seconds["ours"]),
        "nannyml_s": round(statistics.median(seconds["nannyml"]), 3),
    }


def streaming(name: str) -> dict[str, Any]:
    """Compare counting from the file with reading it in two ways."""
    binnings, _ = _reference(name)
    path = Path(name) / f"{ROWS}.parquet"
    names = [binning.name for binning in binnings]
    with ThreadPoolExecutor(cores()) as pool:
        seconds = _rounds(
            {
                "ours": lambda: count_parquet(path, binnings),
                "one reader": lambda: _read(path, names, 0, 1),
                "a reader a core": lambda: list(pool.map(lambda first: _read(path, names, first, cores()), range(cores()))),
            },
            rounds=11,
        )
    best = min(("one reader", "a reader a core"), key=lambda reader: statistics.median(seconds[reader]))
    return {
        "ratio_to_parquet_read": _ratio(seconds[best], seconds["ours"]),
        "rows_per_s_streaming": _speed(ROWS, seconds["ours"]),
        "fastest_read": best,
        "read_rows_per_s": _speed(ROWS, seconds[best]),
    }


def stream(name: str) -> int:
    """Count the file once, alone in its process: its resident memory is that of counting."""
    return count_parquet(Path(name) / f"{ROWS}.parquet", _reference(name)[0]).rows


def _reference(name: str) -> tuple[list[Binning], Histogram]:
    dataset, features = (
        load_section(section, model, REPOSITORY / "params.yaml") for section, model in (("dataset", Dataset), ("features", Features))
    )
    params = load_section("profile", ProfileParams, REPOSITORY / "params.yaml")
    columns = _columns(Path(name) / "reference.parquet")
    binnings = [binning_of(column, values, dataset, features, params.bins) for column, values in columns.items()]  # type: ignore[arg-type]
    return binnings, count(columns, binnings)


def _columns(path: Path) -> Columns:
    return {column: pq.read_table(path, columns=[column])[column].to_numpy() for column in pq.read_schema(path).names}


def _measure(columns: Columns, binnings: list[Binning], reference: Histogram) -> dict[str, Measures]:
    return compare(binnings, reference, count(columns, binnings), floor=FLOOR)


def _plain(columns: Columns, binnings: list[Binning], expected: dict[str, np.ndarray]) -> dict[str, float]:
    """Return the PSI as most libraries compute it."""
    found = {}
    for binning in binnings:
        counts = _bincount(columns[binning.name], binning)
        e, a = (np.maximum(side / side.sum(), FLOOR) for side in (expected[binning.name], counts))
        found[binning.name] = float(np.sum((a - e) * np.log(a / e)))
    return found


def _bincount(values: np.ndarray, binning: Binning) -> np.ndarray:
    edges = np.asarray(binning.edges, dtype=np.float32)
    return np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1)


def _read(path: Path, names: list[str], first: int, readers: int) -> None:
    with pq.ParquetFile(path) as file:
        groups = range(first, file.num_row_groups, readers)
        for _ in file.iter_batches(CHUNK, row_groups=groups, columns=names, use_threads=readers == 1):
            pass


def _nannyml() -> Path:
    """Return the interpreter of an environment with NannyML; make the environment if it is missing."""
    python = home() / "bench" / "nannyml" / "bin" / "python"
    uv = Path(sys.executable).with_name("uv")
    if subprocess.run([python, "-c", "import nannyml"], check=False, capture_output=True).returncode if python.exists() else True:
        subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, python.parents[1]], check=True)
        subprocess.run([uv, "pip", "install", "--quiet", "--python", python, *NANNYML], check=True)
    return python


def _rounds(contenders: dict[str, Callable[[], Any]], rounds: int = ROUNDS) -> dict[str, list[float]]:
    """Measure the seconds of each contender in each round; one that returns a float has measured itself."""
    seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
    for round_ in range(rounds + 1):
        for contender, run in contenders.items():
            started = time.perf_counter()
            measured_s = run()
            if round_:  # the first round warms up
                seconds[contender].append(measured_s if isinstance(measured_s, float) else time.perf_counter() - started)
    return seconds


def _ratio(others: list[float], ours: list[float]) -> float:
    return round(statistics.median(other / mine for other, mine in zip(others, ours, strict=True)), 3)


def _speed(rows: int, seconds: list[float]) -> int:
    return round(rows / statistics.median(seconds))
