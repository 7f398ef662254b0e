"""The cheapest form of the default forest that passes, against the forest itself, from Parquet to Parquet.

The forest learns all flights but the last 14 days of data/features/history.parquet, and `choose` compares its forms on those days, as the stage `train` does with
`train.maximum_form_loss`. Then both score the two million rows of `benchmarks.scoring`, in turns in one process; a ratio is the median over the rounds.

The share of reading and writing is the part of the form's time from Parquet to Parquet that is above the time of ONNX Runtime on rows in memory. Memory is that of a process of its own.
"""

import datetime as dt
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import scoring
from benchmarks.measure import in_process
from pipelines.lib.core.home import home
from pipelines.lib.core.params import load_section, read_params
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.features.history import read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.models import costs
from pipelines.lib.models.forms import JudgedSlices, form_of
from pipelines.lib.models.inference import load_model
from pipelines.lib.tables.dataset import load_dataset
from pipelines.training.export_onnx import ExportOnnx, export_onnx
from pipelines.training.train import Train, smaller, train

LIMIT = 0.002
ROUNDS = 3

TARGETS = {"ratio_to_forest": (">=", 4.0), "auc_loss": ("<=", LIMIT)}


def main() -> dict[str, Any]:
    """Train, choose, measure. It needs data/features/history.parquet of flights, which ``dvc repro featurize_history`` makes."""
    (home() / "bench").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home() / "bench", prefix="forms-") as name:
        in_process("benchmarks.scoring:prepare", name)
        figures, _ = in_process("benchmarks.forms:compare", name)
        for side in ("forest", "form"):
            _, peak = in_process("benchmarks.scoring:ours", f"{name}/{side}", scoring.SMALL)
            figures[f"peak_rss_mib_{side}"] = round(peak, 1)
    return dict(figures)


def compare(name: str) -> dict[str, Any]:
    """Write the forest and its chosen form below the directory `name`, and time both."""
    directory, dataset, params = Path(name), load_dataset(), load_section("train", Train)
    last = parse_partition(pc.max(pq.read_table(scoring.FEATURES, columns=["partition"])["partition"]).as_py())
    before = last - dt.timedelta(days=params.holdout_days - 1)
    learned, held_out = read_history(scoring.FEATURES, dataset, until=before), read_history(scoring.FEATURES, dataset, since=before)
    forest = train(learned, params)
    models = {"forest": forest, "form": smaller(forest, learned, held_out, params, LIMIT, load_section("evaluate", JudgedSlices))}
    form, figures = form_of(models["form"]), dict[str, Any]()
    assert form is not None
    matrix, input_file = scoring.matrix(directory), scoring.input_file(directory, scoring.SMALL)
    seconds: dict[str, tuple[list[float], list[float]]] = {side: ([], []) for side in models}
    for side, model in models.items():
        (directory / side).mkdir()
        os.link(input_file, scoring.input_file(directory / side, scoring.SMALL))
        content = export_onnx(model, signature_of_features(scoring.FEATURES), ExportOnnx(**read_params()["export_onnx"]))
        (directory / side / "model.onnx").write_bytes(content)
    for _ in range(ROUNDS):
        for side, (bare, own) in seconds.items():
            bare.append(min(scoring.bare(directory / side, matrix, batch)() for batch in (8_192, 65_536)))
            own.append(scoring.ours(str(directory / side), scoring.SMALL))
    for side, (bare, own) in seconds.items():
        path = directory / side / "model.onnx"
        cost = costs.measure(load_model(path), path, held_out.features)
        figures |= {
            f"rows_per_s_{side}": round(scoring.SMALL / statistics.median(own)),
            f"bare_rows_per_s_{side}": round(scoring.SMALL / statistics.median(bare)),
            f"memory_mib_{side}": cost.memory_mib,
            f"size_mib_{side}": cost.size_mib,
        }
    return {
        "form": form.name,
        "ratio_to_forest": round(scoring.ratio(seconds["forest"][1], seconds["form"][1]), 2),
        "bare_ratio_to_forest": round(scoring.ratio(seconds["forest"][0], seconds["form"][0]), 2),
        "auc_loss": round(form.quality_loss, 5),
        "log_loss_loss": round(form.loss_increase, 5),
        "read_write_share": round(1 - statistics.median(seconds["form"][0]) / statistics.median(seconds["form"][1]), 3),
        "operations_share": round(form.operations / form.model_operations, 4),
        "refused": "; ".join(form.refused),
        "rounds": ROUNDS,
        **figures,
    }
