"""A shard in the lists of a trained index: its own rows, under the ids that they have in the whole index, or nothing if nothing is to be
filled.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.index.fill_shard import FillShard, fill_shard
from pipelines.lib.core.errors import DataError
from pipelines.lib.encoders.vectors import Shards, write_shard
from pipelines.lib.vector_index.params import IvfPq, PlanIndex
from pipelines.lib.vector_index.plan import plan
from tests.small_index import ENCODER_SHA256, rows_of, vectors_of

ROWS, CUTS = 600, {"2013-01": (0, 250), "2013-02": (250, 250), "2013-03": (250, 600)}


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    (tmp_path / "vectors").mkdir()
    for name, (start, end) in CUTS.items():
        rows, part = rows_of(ROWS).slice(start, end - start).combine_chunks(), vectors_of(ROWS)[start:end]
        write_shard(
            tmp_path / "vectors" / name,
            part.shape,
            iter([(rows.to_batches()[0], part)] if end > start else []),
            rows.schema,
            ENCODER_SHA256,
        )
    (tmp_path / "plan").mkdir()
    return tmp_path / "vectors"


def planned(vectors: Path, params: PlanIndex) -> Path:
    plan(Shards.open(vectors, list(CUTS)), params, vectors.parent / "plan", base="nothing that can be used is published")
    return vectors.parent / "plan"


@pytest.mark.parametrize("shard", CUTS)
def test_a_shard_holds_its_rows_under_their_ids(vectors: Path, shard: str) -> None:
    import faiss

    plan_directory = planned(vectors, PlanIndex(kind="ivfpq", queries=50, ivfpq=IvfPq(code_bytes=2)))
    start, end = CUTS[shard]
    for threads in (1, 2):
        target = vectors.parent / f"filled-{threads}"
        assert fill_shard(plan_directory, vectors / shard, FillShard(threads=threads), target) == end - start
    assert json.loads((target / "filled.json").read_text()) == {"rows": end - start}
    if start == end:
        assert not (target / "filled.faiss").exists()
        return
    index = faiss.read_index(str(target / "filled.faiss"))
    lists = index.invlists
    ids = np.concatenate(
        [faiss.rev_swig_ptr(lists.get_ids(number), lists.list_size(number)) for number in range(lists.nlist) if lists.list_size(number)]
    )
    assert sorted(ids.tolist()) == list(range(start, end))
    assert (target / "filled.faiss").read_bytes() == (vectors.parent / "filled-1" / "filled.faiss").read_bytes()


def test_an_hnsw_has_nothing_to_fill(vectors: Path) -> None:
    assert fill_shard(planned(vectors, PlanIndex(kind="hnsw")), vectors / "2013-01", FillShard(), vectors.parent / "filled") == 0
    assert [path.name for path in (vectors.parent / "filled").iterdir()] == ["filled.json"]


@pytest.mark.parametrize(("name", "message"), [("2013-04", "2013-04 has 0 rows"), ("2013-01", "2013-01 has 1 rows")])
def test_a_shard_that_the_plan_does_not_know_so_is_refused(vectors: Path, name: str, message: str) -> None:
    plan_directory, rows = planned(vectors, PlanIndex(kind="hnsw")), rows_of(1 if name in CUTS else 0)
    write_shard(
        vectors.parent / name,
        (rows.num_rows, 8),
        ((batch, vectors_of(1)) for batch in rows.to_batches() if rows),
        rows.schema,
        ENCODER_SHA256,
    )
    with pytest.raises(DataError, match=f"{message}; plan again"):
        fill_shard(plan_directory, vectors.parent / name, FillShard(), vectors.parent / "filled")
