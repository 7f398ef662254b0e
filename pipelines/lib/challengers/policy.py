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
from pipelines.lib.challengers.shown import Row, rows_of
from pipelines.lib.core.params import Section
from pipelines.lib.measures.forecasts import ForecastSummary
from pipelines.lib.measures.tasks import TASKS
from pipelines.lib.models.costs import Costs
from pipelines.lib.tables.dataset import TaskName


class Policy(Section):
    """The policy. Differences are challenger minus champion on the rows that neither has trained on; intervals are from night to night.

    * `maximum_p_value`: a difference counts as clear up to this two-sided p-value
    * `maximum_log_loss_increase` (nats), `maximum_calibration_error_increase`, `maximum_slice_auc_loss` (AUC): how much worse is tolerable. Of forecasts they
      are shares: of the variance of the outcomes, of their standard deviation, and of R²
    * `maximum_latency_ratio`, `maximum_memory_ratio`: as multiples of the champion's median time per row and of its memory
    * `maximum_disagreement`: share of the shadowed rows on which the decisions may differ before a person is asked
    * `unclear`: what follows if no difference is clear: ask a person, or promote the challenger because it is fresher
    * `fresher_margin`: how much higher the loss of a fresher challenger may be, as a share of the champion's loss
    * `watch_nights`: how many nights after such a promotion are compared with the former champion
    * `watch_p_value`: two-sided p-value up to which the champion's loss on all of them is clear, so that it is rolled back
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
    watch_p_value: float = Field(default=0.02, gt=0, lt=1)


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
    questions = _degraded(found) + _shadow_questions(shadow, policy, evaluation.task if isinstance(evaluation, Evaluation) else "binary")
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


def _worse(comparison: Comparison, policy: Policy) -> list[str]:
    reasons = []
    quality, loss, words = comparison.quality_difference, comparison.loss_difference, TASKS[comparison.task]
    if quality.value < 0 and _clear(quality, policy):
        reasons.append(f"its {words.quality_name} is lower than the champion's, by {with_interval(quality)}")
    if loss.value > policy.maximum_log_loss_increase and _clear(loss, policy):
        reasons.append(
            f"its {words.loss_name} is worse than the champion's by more than {policy.maximum_log_loss_increase:g}, by {with_interval(loss)}"
        )
    unit = comparison.challenger.spread or 1.0 if isinstance(comparison.challenger, ForecastSummary) else 1.0
    change = (comparison.challenger.calibration_error - comparison.champion.calibration_error) / unit
    if change > policy.maximum_calibration_error_increase:
        reasons.append(
            f"its calibration error is {change:.4f} above the champion's, more than {policy.maximum_calibration_error_increase:g}"
        )
    for part in comparison.slices:  # with many slices, one is bad by chance: so the more there are, the clearer each must be (Bonferroni)
        fall = part.quality_difference
        if fall.value < -policy.maximum_slice_auc_loss and fall.p is not None and fall.p * len(comparison.slices) <= policy.maximum_p_value:
            reasons.append(
                f"on {part.label} its {words.quality_name} falls by more than {policy.maximum_slice_auc_loss:g}: {with_interval(fall)}"
            )
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


def _unclear(comparison: Comparison, policy: Policy) -> list[str]:
    quality, loss, words = comparison.quality_difference, comparison.loss_difference, TASKS[comparison.task]
    reasons = []
    if quality.value < 0:
        reasons.append(f"its {words.quality_name} is not higher: {with_interval(quality)}")
    if loss.value > 0:
        reasons.append(f"its {words.loss_name} is not lower: {with_interval(loss)}")
    if not (_clear(quality, policy) or _clear(loss, policy)):
        reasons.append(f"neither gain is clear from {comparison.nights} nights: {_differences(comparison)}")
    return reasons


def _fallen_slices(comparison: Comparison, policy: Policy) -> list[str]:
    return [
        f"on {part.label} its {TASKS[comparison.task].quality_name} falls: {with_interval(part.quality_difference)}"
        for part in comparison.slices
        if part.quality_difference.value < -policy.maximum_slice_auc_loss and _clear(part.quality_difference, policy)
    ]


def _too_bad_for_fresher(comparison: Comparison, policy: Policy) -> list[str]:
    """Return why a challenger that is not clearly better must not be promoted only because it is fresher; none if it may be."""
    quality, loss, loss_name = comparison.quality_difference, comparison.loss_difference, TASKS[comparison.task].loss_name
    if quality.p is None or loss.p is None:
        return [f"too few rows or nights for an interval, so that it is fresher is not enough: {_differences(comparison)}"]
    allowed = policy.fresher_margin * comparison.champion.loss
    if loss.value > 0 and _clear(loss, policy):
        return [f"its {loss_name} is clearly higher, so that it is fresher is not enough: {with_interval(loss)}"]
    if loss.value > allowed:
        return [
            f"its {loss_name} is higher by more than {policy.fresher_margin:.2%} of the champion's, {allowed:.4f}, so that it is fresher is not enough: "
            f"{with_interval(loss)}"
        ]
    return []


def _fresher(comparison: Comparison, policy: Policy) -> str:
    better = _clear(comparison.quality_difference, policy) or _clear(comparison.loss_difference, policy)
    finding = "not every figure is better, and none is clearly worse" if better else "no clear difference"
    return (
        f"promoted because it is fresher: {finding} on {comparison.nights} nights that neither has trained on, {_differences(comparison)}"
    )


def _degraded(comparison: Comparison | Incomparable | None) -> list[str]:
    if comparison is None or not comparison.degraded:
        return []
    return [
        f"it was compared with version {comparison.version}, since the file of the champion, version {comparison.instead_of}, is broken"
    ]


def _differs(disagreement: float, task: TaskName) -> str:
    if task == "binary":
        return f"it decides {disagreement:.1%} of the shadowed rows differently"
    return f"its forecasts of the shadowed rows are {disagreement:.1%} of the spread of the champion's away from them"


def _shadow_questions(shadow: Shadow, policy: Policy, task: TaskName) -> list[str]:
    overall, skipped = shadow.overall, [night.skipped for night in shadow.nights if isinstance(night, SkippedNight)]
    if overall and overall.disagreement > policy.maximum_disagreement:
        return [f"{_differs(overall.disagreement, task)}, more than {policy.maximum_disagreement:.1%}"]
    if skipped and not overall:
        return [f"none of the last {len(skipped)} published nights could be shadowed: {skipped[-1]}"]
    return []


def _gains(comparison: Comparison) -> list[str]:
    return [f"{_differences(comparison)} on {comparison.nights} nights that neither has trained on"]


def _differences(comparison: Comparison) -> str:
    words = TASKS[comparison.task]
    return f"{words.quality_name} {with_interval(comparison.quality_difference)}, {words.loss_name} {with_interval(comparison.loss_difference)}"


def _unjudged(comparison: Comparison, shadow: Shadow) -> list[str]:
    """Name the missing evidence: the reader of a promotion must not believe that everything was judged."""
    unsure = [part.label for part in comparison.slices if part.quality_difference.p is None]
    enough = "rows of both outcomes" if comparison.task == "binary" else "rows"
    reasons = [] if comparison.slices else [f"not judged: its slices, none of which has enough {enough}"]
    if unsure:
        reasons.append(
            f"not judged: {len(unsure)} of {len(comparison.slices)} slices, with too few rows or nights: {', '.join(unsure[:5])}"
        )
    return reasons if shadow.nights else [*reasons, "not judged: its shadow, since no night is published yet"]


def with_interval(difference: Difference) -> str:
    """Return a difference with its interval, in words."""
    if difference.low is None:
        return f"{difference.value:+.4f} (too few rows or nights for an interval)"
    return f"{difference.value:+.4f} ({difference.low:+.4f} to {difference.high:+.4f})"


def table(comparison: Comparison, shadow: Shadow, challenger: Costs | None, champion: Costs | None) -> Table:
    """Return the comparison for the person who approves or refuses the challenger."""
    rows = [(row.name, _cell(row.champion), _cell(row.challenger), _difference(row)) for row in rows_of(comparison)]
    for part in sorted(comparison.slices, key=lambda part: part.quality_difference.value)[:3]:
        what = f"{TASKS[comparison.task].quality_name} of {part.label}, among its worst slices"
        rows.append((what, _cell(part.champion.quality), _cell(part.challenger.quality), with_interval(part.quality_difference)))
    if challenger and champion:
        for name, theirs, mine in (
            ("µs per row, median", champion.p50_us, challenger.p50_us),
            ("memory, MiB", champion.memory_mib, challenger.memory_mib),
            ("size, MiB", champion.size_mib, challenger.size_mib),
        ):
            rows.append((name, f"{theirs:g}", f"{mine:g}", f"{mine - theirs:+.2f}"))
    if overall := shadow.overall:
        shadowed = f"{overall.rows:,} published rows of the shadow"
        score = "score" if comparison.task == "binary" else "forecast"
        rows.append((f"mean {score} on {shadowed}", _cell(overall.champion_mean), _cell(overall.challenger_mean), ""))
        rows.append(
            (f"decisions on {shadowed}", "", f"{overall.disagreement:.1%} differ", "")
            if comparison.task == "binary"
            else (f"forecasts on {shadowed}", "", f"{overall.disagreement:.1%} of their spread apart", "")
        )
    head = f"On {comparison.champion.rows:,} rows of {comparison.nights} nights from {comparison.since} on, which neither model has trained on."
    return Table(head, ("", "champion", "challenger", "difference (95 % interval)"), tuple(rows))


def _difference(row: Row) -> str:
    if row.difference is None:
        return ""
    return (
        f"{row.difference:+.4f}"
        if row.low is None and not row.judged
        else with_interval(Difference(row.difference, row.low, row.high, row.p))
    )


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
