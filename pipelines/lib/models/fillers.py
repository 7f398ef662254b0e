"""How many rows of a night have a filler, the number that stands for a missing value, where their feature should be; against training.

A side table that no longer matches, a column that is renamed at its source or outcomes that stop leave numbers that look well: the fillers.
The normal shares are in the reference profile that the model carries.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipelines.lib.gates import FAILED, PASSED, WARNING, Finding, not_judged
from pipelines.lib.models.profile import Profile
from pipelines.lib.tables.engine import UTC, connect, name, text

_TYPE = "column_values_to_not_be_in_set"


@dataclass(frozen=True)
class Filler:
    """The filler of one feature, and the share of training's rows that had it."""

    value: float
    share: float


def fillers_of_training(profile: Profile) -> dict[str, Filler]:
    """Return the fillers of the features of a model that carries `profile`."""
    of_numbers = [column for column in profile.features if column.binning.filler is not None]
    return {
        column.binning.name: Filler(float(column.binning.filler or 0), column.counts[-1] / profile.rows)
        for column in of_numbers
        if profile.rows
    }


def judge_fillers(path: Path, training: Mapping[str, Filler], allowed: Mapping[str, float], *, quiet: bool) -> list[Finding]:
    """Return the findings on the features file `path`: a feature may have its filler on `allowed` more of the rows than in training.

    One that may have it on all rows is not looked at. On a `quiet` date, on which more is known to be missing, an excess is a warning.
    """
    training = {feature: filler for feature, filler in training.items() if allowed[feature] < 1}
    counts = ", ".join(f"count_if({name(feature)} = {float(np.float32(filler.value))!r}::FLOAT)" for feature, filler in training.items())
    with connect(UTC) as (connection, _):
        [(rows, *filled)] = connection.sql(
            f"SELECT {', '.join(['count(*)', counts] if counts else ['count(*)'])} FROM read_parquet({text(path)})"
        ).fetchall()
    return [
        _finding(feature, filler, allowed[feature], int(count or 0), int(rows), quiet)
        for (feature, filler), count in zip(training.items(), filled, strict=True)
    ]


def _finding(feature: str, filler: Filler, allowed: float, count: int, rows: int, quiet: bool) -> Finding:
    limit = filler.share + allowed
    notes = (
        f"{filler.value:g} stands for a missing value; {filler.share:.1%} of the training rows have it, and {allowed:.0%} more is normal"
    )
    kwargs = {"value_set": [filler.value]}
    if not rows:
        return not_judged(_TYPE, feature, "no rows", notes=notes, **kwargs)
    if limit >= 1:
        return not_judged(
            _TYPE,
            feature,
            f"{filler.share:.1%} of the training rows have {filler.value:g}, so no share stands out; set maximum_filler_excess_by_feature.{feature} to 1 if that is right",
            notes=notes,
            **kwargs,
        )
    share = count / rows
    verdict = PASSED if share <= limit else WARNING if quiet else FAILED
    return Finding(
        f"expect_{_TYPE}", feature, kwargs | {"mostly": round(1 - limit, 6)}, verdict, f"{count} of {rows} rows ({share:.2%}) have {filler.value:g}",
        unexpected_count=count, unexpected_share=round(share, 6), notes=notes,
    )  # fmt: skip


def unknown(reason: str) -> list[Finding]:
    """Return the finding that there is nothing to compare the night's fillers with, and why."""
    return [not_judged(_TYPE, None, reason, notes="the share of rows with a filler, against training")]
