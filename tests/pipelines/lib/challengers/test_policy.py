"""The policy: what speaks for a challenger, what against, and what only a person can answer."""

import copy
from typing import Any

import pytest

from pipelines.lib.challengers.policy import Policy, decide
from pipelines.lib.core.params import load_section

POLICY = Policy(
    maximum_p_value=0.1,
    maximum_log_loss_increase=0.005,
    maximum_calibration_error_increase=0.03,
    maximum_slice_auc_loss=0.03,
    maximum_latency_ratio=3.0,
    maximum_memory_ratio=3.0,
    maximum_disagreement=0.2,
)
Evidence = tuple[dict[str, Any], dict[str, Any]]


def difference(value: float, p: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.01, "high": value + 0.01, "p": p}


def part(value: str, auc: float, p: float) -> dict[str, Any]:
    side = {"auc": 0.7}
    return {"column": "carrier", "value": value, "auc_difference": difference(auc, p), "champion": side, "challenger": side}


@pytest.fixture
def evidence() -> Evidence:
    """Of a challenger that is clearly better, with nothing that speaks against it."""
    figures = {"rows": 12_000, "auc": 0.7, "log_loss": 0.5, "brier": 0.15, "calibration_error": 0.02, "mean_score": 0.2}
    comparison = {
        "version": "1",
        "sha256": "a" * 64,
        "since": "2013-06-16",
        "degraded": False,
        "instead_of": None,
        "champion": figures,
        "challenger": {**figures, "auc": 0.72},
        "nights": 14,
        "nights_won": 12,
        "auc_difference": difference(0.02, 0.001),
        "log_loss_difference": difference(-0.01, 0.01),
        "slices": [part("UA", 0.01, 0.2), part("AA", -0.01, 0.6)],
    }
    costs = {name: {"p50_us": 8.0, "p99_us": 12.0, "memory_mib": 30.0, "size_mib": 1.7} for name in ("champion", "challenger")}
    overall = {"rows": 6_000, "disagreement": 0.03, "correlation": 0.95, "champion_mean": 0.2, "challenger_mean": 0.21}
    shadow = {"fault": None, "nights": [{"partition": "2013-06-30"}], "overall": overall}
    return {"sha256": "b" * 64, "faults": [], "comparison": comparison, "costs": costs}, shadow


def changed(evidence: Evidence, path: str, value: Any) -> Evidence:
    """The evidence with one value replaced; `path` as in ``comparison.auc_difference``, from ``shadow.`` on in the shadow's report."""
    copied = {"shadow": copy.deepcopy(evidence[1]), **copy.deepcopy(evidence[0])}
    *where, last = path.split(".")
    inner = copied
    for key in where:
        inner = inner[key]
    inner[last] = value
    return copied, copied["shadow"]


def test_what_is_clearly_better_is_promoted(evidence: Evidence) -> None:
    found = decide(*evidence, POLICY)
    assert found.verdict == "promote"
    assert list(found.reasons) == [
        "AUC +0.0200 (+0.0100 to +0.0300), log loss -0.0100 (-0.0200 to +0.0000) on 14 nights that neither has trained on"
    ]


REFUSED = [
    ("faults", ["ONNX and scikit-learn differ by 0.1, more than 1e-05"], "ONNX and scikit-learn differ"),
    ("faults", ["2800 of 2800 scores are not finite, the first is nan"], "not finite"),
    ("shadow.fault", "Core version 2: model.onnx has sha256 ffff, but aaaa was registered", "has sha256 ffff"),
    ("sha256", "a" * 64, "the very model that is champion already"),
    ("comparison.auc_difference", difference(-0.02, 0.01), "its AUC is lower than the champion's, by -0.0200"),
    ("comparison.log_loss_difference", difference(0.02, 0.01), "its log loss is worse"),
    ("comparison.challenger.calibration_error", 0.06, "its calibration error is 0.0400 above the champion's"),
    ("comparison.slices", [part("UA", -0.06, 0.001), part("AA", 0.0, 1.0)], "on carrier = UA its AUC falls by more than 0.03"),
    ("costs.challenger.p50_us", 800.0, "it takes 800 µs for a row, 100.0 times the champion's 8"),
    ("costs.challenger.memory_mib", 100.0, "it needs 100 MiB of memory, 3.3 times the champion's 30"),
]
ASKED = [
    ("comparison.auc_difference", difference(-0.002, 0.6), "its AUC is not higher"),
    ("comparison.log_loss_difference", difference(0.002, 0.6), "its log loss is not lower"),
    ("comparison.slices", [part("UA", -0.06, 0.06), part("AA", 0.0, 1.0)], "on carrier = UA its AUC falls"),
    ("comparison.degraded", True, "it was compared with version 1"),
    ("comparison", None, "there is no champion to compare with"),
    ("comparison", {"fault": "the champion cannot be compared with: other features", "degraded": False}, "other features"),
    ("shadow.overall.disagreement", 0.25, "it decides 25.0% of the shadowed rows otherwise"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED)
def test_one_thing_against_it_is_enough_to_refuse(evidence: Evidence, path: str, value: Any, message: str) -> None:
    found = decide(*changed(evidence, path, value), POLICY)
    assert found.verdict == "refuse"
    assert len(found.reasons) == 1
    assert message in found.reasons[0]


@pytest.mark.parametrize(("path", "value", "message"), ASKED)
def test_one_open_question_is_enough_to_ask(evidence: Evidence, path: str, value: Any, message: str) -> None:
    found = decide(*changed(evidence, path, value), POLICY)
    assert found.verdict == "ask"
    assert len(found.reasons) == 1
    assert message in found.reasons[0]


def test_gains_that_chance_could_have_made_are_asked_about(evidence: Evidence) -> None:
    unclear = changed(
        changed(evidence, "comparison.auc_difference", difference(0.02, 0.2)), "comparison.log_loss_difference", difference(-0.01, 0.2)
    )
    found = decide(*unclear, POLICY)
    assert found.verdict == "ask"
    assert list(found.reasons) == [
        "neither gain is clear from 14 nights: AUC +0.0200 (+0.0100 to +0.0300), log loss -0.0100 (-0.0200 to +0.0000)"
    ]


def test_one_clear_gain_carries_the_other(evidence: Evidence) -> None:
    assert decide(*changed(evidence, "comparison.auc_difference", difference(0.002, 0.5)), POLICY).verdict == "promote"
    assert decide(*changed(evidence, "comparison.log_loss_difference", difference(-0.001, 0.5)), POLICY).verdict == "promote"


def test_all_that_speaks_against_it_is_told(evidence: Evidence) -> None:
    found = decide(*changed(changed(evidence, "faults", ["one", "two"]), "costs.challenger.p50_us", 800.0), POLICY)
    assert found.verdict == "refuse"
    assert len(found.reasons) == 3


def test_a_single_night_is_no_clear_evidence(evidence: Evidence) -> None:
    nothing = {"value": 0.1, "low": None, "high": None, "p": None}
    alone = changed(changed(evidence, "comparison.auc_difference", nothing), "comparison.log_loss_difference", {**nothing, "value": -0.1})
    assert decide(*alone, POLICY).verdict == "ask"


def test_no_published_night_is_no_question_but_none_that_fits_is(evidence: Evidence) -> None:
    unpublished = changed(changed(evidence, "shadow.nights", []), "shadow.overall", None)
    found = decide(*unpublished, POLICY)
    assert found.verdict == "promote"
    assert found.reasons[-1] == "not judged: its shadow, since no night is published yet"
    unfit = changed(changed(evidence, "shadow.nights", [{"skipped": "other features"}]), "shadow.overall", None)
    found = decide(*unfit, POLICY)
    assert found.verdict == "ask"
    assert "none of the last 1 published nights could be shadowed: other features" in found.reasons[0]


def test_a_faster_and_smaller_model_is_never_held_against_it(evidence: Evidence) -> None:
    assert decide(*changed(evidence, "costs.challenger.p50_us", 0.1), POLICY).verdict == "promote"


def test_the_table_tells_both_sides(evidence: Evidence) -> None:
    table = decide(*evidence, POLICY).table
    assert table is not None
    assert table.lead == "On 12,000 rows of 14 nights from 2013-06-16 on, which neither model has trained on."
    assert ("AUC (more is better)", "0.7000", "0.7200", "+0.0200 (+0.0100 to +0.0300)") in table.rows
    assert {len(row) for row in (table.columns, *table.rows)} == {4}


def test_two_digests_that_nobody_knows_are_not_the_same_model(evidence: Evidence) -> None:
    unknown = changed(changed(evidence, "sha256", None), "comparison", {"fault": "other features", "sha256": None, "degraded": False})
    found = decide(*unknown, POLICY)
    assert (found.verdict, found.reasons) == ("ask", ("other features",))


def test_the_policy_of_this_repository_can_be_read() -> None:
    assert load_section("decide", Policy) == POLICY
