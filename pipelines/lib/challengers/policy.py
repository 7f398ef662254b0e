"""When a challenger becomes champion: a pure function of the measurements and of the numbers in ``params.yaml``.

See docs/explanation/promotion.md for the rules in words. The verdict names every reason against a challenger, not only the first.
"""

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from pipelines.lib.challengers.agreement import Shadow, SkippedNight
from pipelines.lib.challengers.comparison import RARER_NIGHTS, Comparison, Difference, Incomparable
from pipelines.lib.challengers.decision import Basis, Table
from pipelines.lib.challengers.evaluation import Evaluation, Unscored
from pipelines.lib.core.params import Section
from pipelines.lib.models.costs import Costs


class Policy(Section):
    """The policy. Differences are challenger minus champion on the rows that neither has trained on; intervals are from night to night.

    * `maximum_p_value`: a difference counts as clear up to this two-sided p-value
    * `maximum_log_loss_increase` (nats), `maximum_calibration_error_increase`, `maximum_slice_auc_loss` (AUC): how much worse is tolerable
    * `maximum_latency_ratio`, `maximum_memory_ratio`: as multiples of the champion's median time per row and of its memory
    * `maximum_disagreement`: share of the shadowed rows on which the decisions may differ before a person is asked
    * `unclear`: what follows if no difference is clear: ask a person, or promote the challenger because it is fresher
    * `fresher_margin`: how much higher the loss of a fresher challenger may be, as a share of the champion's loss
    * `watch_nights`: how many nights after such a promotion are compared with the former champion
    """

    maximum_p_value: float = Field(gt=0, lt=1)
    maximum_log_loss_increase: float = Field(ge=0)
    maximum_calibration_error_increase: float = Field(ge=0)
    maximum_slice_auc_loss: float = Field(ge=0)
    maximum_latency_ratio: float = Field(gt=1)
    maximum_memory_ratio: float = Field(gt=1)
    maximum_disagreement: float = Field(ge=0, le=1)
    unclear: Literal["ask", "fresher"] = "ask"
    fresher_margin: float = Field(default=0.01, ge=0, lt=1)
    watch_nights: int = Field(default=14, ge=RARER_NIGHTS)


@dataclass(frozen=True)
class Verdict:
    """The verdict, all reasons that lead to it, the comparison, which is None if nothing was compared, and the `basis` of a promotion."""

    verdict: Literal["promote", "refuse", "ask"]
    reasons: tuple[str, ...]
    table: Table | None
    basis: Basis | None = None


def decide(
    evaluation: Evaluation | Unscored, shadow: Shadow, policy: Policy, *, challenger: Costs | None, champion: Costs | None
) -> Verdict:
    """Return the verdict on the reports of `evaluate` and `shadow`, and on the costs of `challenger` and `champion`.

    One reason to refuse is enough. Without any, one open question is enough to ask. With ``unclear: fresher``, a challenger without
    a clear difference is promoted.
    """
    found = evaluation.comparison if isinstance(evaluation, Evaluation) else None
    refusals = [*evaluation.faults, *([shadow.fault] if shadow.fault else [])]
    if found and found.sha256 == evaluation.sha256:
        refusals.append("it is already the champion: the two model files are the same, byte for byte")
    if isinstance(found, Comparison):
        refusals += _worse(found, policy)
    if challenger and champion:
        refusals += _dearer(challenger, champion, policy)
    shown = table(found, shadow, challenger, champion) if isinstance(found, Comparison) else None
    if refusals:
        return Verdict("refuse", tuple(refusals), shown)
    questions = _degraded(found) + _shadow_questions(shadow, policy)
    if not isinstance(found, Comparison):
        return Verdict("ask", (found.fault if found else "there is no champion to compare with", *questions), shown)
    unclear, questions = _unclear(found, policy), _fallen_slices(found, policy) + questions
    if unclear and policy.unclear == "fresher":
        unclear = _too_bad_for_fresher(found, policy)
        if not (unclear or questions):
            return Verdict("promote", (_fresher(found, policy), *_unjudged(found, shadow)), shown, "fresher")
    if unclear or questions:
        return Verdict("ask", (*unclear, *questions), shown)
    return Verdict("promote", (*_gains(found), *_unjudged(found, shadow)), shown, "better")


def _clear(difference: Difference, policy: Policy) -> bool:
    return difference.p is not None and difference.p <= policy.maximum_p_value


def _worse(found: Comparison, policy: Policy) -> list[str]:
    reasons = []
    auc, loss = found.auc_difference, found.log_loss_difference
    if auc.value < 0 and _clear(auc, policy):
        reasons.append(f"its AUC is lower than the champion's, by {with_interval(auc)}")
    if loss.value > policy.maximum_log_loss_increase and _clear(loss, policy):
        reasons.append(
            f"its log loss is worse than the champion's by more than {policy.maximum_log_loss_increase:g}, by {with_interval(loss)}"
        )
    change = found.challenger.calibration_error - found.champion.calibration_error
    if change > policy.maximum_calibration_error_increase:
        reasons.append(
            f"its calibration error is {change:.4f} above the champion's, more than {policy.maximum_calibration_error_increase:g}"
        )
    for part in found.slices:  # with many slices, one is bad by chance: so the more there are, the clearer each must be (Bonferroni)
        fall = part.auc_difference
        if fall.value < -policy.maximum_slice_auc_loss and fall.p is not None and fall.p * len(found.slices) <= policy.maximum_p_value:
            reasons.append(f"on {part.label} its AUC falls by more than {policy.maximum_slice_auc_loss:g}: {with_interval(fall)}")
    return reasons


def _dearer(challenger: Costs, champion: Costs, policy: Policy) -> list[str]:
    limits = (
        ("takes", "µs per row", challenger.p50_us, champion.p50_us, policy.maximum_latency_ratio),
        ("needs", "MiB of memory", challenger.memory_mib, champion.memory_mib, policy.maximum_memory_ratio),
    )
    return [
        f"it {verb} {mine:g} {unit}, {mine / theirs:.1f} times the champion's {theirs:g}; {limit:g} times are allowed"
        for verb, unit, mine, theirs, limit in limits
        if theirs > 0 and mine > limit * theirs
    ]


def _unclear(found: Comparison, policy: Policy) -> list[str]:
    auc, loss = found.auc_difference, found.log_loss_difference
    reasons = []
    if auc.value < 0:
        reasons.append(f"its AUC is not higher: {with_interval(auc)}")
    if loss.value > 0:
        reasons.append(f"its log loss is not lower: {with_interval(loss)}")
    if not (_clear(auc, policy) or _clear(loss, policy)):
        reasons.append(f"neither gain is clear from {found.nights} nights: {_differences(found)}")
    return reasons


def _fallen_slices(found: Comparison, policy: Policy) -> list[str]:
    return [
        f"on {part.label} its AUC falls: {with_interval(part.auc_difference)}"
        for part in found.slices
        if part.auc_difference.value < -policy.maximum_slice_auc_loss and _clear(part.auc_difference, policy)
    ]


def _too_bad_for_fresher(found: Comparison, policy: Policy) -> list[str]:
    """Return why a challenger that is not clearly better must not be promoted only because it is fresher; none if it may be."""
    auc, loss = found.auc_difference, found.log_loss_difference
    if auc.p is None or loss.p is None:
        return [f"too few rows or nights for an interval, so that it is fresher is not enough: {_differences(found)}"]
    allowed = policy.fresher_margin * found.champion.log_loss
    if loss.value > 0 and _clear(loss, policy):
        return [f"its log loss is clearly higher, so that it is fresher is not enough: {with_interval(loss)}"]
    if loss.value > allowed:
        return [
            f"its log loss is higher by more than {policy.fresher_margin:.2%} of the champion's, {allowed:.4f}, so that it is fresher is not enough: "
            f"{with_interval(loss)}"
        ]
    return []


def _fresher(found: Comparison, policy: Policy) -> str:
    better = _clear(found.auc_difference, policy) or _clear(found.log_loss_difference, policy)
    finding = "not every figure is better, and none is clearly worse" if better else "no clear difference"
    return f"promoted because it is fresher: {finding} on {found.nights} nights that neither has trained on, {_differences(found)}"


def _degraded(found: Comparison | Incomparable | None) -> list[str]:
    if found is None or not found.degraded:
        return []
    return [f"it was compared with version {found.version}, since the file of the champion, version {found.instead_of}, is broken"]


def _shadow_questions(shadow: Shadow, policy: Policy) -> list[str]:
    overall, skipped = shadow.overall, [night.skipped for night in shadow.nights if isinstance(night, SkippedNight)]
    if overall and overall.disagreement > policy.maximum_disagreement:
        return [f"it decides {overall.disagreement:.1%} of the shadowed rows differently, more than {policy.maximum_disagreement:.1%}"]
    if skipped and not overall:
        return [f"none of the last {len(skipped)} published nights could be shadowed: {skipped[-1]}"]
    return []


def _gains(found: Comparison) -> list[str]:
    return [f"{_differences(found)} on {found.nights} nights that neither has trained on"]


def _differences(found: Comparison) -> str:
    return f"AUC {with_interval(found.auc_difference)}, log loss {with_interval(found.log_loss_difference)}"


def _unjudged(found: Comparison, shadow: Shadow) -> list[str]:
    """Name the missing evidence: the reader of a promotion must not believe that everything was judged."""
    unsure = [part.label for part in found.slices if part.auc_difference.p is None]
    reasons = [] if found.slices else ["not judged: its slices, none of which has enough rows of both outcomes"]
    if unsure:
        reasons.append(f"not judged: {len(unsure)} of {len(found.slices)} slices, with too few rows or nights: {', '.join(unsure[:5])}")
    return reasons if shadow.nights else [*reasons, "not judged: its shadow, since no night is published yet"]


def with_interval(difference: Difference) -> str:
    """Return a difference with its interval, in words."""
    if difference.low is None:
        return f"{difference.value:+.4f} (too few rows or nights for an interval)"
    return f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def table(found: Comparison, shadow: Shadow, challenger: Costs | None, champion: Costs | None) -> Table:
    """Return the comparison for the person who approves or refuses the challenger."""
    sides = found.champion, found.challenger
    rows = [
        ("AUC (more is better)", *(_cell(side.auc) for side in sides), with_interval(found.auc_difference)),
        ("log loss (less is better)", *(_cell(side.log_loss) for side in sides), with_interval(found.log_loss_difference)),
    ]
    for name, theirs, mine in (
        ("Brier score", found.champion.brier, found.challenger.brier),
        ("calibration error", found.champion.calibration_error, found.challenger.calibration_error),
        ("mean score", found.champion.mean_score, found.challenger.mean_score),
    ):
        rows.append((name, _cell(theirs), _cell(mine), f"{mine - theirs:+.4f}"))
    for part in sorted(found.slices, key=lambda part: part.auc_difference.value)[:3]:
        what = f"AUC of {part.label}, among its worst slices"
        rows.append((what, _cell(part.champion.auc), _cell(part.challenger.auc), with_interval(part.auc_difference)))
    if challenger and champion:
        for name, theirs, mine in (
            ("µs per row, median", champion.p50_us, challenger.p50_us),
            ("memory, MiB", champion.memory_mib, challenger.memory_mib),
            ("size, MiB", champion.size_mib, challenger.size_mib),
        ):
            rows.append((name, f"{theirs:g}", f"{mine:g}", f"{mine - theirs:+.2f}"))
    if overall := shadow.overall:
        shadowed = f"{overall.rows:,} published rows of the shadow"
        rows.append((f"mean score on {shadowed}", _cell(overall.champion_mean), _cell(overall.challenger_mean), ""))
        rows.append((f"decisions on {shadowed}", "", f"{overall.disagreement:.1%} differ", ""))
    head = f"On {found.champion.rows:,} rows of {found.nights} nights from {found.since} on, which neither model has trained on."
    return Table(head, ("", "champion", "challenger", "difference (95 % interval)"), tuple(rows))


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
