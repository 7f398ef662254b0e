"""When to retrain: a pure function of what was recorded, and of the policy in ``params.yaml``.

Two signals are read, each over nights that the present champion scored since it is champion:

*drift*: a window of nights differs from what the model learned from. A feature has drifted where its population stability index exceeds a
limit that grows with what sampling alone does (`Measure.noise`): a week has seven weathers, so its temperature has a PSI of .5 in the calmest
of years. A night alarms when a top feature or the score has drifted, or features that together carry much of the importance.

*quality*: the mean AUC of the last nights with outcomes lies below that of the holdout by more than a loss worth acting on, and by more than
their standard error, ``night_sd * sqrt(1/n + 1/m)`` for n nights against m of the holdout (the error of the difference of two means).

An alarm must be armed, and then wait for outcomes, cool-down and budget. The same history gives the same decision, in whatever order its rows come.
"""

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import Field

from pipelines.lib.errors import ConfigError
from pipelines.lib.journal import Decision
from pipelines.lib.params import Section


class Policy(Section):
    """Section ``govern``; what each number means stands beside it there."""

    minimum_rows: int = Field(ge=1)
    minimum_nights: int = Field(ge=1)
    psi_limit: float = Field(gt=0)
    noise_factor: float = Field(ge=1)
    top_features: int = Field(ge=0)
    importance_share: float = Field(gt=0, le=1)
    alarms: int = Field(ge=1)
    of_nights: int = Field(ge=1)
    quality_nights: int = Field(ge=1)
    auc_loss: float = Field(gt=0)
    spread_factor: float = Field(ge=0)
    rearm: float = Field(gt=0, le=1)
    retry_nights: int = Field(ge=1)
    outcome_nights: int = Field(ge=0)
    cool_down_nights: int = Field(ge=0)
    per_month: int = Field(ge=0)

    def limit(self, noise: float) -> float:
        """The PSI above which a column of this noise has drifted."""
        return max(self.psi_limit, self.noise_factor * noise)


class Measure(NamedTuple):
    """How far a window lies from the reference: its PSI, the PSI that sampling whole nights alone reaches, the share of importance."""

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
    """The AUC of `rows` scores of a night with outcomes; None where they are all of one class."""

    partition: str
    version: str
    rows: int
    auc: float | None


class Reference(NamedTuple):
    """Quality on the holdout: the mean of its `nights` nights' AUC, and their standard deviation."""

    auc: float
    night_sd: float
    nights: int


class Promotion(NamedTuple):
    """Entry `sequence` of the ledger: `version` scores from the partition `live_from` on."""

    sequence: int
    live_from: str
    version: str


class Retraining(NamedTuple):
    """A retraining as of `partition`, about the champion `version`; `signals` are the governor's reasons, none where somebody else began it."""

    partition: str
    version: str
    signals: tuple[str, ...]


@dataclass(frozen=True)
class History:
    """What is recorded of model `name`, as far as the decision on `partition` needs it.

    `scored_by` is the version that scored the partition: another than the champion where that could not be used. `reference` is the champion's.
    `decided` is the newest partition on which anything was decided.
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

    @property
    def champion(self) -> Promotion:
        """The promotion that was live on the partition. Raises `ConfigError` where there was none."""
        live = [promotion for promotion in self.promotions if promotion.live_from <= self.partition]
        if not live:
            raise ConfigError(f"no version of {self.name} was champion on {self.partition}; promote one that is live from then, or earlier")
        return max(live, key=lambda promotion: promotion.sequence)


@dataclass(frozen=True)
class Signal:
    """One reason to retrain: whether it says so, in words, with the figures behind it; or what it `lacks` to be judged."""

    name: str
    alarm: bool = False
    words: str = ""
    lacks: str = ""
    findings: dict[str, Any] = field(default_factory=dict)


def govern(history: History, policy: Policy) -> Decision:
    """Whether the champion of `history` should be retrained on its partition, and why; the same for the same `history` and `policy`."""
    signals = [_drift(history, policy), _quality(history, policy)]
    alarms = [signal for signal in signals if signal.alarm]
    armed = [signal for signal in alarms if _armed(signal.name, history, policy)]
    block = _beside_the_point(history) or (_blocked(history, policy, alarms, armed) if alarms else None)
    words = _words(armed or alarms or signals, history.champion.version)
    retrain = bool(armed) and block is None
    return Decision(
        name=history.name,
        partition=history.partition,
        version=history.champion.version,
        retrain=retrain,
        reason=f"yes: {words}" if retrain else f"no: {block} ({words})" if block else f"no: {words}",
        findings={"signals": [signal.name for signal in armed] if retrain else [], **{signal.name: signal.findings for signal in signals}},
    )


def _words(signals: Sequence[Signal], version: str) -> str:
    """What `signals` say; what they lack stands in one sentence at the end."""
    lacks = ", and ".join(signal.lacks for signal in signals if signal.lacks)
    told = [signal.words for signal in signals if signal.words]
    return "; ".join([*told, f"too little is known of version {version}: {lacks}"] if lacks else told)


def _beside_the_point(history: History) -> str | None:
    """An old night, watched late, must not start anything: the world has moved on since. Nor may a night that another model scored."""
    if history.scored_by != history.champion.version:
        return f"version {history.scored_by} scored this night in place of the champion, version {history.champion.version}"
    promotions = [promotion for promotion in history.promotions if promotion.live_from > history.partition]
    retrainings = [retraining.partition for retraining in history.retrainings if retraining.partition > history.partition]
    if promotions:
        later = max(promotions, key=lambda promotion: promotion.sequence)
        return f"version {later.version} is champion from {later.live_from} on"
    if retrainings:
        return f"there was a retraining on {max(retrainings)}, after this night"
    if history.decided is not None and history.decided > history.partition:
        return f"a later night, {history.decided}, has been decided on"
    return None


def _blocked(history: History, policy: Policy, alarms: Sequence[Signal], armed: Sequence[Signal]) -> str | None:
    """What holds an alarm back, if anything does."""
    today = history.partition
    begun = [retraining.partition for retraining in history.retrainings if retraining.partition < today]
    last = max([*begun, history.champion.live_from])
    until = _after(last, policy.cool_down_nights)
    if today < until:
        return f"cool-down until {until}"
    used = sum(partition[:7] == today[:7] for partition in begun)
    if used >= policy.per_month:
        return f"{used} of {policy.per_month} retrainings of {today[:7]} are used"
    known = len(_outcomes(history))
    if known < policy.outcome_nights:
        return f"{known} nights of version {history.champion.version} have outcomes, retraining waits for {policy.outcome_nights}"
    if not armed:
        names = " and ".join(signal.name for signal in alarms)
        return f"{names} led to a retraining on {last} and has not been calm since, so it waits until {_after(last, policy.retry_nights)}"
    return None


def _armed(signal: str, history: History, policy: Policy) -> bool:
    """Hysteresis: what has led to a retraining that left the champion in place counts again after a calm night, or after `retry_nights`."""
    version = history.champion.version
    begun = [r.partition for r in history.retrainings if r.version == version and signal in r.signals and r.partition < history.partition]
    if not begun or history.partition >= _after(max(begun), policy.retry_nights):
        return True
    if signal == "drift":
        return any(_calm(night, policy) for night in _nights(history, policy) if night.partition > max(begun))
    rows = _outcomes(history)
    found = (
        _loss(rows[: end + 1], history.reference, policy)
        for end in range(policy.quality_nights - 1, len(rows))
        if rows[end].partition > max(begun)
    )
    return any(loss < policy.rearm * allowed for _, loss, allowed in found)


def _drift(history: History, policy: Policy) -> Signal:
    nights = _nights(history, policy)[-policy.of_nights :]
    if len(nights) < policy.alarms:
        return Signal(
            "drift", lacks=f"{len(nights)} of {policy.alarms} windows of {policy.minimum_nights} nights and {policy.minimum_rows} rows"
        )
    if nights[-1].partition != history.partition:
        return Signal("drift", lacks=f"no window of {policy.minimum_nights} nights and {policy.minimum_rows} rows ends with this night")
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
        f"PSI of {worst} is {_short(weighty[worst].psi)}, limit {_short(policy.limit(weighty[worst].noise))}, and what has drifted carries "
        f"{_short(share)} of the importance, limit {_short(policy.importance_share)}; {len(over)} of {len(nights)} nights alarm, "
        f"{policy.alarms} are needed"
    )
    return Signal("drift", alarm=len(over) >= policy.alarms and over[-1] == now.partition, words=words, findings=findings)


def _quality(history: History, policy: Policy) -> Signal:
    rows = _outcomes(history)[-policy.quality_nights :]
    if history.reference is None:
        return Signal("quality", words="the champion's profile tells no quality to compare with")
    if len(rows) < policy.quality_nights:
        return Signal("quality", lacks=f"{len(rows)} of {policy.quality_nights} nights with outcomes")
    if sum(row.rows for row in rows) < policy.minimum_rows:
        return Signal("quality", lacks=f"{sum(row.rows for row in rows)} of {policy.minimum_rows} rows with outcomes")
    auc, loss, allowed = _loss(rows, history.reference, policy)
    return Signal(
        "quality",
        alarm=loss > allowed,
        words=f"AUC of the last {len(rows)} nights with outcomes is {_short(auc, 3)}, limit {_short(history.reference.auc - allowed, 3)}",
        findings={
            "nights": [row.partition for row in rows],
            "auc": round(auc, 4),
            "reference": round(history.reference.auc, 4),
            "limit": round(history.reference.auc - allowed, 4),
        },
    )


def _loss(rows: Sequence[Outcome], reference: Reference | None, policy: Policy) -> tuple[float, float, float]:
    """(AUC of the newest `quality_nights` of `rows`, weighted by rows; how far below the reference it is; how far it may be)."""
    newest = rows[-policy.quality_nights :]
    auc = sum(row.rows * (row.auc or 0.0) for row in newest) / sum(row.rows for row in newest)
    if reference is None:
        return auc, 0.0, math.inf
    error = reference.night_sd * math.sqrt(1 / len(newest) + 1 / reference.nights)
    return auc, reference.auc - auc, max(policy.auc_loss, policy.spread_factor * error)


def _nights(history: History, policy: Policy) -> list[Night]:
    """The champion's windows that hold enough, oldest first: since it is champion, not those of its time before a rollback brought it back."""
    champion = history.champion
    enough = [
        night
        for night in history.nights
        if night.version == champion.version
        and champion.live_from <= night.partition <= history.partition
        and night.rows >= policy.minimum_rows
        and night.nights >= policy.minimum_nights
    ]
    return sorted(enough, key=lambda night: night.partition)


def _outcomes(history: History) -> list[Outcome]:
    """The champion's nights that have an AUC, oldest first, since it is champion."""
    champion = history.champion
    return sorted(
        row
        for row in history.outcomes
        if row.version == champion.version and champion.live_from <= row.partition < history.partition and row.auc is not None
    )


def _calm(night: Night, policy: Policy, scale: float | None = None) -> bool:
    """Whether the night stays under all limits times `scale`, by default `rearm`."""
    scale = policy.rearm if scale is None else scale
    drifted = {name for name, measure in night.features.items() if measure.psi > scale * policy.limit(measure.noise)}
    share = sum(night.features[name].importance for name in sorted(drifted))
    return (
        share < scale * policy.importance_share
        and not drifted & set(_top(night, policy))
        and night.score.psi <= scale * policy.limit(night.score.noise)
    )


def _top(night: Night, policy: Policy) -> list[str]:
    """The most important features."""
    return sorted(night.features, key=lambda name: (-night.features[name].importance, name))[: policy.top_features]


def _after(partition: str, days: int) -> str:
    return (dt.date.fromisoformat(partition) + dt.timedelta(days=days)).isoformat()


def _short(value: float, digits: int = 2) -> str:
    return f"{value:.{digits}f}".removeprefix("0")
