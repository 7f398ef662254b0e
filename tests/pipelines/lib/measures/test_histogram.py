"""Histograms: no row is lost, parts add up, and files are counted or refused with their name."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipelines.lib.core.errors import DataError
from pipelines.lib.measures import histogram
from pipelines.lib.measures.binning import Binning, categorical_binning, numeric_binning
from pipelines.lib.measures.histogram import Histogram, count, count_parquet, merge

numbers = st.floats(width=32) | st.sampled_from([-1.0, 0.0, 1.0, 2.5, math.nan, math.inf, -math.inf])
columns = hnp.arrays(np.float32, st.integers(0, 200), elements=numbers)
binnings = st.builds(
    lambda edges, filler: Binning("x", tuple(sorted(edges)), filler),
    st.sets(st.floats(-5, 5, width=32).map(lambda edge: edge + 0.0), min_size=1, max_size=12),
    st.none() | st.sampled_from([-1.0, 0.0, 2.5]),
)


@pytest.mark.costly
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


@pytest.mark.costly
@given(columns, st.integers(0, 200), binnings)
def test_merging_equals_counting_all_at_once(values: np.ndarray, cut: int, binning: Binning) -> None:
    parts = [count({"x": part}, [binning]) for part in (values[:cut], values[cut:])]
    assert merge([histogram.empty([binning]), *parts]) == count({"x": values}, [binning])


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    binning = numeric_binning("x", values, bins=10, filler=float(values[3]))
    whole = count({"x": values}, [binning])
    monkeypatch.setattr(histogram, "BLOCK_ROWS", 7)
    assert count({"x": values}, [binning]) == whole
    assert count({"x": np.stack([values, values], axis=1)[:, 1]}, [binning]) == whole


def test_very_many_bins_are_searched(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(-3, 52, 5_000).astype(np.float32)
    values[::17] = np.nan
    for binning in (categorical_binning("x", [str(number) for number in range(50)]), Binning("x", tuple(map(float, range(50))), 7.0)):
        compared = count({"x": values}, [binning])
        monkeypatch.setattr(histogram, "MOST_COMPARISONS", 10)
        assert count({"x": values}, [binning]) == compared
        monkeypatch.undo()


def test_a_histogram_goes_through_json() -> None:
    counted = Histogram(3, {"x": (1, 2), "y": (0, 3)})
    assert Histogram.from_json(json.loads(json.dumps(counted.to_json()))) == counted


def test_histograms_of_other_bins_do_not_add_up() -> None:
    with pytest.raises(DataError, match="one model's profile"):
        Histogram(1, {"x": (1, 0)}) + Histogram(1, {"x": (1, 0, 0)})


def test_a_column_that_is_gone_is_named() -> None:
    with pytest.raises(DataError, match="no column x there; there are y"):
        count({"y": np.zeros(3)}, [Binning("x", (1.0,))])


def test_columns_of_different_length_are_refused() -> None:
    with pytest.raises(DataError, match="have 2, 3 rows"):
        count({"x": np.zeros(3), "y": np.zeros(2)}, [Binning("x", (1.0,)), Binning("y", (1.0,))])


def test_a_file_counts_as_its_columns(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = {"x": rng.normal(size=200_000).astype(np.float32), "y": rng.integers(0, 9, 200_000)}
    bins = [numeric_binning("x", values["x"], bins=10), Binning("y", (1.0, 4.0), filler=5.0)]
    pq.write_table(pa.table({"key": np.arange(200_000), **values}), tmp_path / "f.parquet", row_group_size=30_000)
    assert count_parquet(tmp_path / "f.parquet", bins) == count(values, bins)


def test_a_file_without_rows_counts_nothing(tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": pa.array([], pa.float32())}), tmp_path / "f.parquet")
    assert count_parquet(tmp_path / "f.parquet", [Binning("x", (1.0,))]) == histogram.empty([Binning("x", (1.0,))])


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


def test_a_score_is_rounded_before_it_is_counted() -> None:
    """The last digits of a model's scores differ between machines: they must not carry a heavy score into another bin."""
    scores = np.array([0.0123457, 0.0123464, 0.5], dtype=np.float32)
    rounded = numeric_binning("score", np.repeat(scores[:1], 100), bins=10, decimals=6)
    assert rounded.alone == (0.012346,)
    assert count({"score": scores}, [rounded]).counts["score"] == (0, 2, 1, 0)
