"""Training on 1.75 million rows of card payments: time and peak memory of the stages, and what the forest loses by drawing fewer rows per tree.

The stages `train`, `train_encoder` and `quantize` run with the shipped parameters, each in a process of its own. Then the forest is fitted again with other
`train.rows_per_tree`, on payments and on flights: ``forest.<table>.<rows per tree>``, where ``all`` is a forest whose trees draw as many rows as there are.
"""

import os
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from benchmarks.measure import in_process
from pipelines.lib.core.home import REPOSITORY

ROWS = 1_820_000
"""Payments, of which 1.75 million have an outcome before the partition."""

TARGETS = {"train_s": ("<=", 120.0), "quantize_s": ("<=", 60.0)}

STAGES = {
    "train": ("pipelines.training.train", {"model": "model.skops", "profile": "profile.json"}),
    "train_encoder": ("pipelines.training.train_encoder", {"fitted": "fitted.skops", "onnx": "fp32.onnx"}),
    "quantize": ("pipelines.training.quantize", {"model": "fp32.onnx", "encoder": "encoder.onnx", "report": "reports/quantize"}),
}

PER_TREE = {"payments": (350_000, None), "flights": (80_000, None)}


def main() -> dict[str, Any]:
    """Make the tables, run the stages, compare the forests; about ten minutes on two cores."""
    with tempfile.TemporaryDirectory(prefix="nightshift-training-") as directory:
        found: dict[str, Any] = in_process("benchmarks.use_cases.training:make_payments", directory)[0]
        for name in STAGES:
            seconds, peak = in_process("benchmarks.use_cases.training:run_stage", directory, name)
            found |= {f"{name}_s": seconds, f"{name}_peak_rss_mib": round(peak)}
        in_process("benchmarks.use_cases.training:make_flights", directory)
        found["forest"] = {
            table: {str(rows or "all"): in_process("benchmarks.use_cases.training:fit", directory, table, rows)[0] for rows in counts}
            for table, counts in PER_TREE.items()
        }
    return found


def make_payments(directory: str) -> dict[str, int]:
    """Write the workspace ``payments``: parameters, run and features."""
    from benchmarks.use_cases import payments
    from pipelines.lib.core.params import load_section
    from pipelines.lib.features.compute import Features, featurize
    from pipelines.lib.tables.dataset import Dataset

    root = _workspace(directory, "payments", payments.partition().isoformat(), yaml.safe_load(payments.PARAMS))
    payments.write_payments(ROWS, root)
    dataset, features = load_section("dataset", Dataset, root / "params.yaml"), load_section("features", Features, root / "params.yaml")
    target = root / "history.parquet"
    rows = featurize(dataset, features, raw=root, first=payments.FIRST, end=payments.partition(), labelled=True, target=target)
    return {"rows": rows, "features": len(features.names)}


def make_flights(directory: str) -> None:
    """Write the workspace ``flights``: all flights of 2013 whose outcome is known."""
    from benchmarks.flights_of_2013 import features_of_2013, section
    from pipelines.lib.features.compute import Features
    from pipelines.lib.tables.dataset import Dataset

    root = _workspace(directory, "flights", "2013-12-31", {})
    made = features_of_2013(section("dataset", Dataset), section("features", Features), root)
    made.rename(root / "history.parquet")


def run_stage(directory: str, name: str) -> float:
    """Run a stage's own main on payments; return its seconds, without the start of the process."""
    import importlib

    os.chdir(Path(directory) / "payments")
    module, paths = STAGES[name]
    main = importlib.import_module(module).main
    arguments = {"features": "history.parquet", **paths}
    started = time.perf_counter()
    if main([part for option, path in arguments.items() for part in (f"--{option}", path)]):
        raise RuntimeError(f"the stage failed: {Path('failure.json').read_text(encoding='utf-8')}")
    return round(time.perf_counter() - started, 1)


def fit(directory: str, table: str, per_tree: int | None) -> dict[str, float]:
    """Fit the forest of `table` with trees of `per_tree` rows (None: all); return its figures on the holdout."""
    from pipelines.lib.core.params import load_section
    from pipelines.lib.core.run import load_run
    from pipelines.lib.features.history import holdout_start, read_history
    from pipelines.lib.measures import metrics
    from pipelines.lib.tables.dataset import load_dataset
    from pipelines.training.train import Train, train

    os.chdir(Path(directory) / table)
    params, dataset = load_section("train", Train), load_dataset()
    start = holdout_start(load_run().date, dataset.label.delay_days, params.holdout_days)
    path = Path("history.parquet")
    history, held_out = read_history(path, dataset, until=start), read_history(path, dataset, since=start)
    started = time.perf_counter()
    forest = train(history, params.model_copy(update={"rows_per_tree": per_tree or len(history.labels)}))
    seconds = time.perf_counter() - started
    summary = metrics.summary(held_out.labels, forest.predict_proba(held_out.features)[:, 1])
    return {
        "fit_s": round(seconds, 1),
        "rows": len(history.labels),
        "auc": summary.auc or 0.0,
        "log_loss": summary.log_loss,
        "calibration_error": summary.calibration_error,
    }


def _workspace(directory: str, name: str, partition: str, sections: dict[str, Any]) -> Path:
    root = Path(directory) / name
    root.mkdir()
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text(encoding="utf-8"))
    (root / "params.yaml").write_text(yaml.safe_dump(params | sections, sort_keys=False), encoding="utf-8")
    run = {"partition": partition, "model": {"path": "model.onnx", "name": "Core"}}
    (root / "run.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
    return root
