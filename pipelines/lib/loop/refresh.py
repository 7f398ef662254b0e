"""The schedule: a champion is retrained after a number of days, also if nothing is wrong with it."""

import datetime as dt

from pipelines.lib.loop.champion_history import History, days_after
from pipelines.lib.loop.retraining_policy import Policy
from pipelines.lib.loop.signals import Signal

REFRESH = "refresh"


def refresh_signal(history: History, policy: Policy) -> Signal | None:
    """Return whether a retraining is due by ``govern.refresh_days``, or None if that is not set.

    The days count from the last night that the champion learned from, or from the last retraining if that is later. So a champion that
    remains after a refused challenger waits a whole period again, and one that a rollback brought back does not start at once.
    """
    if policy.refresh_days is None:
        return None
    if history.trained_until is None:
        return Signal(REFRESH, lacks="refresh has no dates of training in the champion's profile")
    learned = (dt.date.fromisoformat(history.trained_until) - dt.timedelta(days=1)).isoformat()
    since = max([learned, *history.begun])
    due = days_after(since, policy.refresh_days)
    days = (dt.date.fromisoformat(history.partition) - dt.date.fromisoformat(since)).days
    source = f"version {history.champion.version} learned until {since}" if since == learned else f"the last retraining was on {since}"
    alarm = history.partition >= due
    words = (
        f"refresh is due: {source}, {days} days ago, govern.refresh_days is {policy.refresh_days}" if alarm else f"refresh is due on {due}"
    )
    return Signal(REFRESH, alarm=alarm, words=words, findings={"since": since, "days": days, "due": due})
