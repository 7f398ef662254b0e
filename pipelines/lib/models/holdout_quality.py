"""How good a model is on its holdout, and how much that varies from night to night: what a night's realised quality is compared with."""

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.lib.measures import metrics

if TYPE_CHECKING:
    from pipelines.lib.features.history import History


@dataclass(frozen=True)
class Quality:
    """How good the model was on the holdout: figures as the summary of its task has them, and ten points of `calibration`.

    The quality is the AUC or, of a regression, R². `quality_std` is the standard deviation of the quality of one window of nights (over windows of training rows, of which there are more).
    `night_quality` is the mean quality of the holdout's single nights, weighted by rows: less than that of all rows together, which also tells
    good nights from bad, and what a night's realised AUC is to be compared with. It is over `nights` nights that have both classes;
    `night_quality_std` is the standard deviation between single nights of training. `importances`: how much a night's quality drops when a
    feature is shuffled (`pipelines.lib.measures.importance`), to be compared with the same of later nights.
    """

    figures: dict[str, Any]
    quality_std: float | None
    night_quality: float | None
    night_quality_std: float | None
    nights: int
    calibration: tuple[dict[str, float], ...]
    importances: dict[str, float] = field(default_factory=dict)


def quality_on(
    holdout: "History",
    holdout_scores: NDArray[np.float32],
    training: "History",
    scores: NDArray[np.float32],
    nights: list[NDArray[np.intp]],
    windows: NDArray[np.intp],
) -> Quality:
    """Return the quality of `holdout_scores` [m] on the rows of `holdout` [m], and how it varies between the `nights` of `training` [n], scored `scores` [n].

    `nights` are the rows of each night, `windows` the nights of each window [w, length].
    """
    rows = (np.concatenate([nights[night] for night in window]) for window in windows)
    task = training.task
    qualities = [task.quality(training.labels[held], scores[held]) for held in rows]
    known = [quality for quality in qualities if quality is not None]
    learned = [quality for _, quality in _night_qualities(training, scores, nights)]
    partitions = holdout.column("partition").astype(str)
    held_out = _night_qualities(holdout, holdout_scores, [np.flatnonzero(partitions == date) for date in np.unique(partitions)])
    return Quality(
        figures=asdict(task.summary(holdout.labels, holdout_scores)),
        quality_std=round(float(np.std(known, ddof=1)), 6) if len(known) > 1 else None,
        night_quality=round(float(np.average([quality for _, quality in held_out], weights=[rows for rows, _ in held_out])), 6)
        if held_out
        else None,
        night_quality_std=round(float(np.std(learned, ddof=1)), 6) if len(learned) > 1 else None,
        nights=len(held_out),
        calibration=tuple(metrics.calibration(holdout.labels, holdout_scores)),
    )


def _night_qualities(history: "History", scores: NDArray[np.float32], nights: list[NDArray[np.intp]]) -> list[tuple[int, float]]:
    """Return (rows, quality) of each night on which it is defined."""
    found = [(len(rows), history.task.quality(history.labels[rows], scores[rows])) for rows in nights]
    return [(rows, quality) for rows, quality in found if quality is not None]
