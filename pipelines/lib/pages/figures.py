"""Draw the charts of pages as SVG elements: one look, no script, the same bytes for the same data."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import patches, rc_context
from matplotlib.dates import AutoDateLocator, DateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter, PercentFormatter, StrMethodFormatter

from pipelines.lib.pages import alternatives
from pipelines.lib.pages.svg import ACCENT, BAD, GOOD, MUTED, SECOND, STYLE, to_svg

SMALL = 3.5
"""Inches of a chart that fits a telephone; a page on a desk shows three next to each other."""

WIDE = 10.6
"""Inches of a chart that fills a page from edge to edge."""

SERIES: tuple[tuple[str, Any], ...] = ((ACCENT, "-"), (SECOND, "--"), (MUTED, "-"), (ACCENT, ":"), (SECOND, "-."))
"""Colour and stroke of each line of a chart: two lines differ in both."""


@rc_context(STYLE)
def distribution(
    series: Mapping[str, np.ndarray],
    *,
    label: str,
    threshold: float | None = None,
    counted: bool = False,
    span: tuple[float, float] = (0.0, 1.0),
) -> str:
    """Draw histograms in 40 equal bins over `span` of each named array, as shares, on one plot.

    The arrays hold values. With `counted` they hold the number of values in each of n equal bins over `span`, n a multiple of 40.
    """
    figure, axes = _new()
    edges = np.linspace(*span, 41)
    shares = {}
    for name, values in series.items():
        counts = values.reshape(40, -1).sum(axis=1) if counted else np.histogram(values, edges)[0]
        shares[name] = counts / max(int(values.sum()) if counted else len(values), 1)
    for index, (name, share) in enumerate(shares.items()):
        colour, stroke = SERIES[index % len(SERIES)]
        axes.stairs(share, edges, label=name, color=colour, linestyle=stroke, fill=len(series) == 1, linewidth=1.4)
    if threshold is not None:
        axes.axvline(threshold, color=MUTED, linestyle="--", linewidth=1, label=f"decision from {threshold:g}")
    axes.set(xlabel=label, ylabel="share of rows", xlim=span)
    _add_legend(axes)
    return to_svg(figure, alternatives.distribution(label, shares, edges, threshold))


@rc_context(STYLE)
def calibration(curves: Mapping[str, Sequence[Mapping[str, float]]], words: Mapping[str, Any] = alternatives.OF_SHARES) -> str:
    """Draw observed rates by mean score, or mean outcomes by mean forecast, as `words` say; each curve is the output of
    `pipelines.lib.measures.metrics.calibration`.
    """
    figure, axes = _new()
    values = [point[key] for points in curves.values() for point in points for key in ("mean_score", "observed_rate")]
    low, high = (0.0, min(1.0, max(values, default=1.0) * 1.1)) if words["share"] else _span(values)
    axes.plot([min(0.0, low), max(1.0, high)], [min(0.0, low), max(1.0, high)], color=MUTED, linestyle=":", linewidth=1)
    for index, (name, points) in enumerate(curves.items()):
        colour, stroke = SERIES[index % len(SERIES)]
        x, y = [point["mean_score"] for point in points], [point["observed_rate"] for point in points]
        axes.plot(x, y, color=colour, linestyle=stroke, linewidth=1.4, label=name)
        axes.scatter(x, y, s=[8 + 120 * point["share"] for point in points], color=colour)
    axes.set(xlabel=words["score"], ylabel=words["outcome"], xlim=(low, high), ylim=(low, high))
    _add_legend(axes)
    return to_svg(figure, alternatives.calibration(curves, words))


def _span(values: Sequence[float]) -> tuple[float, float]:
    """Return the range of `values` with a margin of a twentieth on either side."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    margin = (high - low) / 20 or 0.5
    return low - margin, high + margin


@rc_context(STYLE)
def roc(curves: Mapping[str, tuple[Sequence[Mapping[str, float]], float]]) -> str:
    """Draw receiver operating characteristics: for each name the points (`false_positive_rate`, `true_positive_rate`) and the AUC."""
    figure, axes = _new()
    axes.plot([0, 1], [0, 1], color=MUTED, linestyle=":", linewidth=1)
    for index, (name, (points, auc)) in enumerate(curves.items()):
        colour, stroke = SERIES[index % len(SERIES)]
        x, y = ([point[f"{side}_positive_rate"] for point in points] for side in ("false", "true"))
        axes.plot(x, y, color=colour, linestyle=stroke, linewidth=1.4, label=f"{name}: AUC {auc:.3f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", xlim=(0, 1), ylim=(0, 1))
    _add_legend(axes, loc="lower right")
    return to_svg(figure, alternatives.roc(curves))


@rc_context(STYLE)
def bars(values: Mapping[str, float], *, label: str) -> str:
    """Draw horizontal bars, the first on top."""
    figure, axes = _new(width=6.4, height=0.6 + 0.24 * len(values))
    names = list(values)[::-1]
    axes.barh(names, [values[name] for name in names], color=ACCENT, height=0.7)
    axes.set(xlabel=label)
    axes.grid(axis="y", visible=False)
    return to_svg(figure, alternatives.bars(values, label))


@rc_context(STYLE)
def timeline(lanes: Mapping[str, Sequence[tuple[str, float, float]]]) -> str:
    """Draw the spans of tasks; each lane holds (task, start, seconds) with start in seconds from a common zero."""
    figure, axes = _new(width=WIDE, height=0.9 + 0.42 * len(lanes))
    names = list(lanes)[::-1]
    for row, name in enumerate(names):
        longest = max((seconds for _, _, seconds in lanes[name]), default=0.0)
        for place, (_, start, seconds) in enumerate(lanes[name]):
            colour, opacity = (SECOND, 1.0) if seconds == longest else (ACCENT, (1.0, 0.5)[place % 2])  # neighbours look different
            axes.barh(row, seconds, left=start, height=0.62, color=colour, alpha=opacity, linewidth=0)
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="seconds since the first task began")
    axes.grid(axis="y", visible=False)
    handles = [patches.Patch(color=ACCENT, label="a task"), patches.Patch(color=SECOND, label="the longest task of its night")]
    axes.set_ylim(-0.5, max(len(lanes), 1) - 0.5)
    below = -0.5 / (0.77 * figure.get_figheight())  # half an inch; 0.77 of the figure is the plot
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, below), ncols=2, borderaxespad=0)
    return to_svg(figure, alternatives.timeline(lanes))


HEAT = (
    ("below half", MUTED, 0.12),
    ("half to all of it", ACCENT, 0.35),
    ("to 1.5 ×", SECOND, 0.65),
    ("to 2.5 ×", SECOND, 1.0),
    ("more", BAD, 1.0),
)
"""Classes of a value relative to its limit, with the upper ends 0.5, 1, 1.5, 2.5 and none."""


@rc_context(STYLE)
def heat_map(
    rows: Mapping[str, Sequence[float | None]], columns: Sequence[str], *, label: str, changes: Mapping[str, str] | None = None
) -> str:
    """Draw a cell for each value, coloured by its size relative to the limit, which is 1; None leaves the cell empty.

    The first of `rows` is on top, with one value for each of `columns` (ISO dates). `changes` marks columns with a word above.
    """
    figure, axes = _new(width=WIDE, height=1.1 + 0.21 * len(rows))
    figure.subplots_adjust(left=0.15, right=0.99)
    for place, values in enumerate(rows.values()):
        for column, value in enumerate(values):
            if value is not None:
                _, colour, opacity = HEAT[sum(value > end for end in (0.5, 1, 1.5, 2.5))]
                axes.add_patch(patches.Rectangle((column, place), 0.92, 0.88, facecolor=colour, alpha=opacity, linewidth=0))
    axes.set(xlim=(0, max(len(columns), 1)), ylim=(max(len(rows), 1), 0))
    axes.set_yticks([place + 0.44 for place in range(len(rows))], list(rows))
    shown = range(len(columns) - 1, -1, -max(1, -(-len(columns) // 9)))  # from the last one back, at most nine
    axes.set_xticks([column + 0.46 for column in shown], [columns[column] for column in shown])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.grid(visible=False)
    for index, (date, word) in enumerate((date, word) for date, word in (changes or {}).items() if date in columns):
        axes.axvline(columns.index(date) - 0.04, color=GOOD, linewidth=1.5)
        axes.text(columns.index(date) + 0.1, -0.25 - 0.9 * (index % 2), word, color=GOOD, va="bottom")  # two close ones do not meet
    handles = [patches.Patch(color=colour, alpha=opacity, label=name) for name, colour, opacity in HEAT]
    below = -0.42 / (0.21 * len(rows) + 0.3)
    axes.legend(handles=handles, loc="upper left", bbox_to_anchor=(0, below), ncols=len(HEAT), title=label, alignment="left", borderpad=0)
    axes.get_legend().get_title().set_color(MUTED)
    return to_svg(figure, alternatives.heat_map(rows, columns, label, changes or {}))


@rc_context(STYLE)
def histograms(panels: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw reference and current shares, one panel per name, two in a row.

    A panel holds `reference` and `current` shares of the same bins, and a `note` for its title. It also holds either `labels` of all bins,
    or `edges` between all bins except the last, which is *missing*.
    """
    lines = max(1, -(-len(panels) // 2))
    figure = Figure(figsize=(WIDE, 2.7 * lines))
    grid = figure.subplots(lines, 2, squeeze=False)
    figure.subplots_adjust(left=0.05, right=0.99, hspace=0.62, wspace=0.12)
    for axes, (name, panel) in zip(grid.flat, panels.items(), strict=False):
        reference, current = np.asarray(panel["reference"]), np.asarray(panel["current"])
        labels = list(panel.get("labels") or ["", *(f"{edge:.4g}" for edge in panel["edges"]), "missing"])
        if "labels" not in panel:
            places = [*(place - 0.5 for place in range(1, len(panel["edges"]) + 1)), len(reference) - 1]
            labels = labels[1:]
        else:
            places = list(range(len(reference)))
        middle = np.arange(len(reference))
        axes.bar(middle - 0.2, reference, 0.38, color=MUTED, alpha=0.55, label="reference")
        axes.bar(middle + 0.2, current, 0.38, color=ACCENT, label="current")
        axes.set_xticks(places, labels, rotation=35, ha="right", rotation_mode="anchor")
        axes.set(ylim=(0, 1.12 * max(reference.max(), current.max())))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.set_title(f"{name}: {panel['note']}", color=MUTED)
        axes.grid(axis="x", visible=False)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    if panels:  # above the panels, since bars may be anywhere in them
        grid[0, 0].legend(ncols=2, loc="lower left", bbox_to_anchor=(0, 1.16), borderaxespad=0)
    return to_svg(figure, alternatives.histograms(panels))


@rc_context(STYLE)
def performance(
    nights: Sequence[Mapping[str, Any]],
    changes: Sequence[tuple[str, str, bool]],
    levels: Sequence[tuple[str, float, str, str]] = (),
    *,
    words: Mapping[str, Any] = alternatives.OF_SHARES,
) -> str:
    """Draw two panels over time: the quality of each of `nights` with its interval, and its mean score with the mean outcome.

    A night has `partition`, `quality`, `quality_low`, `quality_high`, `mean_score`, `mean_label` and `rows`; a figure that is None leaves a gap. `changes` are
    vertical marks (date, word, whether it was a promotion). `levels` are horizontal lines on the quality (word, value, first date, last date). `words` name the
    figures.
    """
    figure = Figure(figsize=(WIDE, 5.4))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    figure.subplots_adjust(left=0.05, right=0.99, hspace=0.24)  # space for the legend of the upper panel
    known = [night for night in nights if night["quality"] is not None]
    days, areas = [_day(night["partition"]) for night in known], np.array([night["quality"] for night in known])
    spans = [[night["quality"] - night["quality_low"] for night in known], [night["quality_high"] - night["quality"] for night in known]]
    upper.errorbar(days, areas, spans, fmt="o", color=MUTED, markersize=3.2, elinewidth=0.9, alpha=0.8, label="a night, 95 % interval")
    weights = np.array([night["rows"] for night in known])
    means = [np.average(areas[max(0, end - 7) : end], weights=weights[max(0, end - 7) : end]) for end in range(1, len(known) + 1)]
    upper.plot(days, means, color=ACCENT, linewidth=1.8, label="mean of 7 nights")
    for word, value, first, last in levels:
        colour = BAD if word == "limit" else GOOD
        upper.plot([_day(first), _day(last)], [value, value], color=colour, linestyle="--", linewidth=1.2, label=word)
    upper.axhline(words["no_skill"], color=MUTED, linewidth=0.8, linestyle=":")
    upper.set(ylabel=words["quality"])
    counted = [night for night in nights if night["mean_score"] is not None]
    days = [_day(night["partition"]) for night in counted]
    lower.plot(
        days, [night["mean_label"] for night in counted], color=SECOND, marker="o", markersize=3, linewidth=1.2, label=words["outcome"]
    )
    lower.plot(days, [night["mean_score"] for night in counted], color=ACCENT, linewidth=1.8, label=words["score"])
    if words["share"]:
        lower.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    lower.set(ylabel="share of rows" if words["share"] else "unit of the label")
    for index, (date, word, forward) in enumerate(changes):
        colour = GOOD if forward else BAD
        for axes in (upper, lower):
            axes.axvline(_day(date), color=colour, linewidth=1.4)
        place = (3, 2 + 11 * (index % 2))  # two close ones do not meet
        upper.annotate(word, (_day(date), 1), xycoords=("data", "axes fraction"), xytext=place, textcoords="offset points", color=colour)
    for axes, below in ((upper, -0.01), (lower, -0.17)):
        _add_legend(axes, ncols=4, loc="upper left", bbox_to_anchor=(0, below), borderaxespad=0.3)
    if len(nights) == 1:  # otherwise the axis spans years
        lower.set_xlim(_day(nights[0]["partition"]) - 2, _day(nights[0]["partition"]) + 4)
    lower.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))  # whole days: hours of one would have the same label
    lower.xaxis.set_major_formatter(DateFormatter("%Y-%m-%d"))
    return to_svg(figure, alternatives.performance(nights, float(means[-1]) if means else None, changes, words))


@rc_context(STYLE)
def closed_loop(panels: Mapping[str, Mapping[str, Any]], *, label: str) -> str:
    """Draw one panel above the other, each with two lines over time, and shade the area between them.

    `reference` and `other` are (name, dates, values). `marks` are (date, promoted) below the lines: filled for a promotion, hollow for a
    refusal. `summary` is at the right of the title.
    """
    figure = Figure(figsize=(WIDE, 2.7 * len(panels)))
    figure.subplots_adjust(left=0.05, right=0.99, hspace=0.3)
    for axes, (title, panel) in zip(figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0], panels.items(), strict=True):
        name, dates, values = panel["reference"]
        days, low = [_day(date) for date in dates], np.asarray(values)
        axes.plot(days, low, color=MUTED, linewidth=1.4, label=name)
        name, _, values = panel["other"]
        high = np.asarray(values)
        axes.plot(days, high, color=ACCENT, linewidth=1.8, label=name)
        axes.fill_between(days, low, high, where=(high >= low).tolist(), interpolate=True, color=GOOD, alpha=0.18, linewidth=0)
        axes.fill_between(days, low, high, where=(high < low).tolist(), interpolate=True, color=BAD, alpha=0.18, linewidth=0)
        floor = float(min(low.min(), high.min()))
        for good, word in ((True, "retrained and promoted"), (False, "retrained and refused")):
            marked = [_day(date) for date, fine in panel["marks"] if fine is good]
            colour = GOOD if good else BAD
            axes.vlines(marked, floor, float(max(low.max(), high.max())), color=colour, linewidth=0.9, alpha=0.5)
            axes.scatter(
                marked, [floor] * len(marked), s=46, marker="^", color=colour if good else "none", edgecolors=colour, label=word, zorder=3
            )
        axes.set(ylabel=label)
        axes.set_title(title, color=MUTED)
        axes.set_title(panel["summary"], color=MUTED, loc="right")
        axes.xaxis.set_major_locator(AutoDateLocator(minticks=4, maxticks=10))
        axes.xaxis.set_major_formatter(DateFormatter("%Y-%m"))
    _add_legend(axes, ncols=4, loc="upper left", bbox_to_anchor=(0, -0.12), borderaxespad=0.3)
    return to_svg(figure, alternatives.closed_loop(panels, label))


@rc_context(STYLE)
def recall_curve(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    exact: float,
    chosen: Mapping[str, tuple[float, float]] | None = None,
    limits: Mapping[str, float] | None = None,
) -> str:
    """Draw queries per second by recall, the classic curve of an index: up and to the right is better.

    Each named curve has points (recall@10, queries per second), narrow searches first. `exact` is the speed of exact search, `chosen` the point
    with which each index is published, and `limits` the recall that its gate demands.
    """
    figure, axes = _new(width=6.4, height=3.6)
    for index, (name, points) in enumerate(curves.items()):
        colour, _ = SERIES[index % len(SERIES)]
        recalls, speeds = [point[0] for point in points], [point[1] for point in points]
        axes.plot(recalls, speeds, color=colour, linewidth=1.4, marker="o", markersize=3.2, label=name)
        if chosen and name in chosen:
            axes.plot(
                *chosen[name],
                color=colour,
                marker="o",
                markersize=9,
                markerfacecolor="none",
                linestyle="none",
                label="published with",
            )
        if limits and name in limits:
            axes.axvline(limits[name], color=colour, linestyle="--", linewidth=1, label=f"gate, {limits[name]:g}")
    axes.axhline(exact, color=MUTED, linestyle=":", linewidth=1.2, label="exact search")
    axes.set(xlabel="recall@10", ylabel="queries per second", yscale="log")
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))  # the default one writes powers of ten
    axes.yaxis.set_minor_formatter(NullFormatter())
    _add_legend(axes, loc="upper left", bbox_to_anchor=(1, 1))
    return to_svg(figure, alternatives.recall_curve(curves, exact, chosen or {}, limits or {}))


@rc_context(STYLE)
def projection(groups: Mapping[str, np.ndarray], *, label: str) -> str:
    """Draw the points [n, 2] of each named group on one plane, without scale: near points are similar. The last group is on top."""
    figure, axes = _new(width=4.8, height=4.2)
    for index, (name, points) in enumerate(groups.items()):
        colour, _ = SERIES[index % len(SERIES)]
        axes.plot(
            points[:, 0],
            points[:, 1],
            marker=".",
            linestyle="none",
            color=colour,
            markersize=3.5,
            alpha=0.55,
            markeredgewidth=0,
            label=name,
        )
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set(xlabel=label)
    axes.grid(visible=False)
    _add_legend(axes, loc="upper left", bbox_to_anchor=(1, 1), markerscale=3)
    return to_svg(figure, alternatives.projection(groups, label))


def _day(partition: str) -> float:
    return float(date2num(dt.date.fromisoformat(partition)))


def _add_legend(axes: Any, **options: Any) -> None:
    """Explain the series of `axes`, if it has any: a page of nothing to show has none."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(**options)


def _new(width: float = SMALL, height: float = 2.9) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()
