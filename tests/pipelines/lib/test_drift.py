"""Drift: published figures come out, counts are lost nowhere and add up, and strange columns are measured or named."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.lib import drift, features
from pipelines.lib.drift import Binning, Histogram, categorical_binning, compare, count, count_parquet, merge, numeric_binning
from pipelines.lib.errors import ConfigError, DataError

CASES: dict[str, list[dict[str, Any]]] = json.loads((Path(__file__).parent / "drift_cases.json").read_text(encoding="utf-8"))
FLOOR = 0.0001

# ------------------------------------------------------------------------------------------------ published figures


def tally(values: list[float], of: list[float]) -> list[int]:
    return [int(np.sum(np.asarray(of) == value)) for value in values]


@pytest.mark.parametrize("case", CASES["psi_from_counts"], ids=lambda case: case["source"])
def test_psi_of_published_counts(case: dict[str, Any]) -> None:
    if "expected_values" in case:
        values = sorted({*case["expected_values"], *case["actual_values"]})
        expected, actual = (tally(values, case[side]) for side in ("expected_values", "actual_values"))
    else:
        expected, actual = case["expected"], case["actual"]
    assert drift.psi(expected, actual, case["floor"]) == pytest.approx(case["psi"], rel=0, abs=case["tolerance"])


def psi_of_halves(values: np.ndarray) -> float:
    """As feature_engine has it: bins of the first half, floor for what is empty."""
    first, second = np.split(values, 2)
    binning = numeric_binning("x", first, bins=10)
    assert len(binning.edges) == 9
    return compare_psi(binning, first, second)


def compare_psi(binning: Binning, first: np.ndarray, second: np.ndarray) -> float:
    sides = [count({"x": side}, [binning]).counts["x"] for side in (first, second)]
    return drift.psi(*sides, floor=FLOOR)


def test_psi_of_published_samples() -> None:
    from sklearn.datasets import make_classification

    many, one = CASES["psi_from_samples"]
    matrix, _ = make_classification(
        n_samples=1000, n_features=6, n_redundant=2, n_clusters_per_class=1, weights=[0.50], class_sep=2, random_state=1
    )
    found = [psi_of_halves(column) for column in matrix.T]
    np.testing.assert_allclose(found, many["psi"], rtol=0, atol=many["tolerance"])
    assert psi_of_halves(np.arange(1000.0)) == pytest.approx(one["psi"][0], abs=one["tolerance"])


@pytest.mark.parametrize(("shift", "case"), [(20.1, CASES["ks"][0]), (19.9, CASES["ks"][1])])
def test_ks_of_published_samples(shift: float, case: dict[str, Any]) -> None:
    first, second = np.linspace(1, 100, 100), np.linspace(1, 100, 110) + shift
    values = np.unique([*first, *second])
    statistic, p_value = drift.ks(tally(values, first), tally(values, second))
    assert statistic == pytest.approx(case["statistic"], rel=1e-12)
    assert p_value == pytest.approx(case["pvalue"], rel=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=1, max_size=60), st.lists(st.integers(0, 30), min_size=1, max_size=60))
def test_ks_is_that_of_scipy(first: list[int], second: list[int]) -> None:
    from scipy.stats import ks_2samp

    with warnings.catch_warnings(record=True) as told:
        expected = ks_2samp(first, second, method="exact")
    assume(not told)  # where every path strays, SciPy gives up being exact
    statistic, p_value = drift.ks(np.bincount(first, minlength=31), np.bincount(second, minlength=31))
    assert statistic == pytest.approx(expected.statistic, abs=1e-12)
    assert p_value == pytest.approx(expected.pvalue, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(900, 2_000), (5_000, 60_000)])
def test_ks_of_many_rows_is_near_the_exact_one(n: int, m: int) -> None:
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    for shift in (0.0, 0.03, 0.06):
        first, second = rng.integers(0, 200, n), np.clip(rng.normal(100 + shift * 58, 58, m), 0, 199).astype(int)
        expected = ks_2samp(first, second).pvalue
        assert drift.ks(np.bincount(first, minlength=200), np.bincount(second, minlength=200))[1] == pytest.approx(
            expected, rel=0.03, abs=1e-4
        )


def test_jensen_shannon_is_that_of_scipy() -> None:
    from scipy.spatial.distance import jensenshannon

    assert drift.jensen_shannon([20, 30, 0, 50], [10, 30, 40, 5]) == pytest.approx(jensenshannon([20, 30, 0, 50], [10, 30, 40, 5], base=2))
    assert drift.jensen_shannon([1, 0], [0, 1]) == 1


# ------------------------------------------------------------------------------------------------ counting

numbers = st.floats(width=32) | st.sampled_from([-1.0, 0.0, 1.0, 2.5, math.nan, math.inf, -math.inf])
columns = hnp.arrays(np.float32, st.integers(0, 200), elements=numbers)
binnings = st.builds(
    lambda edges, filler: Binning("x", tuple(sorted(edges)), filler),
    st.sets(st.floats(-5, 5, width=32).map(lambda edge: edge + 0.0), min_size=1, max_size=12),
    st.none() | st.sampled_from([-1.0, 0.0, 2.5]),
)


@given(columns, binnings)
def test_every_row_falls_into_one_bin(values: np.ndarray, binning: Binning) -> None:
    counts = count({"x": values}, [binning]).counts["x"]
    assert len(counts) == binning.size
    assert min(counts) >= 0
    assert sum(counts) == len(values)
    missing = np.isnan(values) | (values == np.float32(math.nan if binning.filler is None else binning.filler))
    kept = values[~missing]
    edges = np.asarray(binning.edges, np.float32)
    assert counts == (*np.bincount(np.searchsorted(edges, kept, side="left"), minlength=len(edges) + 1).tolist(), int(missing.sum()))


@given(columns, st.integers(0, 200), binnings)
def test_merging_equals_counting_all_at_once(values: np.ndarray, cut: int, binning: Binning) -> None:
    parts = [count({"x": part}, [binning]) for part in (values[:cut], values[cut:])]
    assert merge([drift.empty([binning]), *parts]) == count({"x": values}, [binning])


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
    assert set(count({"x": values}, [binning]).counts["x"]) == {100, 0}


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    binning = numeric_binning("x", values, bins=10, filler=float(values[3]))
    whole = count({"x": values}, [binning])
    monkeypatch.setattr(drift, "BLOCK_ROWS", 7)
    assert count({"x": values}, [binning]) == whole
    assert count({"x": np.stack([values, values], axis=1)[:, 1]}, [binning]) == whole


def test_very_many_bins_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(-3, 52, 5_000).astype(np.float32)
    values[::17] = np.nan
    for binning in (categorical_binning("x", [str(number) for number in range(50)]), Binning("x", tuple(map(float, range(50))), 7.0)):
        compared = count({"x": values}, [binning])
        monkeypatch.setattr(drift, "MOST_COMPARISONS", 10)
        assert count({"x": values}, [binning]) == compared
        monkeypatch.undo()


def test_categories_have_bins_for_unseen_and_missing() -> None:
    assert (drift.UNSEEN_CODE, drift.MISSING_CODE) == (features.UNSEEN, features.MISSING)
    binning = categorical_binning("x", ["EWR", "JFK", "LGA"])
    codes = np.array([0, 0, 2, -1, -2, math.nan, 3, 1], dtype=np.float32)
    assert count({"x": codes}, [binning]).counts["x"] == (2, 1, 1, 2, 2)
    assert binning.labels == ["EWR", "JFK", "LGA", "unseen", "missing"]
    assert Binning.from_json(binning.to_json()) == binning


def test_a_number_has_a_label_for_each_bin() -> None:
    binning = Binning("x", (1.0, 2.5), filler=-1.0)
    assert binning.labels == ["up to 1", "1 to 2.5", "above 2.5", "missing or -1"]
    assert len(binning.labels) == binning.size


def test_a_histogram_goes_through_json() -> None:
    histogram = Histogram(3, {"x": (1, 2), "y": (0, 3)})
    assert Histogram.from_json(json.loads(json.dumps(histogram.to_json()))) == histogram


def test_histograms_of_other_bins_do_not_add_up() -> None:
    with pytest.raises(DataError, match="one model's profile"):
        Histogram(1, {"x": (1, 0)}) + Histogram(1, {"x": (1, 0, 0)})


@pytest.mark.parametrize("edges", [(), (1.0, 1.0), (2.0, 1.0), (1.0, math.nan)])
def test_edges_that_do_not_ascend_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="they must ascend"):
        Binning("x", edges)


def test_a_column_that_is_gone_is_named() -> None:
    with pytest.raises(DataError, match="no column x there; there are y"):
        count({"y": np.zeros(3)}, [Binning("x", (1.0,))])


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match="have 2, 3 rows"):
        count({"x": np.zeros(3), "y": np.zeros(2)}, [Binning("x", (1.0,)), Binning("y", (1.0,))])


# ------------------------------------------------------------------------------------------------ from Parquet


def test_a_file_counts_as_its_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=200_000).astype(np.float32), "y": rng.integers(0, 9, 200_000)}
    bins = [numeric_binning("x", values["x"], bins=10), Binning("y", (1.0, 4.0), filler=5.0)]
    pq.write_table(pa.table({"key": np.arange(200_000), **values}), tmp_path / "f.parquet", row_group_size=30_000)
    assert count_parquet(tmp_path / "f.parquet", bins) == count(values, bins)


def test_a_file_without_rows_counts_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([], pa.float32())}), tmp_path / "f.parquet")
    assert count_parquet(tmp_path / "f.parquet", [Binning("x", (1.0,))]) == drift.empty([Binning("x", (1.0,))])


@pytest.mark.parametrize("kind", [pa.float32(), pa.int16(), pa.float64()])
def test_nulls_are_missing(tmp_path: Path, kind: pa.DataType) -> None:
    pq.write_table(pa.table({"x": pa.array([None, 1, 2, None], kind)}), tmp_path / "f.parquet")
    assert count_parquet(tmp_path / "f.parquet", [Binning("x", (1.0,))]).counts["x"] == (1, 1, 2)


def test_files_that_cannot_be_counted_are_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": ["a", "b"]}), tmp_path / "f.parquet")
    with pytest.raises(DataError, match="no column y"):
        count_parquet(tmp_path / "f.parquet", [Binning("y", (1.0,))])
    with pytest.raises(DataError, match="the column x holds string"):
        count_parquet(tmp_path / "f.parquet", [Binning("x", (1.0,))])
    (tmp_path / "torn.parquet").write_bytes((tmp_path / "f.parquet").read_bytes()[:-9])
    with pytest.raises(DataError, match=r"torn\.parquet is not a whole Parquet file"):
        count_parquet(tmp_path / "torn.parquet", [Binning("x", (1.0,))])


def test_a_file_that_is_damaged_within_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": np.random.default_rng(0).normal(size=5_000)}), tmp_path / "f.parquet", compression="zstd")
    content = bytearray((tmp_path / "f.parquet").read_bytes())
    content[len(content) // 3 : len(content) // 2] = bytes(len(content) // 2 - len(content) // 3)
    (tmp_path / "f.parquet").write_bytes(content)
    with pytest.raises(DataError, match=r"f\.parquet cannot be read to its end"):
        count_parquet(tmp_path / "f.parquet", [Binning("x", (1.0,))])


# ------------------------------------------------------------------------------------------------ comparing

counts = st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 10_000)), min_size=1, max_size=20).filter(
    lambda pairs: all(any(side) for side in zip(*pairs, strict=True))
)


@given(counts, st.none() | st.sampled_from([FLOOR, 0.01]))
def test_a_distance_is_symmetric_and_zero_for_equals(pairs: list[tuple[int, int]], floor: float | None) -> None:
    e, a = zip(*pairs, strict=True)
    assert drift.psi(e, a, floor) >= 0
    assert drift.psi(e, a, floor) == pytest.approx(drift.psi(a, e, floor))
    assert drift.psi(e, e, floor) == 0 == drift.psi(a, [10 * number for number in a], floor)
    assert 0 <= drift.jensen_shannon(e, a) <= 1
    assert drift.jensen_shannon(e, a) == pytest.approx(drift.jensen_shannon(a, e))
    assert drift.jensen_shannon(e, e) == pytest.approx(0, abs=1e-7)


def test_without_a_floor_a_bin_that_is_empty_on_one_side_is_infinitely_far() -> None:
    assert drift.psi([1, 0], [1, 1]) == math.inf
    assert drift.psi([1, 0, 1], [1, 0, 1]) == 0


def measured(binning: Binning, reference: np.ndarray, current: np.ndarray) -> drift.Measures:
    sides = [count({"x": np.asarray(side, np.float32)}, [binning]) for side in (reference, current)]
    return compare([binning], *sides, floor=FLOOR)["x"]


def test_a_constant_that_stays_does_not_drift_and_one_that_changes_does() -> None:
    constant = np.full(1_000, 7, np.float32)
    binning = numeric_binning("x", constant, bins=10)
    assert measured(binning, constant, constant[:50]).psi == 0
    for other in (6.5, 7.5):
        assert measured(binning, constant, np.full(50, other)).psi > 5


def test_a_column_that_goes_missing_drifts() -> None:
    reference = np.random.default_rng(0).normal(size=1_000).astype(np.float32)
    binning = numeric_binning("x", reference, bins=10, filler=-1.0)
    for gone in (math.nan, -1.0):
        found = measured(binning, reference, np.full(500, gone))
        assert (found.missing, found.ks, found.ks_p) == (1, None, None)
        assert found.psi > 5
        assert found.jensen_shannon == 1


def test_a_column_that_was_always_missing_is_measured() -> None:
    nothing = np.full(100, np.nan, np.float32)
    binning = numeric_binning("x", nothing, bins=10)
    assert measured(binning, nothing, nothing[:5]).psi == 0
    assert measured(binning, nothing, np.arange(5)).psi > 5


def test_a_new_category_is_told() -> None:
    binning = categorical_binning("x", ["a", "b"])
    found = measured(binning, np.array([0, 1] * 500), np.array([0, 1] * 20 + [-1] * 60))
    assert found.unseen == pytest.approx(0.6)
    assert found.psi > 0.25
    assert found.ks is None


def test_three_rows_are_measured() -> None:
    reference = np.arange(1_000, dtype=np.float32)
    found = measured(numeric_binning("x", reference, bins=10), reference, np.array([1, 500, 999]))
    assert found.rows == 3
    assert found.psi > 1
    assert found.ks_p is not None
    assert found.ks_p > 0.5


def test_no_rows_are_refused() -> None:
    with pytest.raises(DataError, match="no rows on one side"):
        measured(Binning("x", (1.0,)), np.zeros(3), np.zeros(0))
    with pytest.raises(DataError, match="no rows on one side"):
        drift.ks([0, 0], [1, 0])
