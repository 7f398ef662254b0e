"""The two signals for a retraining: drift of the inputs, and a loss of quality. Each may lack the data to be judged."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.lib.loop.champion_history import History, Night, Outcome, Reference
from pipelines.lib.loop.retraining_policy import Policy


@dataclass(frozen=True)
class Signal:
    """One reason to retrain: whether it says so, in words, with the figures behind it; or what it `lacks`, and then it was not judged."""

    name: str
    alarm: bool = False
    words: str = ""
    lacks: str = ""
    findings: dict[str, Any] = field(default_factory=dict)

    @property
    def judged(self) -> bool:
        """Whether there was enough to say yes or no."""
        return not self.lacks


def drift_signal(history: History, policy: Policy) -> Signal:
    """Return whether the champion's last windows differ from what it learned from."""
    nights = _nights(history, policy)[-policy.alarm_window_nights :]
    if lacks := _drift_lacks(history, policy, len(nights)):
        return Signal("drift", lacks=lacks)
    now = nights[-1]
    limits = {name: policy.limit(measure.noise) for name, measure in now.features.items()}
    drifted = sorted(name for name, measure in now.features.items() if measure.psi > limits[name])
    share = sum(now.features[name].importance for name in drifted)
    over = [night.partition for night in nights if not _calm(night, policy, 1.0)]
    weighty = {name: now.features[name] for name in _top(now, policy)} | {"the score": now.score}
    worst = max(weighty, key=lambda name: (weighty[name].psi / policy.limit(weighty[name].noise), name))
    findings = {
        "nights": [night.partition for night in nights],
        "alarming": over,
        "drifted": {name: {"psi": round(now.features[name].psi, 4), "limit": round(limits[name], 4)} for name in drifted},
        "importance_share": round(share, 4),
        "worst": {"name": worst, "psi": round(weighty[worst].psi, 4), "limit": round(policy.limit(weighty[worst].noise), 4)},
    }
    words = (
        f"PSI of {worst} is {weighty[worst].psi:.2f}, limit {policy.limit(weighty[worst].noise):.2f}, and what has drifted carries "
        f"{share:.2f} of the importance, limit {policy.importance_share:.2f}; {len(over)} of {len(nights)} nights alarm, "
        f"{policy.alarm_nights} are needed"
    )
    return Signal("drift", alarm=len(over) >= policy.alarm_nights and over[-1] == now.partition, words=words, findings=findings)


def _drift_lacks(history: History, policy: Policy, enough: int) -> str:
    """Return what keeps drift from being judged, `enough` windows of the last ones being long enough; empty if nothing does."""
    watched = _watched(history)
    if unreachable := _unreachable(watched, history.window_nights, policy):
        return unreachable
    if not watched or watched[-1].partition != history.partition:
        return "drift has no window that ends with this night"
    if lacking := policy.lacking(watched[-1].nights, watched[-1].rows):
        return f"drift has {lacking}"
    return f"drift has {enough} of {policy.alarm_nights} windows" if enough < policy.alarm_nights else ""


def _unreachable(watched: Sequence[Night], window_nights: int | None, policy: Policy) -> str:
    """Say that a whole window of nights like the last ones never holds enough rows; empty if it can, or too few nights are known to say so.

    Two nights of a weekend do not represent the week.
    """
    if not watched or window_nights is None or watched[-1].nights < policy.minimum_nights:
        return ""
    rate = watched[-1].rows / watched[-1].nights
    whole = math.floor(rate * window_nights)
    if watched[-1].rows >= policy.minimum_rows or whole >= policy.minimum_rows:
        return ""
    return (
        f"drift can never be judged with {rate:.0f} rows per night: a window of {window_nights} nights holds {whole} rows, govern.minimum_rows is "
        f"{policy.minimum_rows}. Set govern.minimum_rows in params.yaml to at most {whole}, or train on more nights, which allows a longer window"
    )


def quality_signal(history: History, policy: Policy) -> Signal:
    """Return whether the champion's quality on its last nights with outcomes is clearly below that of its holdout."""
    known = _outcomes(history)
    rows = _newest(known, policy)
    if history.reference is None:
        return Signal("quality", lacks="quality has no reference in the champion's profile")
    if len(known) < policy.quality_nights:
        return Signal("quality", lacks=f"quality has {len(known)} of {policy.quality_nights} nights with outcomes")
    if not rows:
        held = sum(row.rows for row in known)
        return Signal("quality", lacks=f"quality has {held} of {policy.minimum_rows} rows with outcomes, in {len(known)} nights")
    quality, loss, allowed = _loss(rows, history.reference, policy)
    return Signal(
        "quality",
        alarm=loss > allowed,
        words=f"{history.quality_name} of the last {len(rows)} nights with outcomes is {quality:.3f}, limit {history.reference.quality - allowed:.3f}",
        findings={
            "nights": [row.partition for row in rows],
            "quality": round(quality, 4),
            "reference": round(history.reference.quality, 4),
            "limit": round(history.reference.quality - allowed, 4),
        },
    )


def outcomes_known(history: History) -> int:
    """Return how many of the champion's nights have a quality."""
    return len(_outcomes(history))


def has_been_calm(signal: str, since: str, history: History, policy: Policy) -> bool:
    """Return whether a night after `since` stayed below `rearm_share` times every limit of the `signal`."""
    if signal == "drift":
        return any(_calm(night, policy, policy.rearm_share) for night in _nights(history, policy) if night.partition > since)
    rows = _outcomes(history)
    windows = (_newest(rows[: end + 1], policy) for end in range(len(rows)) if rows[end].partition > since)
    found = (_loss(window, history.reference, policy) for window in windows if window)
    return any(loss < policy.rearm_share * allowed for _, loss, allowed in found)


def _newest(rows: Sequence[Outcome], policy: Policy) -> Sequence[Outcome]:
    """Return the newest of `rows`: `quality_nights`, or as many more as it takes to hold `minimum_rows`; none if there are too few.

    A small table needs more nights for the same certainty, and has them in time.
    """
    held = 0
    for count, row in enumerate(reversed(rows), start=1):
        held += row.rows
        if count >= policy.quality_nights and held >= policy.minimum_rows:
            return rows[len(rows) - count :]
    return ()


def _loss(rows: Sequence[Outcome], reference: Reference | None, policy: Policy) -> tuple[float, float, float]:
    """Return (quality of `rows`, weighted by rows; how far below the reference it is; how far it may be)."""
    quality = sum(row.rows * (row.quality or 0.0) for row in rows) / sum(row.rows for row in rows)
    if reference is None:
        return quality, 0.0, math.inf
    error = reference.night_sd * math.sqrt(1 / len(rows) + 1 / reference.nights)
    return quality, reference.quality - quality, max(policy.auc_loss, policy.spread_factor * error)


def _watched(history: History) -> list[Night]:
    """Return the champion's windows, oldest first: since it is champion, not those of its time before a rollback brought it back."""
    champion = history.champion
    found = (n for n in history.nights if n.version == champion.version and champion.live_from <= n.partition <= history.partition)
    return sorted(found, key=lambda night: night.partition)


def _nights(history: History, policy: Policy) -> list[Night]:
    """Return those of the champion's windows that hold enough, oldest first."""
    return [night for night in _watched(history) if not policy.lacking(night.nights, night.rows)]


def _outcomes(history: History) -> list[Outcome]:
    """Return the champion's nights that have a quality, oldest first, since it is champion."""
    champion = history.champion
    return sorted(
        row
        for row in history.outcomes
        if row.version == champion.version and champion.live_from <= row.partition < history.partition and row.quality is not None
    )


def _calm(night: Night, policy: Policy, scale: float) -> bool:
    """Return whether the night stays under all limits times `scale`."""
    drifted = {name for name, measure in night.features.items() if measure.psi > scale * policy.limit(measure.noise)}
    share = sum(night.features[name].importance for name in sorted(drifted))
    return (
        share < scale * policy.importance_share
        and not drifted & set(_top(night, policy))
        and night.score.psi <= scale * policy.limit(night.score.noise)
    )


def _top(night: Night, policy: Policy) -> list[str]:
    """Return the most important features."""
    return sorted(night.features, key=lambda name: (-night.features[name].importance, name))[: policy.top_features]
