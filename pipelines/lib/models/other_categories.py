"""How many rows of a night have a category that the model does not know, against training; the model's profile carries its categories and their counts.

A model keeps the most frequent categories of its training, so some rows of a usual night have another one. Many more mean that the world or its words changed.
"""

from collections.abc import Iterable
from pathlib import Path

from pipelines.lib.gates import FAILED, PASSED, WARNING, Finding, not_judged
from pipelines.lib.measures.histogram import count_parquet
from pipelines.lib.models.profile import Profile

_TYPE = "column_values_to_be_in_set"


def judge_others(path: Path, profile: Profile, features: Iterable[str], allowed: float, *, quiet: bool) -> list[Finding]:
    """Return the findings on the text `features` of the file at `path`: of the rows with a category, `allowed` more than in training may have another one.

    On a `quiet` date, on which more is known to be unusual, an excess is a warning. Raises `DataError` if a feature is gone.
    """
    columns = [profile.column(feature) for feature in features]
    night = count_parquet(path, [column.binning for column in columns])
    return [_finding(column.binning.name, column.counts, night.counts[column.binning.name], allowed, quiet) for column in columns]


def _finding(feature: str, training: tuple[int, ...], night: tuple[int, ...], allowed: float, quiet: bool) -> Finding:
    (normal, _), (share, rows) = _others(training), _others(night)
    limit = normal + allowed
    notes = f"categories that the model knows; {normal:.1%} of the training rows have another one, and {allowed:.0%} more is normal"
    if not rows:
        return not_judged(_TYPE, feature, "no row has a category", notes=notes)
    verdict = PASSED if share <= limit else WARNING if quiet else FAILED
    return Finding(
        f"expect_{_TYPE}", feature, {"mostly": round(max(0.0, 1 - limit), 6)}, verdict,
        f"{night[-2]} of {rows} rows ({share:.2%}) have a category that is not among the {len(night) - 2} of the model",
        unexpected_count=night[-2], unexpected_share=round(share, 6), notes=notes,
    )  # fmt: skip


def _others(counts: tuple[int, ...]) -> tuple[float, int]:
    """Return the share of rows with another category, and the rows with any: counts are those of the categories, of others and of missing ones."""
    rows = sum(counts[:-1])
    return (counts[-2] / rows if rows else 0.0), rows


def unknown(features: Iterable[str], reason: str) -> list[Finding]:
    """Return the finding on each of `features` that there is nothing to compare its categories with, and why."""
    return [not_judged(_TYPE, feature, reason, notes="categories that the model knows") for feature in features]
