"""Asking the files of a build: HNSW, or IVF-PQ whose candidates are compared again with the vectors themselves.

A build is a directory (see `pipelines.lib.vector_index.build`). Its large files are mapped, not read: opening takes milliseconds, memory is what
queries touch, and processes that read one build share it.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.measures.neighbours import Ids, Vectors, nearest

if TYPE_CHECKING:
    import pyarrow as pa

INDEX, LISTS, VECTORS, ROWS, BUILT = "index.faiss", "lists.ivfdata", "vectors.npy", "rows.arrow", "built.json"
"""The files of a build; those of lists and vectors only where the kind is ivfpq."""

Setting = Mapping[str, int]
"""How widely to search: ``ef`` for HNSW; ``nprobe`` lists and ``refine`` times k candidates for IVF-PQ."""


class Searcher:
    """One build, open for queries from any number of threads. `built` is its ``built.json``."""

    def __init__(self, directory: Path, built: Mapping[str, Any], index: Any, vectors: Vectors) -> None:
        self.directory = directory
        self.built = built
        self.kind: str = built["kind"]
        self.count: int = built["count"]
        self.dimension: int = built["dimension"]
        self.setting: Setting = built["search"]
        self.index = index
        self.vectors = vectors
        """Return all vectors [n, d], mapped and read-only."""

    @classmethod
    def open(cls, directory: Path) -> "Searcher":
        """Return the build in `directory`. Raises `DataError` if a file is missing, torn or does not fit the others."""
        try:
            built = json.loads((directory / BUILT).read_text(encoding="utf-8"))
            index, vectors = open_index(directory, built["kind"])
            searcher = cls(directory, built, index, vectors)
        except (OSError, EOFError, ValueError, KeyError, TypeError, RuntimeError) as error:  # NumPy raises EOFError, FAISS RuntimeError
            fact = str(error).strip().splitlines()[-1:] or [""]
            raise DataError(
                f"the index in {directory} cannot be opened ({type(error).__name__}: {fact[0]}); build it again, or open another generation"
            ) from None
        found = {"index": (index.ntotal, index.d), "vectors": vectors.shape, BUILT: (searcher.count, searcher.dimension)}
        if len(set(found.values())) > 1:
            raise DataError(f"the files in {directory} are not of one build (rows and dimensions: {found}); build it again")
        return searcher

    def search(self, queries: Vectors, k: int, setting: Setting | None = None) -> tuple[Vectors, Ids]:
        """Return the k nearest rows to each of `queries` [m, d] that were found: squared L2 distances [m, k] in rising order and ids [m, k].

        Where fewer are found (k above the number of rows, or too narrow a search), the answer is filled up with id -1 at an infinite distance.
        `setting`: another width than the build's own. Raises `DataError` for queries of another width or with values that are not finite,
        `ConfigError` for a k below 1.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dimension:
            raise DataError(
                f"the queries have the shape {list(queries.shape)}, this index takes [m, {self.dimension}]; use the encoder of its generation"
            )
        if not np.isfinite(queries).all():
            row = int(np.flatnonzero(~np.isfinite(queries).all(axis=1))[0])
            raise DataError(f"query {row} has a value that is not finite; nothing is near to it: correct the features it was made of")
        if k < 1:
            raise ConfigError(f"k is {k}; ask for at least one neighbour")
        setting = self.setting if setting is None else setting
        if self.kind == "hnsw":
            return _filled(*self.index.search(queries, k, params=hnsw_parameters(setting["ef"], k)))
        return nearest(self.vectors, queries, self.candidates(queries, k * setting["refine"], setting["nprobe"]), k)

    def candidates(self, queries: Vectors, number: int, nprobe: int, known: int | None = None) -> Ids:
        """Return, of an IVF-PQ index, the `number` rows below `known` whose codes are nearest to each of `queries`, in that order: ids
        [m, number].
        """
        number = min(number, max(self.count, 1))
        ids: Ids = self.index.search(queries, number, params=ivf_parameters(self.index, nprobe, known))[1]
        return ids

    def rows(self) -> "pa.Table":
        """Return the rows, mapped: key, partition and outcome, in the order of their ids."""
        import pyarrow as pa

        try:
            return pa.ipc.open_file(pa.memory_map(str(self.directory / ROWS))).read_all()
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.directory / ROWS} cannot be read ({error}); build the index again") from None


def open_index(directory: Path, kind: str) -> tuple[Any, Vectors]:
    """Return FAISS's index of the build in `directory` and all its vectors [n, d], both mapped."""
    import faiss

    path = str(directory / INDEX)
    if kind == "hnsw":
        index = faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC)
        return index, flat_vectors(index)
    # Not IO_FLAG_ONDISK_SAME_DIR, which finds the lists too but prints where to anybody's output.
    # No table of distances between centroids and codes: 8 KiB a list of memory that a search is not a faster with.
    index = faiss.read_index(path, faiss.IO_FLAG_SKIP_IVF_DATA | faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE)
    lists = faiss.downcast_InvertedLists(faiss.extract_index_ivf(index).invlists)
    lists.filename, lists.read_only = str(directory / LISTS), True
    lists.prefetch_nthread = 0  # else each search starts 32 threads to read ahead: seven eighths of the time of one query
    if index.ntotal:
        if (size := (directory / LISTS).stat().st_size) != lists.totsize:
            raise ValueError(f"{LISTS} has {size} bytes, {lists.totsize} were written")  # behind its end, a map ends the process
        lists.do_mmap()
    return index, np.load(directory / VECTORS, mmap_mode="r", allow_pickle=False)


def flat_vectors(index: Any) -> Vectors:
    """Return the vectors [n, d] that an HNSW index holds, in place and read-only; they keep `index` alive."""
    import faiss

    if index.ntotal == 0:
        return np.empty((0, index.d), dtype=np.float32)
    place = faiss.rev_swig_ptr(faiss.downcast_index(index.storage).get_xb(), index.ntotal * index.d).__array_interface__
    return np.asarray(_Memory(index, {**place, "data": (place["data"][0], True), "shape": (index.ntotal, index.d)}))


class _Memory:
    """Memory of `owner`, which NumPy keeps for as long as it looks at it."""

    def __init__(self, owner: Any, interface: dict[str, Any]) -> None:
        self.owner = owner
        self.__array_interface__ = interface


def hnsw_parameters(ef: int, k: int) -> Any:
    """Return FAISS's parameters of a search among `ef` candidates, at least k."""
    import faiss

    return faiss.SearchParametersHNSW(efSearch=max(ef, k))


def ivf_parameters(index: Any, nprobe: int, known: int | None = None) -> Any:
    """Return FAISS's parameters of a search through `nprobe` lists, inside the rotation if `index` has one, among rows below `known` only."""
    import faiss

    selected = {} if known is None else {"sel": faiss.IDSelectorRange(0, known)}
    inner = faiss.SearchParametersIVF(nprobe=nprobe, **selected)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.SearchParametersPreTransform(index_params=inner)
    return inner


def _filled(distances: Vectors, ids: Ids) -> tuple[Vectors, Ids]:
    """Return FAISS's answer with an infinite distance, not the largest float32, for each missing neighbour."""
    distances[ids < 0] = np.inf
    return distances, ids
