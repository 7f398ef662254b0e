"""The governor: each rule by itself, and the limits that hold for every history."""

import datetime as dt
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.lib.loop.champion_history import History, Measure, Night, Outcome, Promotion, Reference, Retraining
from pipelines.lib.loop.governor import govern
from pipelines.lib.loop.retraining_policy import Policy

POLICY = Policy(
    minimum_rows=1000,
    minimum_nights=5,
    psi_limit=0.1,
    noise_factor=2.0,
    top_features=1,
    importance_share=0.3,
    alarm_nights=2,
    alarm_window_nights=3,
    quality_nights=5,
    auc_loss=0.03,
    spread_factor=2.5,
    rearm_share=0.5,
    retry_nights=56,
    outcome_nights=3,
    cool_down_nights=28,
    per_month=1,
)
TONIGHT = dt.date(2013, 6, 10)
STEADY = {
    "top": Measure(0.01, 0.0, 0.4),
    "second": Measure(0.01, 0.0, 0.25),
    "third": Measure(0.01, 0.3, 0.2),
    "last": Measure(0.01, 0.0, 0.15),
}


def day(offset: int) -> str:
    """Return the partition `offset` days from tonight."""
    return (TONIGHT + dt.timedelta(days=offset)).isoformat()


def night(offset: int, score: float = 0.01, **psi: float) -> Night:
    """Return a full window in which the named features have these PSI."""
    measures = {name: measure._replace(psi=psi.get(name, measure.psi)) for name, measure in STEADY.items()}
    return Night(day(offset), "2", rows=6000, nights=7, features=measures, score=Measure(score, 0.0, 0.0))


def history(**changes: Any) -> History:
    """Return two months of calm nights of version 2, with outcomes up to the day before yesterday."""
    calm = History(
        name="m",
        partition=day(0),
        scored_by="2",
        promotions=[Promotion(1, "2013-01-01", "1"), Promotion(2, day(-60), "2")],
        nights=[night(offset) for offset in range(-60, 1)],
        outcomes=[Outcome(day(offset), "2", 900, 0.70) for offset in range(-60, -1)],
        reference=Reference(quality=0.70, night_sd=0.02, nights=14),
    )
    return replace(calm, **changes)


def drifted(nights: int = 3, **psi: float) -> list[Night]:
    """Return calm nights, with `nights` of drift at their end."""
    return [*(night(offset) for offset in range(-60, 1 - nights)), *(night(offset, **psi) for offset in range(1 - nights, 1))]


def worse(auc: float, nights: int = 5) -> list[Outcome]:
    """Return usual nights, with `nights` of another AUC at their end."""
    return [Outcome(day(offset), "2", 900, auc if offset > -2 - nights else 0.70) for offset in range(-60, -1)]


def test_calm_nights_need_no_retraining() -> None:
    decision = govern(history(), POLICY)
    assert not decision.retrain
    assert decision.reason == (
        "no: PSI of top is 0.01, limit 0.10, and what has drifted carries 0.00 of the importance, limit 0.30; 0 of 3 nights alarm, 2 are needed; "
        "AUC of the last 5 nights with outcomes is 0.700, limit 0.670"
    )
    assert (decision.name, decision.partition, decision.version) == ("m", day(0), "2")


# ------------------------------------------------------------------------------------------------ drift


def test_a_top_feature_alone_is_enough() -> None:
    decision = govern(history(nights=drifted(top=0.26)), POLICY)
    assert decision.retrain
    assert decision.reason.startswith("yes: PSI of top is 0.26, limit 0.10")
    assert decision.findings["signals"] == ["drift"]


def test_the_score_alone_is_enough() -> None:
    decision = govern(history(nights=drifted(score=0.2)), POLICY)
    assert decision.retrain
    assert "PSI of the score is 0.20" in decision.reason


def test_a_lesser_feature_alone_is_not_enough_but_two_are() -> None:
    assert not govern(history(nights=drifted(second=5.0)), POLICY).retrain
    assert not govern(history(nights=drifted(last=5.0)), POLICY).retrain
    decision = govern(history(nights=drifted(second=5.0, last=5.0)), POLICY)
    assert decision.retrain
    assert "carries 0.40 of the importance, limit 0.30" in decision.reason


def test_the_effect_of_sampling_is_not_drift() -> None:
    """`third` has a noise of 0.3, so its limit is 0.6."""
    assert not govern(history(nights=drifted(second=5.0, third=0.59)), POLICY).retrain
    assert govern(history(nights=drifted(second=5.0, third=0.61)), POLICY).retrain


@pytest.mark.parametrize(("nights", "expected"), [(1, False), (2, True), (3, True)])
def test_some_of_the_last_nights_must_alarm(nights: int, expected: bool) -> None:
    assert govern(history(nights=drifted(nights, top=0.3)), POLICY).retrain is expected


def test_a_drift_that_has_passed_is_none() -> None:
    nights = [*(night(offset) for offset in range(-60, -2)), night(-2, top=0.3), night(-1, top=0.3), night(0)]
    assert not govern(history(nights=nights), POLICY).retrain


@pytest.mark.parametrize("lack", [{"rows": 999}, {"nights": 4}])
def test_small_windows_decide_nothing(lack: dict[str, int]) -> None:
    nights = [replace(found, **lack) for found in drifted(3, top=9.0)[-3:]]
    decision = govern(history(nights=nights), POLICY)
    assert not decision.retrain
    message = "999 of 1000 rows" if "rows" in lack else "4 of 5 nights"
    assert decision.reason.endswith(f"; not judged: not enough data: drift has {message}")
    assert decision.findings["judged"] == {"drift": False, "quality": True}


def test_nights_of_another_version_do_not_count() -> None:
    nights = [replace(found, version="1") for found in drifted(3, top=9.0)]
    outcomes = [row._replace(version="1") for row in worse(0.5)]
    decision = govern(history(nights=nights, outcomes=outcomes), POLICY)
    assert not decision.retrain
    assert decision.reason == (
        "not judged: not enough data: drift has no window that ends with this night, quality has 0 of 5 nights with outcomes"
    )
    assert decision.findings["judged"] == {"drift": False, "quality": False}


def test_a_night_that_was_not_measured_decides_nothing() -> None:
    decision = govern(history(nights=drifted(3, top=9.0)[:-1]), POLICY)
    assert not decision.retrain
    assert decision.reason.endswith("; not judged: not enough data: drift has no window that ends with this night")


def test_nights_before_a_rollback_brought_it_back_do_not_count() -> None:
    """Version 2 was champion until ten days ago, then 3 was, and since yesterday it is 2 again."""
    promotions = [*history().promotions, Promotion(3, day(-10), "3"), Promotion(4, day(-1), "2")]
    nights = [night(offset, top=9.0) for offset in (*range(-60, -10), 0)]
    outcomes = [row._replace(quality=0.5) for row in history().outcomes if row.partition < day(-10)]
    decision = govern(history(nights=nights, outcomes=outcomes, promotions=promotions), POLICY.model_copy(update={"cool_down_nights": 0}))
    assert decision.reason == "not judged: not enough data: drift has 1 of 2 windows, quality has 0 of 5 nights with outcomes"
    assert not decision.retrain


# ------------------------------------------------------------------------------------------------ quality


def test_a_loss_of_quality_is_enough() -> None:
    decision = govern(history(outcomes=worse(0.65)), POLICY)
    assert decision.retrain
    assert decision.reason == "yes: AUC of the last 5 nights with outcomes is 0.650, limit 0.670"
    assert decision.findings["signals"] == ["quality"]
    assert govern(history(outcomes=worse(0.65), nights=drifted(top=0.3)), POLICY).findings["signals"] == ["drift", "quality"]


@pytest.mark.parametrize(("night_sd", "expected"), [(0.02, True), (0.07, False)])
def test_a_loss_must_exceed_what_nights_differ_by(night_sd: float, expected: bool) -> None:
    """With 0.07 between nights, five of them against fourteen have a standard error of 0.036."""
    assert govern(history(outcomes=worse(0.65), reference=Reference(0.70, night_sd, 14)), POLICY).retrain is expected


def test_a_small_loss_is_not_worth_it() -> None:
    assert not govern(history(outcomes=worse(0.675), reference=Reference(0.70, 0.001, 14)), POLICY).retrain


def test_quality_waits_for_its_nights() -> None:
    outcomes = worse(0.5)[-4:]
    decision = govern(history(outcomes=outcomes), POLICY)
    assert not decision.retrain
    assert decision.reason.endswith("; not judged: not enough data: quality has 4 of 5 nights with outcomes")
    few = govern(history(outcomes=[row._replace(rows=100) for row in worse(0.5, nights=9)[-9:]]), POLICY)
    assert not few.retrain
    assert few.reason.endswith("; not judged: not enough data: quality has 900 of 1000 rows with outcomes, in 9 nights")


def test_a_small_table_is_judged_from_more_nights() -> None:
    """With 100 rows per night, ten nights hold the thousand that are asked for."""
    outcomes = [row._replace(rows=100) for row in worse(0.6, nights=8)]
    decision = govern(history(outcomes=outcomes), POLICY)
    assert decision.retrain
    assert decision.reason == "yes: AUC of the last 10 nights with outcomes is 0.620, limit 0.670"


@pytest.mark.parametrize(("rows", "reachable"), [(142, False), (143, True)])
def test_what_can_never_be_judged_says_so_and_what_to_change(rows: int, reachable: bool) -> None:
    """A whole window has seven nights. It must hold a thousand rows, so a night must have 143."""
    young = [replace(found, rows=5 * rows, nights=5) for found in drifted(3, top=9.0)[-3:]]
    reason = govern(history(nights=young, window_nights=7), POLICY).reason
    never = (
        "drift can never be judged with 142 rows per night: a window of 7 nights holds 994 rows, govern.minimum_rows is 1000. "
        "Set govern.minimum_rows in params.yaml to at most 994, or train on more nights, which allows a longer window"
    )
    assert (never in reason) is not reachable
    assert (f"drift has {5 * rows} of 1000 rows" in reason) is reachable


def test_a_quiet_weekend_does_not_calm_the_week() -> None:
    weekend = [replace(found, rows=200, nights=2) for found in drifted(3, top=9.0)[-3:]]
    reason = govern(history(nights=weekend, window_nights=7), POLICY).reason
    assert "drift has 2 of 5 nights and 200 of 1000 rows" in reason
    assert "never" not in reason


def test_a_night_of_one_class_is_left_out() -> None:
    outcomes = [*worse(0.65), Outcome(day(-1), "2", 3, None)]
    assert govern(history(outcomes=outcomes), POLICY).retrain


def test_a_night_of_three_rows_weighs_little() -> None:
    assert not govern(history(outcomes=[*worse(0.70), Outcome(day(-1), "2", 3, 0.0)]), POLICY).retrain


def test_without_a_reference_quality_is_not_judged() -> None:
    assert not govern(history(outcomes=worse(0.5), reference=None), POLICY).retrain


# ------------------------------------------------------------------------------------------------ what holds an alarm back

ALARM = drifted(3, top=0.3)


def test_retraining_waits_for_outcomes() -> None:
    decision = govern(history(nights=ALARM, outcomes=worse(0.7)[-2:]), POLICY)
    assert not decision.retrain
    assert decision.reason.startswith("no: 2 nights of version 2 have outcomes, retraining waits for 3 (PSI of top")


@pytest.mark.parametrize("nights", [27, 28])
def test_cool_down_after_a_promotion(nights: int) -> None:
    promotions = [Promotion(1, "2013-01-01", "1"), Promotion(2, day(-nights), "2")]
    decision = govern(history(nights=ALARM, promotions=promotions), POLICY)
    assert decision.retrain is (nights == 28)
    assert decision.retrain or decision.reason.startswith("no: cool-down until 2013-06-11 (PSI of top is 0.30, limit 0.10")


@pytest.mark.parametrize("nights", [27, 28])
def test_cool_down_after_a_retraining_of_any_version(nights: int) -> None:
    decision = govern(history(nights=ALARM, retrainings=[Retraining(day(-nights), "1", ("drift",))]), POLICY)
    assert decision.retrain is (nights == 28)


def test_a_month_has_its_budget() -> None:
    policy = POLICY.model_copy(update={"cool_down_nights": 0})
    this, last = Retraining("2013-06-02", "1", ("drift",)), Retraining("2013-05-31", "1", ("drift",))
    assert govern(history(nights=ALARM, retrainings=[last]), policy).retrain
    decision = govern(history(nights=ALARM, retrainings=[last, this]), policy)
    assert not decision.retrain
    assert decision.reason.startswith("no: 1 of 1 retrainings of 2013-06 are used")


def test_the_cause_of_a_retraining_without_effect_must_calm_down_first() -> None:
    """The limit is 0.1 and `rearm_share` a half: a night at 0.06 is not calm, one at 0.04 is."""
    begun = Retraining(day(-40), "2", ("drift",))

    def since(psi: float) -> History:
        return history(nights=[*(night(offset, top=psi) for offset in range(-60, -2)), *ALARM[-3:]], retrainings=[begun])

    decision = govern(since(0.06), POLICY)
    assert not decision.retrain
    assert decision.reason.startswith(
        f"no: drift led to a retraining on {day(-40)} and has not been calm since, so it waits until {day(16)}"
    )
    assert govern(since(0.04), POLICY).retrain
    assert govern(replace(since(0.06), retrainings=[Retraining(day(-56), "2", ("drift",))]), POLICY).retrain, "after retry_nights"
    assert govern(replace(since(0.06), retrainings=[Retraining(day(-40), "1", ("drift",))]), POLICY).retrain, "of another champion"
    assert govern(replace(since(0.06), outcomes=worse(0.6)), POLICY).findings["signals"] == ["quality"], "another signal"


def test_quality_must_recover_first() -> None:
    begun = [Retraining(day(-40), "2", ("quality",))]
    never = [row._replace(quality=0.65) for row in worse(0.65)]
    assert not govern(history(outcomes=never, retrainings=begun), POLICY).retrain
    assert govern(history(outcomes=worse(0.65), retrainings=begun), POLICY).retrain


def test_an_old_night_starts_nothing() -> None:
    later = govern(history(nights=ALARM, promotions=[*history().promotions, Promotion(3, day(1), "3")]), POLICY)
    assert not later.retrain
    assert later.reason.startswith(f"no: version 3 is champion from {day(1)} on")
    again = govern(history(nights=ALARM, retrainings=[Retraining(day(3), "2", ("drift",))]), POLICY)
    assert not again.retrain
    assert again.reason.startswith(f"no: there was a retraining on {day(3)}, after this night")
    out_of_order = govern(history(nights=ALARM, decided=day(1)), POLICY)
    assert not out_of_order.retrain
    assert out_of_order.reason.startswith(f"no: a later night, {day(1)}, has been decided on (PSI of top")
    assert govern(history(nights=ALARM, decided=day(0)), POLICY).retrain, "this night itself, again"


def test_a_night_that_another_model_scored_starts_nothing() -> None:
    decision = govern(history(nights=ALARM, scored_by="1"), POLICY)
    assert not decision.retrain
    assert decision.reason.startswith("no: version 1 scored this night in place of the champion, version 2")


def test_its_own_decision_does_not_hold_a_night_back() -> None:
    first = govern(history(nights=ALARM), POLICY)
    assert govern(history(nights=ALARM, retrainings=[Retraining(day(0), "2", ("drift",))]), POLICY) == first


# ------------------------------------------------------------------------------------------------ the schedule

MONTHLY = POLICY.model_copy(update={"refresh_days": 30})
OLD = "2013-05-12"
"""The first date that the champion did not learn from: its last one is thirty days before tonight."""


def test_without_a_schedule_age_does_not_count() -> None:
    decision = govern(history(trained_until="2012-01-01"), POLICY)
    assert decision == govern(history(), POLICY)
    assert "refresh" not in decision.reason
    assert "refresh" not in decision.findings


@pytest.mark.parametrize(("trained_until", "due"), [(OLD, True), ("2013-05-13", False)])
def test_a_calm_champion_of_a_certain_age_is_retrained(trained_until: str, due: bool) -> None:
    decision = govern(history(trained_until=trained_until), MONTHLY)
    assert decision.retrain is due
    assert decision.findings["signals"] == (["refresh"] if due else [])
    if due:
        assert decision.reason == "yes: refresh is due: version 2 learned until 2013-05-11, 30 days ago, govern.refresh_days is 30"
        assert decision.findings["refresh"] == {"since": "2013-05-11", "days": 30, "due": "2013-06-10"}
    else:
        assert decision.reason == f"{govern(history(), POLICY).reason}; refresh is due on 2013-06-11"


def test_a_night_that_was_missed_does_not_skip_the_schedule() -> None:
    decision = govern(history(trained_until="2013-05-01"), MONTHLY)
    assert decision.retrain
    assert decision.reason.startswith("yes: refresh is due: version 2 learned until 2013-04-30, 41 days ago, ")


def test_the_schedule_counts_from_the_last_retraining_of_any_cause_and_end() -> None:
    """It would else ask for a retraining after each cool-down while challengers are refused."""
    for signals, version in ((("refresh",), "2"), (("drift",), "2"), ((), "1")):
        young = govern(history(trained_until="2013-01-01", retrainings=[Retraining(day(-29), version, signals)]), MONTHLY)
        assert not young.retrain
        assert young.reason.endswith("; refresh is due on 2013-06-11")
        old = govern(history(trained_until="2013-01-01", retrainings=[Retraining(day(-30), version, signals)]), MONTHLY)
        assert old.retrain, "without a calm night before: a date needs none"
        assert old.reason == "yes: refresh is due: the last retraining was on 2013-05-11, 30 days ago, govern.refresh_days is 30"


@pytest.mark.costly
@pytest.mark.parametrize(("every", "per_month", "expected"), [(30, 9, {30}), (30, 1, {30, 31}), (10, 9, {28}), (None, 9, set())])
def test_a_calm_year_has_a_retraining_per_period(every: int | None, per_month: int, expected: set[int]) -> None:
    """Every challenger is refused. A used budget waits for the next month, and a cool-down of 28 nights is longer than a period of ten days."""
    policy = POLICY.model_copy(update={"refresh_days": every, "per_month": per_month})
    calm, begun = history(), [Retraining("2013-01-01", "2", ())]
    for offset in range(365):
        tonight = (dt.date(2013, 1, 2) + dt.timedelta(days=offset)).isoformat()
        outcomes = [row._replace(partition="2013-01-01") for row in calm.outcomes[:3]]
        found = history(
            partition=tonight,
            promotions=[Promotion(1, "2013-01-01", "2")],
            outcomes=outcomes,
            retrainings=begun,
            trained_until="2012-12-01",
        )
        if govern(found, policy).retrain:
            begun = [*begun, Retraining(tonight, "2", ("refresh",))]
    dates = [dt.date.fromisoformat(retraining.partition) for retraining in begun]
    gaps = {(after - before).days for before, after in pairwise(dates)}
    assert gaps == expected


def test_a_retraining_by_schedule_does_not_disarm_drift() -> None:
    """The drift that comes next has had no retraining without effect, so it need not calm down first."""
    begun = [Retraining(day(-29), "2", ("refresh",))]
    assert govern(history(nights=drifted(60, top=0.3), trained_until=OLD, retrainings=begun), MONTHLY).findings["signals"] == ["drift"]


def test_the_schedule_joins_the_other_reasons() -> None:
    decision = govern(history(nights=ALARM, outcomes=worse(0.65), trained_until=OLD), MONTHLY)
    assert decision.findings["signals"] == ["drift", "quality", "refresh"]
    assert decision.reason.endswith("; refresh is due: version 2 learned until 2013-05-11, 30 days ago, govern.refresh_days is 30")


@pytest.mark.parametrize(
    ("changes", "policy", "reason"),
    [
        ({"retrainings": [Retraining(day(-5), "1", ())]}, {"refresh_days": 3}, "no: cool-down until 2013-07-03 (refresh is due: the last retraining was on 2013-06-05, 5 days ago, "),
        ({"promotions": [Promotion(2, day(-5), "2")]}, {}, "no: cool-down until 2013-07-03 (refresh is due: version 2 learned until 2013-05-11, 30 days ago, "),
        ({"retrainings": [Retraining(day(-5), "1", ())]}, {"refresh_days": 3, "cool_down_nights": 0}, "no: 1 of 1 retrainings of 2013-06 are used (refresh "),
        ({}, {"per_month": 0}, "no: 0 of 0 retrainings of 2013-06 are used (refresh "),
        ({"outcomes": []}, {}, "no: 0 nights of version 2 have outcomes, retraining waits for 3 (refresh "),
        ({"scored_by": "1"}, {}, "no: version 1 scored this night in place of the champion, version 2 (refresh "),
        ({"decided": day(1)}, {}, "no: a later night, 2013-06-11, has been decided on (refresh "),
        ({"retrainings": [Retraining(day(3), "2", ("refresh",))]}, {}, "no: there was a retraining on 2013-06-13, after this night (refresh "),
    ],
)  # fmt: skip
def test_what_holds_an_alarm_back_holds_the_schedule_back(changes: dict[str, Any], policy: dict[str, int], reason: str) -> None:
    decision = govern(history(trained_until=OLD, **changes), MONTHLY.model_copy(update=policy))
    assert not decision.retrain
    assert decision.reason.startswith(reason)
    assert decision.findings["signals"] == []


def test_the_schedule_needs_neither_drift_nor_quality_to_be_judged() -> None:
    unjudged = {"nights": [], "reference": None}
    assert govern(history(trained_until=OLD, **unjudged), MONTHLY).retrain
    early = govern(history(trained_until=day(0), **unjudged), MONTHLY)
    assert early.reason.startswith("not judged: not enough data: "), "a date says nothing of the model"
    assert early.reason.endswith("; refresh is due on 2013-07-09")
    assert early.findings["judged"] == {"drift": False, "quality": False}


def test_of_unknown_age_the_schedule_is_not_judged() -> None:
    decision = govern(history(), MONTHLY)
    assert not decision.retrain
    assert decision.reason.endswith("; not judged: not enough data: refresh has no dates of training in the champion's profile")


def test_the_same_night_by_schedule_again_decides_the_same() -> None:
    first = govern(history(trained_until=OLD), MONTHLY)
    begun = [Retraining(day(0), "2", ("refresh",))]
    assert govern(history(trained_until=OLD, retrainings=begun, decided=day(0)), MONTHLY) == first


def test_a_schedule_beyond_the_calendar_is_never_due() -> None:
    endless = POLICY.model_copy(update={"refresh_days": 10**12, "cool_down_nights": 10**12})
    assert govern(history(trained_until=OLD), endless).reason.endswith("; refresh is due on 9999-12-31")
    assert govern(history(nights=ALARM), endless).reason.startswith("no: cool-down until 9999-12-31")


# ------------------------------------------------------------------------------------------------ whatever the history

past, versions, rows = st.integers(-40, 0), st.sampled_from(["2", "2", "2", "1"]), st.sampled_from([3, 999, 1000, 7000])
measures = st.builds(Measure, st.sampled_from([0.01, 0.08, 0.2, 5.0]), st.sampled_from([0.0, 0.3]), st.sampled_from([0.1, 0.5]))
nights = st.builds(
    lambda offset, version, held, length, first, second, score: Night(day(offset), version, held, length, {"a": first, "b": second}, score),
    st.integers(-6, 0), versions, rows, st.integers(1, 7), measures, measures, measures,
)  # fmt: skip
outcomes = st.builds(
    lambda o, v, n, auc: Outcome(day(o), v, n, auc), st.integers(-9, -2), versions, rows, st.sampled_from([None, 0.4, 0.6, 0.7])
)
retrainings = st.builds(
    lambda o, v, s: Retraining(day(o), v, s),
    past,
    versions,
    st.sampled_from([("drift",), ("quality",), ("drift", "quality"), ("refresh",)]),
)
promotions = st.lists(st.integers(-40, 0) | st.just(1), max_size=1).map(
    lambda offsets: [Promotion(1, day(-200), "1"), Promotion(2, day(-100), "2"), *(Promotion(3, day(offset), "2") for offset in offsets)]
)
histories = st.builds(
    History, name=st.just("m"), partition=st.just(day(0)), scored_by=st.sampled_from(["2", "2", "2", "1"]), promotions=promotions,
    nights=st.lists(nights, min_size=1, max_size=8, unique_by=lambda night: (night.partition, night.version)),
    outcomes=st.lists(outcomes, max_size=8, unique_by=lambda outcome: outcome.partition),
    retrainings=st.lists(retrainings, max_size=2),
    reference=st.none() | st.builds(Reference, st.just(0.7), st.sampled_from([0.01, 0.1]), st.just(14)),
    decided=st.none() | st.integers(-3, 1).map(day),
    trained_until=st.none() | st.integers(-60, -1).map(day),
)  # fmt: skip
EAGER = POLICY.model_copy(update={"minimum_nights": 2, "alarm_nights": 1, "outcome_nights": 0, "cool_down_nights": 9, "retry_nights": 12})


@pytest.mark.costly
@settings(max_examples=300, deadline=None)
@given(histories, st.none() | st.sampled_from([1, 20]), st.randoms(use_true_random=False))
def test_no_history_breaks_a_rule(past: History, refresh_days: int | None, random: Any) -> None:
    eager = EAGER.model_copy(update={"refresh_days": refresh_days})
    decision = govern(past, eager)
    assert govern(past, eager) == decision, "the same question, the same answer"
    shuffled = replace(
        past,
        **{
            rows: random.sample(getattr(past, rows), len(getattr(past, rows)))
            for rows in ("promotions", "nights", "outcomes", "retrainings")
        },
    )
    assert govern(shuffled, eager) == decision, "the order of rows is of no account"
    assert decision.reason.startswith("yes: " if decision.retrain else ("no: ", "not judged: "))
    assert decision.reason.startswith("not judged: ") <= (not any(decision.findings["judged"].values()))
    if decision.retrain:
        assert past.decided is None or past.decided <= past.partition, "older than a recorded decision"
        before = [r.partition for r in past.retrainings if r.partition != past.partition]
        assert all(partition <= day(-9) for partition in [*before, past.champion.live_from]), "inside the cool-down"
        assert sum(partition[:7] == past.partition[:7] for partition in before) < EAGER.per_month, "over budget"
        since = past.champion.live_from
        enough = [n for n in past.nights if n.version == "2" and since <= n.partition <= day(0) and n.rows >= 1000 and n.nights >= 2]
        known = [row for row in past.outcomes if row.version == "2" and row.quality is not None and row.partition >= since]
        if decision.findings["signals"] == ["drift"]:
            assert enough, "under the minimum sample"
        if "refresh" in decision.findings["signals"]:
            assert refresh_days is not None
            assert all(partition <= day(-refresh_days) for partition in before), "earlier than its schedule"
        if decision.findings["signals"] == ["quality"]:
            assert len(known) >= 5, "under the minimum sample"
            assert sum(row.rows for row in known) >= 1000, "under the minimum sample"


@pytest.mark.slow
def test_histories_reach_a_yes() -> None:
    """Else the properties above would say nothing."""
    seen = set()

    @settings(max_examples=500, deadline=None, database=None, derandomize=True)
    @given(histories)
    def collect(past: History) -> None:
        seen.add(govern(past, EAGER).retrain)

    collect()
    assert seen == {True, False}


def test_a_loss_of_the_forecasts_is_named_by_its_measure() -> None:
    decision = govern(history(outcomes=worse(-0.2), quality_name="R²"), POLICY)
    assert decision.retrain
    assert decision.reason == "yes: R² of the last 5 nights with outcomes is -0.200, limit 0.670"
    error = 0.07 * (1 / 5 + 1 / 14) ** 0.5
    noisy = govern(history(outcomes=worse(0.65), quality_name="R²", reference=Reference(0.70, 0.07, 14)), POLICY)
    assert noisy.reason.endswith(f"R² of the last 5 nights with outcomes is 0.650, limit {0.70 - POLICY.spread_factor * error:.3f}")
