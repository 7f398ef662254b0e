"""An encoder beside the champion, on rows that neither has seen: what the gate before a promotion goes by."""

import datetime as dt
from typing import Any

from pipelines.lib.core.partition import parse_partition
from pipelines.lib.encoders.encoder import Encoder
from pipelines.lib.features.history import History
from pipelines.lib.measures import metrics


def compare(encoder: Encoder, champion: Encoder, holdout: History) -> dict[str, Any]:
    """The AUC of both on `holdout`, which neither has seen; or why they are `incomparable`, or the `fault` for which this one must not go on."""
    since = encoder.trained_until
    rows = holdout.since(since)
    if champion.signature != encoder.signature:
        return {"incomparable": "the champion takes other features than these, so it cannot be compared with"}
    if champion.trained_until > since:
        last = (parse_partition(champion.trained_until) - dt.timedelta(days=1)).isoformat()
        return {
            "fault": f"the champion has learned from nights up to {last}, this one's holdout begins on {since}; train as of a later partition"
        }
    if not 0 < rows.labels.sum() < len(rows.labels):
        return {
            "fault": f"the {len(rows.labels)} labelled rows from {since} on are of one class at most, so they tell nothing of either; train as of another partition"
        }
    mine, theirs = (metrics.summary(rows.labels, one.probability(rows.features))["auc"] for one in (encoder, champion))
    return {"since": since, "rows": len(rows.labels), "auc": mine, "champion_auc": theirs}
