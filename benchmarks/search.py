"""The search on flights: the candidate that it chooses as of 2013-04-01, and what that one is worth on the months that the search has not seen.

Each candidate is then trained on the first of each month from April to December, as `train` does, and scores that month. AUC is the mean over the
months. The settings of LightGBM were chosen on April to August (`benchmarks.closed_loop`); keys with ``later`` are means over the months after that.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.closed_loop import LIGHTGBM, TUNED_UNTIL
from benchmarks.closed_loop.replay import FIRST
from benchmarks.flights_of_2013 import features_of_2013, section
from pipelines.lib.challengers.search import Candidate, Search, compete
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import History, holdout_start, read_history
from pipelines.lib.measures import metrics
from pipelines.lib.models import estimators
from pipelines.lib.tables.dataset import Dataset
from pipelines.training.train import Train, train

FOREST = {"estimator": estimators.DEFAULT, "parameters": {"n_estimators": 100, "max_depth": 8}}

ONE_THREAD = {**LIGHTGBM, "parameters": {**LIGHTGBM["parameters"], "n_jobs": 1}}
"""On a machine that does other work, LightGBM's threads wait for each other."""

PARAMS = Search.model_validate({"candidates": ({"name": "forest", **FOREST}, {"name": "lightgbm", **ONE_THREAD})})

TARGETS = {"auc_chosen": (">=", 0.722)}


def main() -> dict[str, Any]:
    """Search as of the first champion's date, and judge each candidate on the months after it."""
    dataset = section("dataset", Dataset)
    delay, training = dataset.label.delay_days, section("train", Train)

    def fit(candidate: Candidate, history: History) -> Any:
        return train(history, training.model_copy(update=candidate.model_dump(exclude={"name"})))

    with tempfile.TemporaryDirectory() as directory:
        history = read_history(features_of_2013(dataset, section("features", Features), Path(directory)), dataset)
    known = history.until(holdout_start(FIRST, delay, training.holdout_days).isoformat())
    began = time.monotonic()
    _, found = compete(known, PARAMS, training, train, delay, lambda _: {})
    figures: dict[str, Any] = {"chosen": found.chosen, "reason": found.reason, "search_s": round(time.monotonic() - began, 1)}
    for result in found.results:
        figures |= {f"search_loss_{result.name}": result.loss, f"search_auc_{result.name}": result.quality}
    months = [FIRST.replace(month=month) for month in range(FIRST.month, 13)]
    for candidate in PARAMS.candidates:
        monthly = {}
        for month in months:
            model = fit(candidate, history.until(holdout_start(month, delay, training.holdout_days).isoformat()))
            served = history.since(month.isoformat()).until(f"{month:%Y-%m}-99")
            monthly[month.isoformat()[:7]] = float(metrics.area(served.labels, estimators.answer(model, served.features, "binary")) or 0)
        later = [auc for month, auc in monthly.items() if month > TUNED_UNTIL]
        figures |= {f"auc_{candidate.name}": float(np.mean(list(monthly.values()))), f"later_auc_{candidate.name}": float(np.mean(later))}
    figures |= {"auc_chosen": figures[f"auc_{found.chosen}"], "later_auc_chosen": figures[f"later_auc_{found.chosen}"]}
    return {name: round(value, 4) if isinstance(value, float) else value for name, value in figures.items()}
