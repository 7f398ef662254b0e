"""Scoring from Parquet to Parquet, against the bare model on rows already in memory and against ``mlflow.pyfunc`` with scikit-learn.

Two and twenty million rows, drawn with replacement from real flights' features (data/features/history.parquet), in random order: a night in the order of time
is easier for a tree to branch on.
The runs are interleaved in one process, and a ratio is the median over the rounds of two runs that followed each other, but a busy machine
still spoils it: run it alone. Memory is taken in processes of their own.

*Ours* is the stage as params.yaml has it: opens and verifies the model, reads, scores, and writes keys, score and decision. *Bare* is ``session.run`` with all cores on a float32
matrix, with the faster of two batch sizes. *pyfunc* loads the scikit-learn forest (all cores), reads with pandas, predicts, writes the same columns.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.measure import in_process
from pipelines.lib.core.home import REPOSITORY, home
from pipelines.lib.core.params import load_section
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.models.inference import cores, load_model, score_parquet
from pipelines.scoring.score import Score

FEATURES = REPOSITORY / "data" / "features" / "history.parquet"
KEY = ("carrier", "flight", "origin", "scheduled_departure")
LABEL = "late"
SMALL, LARGE = 2_000_000, 20_000_000
CHUNK = 65_536  # rows per row group, as featurize writes them
ROUNDS = 7
THRESHOLD = 0.5

TARGETS = {
    "ratio_to_bare": (">=", 0.90),
    "ratio_to_pyfunc": (">=", 1.25),
    "peak_rss_ratio": ("<=", 1.10),
    "peak_rss_mib_20m": ("<=", 1536.0),
}


def main() -> dict[str, Any]:
    """Make the input, measure, remove it again."""
    subprocess.run([sys.executable, "-m", "dvc", "repro", "featurize_history"], check=True, cwd=REPOSITORY)  # up to date, or made so
    (home() / "bench").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home() / "bench", prefix="scoring-") as name:
        directory = Path(name)
        in_process("benchmarks.scoring:prepare", name)
        figures, _ = in_process("benchmarks.scoring:compare_contenders", name)
        for rows, label in ((SMALL, "2m"), (LARGE, "20m")):
            seconds, peak = in_process("benchmarks.scoring:ours", name, rows)
            figures[f"rows_per_s_{label}"], figures[f"peak_rss_mib_{label}"] = round(rows / seconds), round(peak, 1)
            input_file(directory, rows).unlink()
    figures["peak_rss_ratio"] = round(figures["peak_rss_mib_20m"] / figures["peak_rss_mib_2m"], 3)
    return dict(figures)


def prepare(name: str) -> None:
    """Make the default forest as ONNX and for MLflow, and draw the two inputs chunk by chunk."""
    import mlflow.sklearn
    from sklearn.ensemble import RandomForestClassifier

    from pipelines.training.export_onnx import ExportOnnx, export_onnx

    directory, signature, table = Path(name), signature_of_features(FEATURES), pq.read_table(FEATURES)
    features = table.select(list(signature.names)).to_pandas()
    forest = RandomForestClassifier(n_estimators=100, max_depth=8, random_state=42, n_jobs=cores()).fit(features, table[LABEL].to_numpy())
    (directory / "model.onnx").write_bytes(export_onnx(forest, signature, ExportOnnx(opset=22)))
    mlflow.sklearn.save_model(
        forest, directory / "pyfunc", pyfunc_predict_fn="predict_proba", serialization_format="cloudpickle", pip_requirements=[]
    )
    rng = np.random.default_rng(42)
    rows = table.drop([LABEL])
    for total in (SMALL, LARGE):
        with pq.ParquetWriter(input_file(directory, total), rows.schema, compression="zstd") as writer:
            for start in range(0, total, CHUNK):
                writer.write_table(rows.take(pa.array(rng.integers(0, len(rows), min(CHUNK, total - start)))))


def compare_contenders(name: str) -> dict[str, Any]:
    """Run rounds of bare, ours, pyfunc on the small input, then ours between two bares on the large one."""
    directory = Path(name)
    rows = matrix(directory)
    bares = {batch: bare(directory, rows, batch) for batch in (8_192, 65_536)}
    contenders: dict[str, Callable[[], float]] = {
        **{f"bare_{batch}": run for batch, run in bares.items()},
        "ours": lambda: ours(name, SMALL),
        "pyfunc": lambda: _pyfunc(directory),
    }
    seconds: dict[str, list[float]] = {contender: [] for contender in contenders}
    for round_ in range(ROUNDS + 1):
        for contender, run in contenders.items():
            elapsed = run()
            if round_:  # the first round warms up
                seconds[contender].append(elapsed)
    best = min(bares, key=lambda batch: statistics.median(seconds[f"bare_{batch}"]))
    alone, own, pyfunc = seconds[f"bare_{best}"], seconds["ours"], seconds["pyfunc"]
    before, large, after = bares[best](), ours(name, LARGE), bares[best]()
    return {
        "ratio_to_bare": round(ratio(alone, own), 3),
        "ratio_to_pyfunc": round(ratio(pyfunc, own), 3),
        "rows_per_s": round(SMALL / statistics.median(own)),
        "ratio_to_bare_20m": round((before + after) / 2 * LARGE / SMALL / large, 3),
        "bare_rows_per_s": round(SMALL / statistics.median(alone)),
        "bare_batch_rows": best,
        "pyfunc_rows_per_s": round(SMALL / statistics.median(pyfunc)),
        "features": rows.shape[1],
        "rounds": ROUNDS,
    }


def ours(name: str, rows: int) -> float:
    """Return the seconds of the stage's own function, with loading and verifying the model."""
    directory, params = Path(name), load_section("score", Score)
    started = time.perf_counter()
    model = load_model(directory / "model.onnx")
    score_parquet(
        model,
        input_file(directory, rows),
        directory / "scores.parquet",
        key=KEY,
        threshold=params.threshold.fixed or 0.0,
        order_by=params.order_by,
    )
    return time.perf_counter() - started


def bare(directory: Path, rows: np.ndarray, batch: int) -> Callable[[], float]:
    """Return a function that gives the seconds of the bare session on `rows` [n, f] in memory, in batches of `batch` rows."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores()
    session = onnxruntime.InferenceSession(directory / "model.onnx", options, providers=["CPUExecutionProvider"])

    def run() -> float:
        started = time.perf_counter()
        for start in range(0, len(rows), batch):
            session.run(["probabilities"], {"features": rows[start : start + batch]})
        return time.perf_counter() - started

    return run


def _pyfunc(directory: Path) -> float:
    import mlflow.pyfunc
    import pandas as pd

    names = list(signature_of_features(FEATURES).names)
    started = time.perf_counter()
    model = mlflow.pyfunc.load_model(str(directory / "pyfunc"))
    frame = pd.read_parquet(input_file(directory, SMALL), columns=list(dict.fromkeys([*KEY, *names])))
    scores = model.predict(frame[names])[:, 1].astype(np.float32)
    frame[list(KEY)].assign(score=scores, decision=scores >= THRESHOLD).to_parquet(
        directory / "pyfunc.parquet", compression="zstd", index=False
    )
    return time.perf_counter() - started


def matrix(directory: Path) -> np.ndarray:
    """Return the features of the small input, float32 [n, f]."""
    path = input_file(directory, SMALL)
    names = signature_of_features(path).names
    rows = np.empty((SMALL, len(names)), dtype=np.float32)
    for index, column in enumerate(names):
        rows[:, index] = pq.read_table(path, columns=[column])[column].to_numpy()
    return rows


def ratio(slower: list[float], own: list[float]) -> float:
    """Return how many times as long the `slower` runs took, as the median over the rounds."""
    return statistics.median(other / mine for other, mine in zip(slower, own, strict=True))


def input_file(directory: Path, rows: int) -> Path:
    """Return the path of the input that has this number of `rows`."""
    return directory / f"features-{rows}.parquet"
