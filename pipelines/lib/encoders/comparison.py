"""An encoder next to the champion, on rows that neither has seen: the evidence of the gate before a promotion."""

import datetime as dt
from dataclasses import dataclass

from pipelines.lib.core.contract import STRICT
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.encoders.encoder import Encoder
from pipelines.lib.features.history import History
from pipelines.lib.measures import metrics


@dataclass(frozen=True)
class Compared:
    """The AUC of an encoder and of the champion `version` on the same `rows`, those from partition `since` on."""

    __pydantic_config__ = STRICT

    version: str
    sha256: str
    since: str
    rows: int
    auc: float
    champion_auc: float


@dataclass(frozen=True)
class NotCompared:
    """Why an encoder was not compared with the champion `version`. If it `stops` the run, the encoder must not take the champion's
    place.
    """

    __pydantic_config__ = STRICT

    version: str
    sha256: str
    reason: str
    stops: bool


def compare(encoder: Encoder, champion: Encoder, version: str, holdout: History) -> Compared | NotCompared:
    """Compare `encoder` with the `champion`, which is `version`, on the rows of `holdout` that neither has seen."""
    since = encoder.trained_until
    rows = holdout.since(since)
    if champion.signature != encoder.signature:
        return NotCompared(
            version, champion.sha256, "the champion takes other features than these, so it cannot be compared with", stops=False
        )
    if champion.trained_until > since:
        last = (parse_partition(champion.trained_until) - dt.timedelta(days=1)).isoformat()
        reason = f"the champion has learned from nights up to {last}, this one's holdout begins on {since}; train as of a later partition"
        return NotCompared(version, champion.sha256, reason, stops=True)
    mine, theirs = (
        metrics.area(rows.labels, one.probability(rows.coded_for(one.categories).features)) if len(rows.labels) else None
        for one in (encoder, champion)
    )
    if mine is None or theirs is None:
        counted = f"the {len(rows.labels)} labelled rows from {since} on are of one class at most"
        return NotCompared(
            version, champion.sha256, f"{counted}, so they tell nothing of either; train as of another partition", stops=True
        )
    return Compared(version, champion.sha256, since, len(rows.labels), mine, theirs)
