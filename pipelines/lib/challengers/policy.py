"""When a challenger becomes champion: a pure function of what was measured and of the numbers in ``params.yaml``.

See docs/explanation/promotion.md for the rules in words. Everything that speaks against a challenger is told, not the first thing found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from pipelines.lib.challengers.decision import Table
from pipelines.lib.core.params import Section


class Policy(Section):
    """The policy. Differences are challenger minus champion on the rows that neither has trained on; intervals are from night to night.

    `maximum_p_value`: the two-sided p-value up to which a difference counts as clear. `maximum_log_loss_increase` (nats), `maximum_calibration_error_increase` and `maximum_slice_auc_loss` (AUC):
    how much worse is tolerable. `maximum_latency_ratio` and `maximum_memory_ratio`: times the champion's median time for a row and memory. `maximum_disagreement`: share of the
    shadowed rows on which the decisions may differ without anybody looking.
    """

    maximum_p_value: float = Field(gt=0, lt=1)
    maximum_log_loss_increase: float = Field(ge=0)
    maximum_calibration_error_increase: float = Field(ge=0)
    maximum_slice_auc_loss: float = Field(ge=0)
    maximum_latency_ratio: float = Field(gt=1)
    maximum_memory_ratio: float = Field(gt=1)
    maximum_disagreement: float = Field(ge=0, le=1)


@dataclass(frozen=True)
class Verdict:
    """What is to be done, why (all reasons, the decisive ones alone) and the comparison; None where nothing was compared."""

    verdict: Literal["promote", "refuse", "ask"]
    reasons: tuple[str, ...]
    table: Table | None


def decide(evaluation: Mapping[str, Any], shadow: Mapping[str, Any], policy: Policy) -> Verdict:
    """The verdict on what `evaluate` and `shadow` have reported; `evaluation["costs"]` holds those of challenger and champion.

    One ground to refuse is enough; without any, one open question is enough to ask.
    """
    found = evaluation["comparison"] or {"fault": "there is no champion to compare with"}
    compared = "fault" not in found
    refusals = [*evaluation["faults"], *([shadow["fault"]] if shadow["fault"] else [])]
    if found.get("sha256") is not None and found["sha256"] == evaluation.get("sha256"):
        refusals.append("it is the very model that is champion already, byte for byte")
    if compared:
        refusals += _worse(found, policy)
    refusals += _dearer(evaluation.get("costs") or {}, policy)
    shown = table(evaluation, shadow)
    if refusals:
        return Verdict("refuse", tuple(refusals), shown)
    questions = _unclear(found, policy) if compared else [found["fault"]]
    questions += _open(found, shadow, policy)
    if questions:
        return Verdict("ask", tuple(questions), shown)
    return Verdict("promote", (*_gains(found), *_unjudged(found, shadow)), shown)


def _clear(difference: Mapping[str, Any], policy: Policy) -> bool:
    return difference["p"] is not None and difference["p"] <= policy.maximum_p_value


def _worse(found: Mapping[str, Any], policy: Policy) -> list[str]:
    reasons = []
    auc, loss = found["auc_difference"], found["log_loss_difference"]
    if auc["value"] < 0 and _clear(auc, policy):
        reasons.append(f"its AUC is lower than the champion's, by {with_interval(auc)}")
    if loss["value"] > policy.maximum_log_loss_increase and _clear(loss, policy):
        reasons.append(
            f"its log loss is worse than the champion's by more than {policy.maximum_log_loss_increase:g}, by {with_interval(loss)}"
        )
    change = found["challenger"]["calibration_error"] - found["champion"]["calibration_error"]
    if change > policy.maximum_calibration_error_increase:
        reasons.append(
            f"its calibration error is {change:.4f} above the champion's, more than {policy.maximum_calibration_error_increase:g}"
        )
    for part in found["slices"]:  # one of many slices is bad by chance: each must be the clearer, the more there are (Bonferroni)
        fall = part["auc_difference"]
        if (
            fall["value"] < -policy.maximum_slice_auc_loss
            and fall["p"] is not None
            and fall["p"] * len(found["slices"]) <= policy.maximum_p_value
        ):
            reasons.append(
                f"on {part['column']} = {part['value']} its AUC falls by more than {policy.maximum_slice_auc_loss:g}: {with_interval(fall)}"
            )
    return reasons


def _dearer(measured: Mapping[str, Any], policy: Policy) -> list[str]:
    mine, theirs = measured.get("challenger"), measured.get("champion")
    limits = (
        ("p50_us", "takes", "µs for a row", policy.maximum_latency_ratio),
        ("memory_mib", "needs", "MiB of memory", policy.maximum_memory_ratio),
    )
    return [
        f"it {verb} {mine[figure]:g} {unit}, {mine[figure] / theirs[figure]:.1f} times the champion's {theirs[figure]:g}; {limit:g} times are allowed"
        for figure, verb, unit, limit in limits
        if mine and theirs and theirs[figure] > 0 and mine[figure] > limit * theirs[figure]
    ]


def _unclear(found: Mapping[str, Any], policy: Policy) -> list[str]:
    auc, loss = found["auc_difference"], found["log_loss_difference"]
    reasons = []
    if auc["value"] < 0:
        reasons.append(f"its AUC is not higher: {with_interval(auc)}")
    if loss["value"] > 0:
        reasons.append(f"its log loss is not lower: {with_interval(loss)}")
    if not (_clear(auc, policy) or _clear(loss, policy)):
        reasons.append(f"neither gain is clear from {found['nights']} nights: AUC {with_interval(auc)}, log loss {with_interval(loss)}")
    reasons += [
        f"on {part['column']} = {part['value']} its AUC falls: {with_interval(part['auc_difference'])}"
        for part in found["slices"]
        if part["auc_difference"]["value"] < -policy.maximum_slice_auc_loss and _clear(part["auc_difference"], policy)
    ]
    return reasons


def _open(found: Mapping[str, Any], shadow: Mapping[str, Any], policy: Policy) -> list[str]:
    reasons = []
    if found.get("degraded"):
        reasons.append(
            f"it was compared with version {found['version']}, since the file of the champion, version {found['instead_of']}, is broken"
        )
    overall = shadow["overall"]
    if shadow["nights"] and not overall:
        reasons.append(f"none of the last {len(shadow['nights'])} published nights could be shadowed: {shadow['nights'][-1]['skipped']}")
    if overall and overall["disagreement"] > policy.maximum_disagreement:
        reasons.append(
            f"it decides {overall['disagreement']:.1%} of the shadowed rows otherwise, more than {policy.maximum_disagreement:.1%}"
        )
    return reasons


def _gains(found: Mapping[str, Any]) -> list[str]:
    auc, loss = found["auc_difference"], found["log_loss_difference"]
    return [f"AUC {with_interval(auc)}, log loss {with_interval(loss)} on {found['nights']} nights that neither has trained on"]


def _unjudged(found: Mapping[str, Any], shadow: Mapping[str, Any]) -> list[str]:
    """What spoke neither for it nor against it, for lack of data: a promotion must not read as if it had."""
    reasons = [] if found["slices"] else ["not judged: its slices, none of which has enough rows of both outcomes"]
    return reasons if shadow["nights"] else [*reasons, "not judged: its shadow, since no night is published yet"]


def with_interval(difference: Mapping[str, Any]) -> str:
    """A difference with its interval, in words."""
    if difference["low"] is None:
        return f"{difference['value']:+.4f} (from one night, so without an interval)"
    return f"{difference['value']:+.4f} ({difference['low']:+.4f} to {difference['high']:+.4f})"


def table(evaluation: Mapping[str, Any], shadow: Mapping[str, Any]) -> Table | None:
    """The comparison for the person who is asked; None where nothing was compared."""
    found, measured = evaluation["comparison"] or {}, evaluation.get("costs") or {}
    if "auc_difference" not in found:
        return None
    sides = found["champion"], found["challenger"]
    rows = [
        (name, *(f"{side[key]:.4f}" for side in sides), with_interval(found[f"{key}_difference"]))
        for name, key in (("AUC (more is better)", "auc"), ("log loss (less is better)", "log_loss"))
    ]
    for name, key in (("Brier score", "brier"), ("calibration error", "calibration_error"), ("mean score", "mean_score")):
        rows.append((name, *(f"{side[key]:.4f}" for side in sides), f"{sides[1][key] - sides[0][key]:+.4f}"))
    for part in sorted(found["slices"], key=lambda part: part["auc_difference"]["value"])[:3]:
        auc = (f"{part[side]['auc']:.4f}" for side in ("champion", "challenger"))
        what = f"AUC of {part['column']} = {part['value']}, among its worst slices"
        rows.append((what, *auc, with_interval(part["auc_difference"])))
    mine, theirs = measured.get("challenger"), measured.get("champion")
    if mine and theirs:
        for name, key in (("µs for a row, median", "p50_us"), ("memory, MiB", "memory_mib"), ("size, MiB", "size_mib")):
            rows.append((name, f"{theirs[key]:g}", f"{mine[key]:g}", f"{mine[key] - theirs[key]:+.2f}"))
    if overall := shadow["overall"]:
        shadowed = f"{overall['rows']:,} published rows in the shadow"
        rows.append((f"mean score of {shadowed}", f"{overall['champion_mean']:.4f}", f"{overall['challenger_mean']:.4f}", ""))
        rows.append((f"decisions of {shadowed}", "", f"{overall['disagreement']:.1%} differ", ""))
    head = f"On {sides[0]['rows']:,} rows of {found['nights']} nights from {found['since']} on, which neither model has trained on."
    return Table(head, ("", "champion", "challenger", "difference (95 % interval)"), tuple(rows))
