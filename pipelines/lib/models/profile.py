"""The reference that a model carries: what its training rows looked like, how it scored them, and how good it was on the holdout.

The profile travels inside the ONNX file, so that a pinned model brings its own reference and monitoring needs no training data. It also
holds the *noise* of each column: how far a window of nights is from all of training without any drift. Seven nights have seven weathers,
so a temperature has a PSI of 1 in any week; only what exceeds the noise of this very data is news.

The same rows give the same bytes: windows are drawn with a fixed seed, and figures are rounded where their last bits may differ.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from pipelines.lib.core.errors import ConfigError, DataError, ModelError
from pipelines.lib.core.params import Section
from pipelines.lib.measures.binning import Binning, categorical_binning, numeric_binning
from pipelines.lib.measures.distances import psi
from pipelines.lib.measures.histogram import Counts, Histogram, count
from pipelines.lib.models.holdout_quality import Quality, quality_on

if TYPE_CHECKING:
    from pipelines.lib.features.compute import Features
    from pipelines.lib.features.history import History
    from pipelines.lib.tables.dataset import Dataset

KEY = "nightshift.profile"
"""Of the entry in the ONNX file's metadata."""

FORMAT = 4
"""Of the JSON. 1 had no number, and no bins for heavy values: its bins are read as they are. 2 named the quality AUC. 3 did not say of
which rows the scores are. A later format is not known here.
"""

_BEFORE_3 = {"auc_std": "quality_std", "night_auc": "night_quality", "night_auc_std": "night_quality_std"}

SCORE = "score"
"""The column of the model's own scores; no feature may have this name."""

SEEN, UNSEEN, NOT_TESTED = "seen", "unseen", "not tested"
"""Of which rows the scores of the profile are: of rows that the model had learned from, of rows that it had not, or the former, perhaps known by heart."""

SCORE_DECIMALS = 6
"""To which a score is rounded before it is counted: the last digits differ between machines."""

WINDOWS = 400
"""Windows of nights that are drawn: their 95th percentile then varies by a tenth, and each costs microseconds."""

SEED = 0


class ProfileParams(Section):
    """Section ``profile``: `bins` a number, nights in a window, and the `floor` of a share in PSI."""

    bins: int = Field(ge=2, le=100)
    window_nights: int = Field(ge=1)
    floor: float = Field(gt=0, lt=0.1)


@dataclass(frozen=True)
class Noise:
    """The PSI of windows of training nights against all training rows.

    `mean` and `p95` are of windows whose nights are drawn at random, each from the nights of its place in the window (so that a week has one
    Monday): what sampling whole nights does in a world that stands still. `consecutive_p95` is of windows as they were: the slow
    movement within training is in it.
    """

    mean: float
    p95: float
    consecutive_p95: float


@dataclass(frozen=True)
class Reference:
    """One column: its bins, the training rows in them, and what a window differs without drift. `importance` is 0 for the score."""

    binning: Binning
    counts: tuple[int, ...]
    importance: float
    noise: Noise


@dataclass(frozen=True)
class Profile:
    """The reference profile of a model: labelled rows of dates [`trained_from`, `trained_until`) (ISO), of which `rows` are counted here.

    Not counted are the first nights of history, on which a lagged feature had nothing to look back on. `features` are in the order of the
    model's input. `quality` is None without a holdout. `scored_as` says of which rows the scores are, as `unseen.reference_scores` does.
    """

    trained_from: str
    trained_until: str
    rows: int
    window_nights: int
    floor: float
    features: tuple[Reference, ...]
    score: Reference
    quality: Quality | None
    scored_as: str = NOT_TESTED

    @property
    def columns(self) -> tuple[Reference, ...]:
        """The features, then the score."""
        return (*self.features, self.score)

    @property
    def binnings(self) -> list[Binning]:
        """Of `columns`."""
        return [column.binning for column in self.columns]

    @cached_property
    def histogram(self) -> Histogram:
        """The training rows, all `columns`."""
        return Histogram(self.rows, {column.binning.name: column.counts for column in self.columns})

    def column(self, name: str) -> Reference:
        """Return the column called `name`. Raises `DataError` if there is none."""
        for column in self.columns:
            if column.binning.name == name:
                return column
        raise DataError(f"the profile has no column {name!r}; it has {', '.join(binning.name for binning in self.binnings)}")

    def to_json(self) -> str:
        """Return the form in which files carry it: compact, the same bytes for the same profile."""
        decoded = {"format": FORMAT} | asdict(self) | {"features": [_tell(column) for column in self.features], "score": _tell(self.score)}
        return json.dumps(decoded, separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Return the inverse of `to_json`, for every format up to this one. Raises `ModelError` for anything else."""
        try:
            decoded = json.loads(text)
            if (version := decoded.pop("format", 1)) > FORMAT:
                raise ModelError(
                    f"the profile of a model has format {version}, this Nightshift reads up to {FORMAT}; update it, or train and export the model again"
                )
            quality = decoded["quality"] and {_BEFORE_3.get(name, name): value for name, value in decoded["quality"].items()}
            content = decoded | {
                "features": tuple(_column(column) for column in decoded["features"]),
                "score": _column(decoded["score"]),
                "quality": quality and Quality(**quality | {"calibration": tuple(quality["calibration"])}),
            }
            return cls(**content)
        except (ValueError, TypeError, KeyError, AttributeError, ConfigError) as error:
            raise ModelError(
                f"the profile of a model ({len(text)} bytes) cannot be read ({type(error).__name__}: {error}); train and export it again"
            ) from None


def build_profile(
    training: "History",
    holdout: "History",
    *,
    scores: NDArray[np.float32],
    scored_as: str,
    holdout_scores: NDArray[np.float32],
    importances: Sequence[float],
    dataset: "Dataset",
    features: "Features",
    params: ProfileParams,
    holdout_importances: Mapping[str, float] | None = None,
) -> Profile:
    """Return the profile of a model that gave its `training` rows [n] the `scores` [n], and those of the `holdout` [m] the `holdout_scores` [m].

    `scored_as` says whether a model had learned from the rows that it gave the `scores`.
    `importances` [f] are in the order of the features; `holdout_importances` are `Quality.importances`. Both histories need the column ``partition``.
    """
    nights = _nights(training, features)
    steady, windows = np.concatenate(list(nights.values())), _windows(len(nights), params.window_nights)
    columns = {**dict(zip(training.names, training.features.T, strict=True)), SCORE: scores}
    known = training.categories
    binnings = [binning_of(name, values[steady], dataset, features, params.bins, known.get(name)) for name, values in columns.items()]
    counted = [count({name: values[rows] for name, values in columns.items()}, binnings) for rows in nights.values()]
    references = [
        _reference(binning, np.array([night.counts[binning.name] for night in counted]), float(importance), windows, params.floor)
        for binning, importance in zip(binnings, [*importances, 0.0], strict=True)
    ]
    dates = sorted(set(training.column("partition").tolist()))
    quality = quality_on(holdout, holdout_scores, training, scores, list(nights.values()), windows[0]) if len(holdout.labels) else None
    return Profile(
        trained_from=dates[0],
        trained_until=(dt.date.fromisoformat(dates[-1]) + dt.timedelta(days=1)).isoformat(),
        rows=len(steady),
        window_nights=params.window_nights,
        floor=params.floor,
        features=tuple(references[:-1]),
        score=references[-1],
        quality=quality and replace(quality, importances=dict(holdout_importances or {})),
        scored_as=scored_as,
    )


def binning_of(
    name: str, values: NDArray[np.float32], dataset: "Dataset", features: "Features", bins: int, known: Sequence[str] | None = None
) -> Binning:
    """Return the bins of a feature, or of the score, for the training `values` [n]; `known` are the categories of a feature without declared ones."""
    if name in features.categorical:
        from pipelines.lib.features.compute import category_values

        return categorical_binning(name, known or category_values(dataset, name, features.categorical[name]) or ())
    filler: float | None = None
    if name in features.numeric:
        filler = features.numeric[name].missing
    elif name in features.same_day:
        filler = 0.0  # a row counts itself, so 0 is a missing key
    elif name in features.lagged and features.lagged[name].statistic == "mean":
        filler = features.lagged[name].nothing_seen
    return numeric_binning(name, values, bins=bins, filler=filler, decimals=SCORE_DECIMALS if name == SCORE else None)


def _nights(training: "History", features: "Features") -> dict[str, NDArray[np.intp]]:
    """Return the rows of each night, in order of date, but for nights on which a lagged feature had nothing at all to look back on.

    Those are the first nights of history. They cannot come again, and their empty bins would make every later night look different.
    """
    partitions = training.column("partition").astype(str)
    order = np.argsort(partitions, kind="stable")
    dates, starts = np.unique(partitions[order], return_index=True)
    nights = dict(zip(dates.tolist(), np.split(order, starts[1:]), strict=True))
    nothing = {name: np.float32(lagged.nothing_seen) for name, lagged in features.lagged.items() if lagged.statistic == "mean"}
    blank = [training.column(name) == value for name, value in nothing.items()]
    return {date: rows for date, rows in nights.items() if not any(column[rows].all() for column in blank)} or nights


def _windows(nights: int, length: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return indices of nights: of the windows in the history [w, length], and of drawn ones [`WINDOWS`, length]."""
    length = min(length, nights)
    rng = np.random.default_rng(SEED)
    drawn = [rng.choice(np.arange(place, nights, length), WINDOWS) for place in range(length)]
    return np.lib.stride_tricks.sliding_window_view(np.arange(nights), length), np.stack(drawn, axis=1)


def _reference(binning: Binning, nights: Counts, importance: float, windows: tuple[NDArray[np.intp], ...], floor: float) -> Reference:
    """Return the column whose counts a night are `nights` [nights, bins]."""
    total = nights.sum(axis=0)
    consecutive, drawn = ([psi(total, nights[window].sum(axis=0), floor) for window in kind] for kind in windows)
    noise = Noise(
        mean=round(float(np.mean(drawn)), 6),
        p95=round(float(np.quantile(drawn, 0.95)), 6),
        consecutive_p95=round(float(np.quantile(consecutive, 0.95)), 6),
    )
    return Reference(binning, tuple(total.tolist()), round(importance, 6), noise)


def _tell(column: Reference) -> dict[str, Any]:
    return column.binning.to_json() | {"counts": list(column.counts), "importance": column.importance, "noise": asdict(column.noise)}


def _column(decoded: Mapping[str, Any]) -> Reference:
    return Reference(Binning.from_json(decoded), tuple(decoded["counts"]), decoded["importance"], Noise(**decoded["noise"]))
