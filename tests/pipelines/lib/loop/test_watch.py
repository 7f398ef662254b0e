"""The comparison of two champions by the losses of their nights."""

import numpy as np
import pytest

from pipelines.lib.challengers import comparison
from pipelines.lib.challengers.comparison import Difference, mean_loss
from pipelines.lib.challengers.policy import Policy
from pipelines.lib.core.params import load_section
from pipelines.lib.loop.watch import NightLoss, judge, loss_difference


def night(number: int, champion: float, former: float, rows: int = 500, positives: int = 100) -> NightLoss:
    return NightLoss(f"2013-04-{number + 1:02d}", rows, positives, champion, former)


def test_the_losses_of_nights_give_the_interval_of_their_rows() -> None:
    rng = np.random.default_rng(0)
    nights = np.repeat(np.arange(9), rng.integers(50, 300, 9))
    labels = rng.integers(0, 2, len(nights))
    former, champion = (np.clip(0.4 * labels + rng.random(len(labels)) * 0.6, 0.01, 0.99) for _ in range(2))
    masks = [nights == number for number in range(9)]
    losses = [
        NightLoss("", int(m.sum()), int(labels[m].sum()), mean_loss(labels[m], champion[m]), mean_loss(labels[m], former[m])) for m in masks
    ]
    by_rows, by_nights = comparison.loss_difference(labels, former, champion, nights), loss_difference(losses)
    for name in ("value", "low", "high", "p"):
        assert getattr(by_nights, name) == pytest.approx(getattr(by_rows, name), abs=1e-12)


@pytest.mark.parametrize("nights", [[night(n, 0.5, 0.4) for n in range(4)], [night(n, 0.5, 0.4, positives=1) for n in range(9)]])
def test_too_few_nights_or_rows_have_no_interval(nights: list[NightLoss]) -> None:
    assert loss_difference(nights) == Difference(pytest.approx(0.1), None, None, None)


def test_an_early_look_needs_more_than_the_last_one() -> None:
    policy = load_section("decide", Policy)
    nights = [night(n, 0.51 + 0.01 * (n % 3), 0.5) for n in range(6)]  # p is 0.003
    assert judge(nights, policy, last=False)[0] is False
    assert judge(nights, policy, last=True)[0] is True


def test_a_gain_is_not_a_loss_however_clear() -> None:
    nights = [night(n, 0.4 + 0.001 * n, 0.5) for n in range(8)]
    lost, words = judge(nights, load_section("decide", Policy), last=True)
    assert (lost, words[:36]) == (False, "no clear loss on 8 of 14 nights: its")


def rolled_back(policy: Policy, *, worse: float, watches: int = 400) -> float:
    """Return the share of simulated watches that end with a rollback, if the champion's loss is higher by `worse` standard deviations of a night."""
    rng, rollbacks = np.random.default_rng(7), 0
    for change in rng.normal(worse, 1.0, (watches, policy.watch_nights)):
        nights = [night(n, 0.5 + 0.01 * one, 0.5) for n, one in enumerate(change)]
        looks = range(1, policy.watch_nights + 1)
        rollbacks += any(judge(nights[:count], policy, last=count == policy.watch_nights)[0] for count in looks)
    return rollbacks / watches


def test_a_champion_as_good_as_the_former_one_is_seldom_rolled_back_by_chance() -> None:
    assert 0 < rolled_back(load_section("decide", Policy), worse=0.0) <= 0.02


def test_a_champion_that_is_worse_on_most_nights_is_rolled_back() -> None:
    assert rolled_back(load_section("decide", Policy), worse=1.2, watches=100) >= 0.9
