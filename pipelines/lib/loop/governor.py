"""When to retrain: a pure function of what was recorded, and of the policy in ``params.yaml``.

Two signals are read, each over nights that the present champion scored since it is champion:

*drift*: a window of nights differs from what the model learned from. A feature has drifted where its population stability index exceeds a
limit that grows with what sampling alone does (`Measure.noise`): a week has seven weathers, so its temperature has a PSI of 0.5 in the calmest
of years. A night alarms when a top feature or the score has drifted, or features that together carry much of the importance.

*quality*: the mean AUC of the last nights with outcomes is below that of the holdout by more than a loss worth acting on, and by more than
their standard error, ``night_sd * sqrt(1/n + 1/m)`` for n nights against m of the holdout (the error of the difference of two means).

The schedule is a third reason, if ``refresh_days`` is set: *refresh*, when that many days have passed since the champion's training or the last
retraining (`pipelines.lib.loop.refresh`). It is a date and says nothing of the model, so it is not among what was judged.

A signal that lacks the data is not judged, and the reason says what is missing: that is neither a yes nor a no.

An alarm must be armed, and then wait for outcomes, cool-down and budget. The same history gives the same decision, in any order of its rows.
"""

from collections.abc import Sequence

from pipelines.lib.loop.champion_history import History, days_after
from pipelines.lib.loop.refresh import REFRESH, refresh_signal
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.loop.signals import Signal, drift_signal, has_been_calm, outcomes_known, quality_signal
from pipelines.lib.records.journal import Decision


def govern(history: History, policy: Policy) -> Decision:
    """Return whether the champion of `history` should be retrained on its partition, and why; the same for the same `history` and
    `policy`.
    """
    measured = [drift_signal(history, policy), quality_signal(history, policy)]
    schedule = refresh_signal(history, policy)
    signals = [*measured, schedule] if schedule else measured
    alarms = [signal for signal in signals if signal.alarm]
    armed = [signal for signal in alarms if _armed(signal.name, history, policy)]
    block = _reason_to_skip(history) or (_blocked(history, policy, alarms, armed) if alarms else None)
    words = _words(armed or alarms or signals)
    retrain = bool(armed) and block is None
    return Decision(
        name=history.name,
        partition=history.partition,
        version=history.champion.version,
        retrain=retrain,
        reason=f"yes: {words}" if retrain else f"no: {block} ({words})" if block else words if _nothing(measured) else f"no: {words}",
        findings={
            "signals": [signal.name for signal in armed] if retrain else [],
            "judged": {signal.name: signal.judged for signal in measured},
            **{signal.name: signal.findings for signal in signals},
        },
    )


def _nothing(signals: Sequence[Signal]) -> bool:
    """Return whether nothing was judged: that is neither a yes nor a no."""
    return not any(signal.judged for signal in signals)


def _words(signals: Sequence[Signal]) -> str:
    """Return what `signals` say, then what was not judged for lack of data, and at the end the schedule."""
    raised = [signal.words for signal in signals if signal.words and signal.name != REFRESH]
    lacks = [signal.lacks for signal in signals if signal.lacks]
    scheduled = [signal.words for signal in signals if signal.words and signal.name == REFRESH]
    return "; ".join([*raised, *([f"not judged: not enough data: {', '.join(lacks)}"] if lacks else []), *scheduled])


def _reason_to_skip(history: History) -> str | None:
    """Return why this night must not start a retraining, or None: another version scored it, or later nights or changes are known."""
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
    """Return what holds an alarm back, if anything does."""
    today = history.partition
    begun = history.begun
    last = max([*begun, history.champion.live_from])
    until = days_after(last, policy.cool_down_nights)
    if today < until:
        return f"cool-down until {until}"
    used = sum(partition[:7] == today[:7] for partition in begun)
    if used >= policy.per_month:
        return f"{used} of {policy.per_month} retrainings of {today[:7]} are used"
    known = outcomes_known(history)
    if known < policy.outcome_nights:
        return f"{known} nights of version {history.champion.version} have outcomes, retraining waits for {policy.outcome_nights}"
    if not armed:
        names = " and ".join(signal.name for signal in alarms)
        return (
            f"{names} led to a retraining on {last} and has not been calm since, so it waits until {days_after(last, policy.retry_nights)}"
        )
    return None


def _armed(signal: str, history: History, policy: Policy) -> bool:
    """Return whether `signal` counts: after a retraining that kept the champion, only after a calm night, or after `retry_nights`.

    A refresh always counts: its date is counted from that retraining already.
    """
    if signal == REFRESH:
        return True
    version = history.champion.version
    begun = [r.partition for r in history.retrainings if r.version == version and signal in r.signals and r.partition < history.partition]
    if not begun or history.partition >= days_after(max(begun), policy.retry_nights):
        return True
    return has_been_calm(signal, max(begun), history, policy)
