"""How good an index is, and the page that says so: recall against exact search, the plane of its vectors, the table of figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipelines.lib.measures.neighbours import Ids, Vectors
from pipelines.lib.pages import html as pages
from pipelines.lib.vector_index import questions as index_questions
from pipelines.lib.vector_index.search import Searcher, Setting
from pipelines.lib.vector_index.sweep import RECALLS
from pipelines.lib.vector_index.timing import Timing

WIDTHS: Mapping[str, Sequence[int]] = {"ef": (12, 16, 24, 32, 48, 64, 96, 128, 256), "nprobe": (1, 2, 4, 8, 16, 32, 64, 128)}
"""Search widths of the curve, narrow first, by the name that each kind of index has for its own."""

SHOWN = 1_500
"""Points of the projection: more only cover each other."""


def settings_of(search: Setting) -> list[dict[str, int]]:
    """Return the settings of the curve: the one that the index is searched with, at each width."""
    [width] = [name for name in search if name in WIDTHS]
    return [{**search, width: value} for value in sorted({*WIDTHS[width], search[width]})]


def quality(index: Searcher, own: Ids, settings: Sequence[Setting]) -> dict[str, Any]:
    """Measure recall@1, @10 and @100 of the rows `own` [m] of `index` as queries (``leave_one_out``), and recall@10 at each of `settings`
    (``curve``).

    Each query is left out of its own answer, so only its true neighbours count. If a row has no neighbour, as in an index of one row, every
    recall is None. The result is the same each time.
    """
    if index.count < 2:
        return {"leave_one_out": {"queries": 0, **{f"recall_{k}": None for k in RECALLS}}, "curve": []}
    questions = index_questions.ask([index.vectors], own, index.vectors[own], index.count, max(RECALLS))

    def recall(k: int, setting: Setting | None = None) -> float:
        return round(float(questions.hits(*index.search(questions.vectors, k + questions.spare, setting), k).mean()), 5)

    found = {"queries": len(own), **{f"recall_{k}": recall(k) for k in RECALLS}}
    return {"leave_one_out": found, "curve": [{**setting, "recall_10": recall(10, setting)} for setting in settings]}


def plane(vectors: Vectors, outcomes: np.ndarray, seed: int) -> list[dict[str, Any]]:
    """Project up to `SHOWN` rows of `vectors` [n, d] on their first two principal components, each with its outcome ([n], 0, 1, or negative
    for unknown).

    By SVD of the centred sample; the largest entry of a component is positive, since its sign is otherwise chance.
    """
    if len(vectors) < 2:
        return []
    rows = np.sort(np.random.default_rng(seed).choice(len(vectors), min(SHOWN, len(vectors)), replace=False))
    shown = outcomes[rows] if set(np.unique(outcomes[rows])) <= {0, 1} else outcomes[rows] > outcomes.mean()
    centred = vectors[rows].astype(np.float64)
    centred -= centred.mean(axis=0)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    axes = components[:2] * np.sign(np.take_along_axis(components[:2], np.abs(components[:2]).argmax(axis=1)[:, None], axis=1))
    return [
        {"x": round(float(x), 3), "y": round(float(y), 3), "outcome": int(outcome)}
        for (x, y), outcome in zip(centred @ axes.T, shown, strict=True)
    ]


def page(
    report: Mapping[str, Any], points: Sequence[Mapping[str, Any]], timing: Timing | None, label: str, *, numbers: bool = False
) -> str:
    """Return the report of `evaluate_index` as self-contained HTML; `label` is the outcome's name, `timing` None if nothing was
    measured.
    """
    from pipelines.lib.pages import figures

    curve = ""
    if timing and report["curve"]:
        drawn = [(point["recall_10"], speed) for point, speed in zip(report["curve"], timing.curve, strict=True)]
        kind, search = report["kind"], report["search"]
        used = next(place for place, point in enumerate(report["curve"]) if search.items() <= point.items())
        limits = {kind: report["limits"]["recall_10"]}
        curve = figures.recall_curve({kind: drawn}, exact=timing.exact_qps, chosen={kind: drawn[used]}, limits=limits)
    groups = {f"{label} up to its mean": 0, f"{label} above its mean": 1} if numbers else {f"not {label}": 0, label: 1}
    drawn_points = {name: _points(points, outcome) for name, outcome in groups.items()}
    return pages.render(
        "index.html",
        report=report,
        timing=timing,
        curve=curve,
        plane=figures.projection(drawn_points, label="the first two principal components of the vectors") if points else "",
        label=label,
        numbers=numbers,
    )


def _points(points: Sequence[Mapping[str, Any]], outcome: int) -> np.ndarray:
    return np.array([(point["x"], point["y"]) for point in points if point["outcome"] == outcome]).reshape(-1, 2)
