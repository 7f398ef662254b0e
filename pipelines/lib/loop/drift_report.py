"""The report on a model's drift on a night: as JSON, as a page, and as series."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pipelines.lib.core.partition import parse_partition
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.loop.tracking import Point
from pipelines.lib.measures.histogram import Histogram, merge
from pipelines.lib.models.profile import SCORE, Profile
from pipelines.lib.records.journal import DecisionRow, NightRecord, PerformanceRecord
from pipelines.lib.records.ledger import Entry

_SHARED = ("calibration_error", "mean_score", "rows")
FIGURES = {
    "binary": ("auc", "auc_low", "auc_high", "log_loss", "brier", "positive_rate", *_SHARED),
    "regression": ("r2", "r2_low", "r2_high", "mean_absolute_error", "root_mean_squared_error", "mean_label", "spread", *_SHARED),
}
"""The figures of a night that are drawn and logged, by the task of the label."""


WORST = 4
"""Columns whose histograms are drawn."""


@dataclass(frozen=True)
class Seen:
    """The records of a model over the days of the report, each oldest first; `decision` is the governor's of this night.

    `nights` holds one record a night, `window` those that were added up for this night: it is last in both.
    """

    nights: Sequence[NightRecord]
    window: Sequence[NightRecord]
    performance: Sequence[PerformanceRecord]
    entries: Sequence[Entry]
    decisions: Sequence[DecisionRow]
    decision: Mapping[str, Any]
    measured: Mapping[str, Any]


def build_report(seen: Seen, profile: Profile, policy: Policy) -> dict[str, Any]:
    """Return the report: the last of the nights in detail, the others as far as the pictures need them."""
    night = seen.window[-1]
    columns = [column(name, found, profile, policy) for name, found in night.drift["columns"].items()]
    columns.sort(key=lambda watched_column: -watched_column["relative"])
    lacking = policy.lacking(night.drift["nights"], night.drift["rows"])
    drifted = [watched_column for watched_column in columns if not lacking and watched_column["relative"] > 1]
    last = str(parse_partition(profile.trained_until) - timedelta(days=1))
    named = ", ".join(f"{watched_column['name']} (PSI {watched_column['psi']:.2f})" for watched_column in drifted[:3])
    more = f" and {len(drifted) - 3} more" if len(drifted) > 3 else ""
    return {
        "partition": night.partition,
        "name": night.name,
        "version": night.version,
        "decision": dict(seen.decision),
        "window": {"nights": night.drift["nights"], "rows": night.drift["rows"], "floor": profile.floor},
        "lacking": lacking,
        "reference": {"from": profile.trained_from, "last": last, "rows": profile.rows},
        "columns": columns,
        "nights": [
            {
                "partition": record.partition,
                "version": record.version,
                "relative": {name: relative(found, policy) for name, found in record.drift["columns"].items()}
                if not policy.lacking(record.drift["nights"], record.drift["rows"])
                else {},
            }
            for record in seen.nights
        ],
        "performance": [
            {"partition": record.partition, "version": record.version, "revision": record.revision, **figures_of(record)}
            for record in seen.performance
        ],
        "slices": slices(seen.performance, night.version),
        "importance": seen.measured.get("importance"),
        "changes": [
            {"live_from": e.live_from, "action": e.action, "version": e.version, "actor": e.actor, "reason": e.reason} for e in seen.entries
        ],
        "decisions": [
            {
                "partition": d.partition,
                "version": d.version,
                "retrain": d.retrain,
                "signals": d.findings.get("signals", []),
                "reason": d.reason,
            }
            for d in seen.decisions[-7:]
        ],
        "drifted": [watched_column["name"] for watched_column in drifted],
        "note": f"drift in {named}{more}" if drifted else f"drift not judged: not enough data: {lacking}" if lacking else "no drift",
    }


def one_each(nights: Sequence[NightRecord], scored_by: Mapping[str, str]) -> list[NightRecord]:
    """Return for each partition the record of the version that scored it last, per `scored_by`; without an entry there, any record."""
    kept: dict[str, NightRecord] = {}
    for night in nights:
        if night.version == scored_by.get(night.partition, night.version):
            kept[night.partition] = night
        else:
            kept.setdefault(night.partition, night)
    return list(kept.values())


def relative(measured: Mapping[str, Any], policy: Policy) -> float:
    """Return the PSI of a column in terms of the governor's limit for it: above 1 it has drifted."""
    psi: float = measured["psi"]
    return round(psi / policy.limit(measured["noise"]), 4)


def column(name: str, measured: Mapping[str, Any], profile: Profile, policy: Policy) -> dict[str, Any]:
    """Return a column of the window with its limit, and the share of rows that missed it in training."""
    reference = profile.column(name)
    limit = policy.limit(measured["noise"])
    missing = reference.counts[-1] / max(sum(reference.counts), 1)
    watched_column = {key: measured[key] for key in ("psi", "noise", "ks", "jensen_shannon", "importance", "missing", "unseen")}
    return {
        "name": name,
        **watched_column,
        "limit": round(limit, 6),
        "relative": relative(measured, policy),
        "reference_missing": round(missing, 6),
    }


def figures_of(record: PerformanceRecord) -> dict[str, Any]:
    """Return those figures of a night that are drawn and logged; None if one is not defined."""
    known = next((names for names in FIGURES.values() if names[0] in record.figures), FIGURES["binary"])
    return {name: record.figures[name] for name in known}


def slices(performance: Sequence[PerformanceRecord], version: str) -> list[dict[str, Any]]:
    """Return each slice over all nights of `version`: rows, and means of the nights' figures weighted by rows."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for record in performance:
        for part in record.slices if record.version == version else ():
            found.setdefault((part["column"], "no value" if part["value"] is None else str(part["value"])), []).append(part)
    watched_column = []
    for (name, value), parts in sorted(found.items()):
        means = {}
        for figure in (name for name in dict.fromkeys(sum(FIGURES.values(), ())) if name in parts[0] and name != "rows"):
            known = [part for part in parts if part.get(figure) is not None]
            rows = sum(part["rows"] for part in known)
            means[figure] = round(sum(part["rows"] * part[figure] for part in known) / rows, 6) if rows else None
        watched_column.append({"column": name, "value": value, "nights": len(parts), "rows": sum(part["rows"] for part in parts), **means})
    return watched_column


def points(report: Mapping[str, Any]) -> Iterator[Point]:
    """Return what goes to MLflow: the drift of this night, and the quality of every night of the report that this version scored.

    Most of them are there already, which does no harm, and none is lost when a run ends before it has said what it measured.
    """
    drift = {f"psi/{watched_column['name']}": watched_column["psi"] for watched_column in report["columns"]}
    drift["retrain"] = bool(report["decision"].get("retrain"))
    if not report["lacking"]:  # 0 would read as if nothing had drifted
        drift["drifted"] = len(report["drifted"])
    if (report["importance"] or {}).get("ndcg") is not None:
        drift["importance_ndcg"] = report["importance"]["ndcg"]
    yield Point(report["partition"], drift)
    for night in report["performance"]:
        if night["version"] == report["version"]:
            figures = {f"realised/{name}": night[name] for name in sum(FIGURES.values(), ()) if night.get(name) is not None}
            yield Point(night["partition"], figures, night["revision"])


def histograms(seen: Seen, profile: Profile, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return for each of the columns `names` the shares of reference and window by bin, in the form that `pipelines.lib.pages.figures`
    draws.
    """
    window = merge([Histogram.from_json(record.histogram) for record in seen.window])
    panels = {}
    for name in names:
        binning, reference, current = profile.column(name).binning, profile.column(name).counts, window.counts[name]
        # Below and above all values, and next to a heavy value, are bins that are empty by design: they are drawn once something is in them.
        filled = [bool(reference[place] or current[place]) for place in range(binning.size)]
        first, last = int(not filled[0]), binning.size - 1 - int(not filled[-2])
        by_edges = binning.values is None and not binning.alone and last - first > 1
        shown = (
            [*range(first, last), binning.size - 1]
            if by_edges
            else [place for place in range(binning.size) if filled[place] or not binning.alone]
        )
        panels[name] = {
            "reference": [reference[place] / max(sum(reference), 1) for place in shown],
            "current": [current[place] / max(window.rows, 1) for place in shown],
            **({"edges": binning.edges[first : last - 1]} if by_edges else {"labels": [binning.labels[place] for place in shown]}),
        }
    return panels


def page(report: Mapping[str, Any], seen: Seen, profile: Profile, outcome: str) -> str:
    """Return the report as self-contained HTML; `outcome` is what the model predicts, in a word."""
    from pipelines.lib.pages import alternatives, figures
    from pipelines.lib.pages import html as pages

    by_importance = sorted(report["columns"], key=lambda watched_column: (watched_column["name"] == SCORE, -watched_column["importance"]))
    lines = {
        watched_column["name"] if watched_column["name"] == SCORE else f"{watched_column['name']}  {watched_column['importance']:.0%}": [
            night["relative"].get(watched_column["name"]) for night in report["nights"]
        ]
        for watched_column in by_importance
    }
    worst = [watched_column for watched_column in report["columns"] if watched_column["name"] != SCORE][:WORST]
    panels = histograms(seen, profile, [watched_column["name"] for watched_column in worst])
    for watched_column in worst:
        limit = "not judged" if report["lacking"] else f"limit {watched_column['limit']:.2f}"
        panels[watched_column["name"]]["note"] = f"PSI {watched_column['psi']:.2f}, {limit}"
    words = alternatives.OF_SHARES if "auc" in (report["performance"] or [{"auc": None}])[-1] else alternatives.OF_NUMBERS
    return pages.render(
        "drift.html",
        report=report,
        outcome=outcome,
        quality=profile.quality,
        heat=figures.heat_map(
            lines, [night["partition"] for night in report["nights"]], label="PSI, relative to its limit", changes=words_of(report)
        )
        if any(night["relative"] for night in report["nights"])
        else "",
        histograms=figures.histograms(panels),
        performance=figures.performance(
            [drawn(night) for night in report["performance"]], marks(report), levels(report, profile), words=words
        )
        if report["performance"]
        else "",
        words=words,
    )


def drawn(night: Mapping[str, Any]) -> dict[str, Any]:
    """Return a measured night with the names that every task has."""
    quality, outcome = ("auc", "positive_rate") if "auc" in night else ("r2", "mean_label")
    ends = {f"quality{end}": night[f"{quality}{end}"] for end in ("", "_low", "_high")}
    return {**ends, "partition": night["partition"], "rows": night["rows"], "mean_score": night["mean_score"], "mean_label": night[outcome]}


def words_of(report: Mapping[str, Any]) -> dict[str, str]:
    """Return the nights of the report on which a version went live, each with a word."""
    return {change["live_from"]: f"version {change['version']}" for change in report["changes"]}


def marks(report: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """Return the promotions and rollbacks among the measured nights: (date, word, whether it went forward)."""
    first = report["performance"][0]["partition"]
    return [
        (
            change["live_from"],
            f"{'' if change['action'] == 'promote' else 'back to '}version {change['version']}",
            change["action"] == "promote",
        )
        for change in report["changes"]
        if first <= change["live_from"] <= report["partition"]
    ]


def levels(report: Mapping[str, Any], profile: Profile) -> list[tuple[str, float, str, str]]:
    """Return what a night's AUC is compared with, over the nights of this version: the holdout's, and the governor's limit."""
    ours = [night["partition"] for night in report["performance"] if night["version"] == report["version"]]
    if not ours or profile.quality is None or profile.quality.night_quality is None:
        return []
    found = [("holdout", profile.quality.night_quality, ours[0], report["partition"])]
    limit = report["decision"].get("findings", {}).get("quality", {}).get("limit")
    return found if limit is None else [*found, ("limit", limit, ours[0], report["partition"])]
