"""Binning: any column has bins, heavy values have their own, and what a registered model carries is still read."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.features import compute as features
from pipelines.lib.measures import binning as binning_module
from pipelines.lib.measures.binning import Binning, categorical_binning, numeric_binning
from pipelines.lib.measures.histogram import count

numbers = st.floats(width=32) | st.sampled_from([-1.0, 0.0, 1.0, 2.5, math.nan, math.inf, -math.inf])
columns = hnp.arrays(np.float32, st.integers(0, 200), elements=numbers)


def _subnormal(values: np.ndarray) -> np.ndarray:
    """Return which of `values` some processors take for 0; the bin of 0 holds them on every one."""
    return (values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)


@pytest.mark.costly
@given(columns)
def test_any_column_can_be_binned(values: np.ndarray) -> None:
    binning = numeric_binning("x", values, bins=10, filler=-1.0)
    counts = count({"x": values}, [binning]).counts["x"]
    assert sum(counts) == len(values)
    assert counts[-1] == np.sum(np.isnan(values) | (values == -1))
    again = numeric_binning("x", values, bins=10, filler=-1.0)
    assert Binning.from_json(json.loads(json.dumps(binning.to_json()))) == binning == again


def test_quantile_bins_hold_about_the_same() -> None:
    values = np.random.default_rng(0).normal(size=1_000).astype(np.float32)
    binning = numeric_binning("x", values, bins=10)
    counts = count({"x": values}, [binning]).counts["x"]
    assert counts == (0, 1, 99, *[100] * 8, 99, 1, 0, 0), "below all, the tail, nearly a tenth, ..., above all, missing"


def test_categories_have_bins_for_unseen_and_missing() -> None:
    assert (binning_module.UNSEEN_CODE, binning_module.MISSING_CODE) == (features.UNSEEN, features.MISSING)
    binning = categorical_binning("x", ["EWR", "JFK", "LGA"])
    codes = np.array([0, 0, 2, -1, -2, math.nan, 3, 1], dtype=np.float32)
    assert count({"x": codes}, [binning]).counts["x"] == (2, 1, 1, 2, 2)
    assert binning.labels == ["EWR", "JFK", "LGA", "unseen", "missing"]
    assert Binning.from_json(binning.to_json()) == binning


def test_a_number_has_a_label_for_each_bin() -> None:
    binning = Binning("x", (1.0, 2.5), filler=-1.0)
    assert binning.labels == ["up to 1", "1 to 2.5", "above 2.5", "missing or -1"]
    assert len(binning.labels) == binning.size


@pytest.mark.parametrize("edges", [(), (1.0, 1.0), (2.0, 1.0), (1.0, math.nan)])
def test_edges_that_do_not_ascend_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="they must ascend"):
        Binning("x", edges)


@pytest.mark.costly
@given(columns.filter(lambda values: not _subnormal(values).any()), st.integers(2, 12))
def test_a_heavy_value_has_a_bin_of_its_own(values: np.ndarray, bins: int) -> None:
    binning = numeric_binning("x", values, bins=bins)
    distinct, rows = np.unique(values[np.isfinite(values)], return_counts=True)
    heavy = {float(str(value)): int(held) for value, held in zip(distinct, rows, strict=True) if held * bins > rows.sum()}
    assert set(binning.alone) == {value + 0.0 for value in heavy}
    counts = dict(zip(binning.edges, count({"x": values}, [binning]).counts["x"], strict=False))
    assert {value: counts[value] for value in binning.alone} == heavy


def test_quantiles_are_of_the_rows_without_a_heavy_value() -> None:
    values = np.concatenate([np.zeros(9_000), np.arange(1, 1_001)]).astype(np.float32)
    counts = count({"x": values}, [numeric_binning("x", values, bins=11)]).counts["x"]
    assert counts == (0, 9_000, 0, 1, 99, *[100] * 8, 99, 1, 0, 0)


def test_the_bins_of_a_heavy_value_have_words() -> None:
    assert numeric_binning("x", np.repeat(np.float32([0, 100]), 50), bins=10).labels == [
        "below 0", "0", "0 to below 100", "100", "above 100", "missing",
    ]  # fmt: skip
    assert numeric_binning("x", np.float32([1, 1, 1, 1, 2, 3]), bins=3).labels == ["below 1", "1", "1 to 2", "2 to 3", "above 3", "missing"]


def test_bins_that_were_written_before_heavy_values_had_their_own_are_read_as_they_were() -> None:
    content = {"name": "x", "edges": [0.0, 1.5], "filler": -1.0}
    binning = Binning.from_json(content)
    assert (binning.edges, binning.alone, binning.decimals) == ((0.0, 1.5), (), None)
    assert binning.to_json() == content
    assert count({"x": np.float32([-1, 0, 1, 2])}, [binning]).counts["x"] == (1, 1, 1, 1)
