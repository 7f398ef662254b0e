"""The records of a champion that the governor needs: its nights, their outcomes, promotions and retrainings."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from pipelines.lib.core.errors import ConfigError


class Measure(NamedTuple):
    """How far a window is from the reference: its PSI, the PSI that sampling whole nights alone reaches, the share of importance."""

    psi: float
    noise: float
    importance: float


@dataclass(frozen=True)
class Night:
    """The window that ends with the night `partition`: `rows` of `nights` nights, all scored by `version`."""

    partition: str
    version: str
    rows: int
    nights: int
    features: Mapping[str, Measure]
    score: Measure


class Outcome(NamedTuple):
    """The quality of `rows` scores of a night with outcomes, such as their AUC; None if it is not defined, as for outcomes of one class."""

    partition: str
    version: str
    rows: int
    quality: float | None


class Reference(NamedTuple):
    """Quality on the holdout: the mean of its `nights` nights' quality, and their standard deviation."""

    quality: float
    night_sd: float
    nights: int


class Promotion(NamedTuple):
    """Entry `sequence` of the ledger: `version` scores from the partition `live_from` on."""

    sequence: int
    live_from: str
    version: str


class Retraining(NamedTuple):
    """A retraining as of `partition`, about the champion `version`; `signals` are the governor's reasons, none if somebody else began
    it.
    """

    partition: str
    version: str
    signals: tuple[str, ...]


@dataclass(frozen=True)
class History:
    """The records of model `name`, as far as the decision on `partition` needs it.

    `scored_by` is the version that scored the partition: another than the champion where that could not be used. `reference` is the champion's.
    `decided` is the newest partition on which anything was decided, `window_nights` how many nights a whole window of the champion has,
    `trained_until` the first date that the champion did not learn from (None: unknown).
    """

    name: str
    partition: str
    scored_by: str
    promotions: Sequence[Promotion]
    nights: Sequence[Night]
    outcomes: Sequence[Outcome] = ()
    retrainings: Sequence[Retraining] = ()
    reference: Reference | None = None
    decided: str | None = None
    window_nights: int | None = None
    trained_until: str | None = None
    quality_name: str = "AUC"

    @property
    def champion(self) -> Promotion:
        """The promotion that was live on the partition. Raises `ConfigError` if there was none."""
        live = [promotion for promotion in self.promotions if promotion.live_from <= self.partition]
        if not live:
            raise ConfigError(f"no version of {self.name} was champion on {self.partition}; promote one that is live from then, or earlier")
        return max(live, key=lambda promotion: promotion.sequence)

    @property
    def begun(self) -> list[str]:
        """The partitions before this one as of which a retraining began, about any champion. A retraining of this night is its own."""
        return [retraining.partition for retraining in self.retrainings if retraining.partition < self.partition]


def days_after(partition: str, days: int) -> str:
    """Return the partition `days` after `partition`, or the last one of the calendar."""
    date = dt.date.fromisoformat(partition)
    return (date + dt.timedelta(days=min(days, (dt.date.max - date).days))).isoformat()
