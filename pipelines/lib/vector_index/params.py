"""The parameters of an index, the limits that FAISS sets to them, and what they must agree with: the rows and the dimension."""

from typing import Annotated, Any, Literal

from pydantic import Field

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import Section

BITS = 8
"""Of a code byte: 256 centroids, which need as many rows to learn from."""

WIDEST = 1_000_000
"""Candidates of a search in a graph; FAISS takes memory for all of them in each thread."""

MOST_THREADS = 1_024
"""Threads of FAISS: far more of them end the process without a word."""

AtLeastOne = Annotated[int, Field(ge=1)]


class Hnsw(Section):
    """`m` neighbours a node (twice as many on the ground floor); `ef_construction` candidates from which they are chosen."""

    m: int = Field(default=32, ge=2, le=1_024)
    ef_construction: int = Field(default=200, ge=1, le=WIDEST)


class IvfPq(Section):
    """`lists`: how many, at most one per row; null for as many as make a search cheapest. `code_bytes` per vector must divide the dimension. `rotate`: let a
    rotation (OPQ) share the variance out among the bytes. `rows_per_list` are sampled to learn from. `coarse_recall`: the share of true
    neighbours that the lists looked through must hold, by which the number of lists is chosen: above the recall wanted, as codes lose some.
    """

    lists: int | None = Field(default=None, ge=1)
    code_bytes: int = Field(default=8, ge=1)
    rotate: bool = False
    rows_per_list: int = Field(default=64, ge=1)
    coarse_recall: float = Field(default=0.97, gt=0, le=1)


class PlanIndex(Section):
    """`kind`; auto is hnsw up to `hnsw_up_to` rows, ivfpq above. `queries` of the newest rows, drawn with `seed`, stand for what will be
    asked. Appending may go on until `appended_limit` of all rows were added since the last full build.
    """

    kind: Literal["auto", "hnsw", "ivfpq"] = "auto"
    hnsw_up_to: int = Field(default=2_000_000, ge=0)
    queries: int = Field(default=1_000, ge=1)
    seed: int = Field(default=42, ge=0, le=2**31 - 1)  # FAISS takes an int of C
    appended_limit: float = Field(default=0.2, ge=0, le=1)
    hnsw: Hnsw = Hnsw()
    ivfpq: IvfPq = IvfPq()

    def chosen(self, count: int) -> Literal["hnsw", "ivfpq"]:
        """Return the kind of an index of `count` rows."""
        if self.kind != "auto":
            return self.kind
        return "hnsw" if count <= self.hnsw_up_to else "ivfpq"

    def parameters(self, kind: str) -> dict[str, Any]:
        """Return what an index of `kind` is built by; one that was built otherwise is not appended to."""
        return {**(self.hnsw if kind == "hnsw" else self.ivfpq).model_dump(), "seed": self.seed}


class HnswSweep(Section):
    """The values of `ef` to try, and the recall@10 that the first to reach it surely is taken for."""

    ef: tuple[Annotated[int, Field(ge=1, le=WIDEST)], ...] = Field(
        min_length=1, default=(12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 128, 192, 256, 384, 512)
    )
    recall_10: float = Field(default=0.98, gt=0, le=1)


class IvfPqSweep(Section):
    """The lists to look through and the candidates (times k) to compare exactly, of which the cheapest pair that surely reaches `recall_10` is taken.

    More lists than the index has are all of them.
    """

    nprobe: tuple[AtLeastOne, ...] = Field(min_length=1, default=(1, 2, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128))
    refine: tuple[AtLeastOne, ...] = Field(min_length=1, default=(1, 2, 4, 8, 16, 32))
    recall_10: float = Field(default=0.95, gt=0, le=1)


class BuildIndex(Section):
    """`threads` that add to an HNSW: with more than one, no two builds are the same."""

    threads: int = Field(default=1, ge=1, le=MOST_THREADS)
    hnsw: HnswSweep = HnswSweep()
    ivfpq: IvfPqSweep = IvfPqSweep()


def check_ivfpq(params: PlanIndex, rows: int, dimension: int) -> None:
    """Raise `ConfigError` if an IVF-PQ of `params` cannot be trained on that number of `rows` of this `dimension`."""
    settings, least = params.ivfpq, 1 << BITS
    if rows < least:
        raise ConfigError(f"an ivfpq learns from at least {least} rows, there are {rows}; set plan_index.kind to hnsw")
    if settings.lists and settings.lists > rows:
        raise ConfigError(
            f"plan_index.ivfpq.lists is {settings.lists}, there are {rows} rows; set it to {rows} or less, or to null, which chooses the number"
        )
    if dimension % settings.code_bytes:
        divisors = ", ".join(str(number) for number in range(1, dimension + 1) if dimension % number == 0)
        raise ConfigError(
            f"plan_index.ivfpq.code_bytes is {settings.code_bytes}, which does not divide the dimension {dimension}; set it to one of {divisors}"
        )
