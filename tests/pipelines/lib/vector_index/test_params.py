"""Parameters of an index that FAISS cannot use are refused by name, before anything is learnt."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import parse_section
from pipelines.lib.vector_index.params import BuildIndex, IvfPq, IvfPqSweep, PlanIndex, check_ivfpq
from tests.small_index import build_from_arrays, rows_of, vectors_of

ROWS, DIMENSION = 300, 8


def build(target: Path, ivfpq: IvfPq, rows: int = ROWS, **options: Any) -> dict[str, Any]:
    return build_from_arrays(vectors_of(rows), rows_of(rows), target / "build", plan_index=PlanIndex(kind="ivfpq", ivfpq=ivfpq), **options)


@pytest.mark.parametrize(
    ("ivfpq", "rows", "message"),
    [
        (IvfPq(lists=512, code_bytes=2), ROWS, r"plan_index\.ivfpq\.lists is 512, there are 300 rows; set it to 300 or less, or to null"),
        (IvfPq(lists=2**70, code_bytes=2), ROWS, r"plan_index\.ivfpq\.lists is \d+, there are 300 rows"),
        (IvfPq(code_bytes=3), ROWS, r"code_bytes is 3, which does not divide the dimension 8; set it to one of 1, 2, 4, 8"),
        (IvfPq(code_bytes=16), ROWS, r"code_bytes is 16, which does not divide the dimension 8"),
        (IvfPq(code_bytes=2), 255, r"at least 256 rows, there are 255; set plan_index\.kind to hnsw"),
    ],
)
def test_an_ivfpq_that_cannot_be_trained_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ivfpq: IvfPq, rows: int, message: str
) -> None:
    monkeypatch.setattr("pipelines.lib.vector_index.plan.cluster", None)  # anyone who learns first fails otherwise
    with pytest.raises(ConfigError, match=message):
        build(tmp_path, ivfpq, rows)


def test_the_largest_parameters_that_fit_build_an_index(tmp_path: Path) -> None:
    check_ivfpq(PlanIndex(kind="ivfpq", ivfpq=IvfPq(lists=ROWS, code_bytes=DIMENSION)), ROWS, DIMENSION)
    sweep = BuildIndex(ivfpq=IvfPqSweep(nprobe=(2**70,), refine=(2**40,)))  # more lists than there are: all of them
    built = build(tmp_path, IvfPq(lists=ROWS, code_bytes=DIMENSION), build_index=sweep)
    assert (built["lists"], built["search"]["nprobe"]) == (ROWS, ROWS)
    assert np.load(tmp_path / "build" / "vectors.npy").shape == (ROWS, DIMENSION)


@pytest.mark.parametrize(
    ("section", "content", "key"),
    [
        (PlanIndex, {"seed": -1}, "seed"),
        (PlanIndex, {"seed": 2**40}, "seed"),
        (PlanIndex, {"hnsw": {"m": 2**33}}, "hnsw.m"),
        (PlanIndex, {"hnsw": {"ef_construction": 2**33}}, "hnsw.ef_construction"),
        (BuildIndex, {"threads": 10**6}, "threads"),
        (BuildIndex, {"hnsw": {"ef": []}}, "hnsw.ef"),
        (BuildIndex, {"hnsw": {"ef": [16, 0]}}, "hnsw.ef.1"),
        (BuildIndex, {"hnsw": {"ef": [2**33]}}, "hnsw.ef.0"),
        (BuildIndex, {"ivfpq": {"nprobe": []}}, "ivfpq.nprobe"),
        (BuildIndex, {"ivfpq": {"nprobe": [0]}}, "ivfpq.nprobe.0"),
        (BuildIndex, {"ivfpq": {"refine": []}}, "ivfpq.refine"),
        (BuildIndex, {"ivfpq": {"refine": [1, -1]}}, "ivfpq.refine.1"),
    ],
)
def test_numbers_that_faiss_cannot_take_are_refused_when_they_are_read(section: Any, content: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^here\.{key}: "):
        parse_section(content, section, "here")
