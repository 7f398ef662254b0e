"""The policy: reasons to promote a challenger, reasons to refuse it, and questions that only a person can answer."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import mean_squared_error, r2_score

from pipelines.lib.challengers.agreement import Shadow, SkippedNight
from pipelines.lib.challengers.comparison import Incomparable
from pipelines.lib.challengers.evaluation import Evaluation, Unscored
from pipelines.lib.challengers.policy import Policy, Verdict, decide
from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import load_section, parse_section
from pipelines.lib.measures.tasks import REGRESSION
from pipelines.lib.models.costs import Costs
from tests.evaluations import better, compared, difference, evaluated, opponent, part, shadowed
from tests.page_rules import words_of_probabilities

POLICY = Policy(
    maximum_p_value=0.1,
    maximum_log_loss_increase=0.005,
    maximum_calibration_error_increase=0.03,
    maximum_slice_auc_loss=0.03,
    maximum_latency_ratio=3.0,
    maximum_memory_ratio=3.0,
    maximum_disagreement=0.2,
)
FRESHER = POLICY.model_copy(update={"unclear": "fresher", "fresher_margin": 0.01})
COSTS = Costs(sha256="", p50_us=8.0, p99_us=12.0, memory_mib=30.0, size_mib=1.7)


@dataclass(frozen=True)
class Evidence:
    """All measurements of a challenger."""

    evaluation: Evaluation
    shadow: Shadow
    challenger: Costs = COSTS
    champion: Costs = COSTS

    def decide(self, policy: Policy = POLICY) -> Verdict:
        return decide(self.evaluation, self.shadow, policy, challenger=self.challenger, champion=self.champion)


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """The evidence of a challenger that is clearly better, without a reason against it."""
    rng = np.random.default_rng(0)
    labels, nights = rng.integers(0, 2, 2_000), np.arange(2_000) // 100
    comparison = better(opponent("1", "a" * 64), slices=(part("UA", 0.01, 0.2), part("AA", -0.01, 0.6)))
    evaluation = evaluated(labels, rng.random(2_000), nights, name="m", sha256="b" * 64, comparison=comparison)
    return Evidence(evaluation, shadowed("1", "2", partition="2013-06-30"))


def changed(evidence: Any, path: str, value: Any) -> Any:
    """Return the evidence with one field replaced; `path` as in ``evaluation.comparison.quality_difference``."""
    name, _, rest = path.partition(".")
    return replace(evidence, **{name: changed(getattr(evidence, name), rest, value) if rest else value})


def test_a_clearly_better_challenger_is_promoted(evidence: Evidence) -> None:
    found = evidence.decide()
    assert found.verdict == "promote"
    assert list(found.reasons) == [
        "AUC +0.0200 (+0.0100 to +0.0300), log loss -0.0100 (-0.0200 to +0.0000) on 14 nights that neither has trained on"
    ]


REFUSED = [
    ("evaluation.faults", ("ONNX and the trained model differ by 0.1, more than 1e-05",), "ONNX and the trained model differ"),
    ("evaluation.faults", ("2800 of 2800 scores are not finite, the first is nan",), "not finite"),
    ("shadow.fault", "Core version 2: model.onnx has sha256 ffff, but aaaa was registered", "has sha256 ffff"),
    ("evaluation.sha256", "a" * 64, "it is already the champion"),
    ("evaluation.comparison.quality_difference", difference(-0.02, 0.01), "its AUC is lower than the champion's, by -0.0200"),
    ("evaluation.comparison.loss_difference", difference(0.02, 0.01), "its log loss is worse"),
    ("evaluation.comparison.challenger.calibration_error", 0.06, "its calibration error is 0.0400 above the champion's"),
    ("evaluation.comparison.slices", (part("UA", -0.06, 0.001), part("AA", 0.0, 1.0)), "on carrier = UA its AUC falls by more than 0.03"),
    ("challenger.p50_us", 800.0, "it takes 800 µs per row, 100.0 times the champion's 8"),
    ("challenger.memory_mib", 100.0, "it needs 100 MiB of memory, 3.3 times the champion's 30"),
]
ASKED = [
    ("evaluation.comparison.quality_difference", difference(-0.002, 0.6), "its AUC is not higher"),
    ("evaluation.comparison.loss_difference", difference(0.002, 0.6), "its log loss is not lower"),
    ("evaluation.comparison.slices", (part("UA", -0.06, 0.06), part("AA", 0.0, 1.0)), "on carrier = UA its AUC falls"),
    ("evaluation.comparison.degraded", True, "it was compared with version 1"),
    ("evaluation.comparison", None, "there is no champion to compare with"),
    (
        "evaluation.comparison",
        Incomparable("1", False, None, "a" * 64, "2013-03-17", "cannot be compared with: other features"),
        "other features",
    ),
    ("shadow.overall.disagreement", 0.25, "it decides 25.0% of the shadowed rows differently"),
]


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED)
def test_one_reason_against_it_is_enough_to_refuse(evidence: Evidence, path: str, value: Any, reason: str) -> None:
    found = changed(evidence, path, value).decide()
    assert found.verdict == "refuse"
    assert len(found.reasons) == 1
    assert reason in found.reasons[0]


@pytest.mark.parametrize(("path", "value", "reason"), ASKED)
def test_one_open_question_is_enough_to_ask(evidence: Evidence, path: str, value: Any, reason: str) -> None:
    found = changed(evidence, path, value).decide()
    assert found.verdict == "ask"
    assert len(found.reasons) == 1
    assert reason in found.reasons[0]


@pytest.fixture(scope="module")
def of_forecasts() -> Evidence:
    """The evidence of a challenger whose forecasts are clearly better."""
    rng = np.random.default_rng(0)
    labels, nights, sides = rng.gamma(2.0, 20.0, 2_800), np.arange(2_800) // 200, np.where(np.arange(2_800) % 2, "left", "right")
    champion, challenger = (labels + rng.normal(0, spread, 2_800) for spread in (20, 10))
    found = compared(labels, champion, challenger, nights, against=opponent("1", "a" * 64), task=REGRESSION, side=sides)
    evaluation = evaluated(labels, challenger, nights, name="m", sha256="b" * 64, task=REGRESSION, comparison=found)
    assert found.quality_difference.value == pytest.approx(r2_score(labels, challenger) - r2_score(labels, champion), abs=1e-6)
    change = mean_squared_error(labels, challenger) - mean_squared_error(labels, champion)
    assert found.loss_difference.value == pytest.approx(change / labels.var(), abs=1e-6)
    return Evidence(evaluation, shadowed("1", "2", partition="2013-06-30"))


@pytest.mark.parametrize(
    ("path", "value", "verdict", "reason"),
    [
        ("evaluation.comparison.degraded", False, "promote", "R² +0."),
        ("evaluation.comparison.quality_difference", difference(-0.02, 0.01), "refuse", "its R² is lower than the champion's, by -0.0200"),
        (
            "evaluation.comparison.loss_difference",
            difference(0.02, 0.01),
            "refuse",
            "its squared error is worse than the champion's by more",
        ),
        ("evaluation.comparison.slices", (part("UA", -0.06, 0.001),), "refuse", "on carrier = UA its R² falls by more than 0.03"),
        ("evaluation.comparison.slices", (), "promote", "not judged: its slices, none of which has enough rows"),
        ("shadow.overall.disagreement", 0.25, "ask", "its forecasts of the shadowed rows are 25.0% of the spread of the champion's away"),
    ],
)
def test_forecasts_are_judged_in_their_own_words(of_forecasts: Evidence, path: str, value: Any, verdict: str, reason: str) -> None:
    found = changed(of_forecasts, path, value).decide()
    assert found.verdict == verdict
    assert [one for one in found.reasons if one.startswith(reason)]
    assert found.table is not None
    assert words_of_probabilities(" ".join([*found.reasons, *(" ".join(row) for row in found.table.rows)])) == []


def test_gains_that_chance_could_have_made_are_asked_about(evidence: Evidence) -> None:
    unclear = changed(
        changed(evidence, "evaluation.comparison.quality_difference", difference(0.02, 0.2)),
        "evaluation.comparison.loss_difference",
        difference(-0.01, 0.2),
    )
    found = unclear.decide()
    assert found.verdict == "ask"
    assert list(found.reasons) == [
        "neither gain is clear from 14 nights: AUC +0.0200 (+0.0100 to +0.0300), log loss -0.0100 (-0.0200 to +0.0000)"
    ]


def unclear(evidence: Evidence, auc: float, loss: float, p: float | None = 0.6) -> Evidence:
    """Return the evidence of a challenger whose differences may be chance."""
    auc_unclear: Evidence = changed(evidence, "evaluation.comparison.quality_difference", difference(auc, p))
    found: Evidence = changed(auc_unclear, "evaluation.comparison.loss_difference", difference(loss, p))
    return found


@pytest.mark.parametrize(("auc", "loss"), [(0.002, -0.001), (-0.002, -0.001), (0.002, 0.004), (-0.002, 0.004)])
def test_a_challenger_without_a_clear_difference_is_promoted_because_it_is_fresher(evidence: Evidence, auc: float, loss: float) -> None:
    asked = unclear(evidence, auc, loss).decide()
    assert (asked.verdict, asked.basis) == ("ask", None)
    found = unclear(evidence, auc, loss).decide(FRESHER)
    assert (found.verdict, found.basis) == ("promote", "fresher")
    [reason] = found.reasons
    assert reason.startswith("promoted because it is fresher: no clear difference on 14 nights")
    assert f"AUC {auc:+.4f}" in reason
    assert f"log loss {loss:+.4f}" in reason


def test_a_clearly_better_challenger_is_not_called_fresher(evidence: Evidence) -> None:
    assert evidence.decide(FRESHER).basis == "better"


def test_a_mixed_result_is_not_called_unclear(evidence: Evidence) -> None:
    found = changed(evidence, "evaluation.comparison.loss_difference", difference(0.002, 0.6)).decide(FRESHER)
    assert (found.verdict, found.basis) == ("promote", "fresher")
    assert "not every figure is better, and none is clearly worse on 14 nights" in found.reasons[0]


@pytest.mark.parametrize(
    ("loss", "p", "reason"),
    [
        (0.006, 0.6, "its log loss is higher by more than 1.00% of the champion's, 0.0050, so that it is fresher is not enough: +0.0060"),
        (0.004, 0.05, "its log loss is clearly higher, so that it is fresher is not enough: +0.0040"),
    ],
)
def test_a_worse_challenger_is_not_promoted_for_being_fresher(evidence: Evidence, loss: float, p: float, reason: str) -> None:
    found = changed(unclear(evidence, 0.001, 0), "evaluation.comparison.loss_difference", difference(loss, p)).decide(FRESHER)
    assert (found.verdict, found.basis) == ("ask", None)
    assert found.reasons[0].startswith(reason)


def test_what_cannot_be_judged_is_not_promoted_for_being_fresher(evidence: Evidence) -> None:
    found = unclear(evidence, 0.1, -0.1, None).decide(FRESHER)
    assert found.verdict == "ask"
    assert found.reasons[0].startswith("too few rows or nights for an interval, so that it is fresher is not enough")


@pytest.mark.parametrize(("path", "value", "reason"), REFUSED)
def test_what_is_refused_stays_refused_if_it_is_fresher(evidence: Evidence, path: str, value: Any, reason: str) -> None:
    found = changed(evidence, path, value).decide(FRESHER)
    assert (found.verdict, found.basis) == ("refuse", None)
    assert reason in found.reasons[0]


@pytest.mark.parametrize(("path", "value", "reason"), ASKED[2:])
def test_every_other_question_still_asks_a_person_about_a_fresher_one(evidence: Evidence, path: str, value: Any, reason: str) -> None:
    found = changed(unclear(evidence, 0.002, -0.001), path, value).decide(FRESHER)
    assert (found.verdict, found.basis) == ("ask", None)
    assert len(found.reasons) == 1
    assert reason in found.reasons[0]


def test_a_policy_that_does_not_exist_is_refused_with_those_that_do() -> None:
    with pytest.raises(ConfigError, match=r"unclear.*'ask' or 'fresher'"):
        parse_section(POLICY.model_dump() | {"unclear": "probation"}, Policy, "decide")


def test_one_clear_gain_carries_the_other(evidence: Evidence) -> None:
    assert changed(evidence, "evaluation.comparison.quality_difference", difference(0.002, 0.5)).decide().verdict == "promote"
    assert changed(evidence, "evaluation.comparison.loss_difference", difference(-0.001, 0.5)).decide().verdict == "promote"


def test_a_refusal_names_every_reason(evidence: Evidence) -> None:
    found = changed(changed(evidence, "evaluation.faults", ["one", "two"]), "challenger.p50_us", 800.0).decide()
    assert found.verdict == "refuse"
    assert len(found.reasons) == 3


def test_a_single_night_is_not_clear_evidence(evidence: Evidence) -> None:
    alone = changed(evidence, "evaluation.comparison.quality_difference", difference(0.1, None))
    alone = changed(alone, "evaluation.comparison.loss_difference", difference(-0.1, None))
    assert alone.decide().verdict == "ask"


def test_a_person_is_asked_if_no_published_night_fits_but_not_if_none_is_published(evidence: Evidence) -> None:
    unpublished = changed(changed(evidence, "shadow.nights", ()), "shadow.overall", None)
    found = unpublished.decide()
    assert found.verdict == "promote"
    assert found.reasons[-1] == "not judged: its shadow, since no night is published yet"
    unfit = changed(
        changed(evidence, "shadow.nights", (SkippedNight("2013-06-30", "refs/runs/night", "1", "other features"),)), "shadow.overall", None
    )
    found = unfit.decide()
    assert found.verdict == "ask"
    assert "none of the last 1 published nights could be shadowed: other features" in found.reasons[0]


def test_a_faster_model_is_never_refused_for_its_costs(evidence: Evidence) -> None:
    assert changed(evidence, "challenger.p50_us", 0.1).decide().verdict == "promote"


def test_the_table_shows_both_sides(evidence: Evidence) -> None:
    table = evidence.decide().table
    assert table is not None
    assert table.lead == "On 12,000 rows of 14 nights from 2013-03-17 on, which neither model has trained on."
    assert ("AUC, higher is better", "0.7000", "0.7200", "+0.0200 (+0.0100 to +0.0300)") in table.rows
    assert {len(row) for row in (table.columns, *table.rows)} == {4}


def test_a_model_without_scores_is_refused_for_its_fault(evidence: Evidence) -> None:
    mute = Unscored("m", "2013-06-30", {}, None, ("2800 of 2800 scores are not finite",))
    found = changed(evidence, "evaluation", mute).decide()
    assert (found.verdict, found.reasons, found.table) == ("refuse", ("2800 of 2800 scores are not finite",), None)


def test_the_policy_of_this_repository_can_be_read() -> None:
    assert load_section("decide", Policy) == POLICY


def test_a_slice_without_an_interval_is_named_as_not_judged(evidence: Evidence) -> None:
    unsure = replace(part("AA", -0.2, 0.6), quality_difference=difference(-0.2, None))
    found = changed(evidence, "evaluation.comparison.slices", (part("UA", 0.01, 0.2), unsure)).decide()
    assert found.verdict == "promote"
    assert found.reasons[-1] == "not judged: 1 of 2 slices, with too few rows or nights: carrier = AA"
