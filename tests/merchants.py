"""Payments at merchants, of which there are hundreds, and no list of them: what the tests of categories as text share.

A merchant has a chance of its own that a payment is bad. From `MOVED` on, the merchants that were rare before are the frequent ones.
"""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipelines.lib.core.params import load_section
from pipelines.lib.features.compute import Features, featurize, lookback_days
from pipelines.lib.sources.raw import extract
from pipelines.lib.tables.dataset import Dataset

FIRST, DAYS, NIGHTLY, MERCHANTS = dt.date(2024, 1, 1), 60, 300, 500
MOVED = FIRST + dt.timedelta(days=30)
MOST = 20


def payments(seed: int = 3) -> pa.Table:
    """Return all payments, by time; one in fifty has no merchant."""
    rng = np.random.default_rng(seed)
    rows = DAYS * NIGHTLY
    day = np.arange(rows) // NIGHTLY
    place = np.minimum(rng.geometric(0.05, rows) - 1, MERCHANTS // 2 - 1)  # small places are frequent
    merchant = np.where(day < (MOVED - FIRST).days, place, MERCHANTS - 1 - place)
    chance = 0.05 + 0.5 * (np.sin(merchant * 12.9898) > 0)
    start = np.datetime64(FIRST, "s")
    return pa.table(
        {
            "id": np.arange(rows),
            "at": pa.array(start + (np.arange(rows) * (86_400 // NIGHTLY)).astype("timedelta64[s]"), pa.timestamp("us")),
            "merchant": pa.array([f"Händler {number}" for number in merchant], mask=rng.random(rows) < 0.02),
            "amount": rng.random(rows),
            "online": np.arange(rows) % 3 == 0,
            "kind": np.arange(rows) % 4 + 5,
            "bad": rng.random(rows) < chance,
        }
    )


def prepare(directory: Path, **categorical: Any) -> tuple[Dataset, Features]:
    """Make `directory` a place where the training stages run on these payments."""
    pq.write_table(payments(), directory / "payments.parquet")
    params = yaml.safe_load((Path(__file__).parents[1] / "params.yaml").read_text(encoding="utf-8"))
    params["dataset"] = {
        "name": "payments",
        "source": {"kind": "parquet", "path": str(directory / "payments.parquet")},
        "key": ["id"],
        "event_time": "at",
        "label": {"name": "fraud", "expression": "bad", "delay_days": 1},
        "columns": {
            "id": {"type": "integer"},
            "at": {"type": "timestamp"},
            "merchant": {"type": "string", "nulls": 0.1},
            "amount": {"type": "float"},
            "online": {"type": "boolean", "values": [False, True]},
            "kind": {"type": "integer", "values": [7, 6, 5], "unseen": 0.3},
            "bad": {"type": "boolean", "nulls": 1},
        },
        "known_later": ["bad"],
    }
    params["features"] = {
        "numeric": {"amount": {"missing": -1}},
        "categorical": {"merchant": {"most": MOST, **categorical}, "online": {}, "kind": {}},
    }
    params["train"] |= {"parameters": {"n_estimators": 20, "max_depth": 8}, "holdout_days": 5, "minimum_rows": 100}
    params["train_encoder"] |= {"layers": [16, 8], "epochs": 4, "learning_rate": 0.01, "holdout_days": 5, "minimum_rows": 100}
    params["evaluate"] = {
        "slices": ["merchant"], "slice_minimum_rows": 50, "minimum_auc": 0.5, "parity_tolerance": 1e-5, "latency_p99_limit_ms": 1000.0,
    }  # fmt: skip
    params["quantize"] |= {"queries": 50, "calibration_rows": 500}
    params["evaluate_encoder"] |= {"minimum_auc": 0.5, "minimum_spread": 0.0, "queries": 50}
    (directory / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    path = directory / "params.yaml"
    return load_section("dataset", Dataset, path), load_section("features", Features, path)


def write_run(directory: Path, partition: dt.date, **pinned: Any) -> None:
    """Write the run file for `partition`; `pinned` is what it says about the champion."""
    model = {"path": "champion/model.onnx", "name": "Core", **pinned}
    (directory / "run.yaml").write_text(yaml.safe_dump({"partition": partition.isoformat(), "model": model}), encoding="utf-8")


def features_of(dataset: Dataset, features: Features, directory: Path, end: dt.date, *, night: bool = False) -> Path:
    """Return the features file of the history before `end`, or of the night `end`."""
    start, last = (end, end + dt.timedelta(days=1)) if night else (FIRST, end)
    raw, target = directory / f"raw-{end}-{night}", directory / f"features-{end}-{night}.parquet"
    extract(dataset, partition=end, start=start, end=last, lookback_days=lookback_days(dataset, features), target=raw)
    featurize(dataset, features, raw=raw, first=start, end=last, labelled=not night, target=target)
    return target
