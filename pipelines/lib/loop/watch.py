"""The watch over a champion that was promoted because it is fresher: does it lose against the former champion on the nights that followed?

Both models score the same published nights, and their losses are compared as in `pipelines.lib.challengers.comparison`: night by night, with the
cluster-robust variance and Student's t. The figures of a night are enough for this, so no rows are kept.

The losses are looked at every night. Each look could be wrong by chance, so only the last one uses `decide.watch_p_value`. An earlier one needs
`EARLY_P`: the rule of Haybittle 1971, *Repeated assessment of results in clinical trials of cancer treatment*, British Journal of Radiology 44, and
Peto et al. 1976, British Journal of Cancer 34. It leaves the error of the last look nearly as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.lib.challengers.comparison import LEVEL, RARER_NIGHTS, RARER_ROWS, Difference
from pipelines.lib.challengers.policy import Policy, with_interval
from pipelines.lib.records.ledger import Entry

ACTOR = "watch"
EARLY_P = 0.001
"""The largest p of a clear loss before all nights of the watch have outcomes."""


@dataclass(frozen=True)
class NightLoss:
    """The mean loss per row of both models on the `rows` of a night that have an outcome; `positives` of them are true, None if outcomes are numbers."""

    partition: str
    rows: int
    positives: int | None
    champion: float
    former: float


def watched_promotion(history: Sequence[Entry], partition: str) -> tuple[Entry, Entry] | str:
    """Return the promotion that is watched on `partition` and the entry of the former champion, or why nothing is watched.

    `history` are all entries of the ledger, oldest first. Any later entry ends a watch: a rollback by hand, or another promotion.
    """
    fresher = [entry for entry in history if entry.action == "promote" and (entry.evidence.get("decision") or {}).get("basis") == "fresher"]
    if not fresher:
        return "nothing to watch: no version was promoted because it is fresher"
    last = fresher[-1]
    if last is not history[-1]:
        end = history[last.sequence]  # the entry after it, since they count from 1
        did = "promoted" if end.action == "promote" else "rolled back to"
        return f"the watch of version {last.version} ended: {end.actor} {did} version {end.version} ({end.reason})"
    if last.live_from > partition:
        return f"nothing to watch yet: version {last.version} is live from {last.live_from}"
    return last, history[last.sequence - 2]


def loss_difference(nights: Sequence[NightLoss]) -> Difference:
    """Return the mean loss of the champion minus that of the former one, with its interval; without it if there are too few rows or nights."""
    from scipy.stats import t

    rows = np.array([night.rows for night in nights], dtype=float)
    positives = np.array([night.rows if night.positives is None else night.positives for night in nights], dtype=float)
    change = rows * np.array([night.champion - night.former for night in nights])
    value = float(change.sum() / rows.sum())
    numbers = nights[0].positives is None
    rarer = positives if numbers or positives.sum() < rows.sum() / 2 else rows - positives
    if rarer.sum() < RARER_ROWS or (rarer > 0).sum() < RARER_NIGHTS:
        return Difference(value, None, None, None)
    sums, count = (change - rows * value) / rows.sum(), len(nights)
    error = float(np.sqrt(count / (count - 1) * np.square(sums).sum()))
    if error == 0:
        return Difference(value, value, value, 1.0 if value == 0 else 0.0)
    reach = float(t.ppf((1 + LEVEL) / 2, count - 1)) * error
    return Difference(value, value - reach, value + reach, float(2 * t.sf(abs(value) / error, count - 1)))


def judge(nights: Sequence[NightLoss], policy: Policy, *, last: bool, loss_name: str = "log loss") -> tuple[bool, str]:
    """Return whether the champion clearly loses against the former one, and the finding in words; `last`: no later look follows."""
    if not nights:
        return False, f"0 of {policy.watch_nights} nights have outcomes"
    difference = loss_difference(nights)
    limit = policy.watch_p_value if last else min(EARLY_P, policy.watch_p_value)
    lost = difference.value > 0 and difference.p is not None and difference.p <= limit
    finding = "a clear loss" if lost else "no clear loss"
    figures = f"its {loss_name} less that of the former champion is {with_interval(difference)}"
    return lost, f"{finding} on {len(nights)} of {policy.watch_nights} nights: {figures}"
