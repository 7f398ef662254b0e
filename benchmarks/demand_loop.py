"""The gain of the loop on the use case *demand*: April to October 2025, night by night, compared with the first model left alone.

The replay is that of `benchmarks.closed_loop`, with the parameters of ``use_cases/demand`` and data made from scratch. It runs once with the shipped parameters (keys ``ask_``),
where *ask* counts as refused, and once for a loop that decides by itself (`benchmarks.closed_loop.BY_ITSELF`).

From 2025-07-01 on half of the shops sell half as much again. Errors are mean absolute errors in units sold, of the rows whose shelf was not empty. *Static* is the model trained
as of 2025-04-01 on every night; *naive* is what the shop sold of the product on the same weekday a week before. The last month is the one in which a model can have learned
from the shift and proved it.
"""

import datetime as dt
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.closed_loop import BY_ITSELF
from benchmarks.closed_loop.replay import Loop, Replay
from benchmarks.flights_of_2013 import labelled_features
from pipelines.lib.core import use_cases
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import parse_section
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import UTC, connect, text
from use_cases.demand import generate

FIRST = dt.date(2025, 4, 1)

TARGETS = {
    "ask_nights_until_retraining": ("<=", 7),
    "ask_promotions": (">=", 1),
    "ask_promotions_of_a_worse_challenger": ("<=", 0),
    "ask_error_fall_after_shift": (">=", 0.0),
    "ask_error_fall_last_month": (">=", 0.0),
    "promotions_of_a_worse_challenger": ("<=", 0),
    "error_fall_after_shift": (">=", 0.0),
    "error_fall_last_month": (">=", 0.0),
}


@cache
def section(name: str, model: Any) -> Any:
    """Return section `name` of the effective parameters of demand."""
    params = use_cases.effective(use_cases.find("demand", REPOSITORY)).params
    return parse_section(params[name], model, f"demand: {name}")


def main() -> dict[str, Any]:
    """Make the data, replay the nights twice, and return the figures."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        generate.main(["--to", str(directory)])
        sales = str(directory / "sales" / "*.parquet")
        dataset, features = section("dataset", Dataset).with_sources({"events": {"path": sales}}), section("features", Features)
        end = generate.FIRST + dt.timedelta(days=generate.NIGHTS)
        path = labelled_features(dataset, features, generate.FIRST, end, directory)
        history, signature = read_history(path, dataset), signature_of_features(path)
        for prefix, changed in (("ask_", {}), ("", BY_ITSELF)):
            print(f"{'decides by itself' if changed else 'shipped parameters'}:", flush=True)
            loop = Loop(history, signature, dataset, features, directory, changed, first=FIRST, section=section)
            naive = naive_forecasts(loop, sales)
            figures |= {f"{prefix}{key}": value for key, value in summary(loop, loop.replay(), naive).items()}
    return figures


def naive_forecasts(loop: Loop, sales: str) -> np.ndarray:
    """Return what was sold on the same weekday a week before the day that each live row forecasts, float64 [n]; NaN if it is not known."""
    query = f"""
        SELECT sold_today FROM (SELECT *, row_number() OVER () AS place FROM forecasts) AS forecast
        LEFT JOIN read_parquet({text(sales)}) AS sold
        ON sold.product = forecast.product AND sold.shop = forecast.shop AND sold.day = forecast.night::DATE - 6 ORDER BY place
    """
    with connect(UTC) as (connection, _):
        connection.register("forecasts", loop.live.rows.append_column("night", pa.array(loop.live.nights.tolist())))
        return np.array([np.nan if sold is None else sold for (sold,) in connection.execute(query).fetchall()], dtype=np.float64)


def summary(loop: Loop, replayed: Replay, naive: np.ndarray) -> dict[str, Any]:
    """Return the figures of a replay."""
    lines = {"static": replayed.static, "closed_loop": replayed.closed, "naive": naive}
    errors = {line: np.abs(loop.live.labels - scores) for line, scores in lines.items()}
    shift, months = generate.SHIFT.isoformat(), loop.live.nights.astype("datetime64[M]")
    shifted, last = loop.live.nights >= shift, months == months.max()
    promoted = [decision for decision in replayed.decisions if decision["verdict"] == "promote"]
    after = [dt.date.fromisoformat(decision["partition"]) for decision in replayed.decisions if decision["partition"] >= shift]

    def error(line: str, rows: np.ndarray) -> float:
        return round(float(np.nanmean(errors[line][rows])), 3)

    def fall(rows: np.ndarray) -> float:
        return round(1 - error("closed_loop", rows) / error("static", rows), 3)

    return {
        **{f"error_{line}_before_shift": error(line, ~shifted) for line in lines},
        **{f"error_{line}_after_shift": error(line, shifted) for line in lines},
        **{f"error_{line}_last_month": error(line, last) for line in lines},
        "error_fall_after_shift": fall(shifted),
        "error_fall_last_month": fall(last),
        "nights_until_retraining": (after[0] - generate.SHIFT).days if after else None,
        "retrainings": len(replayed.decisions),
        "promotions": len(promoted),
        "rollbacks": len(replayed.rollbacks),
        "promotions_of_a_worse_challenger": sum(decision["gate_clearly_worse"] for decision in promoted),
        "months": [str(month) for month in np.unique(months)],
        **{f"error_{line}_by_month": [error(line, months == month) for month in np.unique(months)] for line in lines},
        "decisions": replayed.decisions,
    }
