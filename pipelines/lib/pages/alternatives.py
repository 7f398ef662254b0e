"""Describe each chart of `pipelines.lib.pages.figures` in words, for readers who do not see it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Points = Sequence[Mapping[str, float]]
RATES = (0.05, 0.1, 0.2, 0.5)
"""False positive rates at which a ROC curve is read out."""


def distribution(label: str, shares: Mapping[str, np.ndarray], edges: np.ndarray, threshold: float | None) -> str:
    """Describe histograms by their median and 90th percentile, to the width of a bin."""
    parts = [f"Histogram of {label}, as a share of rows"]
    for name, share in shares.items():
        below = np.cumsum(share)
        if not below[-1]:
            parts.append(f"{name}: no rows")
            continue
        median, high = (edges[1:][np.searchsorted(below, part * below[-1])] for part in (0.5, 0.9))
        parts.append(f"{name}: half of the rows are below {median:.3g}, nine in ten below {high:.3g}")
    return sentences([*parts, f"decision from {threshold:g}" if threshold is not None else ""])


OF_SHARES: Mapping[str, Any] = {"quality": "AUC", "no_skill": 0.5, "outcome": "observed rate", "score": "mean score", "share": True}
"""The words of a chart on scores that are probabilities."""

OF_NUMBERS: Mapping[str, Any] = {"quality": "R²", "no_skill": 0.0, "outcome": "mean outcome", "score": "mean forecast", "share": False}
"""The words of a chart on forecasts."""

OF_TASK = {"binary": OF_SHARES, "regression": OF_NUMBERS}
"""The words of a chart by the task of the label."""


def calibration(curves: Mapping[str, Points], words: Mapping[str, Any] = OF_SHARES) -> str:
    """Read out each point of calibration curves."""
    form = "{:.3f} and {:.3f}" if words["share"] else "{:.4g} and {:.4g}"
    read = {
        name: ", ".join(form.format(point["mean_score"], point["observed_rate"]) for point in points) for name, points in curves.items()
    }
    return sentences([f"{words['score']} and {words['outcome']}", *(f"{name}: {points or 'no points'}" for name, points in read.items())])


def roc(curves: Mapping[str, tuple[Points, float]]) -> str:
    """Read out ROC curves at `RATES`."""
    parts = ["ROC curve: true positive rate by false positive rate"]
    for name, (points, auc) in curves.items():
        x, y = ([point[f"{side}_positive_rate"] for point in points] for side in ("false", "true"))
        read = ", ".join(f"{np.interp(rate, x, y):.2f} at {rate:g}" for rate in RATES)
        parts.append(f"{name}: AUC {auc:.3f}; {read}")
    return sentences(parts)


def bars(values: Mapping[str, float], label: str) -> str:
    """Read out every bar."""
    return sentences([f"Bars, {label}", ", ".join(f"{name} {value:.3f}" for name, value in values.items())])


def timeline(lanes: Mapping[str, Sequence[tuple[str, float, float]]]) -> str:
    """Read out how long each lane took, and its longest task."""
    parts = ["Tasks over time" if lanes else "No task has run"]
    for name, spans in lanes.items():
        if not spans:
            continue
        took = max(start + seconds for _, start, seconds in spans) - min(start for _, start, _ in spans)
        task, _, longest = max(spans, key=lambda span: span[2])
        parts.append(f"{name}: {len(spans)} tasks in {took:.0f} seconds, the longest is {task} with {longest:.0f} seconds")
    return sentences(parts)


def heat_map(rows: Mapping[str, Sequence[float | None]], columns: Sequence[str], label: str, changes: Mapping[str, str]) -> str:
    """Read out the values of the last column that are above their limit, and how often each row was above it."""
    judged = {name: [value for value in values if value is not None] for name, values in rows.items()}
    total = sum(map(len, judged.values()))
    if not total or not columns:
        return sentences([f"Heat map of {label}", "no value was judged"])
    above = sum(value > 1 for values in judged.values() for value in values)
    now = [f"{name.strip()} {values[-1]:.1f} times" for name, values in rows.items() if values[-1] is not None and values[-1] > 1]
    often = [f"{name.strip()} {count}" for name, values in judged.items() if (count := sum(value > 1 for value in values))]
    known = any(values[-1] is not None for values in rows.values())
    return sentences(
        [
            f"Heat map of {label} from {columns[0]} to {columns[-1]}: {above} of {total} cells are above the limit",
            f"above it on {columns[-1]}: {', '.join(now) or ('none' if known else 'not judged')}",
            f"nights above it: {', '.join(often)}" if often else "",
            "; ".join(f"{word} from {date}" for date, word in changes.items() if date in columns),
        ]
    )


def histograms(panels: Mapping[str, Mapping[str, Any]]) -> str:
    """Read out the bin that changed most in each panel."""
    parts = ["Share of rows by bin, reference and current"]
    for name, panel in panels.items():
        reference, current = np.asarray(panel["reference"]), np.asarray(panel["current"])
        bin_ = int(np.abs(current - reference).argmax())
        parts.append(
            f"{name}: {panel['note']}; the bin that changed most is {bin_label(panel, bin_)}, {reference[bin_]:.1%} to {current[bin_]:.1%}"
        )
    return sentences(parts)


def bin_label(panel: Mapping[str, Any], bin_: int) -> str:
    """Name a bin of a panel of `pipelines.lib.pages.figures.histograms`."""
    if "labels" in panel:
        return str(panel["labels"][bin_])
    edges = panel["edges"]
    if bin_ > len(edges):
        return "missing"
    low, high = (f"{edges[place]:.4g}" if 0 <= place < len(edges) else "" for place in (bin_ - 1, bin_))
    return f"{low} to {high}" if low and high else f"above {low}" if low else f"up to {high}"


def performance(
    nights: Sequence[Mapping[str, Any]],
    last_week: float | None,
    changes: Sequence[tuple[str, str, bool]],
    words: Mapping[str, Any] = OF_SHARES,
) -> str:
    """Read out the range of the quality, its mean over the last seven nights, and the last night's rates."""
    parts = [f"Quality by night from {nights[0]['partition']} to {nights[-1]['partition']}"]
    known = [night for night in nights if night["quality"] is not None]
    if last_week is not None:
        worst, best = (choose(known, key=lambda night: night["quality"]) for choose in (min, max))
        parts += [
            f"mean {words['quality']} of the last {min(7, len(known))} nights: {last_week:.3f}",
            f"lowest {worst['quality']:.3f} on {worst['partition']}, highest {best['quality']:.3f} on {best['partition']}",
        ]
    else:
        parts.append(f"no night has {'an' if words['share'] else 'a value of'} {words['quality']}")
    counted = [night for night in nights if night["mean_score"] is not None]
    if counted:
        last = counted[-1]
        form = "{:.1%}" if words["share"] else "{:.4g}"
        outcome, score = form.format(last["mean_label"]), form.format(last["mean_score"])
        parts.append(f"on {last['partition']}: {words['outcome']} {outcome}, {words['score']} {score}")
    return sentences([*parts, "; ".join(f"{word} from {date}" for date, word, _ in changes)])


def closed_loop(panels: Mapping[str, Mapping[str, Any]], label: str) -> str:
    """Read out the means of both lines of each panel, and the dates of the promotions."""
    parts = [label]
    for title, panel in panels.items():
        (name, dates, low), (other, _, high) = panel["reference"], panel["other"]
        promoted = ", ".join(date for date, good in panel["marks"] if good)
        parts.append(
            f"{title}, {dates[0]} to {dates[-1]}: mean of {name} {np.mean(low):.3f}, mean of {other} {np.mean(high):.3f}; promoted: {promoted or 'none'}"
        )
    return sentences(parts)


def recall_curve(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    exact: float,
    chosen: Mapping[str, tuple[float, float]],
    limits: Mapping[str, float],
) -> str:
    """Read out every point of each curve."""
    parts = [f"Recall at 10 and queries per second; exact search: {exact:,.0f}"]
    for name, points in curves.items():
        read = ", ".join(f"{recall:.3f} and {speed:,.0f}" for recall, speed in points)
        parts.append(f"{name}: {read or 'no points'}")
        parts.append(f"published with {chosen[name][0]:.3f} and {chosen[name][1]:,.0f}" if name in chosen else "")
        parts.append(f"the gate demands a recall of {limits[name]:g}" if name in limits else "")
    return sentences(parts)


def projection(groups: Mapping[str, np.ndarray], label: str) -> str:
    """Read out how many points each group has, and how far apart the groups' centres are, in units of the spread."""
    parts = [f"Points on a plane, {label}", ", ".join(f"{name}: {len(points):,} points" for name, points in groups.items())]
    filled = [points for points in groups.values() if len(points)]
    if len(filled) == 2:
        spread = float(np.sqrt(np.vstack(filled).var(axis=0).sum()))
        apart = float(np.linalg.norm(filled[0].mean(axis=0) - filled[1].mean(axis=0)))
        parts.append(f"the centres of both are {apart / spread:.2f} standard deviations apart" if spread else "")
    return sentences(parts)


def sentences(parts: Sequence[str]) -> str:
    """Join the parts that are not empty, each with its own full stop."""
    return " ".join(f"{part[:1].upper()}{part[1:]}." for part in parts if part)
