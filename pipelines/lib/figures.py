"""Plots for pages, as SVG text that can stand inside HTML: one look, no script, the same bytes for the same data."""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps, patches, rc_context
from matplotlib.figure import Figure

ACCENT, SECOND, MUTED, BAD, GOOD = "#3b6fd4", "#e08a2c", "#8a94a6", "#c8453b", "#2f9e6e"

_STYLE: Any = {
    "svg.hashsalt": "nightshift",  # otherwise ids are random, and the report would never be the same twice
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": MUTED,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
    "axes.grid": True,
    "grid.color": MUTED,
    "grid.alpha": 0.2,
}


@rc_context(_STYLE)
def distribution(series: Mapping[str, np.ndarray], *, label: str, threshold: float | None = None) -> str:
    """Histograms in 40 equal bins over [0, 1] of each named array, as shares, on one plot."""
    figure, axes = _new(width=5.4)
    edges = np.linspace(0, 1, 41)
    for index, (name, values) in enumerate(series.items()):
        shares = np.histogram(values, edges)[0] / max(len(values), 1)
        axes.stairs(shares, edges, label=name, color=_colour(index), fill=len(series) == 1, alpha=0.9, linewidth=1.4)
    if threshold is not None:
        axes.axvline(threshold, color=BAD, linestyle="--", linewidth=1, label=f"decision from {threshold:g}")
    axes.set(xlabel=label, ylabel="share of rows", xlim=(0, 1))
    axes.legend()
    return _svg(figure)


@rc_context(_STYLE)
def calibration(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> str:
    """Mean score against observed rate; each curve is the output of `pipelines.lib.metrics.calibration`."""
    figure, axes = _new(width=4.6)
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    for index, (name, points) in enumerate(curves.items()):
        x, y = [point["mean_score"] for point in points], [point["observed_rate"] for point in points]
        axes.plot(x, y, color=_colour(index), linewidth=1.2, label=name)
        axes.scatter(x, y, s=[8 + 120 * point["share"] for point in points], color=_colour(index))
    top = max((max(point["mean_score"], point["observed_rate"]) for points in curves.values() for point in points), default=1)
    axes.set(xlabel="mean score", ylabel="observed rate", xlim=(0, min(1, top * 1.1)), ylim=(0, min(1, top * 1.1)))
    axes.legend()
    return _svg(figure)


@rc_context(_STYLE)
def roc(points: Sequence[Mapping[str, float]], auc: float) -> str:
    """Receiver operating characteristic; `points` have `false_positive_rate` and `true_positive_rate`."""
    figure, axes = _new(width=4.6)
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    axes.plot([p["false_positive_rate"] for p in points], [p["true_positive_rate"] for p in points], color=ACCENT, label=f"AUC {auc:.3f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    axes.legend(loc="lower right")
    return _svg(figure)


@rc_context(_STYLE)
def bars(values: Mapping[str, float], *, label: str) -> str:
    """Horizontal bars, the first on top."""
    figure, axes = _new(height=0.6 + 0.22 * len(values))
    names = list(values)[::-1]
    axes.barh(names, [values[name] for name in names], color=ACCENT, height=0.7)
    axes.set(xlabel=label)
    axes.grid(axis="y", visible=False)
    return _svg(figure)


@rc_context(_STYLE)
def timeline(lanes: Mapping[str, Sequence[tuple[str, float, float]]]) -> str:
    """Spans of tasks; each lane holds (task, start, seconds) with start in seconds from a common zero."""
    tasks = list(dict.fromkeys(task for spans in lanes.values() for task, _, _ in spans))
    figure, axes = _new(width=9.6, height=0.9 + 0.42 * len(lanes))
    palette = colormaps["tab10"]
    names = list(lanes)[::-1]
    for row, name in enumerate(names):
        for task, start, seconds in lanes[name]:
            axes.barh(row, seconds, left=start, height=0.62, color=palette(tasks.index(task) % 10), linewidth=0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="seconds")
    axes.grid(axis="y", visible=False)
    handles = [patches.Patch(color=palette(index % 10), label=task) for index, task in enumerate(tasks)]
    axes.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.9 / max(len(lanes), 1)), ncols=5)
    return _svg(figure)


def _new(width: float = 6.4, height: float = 3.2) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def _colour(index: int) -> str:
    return (ACCENT, SECOND, GOOD, BAD, MUTED)[index % 5]


def _svg(figure: Figure) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None, "Creator": None})
    return text.getvalue()[text.getvalue().index("<svg") :]
