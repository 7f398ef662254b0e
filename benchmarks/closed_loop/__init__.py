"""The gain of the loop: April to December 2013, night by night, compared with the first champion left alone.

Each night goes through the functions of the stages: scored by the champion's ONNX, counted into its profile's bins, compared in windows; its outcomes
come after the label's delay and give its quality; `govern` reads what was recorded. When it says yes, a challenger is trained on all that has matured,
exported, evaluated, and compared with the champion on the rows that neither has trained on. `decide` decides, and a promoted challenger scores from
the next night on. No person takes part: *ask* counts as refused. *Static* is the first champion, trained as of 2013-04-01, on every night.

The replay runs once for each of `LINES`. A loop that *decides by itself* has the two changes of `BY_ITSELF`: a schedule, and promotion of what is
fresher, which is then watched. The shipped features rely mostly on lagged rates, which follow the world by themselves. `PLAIN` has none of them:
weather, distance, aircraft, calendar, carrier, origin and destination. Features are computed once, for flights with outcomes.
AUC and log loss are means over the nine months. The settings were chosen on April to August (`TUNED_UNTIL`); keys with ``later`` are means over the
months after that. Not run here: latency and memory of a challenger, and its shadow nights.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.closed_loop.plain_features import PLAIN
from benchmarks.closed_loop.replay import Loop, Replay
from benchmarks.flights_of_2013 import features_of_2013, section
from pipelines.lib.core.atomic import replacing
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import parse_section
from pipelines.lib.features.compute import Features
from pipelines.lib.features.history import read_history
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures import metrics
from pipelines.lib.pages import figures as charts
from pipelines.lib.pages.svg import standalone
from pipelines.lib.tables.dataset import Dataset

PICTURE = REPOSITORY / "docs" / "images" / "closed_loop.svg"
ROLLING = 14
"""Nights over which the picture takes the AUC."""

TUNED_UNTIL = "2013-08"
"""The last month that the settings below were chosen on."""

BY_ITSELF: dict[str, dict[str, Any]] = {
    "govern": {"refresh_days": 30, "cool_down_nights": 30},
    "decide": {"unclear": "fresher"},
}
"""A loop that needs no person: trained again each month, and promoted unless it is worse."""

LIGHTGBM: dict[str, Any] = {
    "estimator": "lightgbm.LGBMClassifier",
    "parameters": {
        "n_estimators": 300,
        "num_leaves": 31,
        "learning_rate": 0.03,
        "colsample_bytree": 0.3,
        "min_child_samples": 500,
        "reg_lambda": 20,
    },
}
"""The best estimator on `TUNED_UNTIL`: of five kinds of settings, the one with the highest AUC when it is trained on the first of each month."""

LINES: dict[str, tuple[str, Mapping[str, Any] | None, Mapping[str, Mapping[str, Any]]]] = {
    "": ("Deciding by itself", None, BY_ITSELF),
    "ask_": ("Shipped features", None, {}),
    "plain_": ("Plain features", PLAIN, {}),
    "best_": ("Deciding by itself, LightGBM", None, {**BY_ITSELF, "train": LIGHTGBM}),
}
"""By prefix of the keys: the title in the picture, the features if they are not the shipped ones, and what differs from the shipped parameters."""

TARGETS = {
    "auc_closed_loop": (">=", 0.714),
    "retrainings": ("<=", 8),
    "logloss_gain": (">=", 0.0),
    "promotions_of_a_worse_challenger": ("<=", 0),
    "best_auc_closed_loop": (">=", 0.721),
    "best_retrainings": ("<=", 13),
    "best_logloss_gain": (">=", 0.0),
    "best_promotions_of_a_worse_challenger": ("<=", 0),
    "plain_logloss_gain": (">=", 0.0),
    "plain_promotions_of_a_worse_challenger": ("<=", 0),
}


def main() -> dict[str, Any]:
    """Replay all `LINES`, and draw them."""
    dataset, shipped = section("dataset", Dataset), section("features", Features)
    figures: dict[str, Any] = {}
    panels = {}
    for prefix, (title, features, changed) in LINES.items():
        print(f"{title}:", flush=True)
        with tempfile.TemporaryDirectory() as name:
            declared = shipped if features is None else parse_section(features, Features, "PLAIN")
            path = features_of_2013(dataset, declared, Path(name))
            loop = Loop(read_history(path, dataset), signature_of_features(path), dataset, declared, Path(name), changed)
            replayed = loop.replay()
        monthly = summary(loop, replayed)
        figures |= {f"{prefix}{key}": value for key, value in monthly.items()}
        panels[title] = panel(loop, replayed, monthly)
    with replacing(PICTURE) as temporary:
        temporary.write_text(standalone(charts.closed_loop(panels, label=f"AUC of {ROLLING} nights")) + "\n", encoding="utf-8")
    return figures


def summary(loop: Loop, replayed: Replay) -> dict[str, Any]:
    """Return the figures of one replay."""
    months = loop.live.nights.astype("datetime64[M]")
    summaries = {
        line: [metrics.summary(loop.live.labels[months == month], scores[months == month]) for month in np.unique(months)]
        for line, scores in (("static", replayed.static), ("closed_loop", replayed.closed))
    }
    auc = {line: [float(month.auc or 0.0) for month in found] for line, found in summaries.items()}
    loss = {line: [float(month.log_loss) for month in found] for line, found in summaries.items()}
    promoted = [decision for decision in replayed.decisions if decision["verdict"] == "promote"]
    later = np.unique(months) > np.datetime64(TUNED_UNTIL)
    return {
        **{f"auc_{line}": round(float(np.mean(found)), 4) for line, found in auc.items()},
        **{f"logloss_{line}": round(float(np.mean(found)), 4) for line, found in loss.items()},
        "gain": round(float(np.mean(auc["closed_loop"]) - np.mean(auc["static"])), 4),
        "logloss_gain": round(float(np.mean(loss["static"]) - np.mean(loss["closed_loop"])), 4),
        "retrainings": len(replayed.decisions),
        "promotions": len(promoted),
        "refusals": len(replayed.decisions) - len(promoted),
        "rollbacks": len(replayed.rollbacks),
        "promotions_of_a_worse_challenger": sum(decision["gate_clearly_worse"] for decision in promoted),
        "promotions_that_lost": sum((one["log_loss_difference"]["low"] or 0.0) > 0 for one in replayed.served),
        **{f"auc_{line}_later": round(float(np.mean(np.array(found)[later])), 4) for line, found in auc.items()},
        **{f"logloss_{line}_later": round(float(np.mean(np.array(found)[later])), 4) for line, found in loss.items()},
        "months": [str(month) for month in np.unique(months)],
        **{f"auc_{line}_by_month": [round(value, 3) for value in found] for line, found in auc.items()},
        **{f"logloss_{line}_by_month": [round(value, 3) for value in found] for line, found in loss.items()},
        "decisions": replayed.decisions,
        "rolled_back": replayed.rollbacks,
        "served": replayed.served,
    }


def panel(loop: Loop, replayed: Replay, figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return one panel of the picture: the AUC of `ROLLING` nights, static and closed."""
    nights = np.unique(loop.live.nights)
    ends = nights[ROLLING - 1 :]
    lines = {}
    for line, scores in (("static", replayed.static), ("closed", replayed.closed)):
        values = []
        for first, last in zip(nights, ends, strict=False):
            rows = (loop.live.nights >= first) & (loop.live.nights <= last)
            values.append(float(metrics.summary(loop.live.labels[rows], scores[rows]).auc or 0.0))
        lines[line] = values
    summary = f"mean of monthly AUC {figures['auc_static']:.3f} left alone, {figures['auc_closed_loop']:.3f} in the loop"
    return {
        "reference": ("the first champion, left alone", ends.tolist(), lines["static"]),
        "other": ("the closed loop", ends.tolist(), lines["closed"]),
        "marks": [(decision["partition"], decision["verdict"] == "promote") for decision in replayed.decisions],
        "summary": summary,
    }
