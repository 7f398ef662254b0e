"""Two models' scores side by side: the figures of a night, and that merged nights give the figures of all rows at once."""

import numpy as np
import pytest
from scipy.stats import ks_2samp, spearmanr
from sklearn.metrics import mean_absolute_error

from pipelines.lib.challengers.agreement import BINS, count, measure, merge
from pipelines.lib.models.decision_rule import DecisionRule

HALF = DecisionRule(at=0.5)


def test_two_models_are_compared() -> None:
    champion = np.linspace(0, 1, 1_000, dtype=np.float32)
    same = measure(champion, champion, HALF)
    assert (same.rows, same.disagreement, same.correlation, same.psi, same.ks) == (1_000, 0, 1, 0, 0)
    turned = measure(champion, 1 - champion, HALF)
    assert (turned.disagreement, turned.correlation) == (1, -1)
    assert turned.psi < 0.01
    higher = measure(champion, champion / 2 + 0.5, HALF)
    assert higher.ks == pytest.approx(0.5, abs=0.01)
    assert higher.challenger_mean == pytest.approx(0.75, abs=0.001)
    assert measure(champion, np.full(1_000, 0.3, dtype=np.float32), HALF).correlation is None


def test_merged_nights_give_the_figures_of_all_their_rows_at_once() -> None:
    generator = np.random.default_rng(5)
    nights = []
    for rows in (3_000, 500, 8_000):
        champion = generator.beta(2, 6, rows).astype(np.float32)
        nights.append((champion, np.clip(champion * 1.1 + generator.normal(0, 0.03, rows), 0, 1).astype(np.float32)))
    counts = np.sum([[count(scores) for scores in night] for night in nights], axis=0)
    found = merge([measure(*night, HALF) for night in nights], counts)
    whole = measure(np.concatenate([night[0] for night in nights]), np.concatenate([night[1] for night in nights]), HALF)
    assert found is not None
    assert found.rows == whole.rows == 11_500
    for name in ("champion_mean", "challenger_mean", "disagreement"):
        assert getattr(found, name) == pytest.approx(getattr(whole, name), abs=2e-6), name
    assert found.ks == pytest.approx(whole.ks, abs=0.003)
    assert found.psi == pytest.approx(whole.psi, abs=0.01)
    assert found.correlation == pytest.approx(whole.correlation, abs=0.005)


def test_scores_of_one_value_merge_too() -> None:
    champion, challenger = np.full(100, 0.3, dtype=np.float32), np.linspace(0, 1, 100, dtype=np.float32)
    found = merge([measure(champion, challenger, HALF)], np.stack([count(champion), count(challenger)]))
    assert found is not None
    assert found.correlation is None
    assert np.isfinite([found.psi, found.ks]).all()


def test_forecasts_are_apart_by_a_share_of_the_champions_spread() -> None:
    rng = np.random.default_rng(6)
    champion = rng.gamma(2.0, 20.0, 3_000).astype(np.float32)
    challenger = (1.1 * champion + rng.normal(0, 3, 3_000)).astype(np.float32)
    found = measure(champion, challenger, None)
    assert found.disagreement == pytest.approx(mean_absolute_error(champion, challenger) / np.std(champion.astype(float)), abs=1e-6)
    assert found.correlation == pytest.approx(spearmanr(champion, challenger).statistic, abs=1e-6)
    assert found.ks == pytest.approx(ks_2samp(champion, challenger).statistic, abs=1e-6)
    span = (-200.0, 600.0)
    merged = merge([found], np.stack([count(champion, span), count(challenger, span)]))
    assert merged is not None
    assert (merged.disagreement, merged.champion_mean) == (found.disagreement, found.champion_mean)
    assert merged.ks == pytest.approx(found.ks, abs=0.01)
    assert merged.psi == pytest.approx(found.psi, abs=0.02)


def test_a_forecast_beyond_all_others_is_counted_at_its_own_end() -> None:
    """As a whole number of bins, 1e30 was a negative one, and was counted among the lowest."""
    counts = count(np.array([-1e30, 5.0, 1e30], dtype=np.float32), (0.0, 10.0))
    assert (counts[0], counts[BINS // 2], counts[-1], counts.sum()) == (1, 1, 1, 3)


def test_without_a_night_there_is_nothing_to_merge() -> None:
    assert merge([], np.zeros((2, BINS), dtype=np.int64)) is None


def test_every_score_is_counted_the_ends_too() -> None:
    counts = count(np.array([0, 0.5, 1, 1], dtype=np.float32))
    assert (counts[0], counts[BINS // 2], counts[-1], counts.sum()) == (1, 1, 2, 4)
