"""Any data set goes through the builder that the benchmark measures: NumPy files of vectors, queries and true neighbours."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.index import own_data
from pipelines.lib.measures import neighbours

ROWS, QUERIES = 3_000, 500


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_HOME", str(tmp_path / "home"))


def files(directory: Path, dimension: int, clusters: int = 40) -> tuple[str, str, str]:
    """Return clusters like those of data sets, not of norm 1; queries near them, and the answers of exact search."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(clusters, dimension))

    def drawn(count: int) -> np.ndarray:
        return (centres[rng.integers(clusters, size=count)] + 0.3 * rng.normal(size=(count, dimension))).astype(np.float32)

    vectors, queries = drawn(ROWS), drawn(QUERIES)
    content = {"vectors": vectors, "queries": queries, "truth": neighbours.exact(vectors, queries, 10)[1]}
    for name, array in content.items():
        np.save(directory / f"{name}.npy", array)
    return tuple(str(directory / f"{name}.npy") for name in content)  # type: ignore[return-value]


@pytest.mark.slow
@pytest.mark.parametrize(("dimension", "code_bytes"), [(16, 4), (13, 1)])
def test_both_kinds_are_built_and_find_what_was_wanted(tmp_path: Path, dimension: int, code_bytes: int) -> None:
    found = own_data.given(*files(tmp_path, dimension))
    assert (found["rows"], found["dimension"], found["queries"], found["code_bytes"]) == (ROWS, dimension, QUERIES, code_bytes)
    assert found["hnsw_recall_10"] >= 0.98
    assert found["ivfpq_recall_10"] >= 0.95
    assert not list((tmp_path / "home" / "bench").iterdir()), "what was built is gone"


@pytest.mark.slow
def test_a_kind_that_its_gate_refuses_is_reported_and_the_other_measured(tmp_path: Path) -> None:
    """One byte for 97 values that have nothing in common."""
    found = own_data.given(*files(tmp_path, 97, clusters=ROWS))
    assert "no width of search surely reaches recall@10 0.95" in found["ivfpq_refused"]
    assert "ivfpq_recall_10" not in found
    assert found["hnsw_recall_10"] > 0.9


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    vectors, queries, truth = files(tmp_path, 16)
    np.save(tmp_path / "narrow.npy", np.zeros((QUERIES, 15), np.float32))
    np.save(tmp_path / "beyond.npy", np.full((QUERIES, 10), ROWS))
    for arguments in ((vectors, str(tmp_path / "narrow.npy"), truth), (vectors, queries, str(tmp_path / "beyond.npy"))):
        with pytest.raises(SystemExit, match="expected"):
            own_data.given(*arguments)
