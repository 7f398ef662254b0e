"""How an index is to be built: which kind, again or onto the one that is published, and, for IVF-PQ, how many lists and what it learns from a sample.

The plan is made once; the shards are then filled, in parallel, and the index built as it says. All of it is deterministic: a seeded sample, one thread.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.core.params import Section
from pipelines.lib.encoders.vectors import BLOCK, PARTITION, Shards
from pipelines.lib.measures.neighbours import Ids, Vectors, threads
from pipelines.lib.tables.engine import UTC, connect, name
from pipelines.lib.vector_index import questions as index_questions
from pipelines.lib.vector_index.params import BITS, IvfPq, PlanIndex, check_ivfpq
from pipelines.lib.vector_index.search import Searcher

log = logging.getLogger("nightshift")

PLAN, TRAINED, ORDER = "plan.json", "trained.faiss", "order.npy"
"""The files of a plan: what was decided, for IVF-PQ the trained index without rows, for an incremental build the positions of its rows."""

Rebuild = Literal["auto", "full", "incremental"]

_ITERATIONS = 10
"""Of k-means and of the rotation; FAISS's own default for lists. More moves recall by less than another sample does."""

_LEARNERS = 256 * (1 << BITS)
"""Rows that the codes learn from at most: FAISS itself takes no more for each centroid."""


class Plan(Section):
    """The decision: `kind`, `mode` and its `reason`; the `base` that an incremental build appends to; rows of each of the `shards`.

    `fill` are the shards that fill_shard has something to do for: Airflow makes a task of each.
    `known` are the rows that stand before the tail (see `pipelines.lib.vector_index.questions`): what is asked, is asked about them; all where there is no tail.
    `lists`, with what they cost, are those of an IVF-PQ. `queries` and `seed` are those of the section; `trials` what was compared.
    """

    kind: Literal["hnsw", "ivfpq"]
    mode: Literal["full", "incremental"]
    reason: str
    base: str | None
    dimension: int
    count: int
    known: int
    appended: int
    appended_since_full: int
    parameters: dict[str, Any]
    queries: int
    seed: int
    encoder_sha256: str | None
    shards: dict[str, int]
    fill: tuple[str, ...] = ()
    lists: int | None = None
    trials: tuple[dict[str, float], ...] = ()

    def start(self, shard: str) -> int:
        """Return the position of the first row of `shard`."""
        names = list(self.shards)
        return sum(self.shards[other] for other in names[: names.index(shard)])


@dataclass(frozen=True)
class Base:
    """The published generation, opened."""

    generation: str
    index: Searcher


class _Full(Exception):
    """Why the index must be built again: an answer, not an error."""


def plan(shards: Shards, params: PlanIndex, target: Path, *, rebuild: Rebuild = "auto", base: Base | str) -> Plan:
    """Decide, and write the files of the plan into the directory `target`. `base`: what may be appended to, or why there is nothing.

    Raises `ConfigError` if parameters do not fit the vectors, or `rebuild` is incremental and the index must be built again.
    """
    kind = params.chosen(shards.count)
    lists: int | None = None
    trials: list[dict[str, float]] = []
    appended, since_full, known = shards.count, 0, shards.count
    try:
        if rebuild == "full":
            raise _Full("a full rebuild was asked for")
        if isinstance(base, str):
            raise _Full(base)
        order = _appending(shards, params, kind, base)
        appended = shards.count - base.index.count
        since_full = base.index.built["appended_since_full"] + appended
        if min(appended, base.index.count) >= index_questions.LEAST:
            known = base.index.count
        np.save(target / ORDER, order)
        mode, reason, lists = "incremental", f"{appended} rows are new since generation {base.generation}", base.index.built.get("lists")
    except _Full as why:
        if rebuild == "incremental":
            raise ConfigError(f"an incremental rebuild was asked for, which is not possible: {why}; ask for auto or full") from None
        mode, reason = "full", str(why)
        known = shards.count - index_questions.tail(_partitions(shards).values(), params.queries)
        if kind == "ivfpq":
            lists, trials = train(shards, params, target / TRAINED, known)
    made = Plan.model_validate(
        {
            "kind": kind,
            "mode": mode,
            "reason": reason,
            "base": base.generation if mode == "incremental" and isinstance(base, Base) else None,
            "dimension": shards.dimension,
            "count": shards.count,
            "known": known,
            "appended": appended,
            "appended_since_full": since_full,
            "parameters": params.parameters(kind),
            "queries": params.queries,
            "seed": params.seed,
            "encoder_sha256": shards.encoder_sha256,
            "shards": dict(shards.sizes),
            "fill": tuple(shards.sizes) if (kind, mode) == ("ivfpq", "full") else (),
            "lists": lists,
            "trials": tuple(trials),
        }
    )
    (target / PLAN).write_text(made.model_dump_json(indent=2) + "\n", encoding="utf-8")
    log.info("%s, %s: %s%s", kind, mode, reason, f"; {lists} lists" if lists else "")
    return made


def read_plan(directory: Path) -> Plan:
    """Return the plan in `directory`."""
    return Plan.model_validate_json((directory / PLAN).read_text(encoding="utf-8"))


def _appending(shards: Shards, params: PlanIndex, kind: str, base: Base) -> Ids:
    """Return the positions of the rows of an index that appends to `base`: its own rows in its order, then those that are new. Raises
    `_Full`.
    """
    built = base.index.built
    if built["encoder_sha256"] != shards.encoder_sha256:
        raise _Full(f"the encoder changed from {str(built['encoder_sha256'])[:12]} to {str(shards.encoder_sha256)[:12]}")
    if (built["kind"], built["parameters"]) != (kind, params.parameters(kind)):
        raise _Full(
            f"it is to be {kind} {_describe_parameters(params.parameters(kind))}, and was {built['kind']} {_describe_parameters(built['parameters'])}"
        )
    share = (built["appended_since_full"] + shards.count - base.index.count) / max(1, shards.count)
    if share > params.appended_limit:
        raise _Full(f"{share:.1%} of the rows would be appended since the last full build, more than {params.appended_limit:.1%}")
    if base.index.rows().schema.remove_metadata() != shards.schema:
        raise _Full("the rows have other columns than those that were published")
    own = _positions(shards, base)
    gone = int((own < 0).sum())
    if gone:
        raise _Full(f"{gone} rows that were published are no longer there")
    for start in range(0, len(own), BLOCK):
        before, now = base.index.vectors[start : start + BLOCK], shards.take(own[start : start + BLOCK])
        if changed := int((before.view(np.int32) != now.view(np.int32)).any(axis=1).sum()):  # bit by bit
            raise _Full(f"{changed} rows or more have another vector than was published")
    new = np.ones(shards.count, dtype=bool)
    new[own] = False
    return np.concatenate([own, np.flatnonzero(new)]).astype(np.int64)


def _positions(shards: Shards, base: Base) -> Ids:
    """Return where the rows of `base` are in `shards`, by their keys: int64 [rows of the base], -1 for what is not there."""
    import pyarrow as pa

    same = " AND ".join(f"base.{name(column)} IS NOT DISTINCT FROM now.{name(column)}" for column in shards.key)
    now = pa.Table.from_batches(shards.batches(), shards.schema).select(shards.key)
    with connect(UTC) as (connection, _):
        for table, rows in (("base", base.index.rows().select(shards.key)), ("now", now)):
            connection.register(table, rows.append_column("__position", pa.array(np.arange(rows.num_rows))))
        found = connection.sql(
            f"SELECT coalesce(now.__position, -1) AS position FROM base LEFT JOIN now ON {same} ORDER BY base.__position"
        ).fetchnumpy()
    return np.asarray(found["position"], dtype=np.int64)


def _partitions(shards: Shards) -> dict[str, int]:
    """Return the rows of each partition, in the order of the rows."""
    import pyarrow.compute as pc

    sizes: dict[str, int] = {}
    for batch in shards.batches():
        for found in pc.value_counts(batch.column(PARTITION)).to_pylist():
            sizes[found["values"]] = sizes.get(found["values"], 0) + found["counts"]
    return sizes


def _describe_parameters(parameters: Mapping[str, Any]) -> str:
    return json.dumps(parameters, sort_keys=True).replace('"', "")


# ------------------------------------------------------------------------------------------------ IVF-PQ


def train(shards: Shards, params: PlanIndex, target: Path, known: int) -> tuple[int, list[dict[str, float]]]:
    """Write an IVF-PQ without rows to `target`; its number of lists, and what each number that was tried costs a search from the rows behind the `known`.

    Raises `ConfigError`, before anything is learnt, where `check_ivfpq` does.
    """
    import faiss

    check_ivfpq(params, shards.count, shards.dimension)
    settings = params.ivfpq
    generator = np.random.default_rng(params.seed)
    numbers = [settings.lists] if settings.lists else candidates(shards.count)
    size = min(shards.count, max(_LEARNERS, numbers[-1] * settings.rows_per_list))
    learners = shards.take(np.sort(generator.choice(shards.count, size=size, replace=False)))
    learners = learners[generator.permutation(size)]  # each prefix is a sample too
    with threads(1):
        tried = {}
        for lists in numbers:
            log.info("k-means of %d lists", lists)
            tried[lists] = cluster(learners[: lists * settings.rows_per_list], lists, params.seed)
        trials = list(costs(shards, params, tried, known)) if len(tried) > 1 else []
        lists = int(min(trials, key=lambda trial: trial["cost"])["lists"]) if trials else numbers[0]
        log.info("%d lists of %s; learning the codes from %d rows", lists, numbers, min(size, _LEARNERS))
        index = _trained(tried[lists], learners[:_LEARNERS], settings)
    faiss.write_index(index, str(target))
    return lists, trials


def candidates(count: int) -> list[int]:
    """Return numbers of lists worth trying for `count` rows: powers of two near their square root, with enough training rows per list."""
    most = max(1, count // 39)  # FAISS's own lower bound for a centroid
    around = [1 << power for power in range(31) if count**0.5 / 2 <= 1 << power <= 4 * count**0.5]
    return [lists for lists in around if lists <= most] or [1 << (most.bit_length() - 1)]


def cluster(learners: Vectors, lists: int, seed: int) -> Vectors:
    """Return the centroids [lists, d] of k-means."""
    import faiss

    parameters = faiss.ClusteringParameters()
    parameters.niter, parameters.seed = _ITERATIONS, seed
    parameters.min_points_per_centroid, parameters.max_points_per_centroid = 1, len(learners)
    clustering = faiss.Clustering(learners.shape[1], lists, parameters)
    clustering.train(learners, faiss.IndexFlatL2(learners.shape[1]))
    centroids: Vectors = faiss.vector_to_array(clustering.centroids).reshape(lists, -1)
    return centroids


def costs(shards: Shards, params: PlanIndex, tried: Mapping[int, Vectors], known: int) -> Iterator[dict[str, float]]:
    """Return what a search costs with each number of lists: centroids and codes that it compares, at the fewest lists that hold enough true neighbours.

    Each true neighbour of the sampled queries is in one list; the rank of that list among all, by their distance from the query, is how many
    lists must be looked through to find it. cost = lists + nprobe * rows / lists.
    """
    import faiss

    own = index_questions.drawn(shards.count, known, params.queries, params.seed)
    log.info("true neighbours of %d rows among %d", len(own), known)
    questions = index_questions.ask((shard.vectors for shard in shards.parts), own, shards.take(own), known, 10)
    queries, true = questions.vectors, questions.ids
    there = true >= 0
    found = shards.take(true[there])
    for lists, centroids in tried.items():
        _, home = faiss.knn(found, centroids, 1)
        _, order = faiss.knn(queries, centroids, lists)
        rank = np.empty_like(order)
        np.put_along_axis(rank, order, np.arange(lists)[None, :], axis=1)
        ranks = np.sort(rank[np.nonzero(there)[0], home[:, 0]])
        nprobe = int(ranks[min(len(ranks) - 1, int(np.ceil(params.ivfpq.coarse_recall * len(ranks))) - 1)]) + 1
        yield {"lists": lists, "nprobe": nprobe, "cost": round(lists + nprobe * shards.count / lists, 1)}


def _trained(centroids: Vectors, learners: Vectors, settings: IvfPq) -> Any:
    import faiss

    lists, dimension = centroids.shape
    rotation = None
    if settings.rotate:
        rotation = faiss.OPQMatrix(dimension, settings.code_bytes)
        rotation.niter = rotation.niter_pq = _ITERATIONS
        rotation.train(learners)
        centroids, learners = rotation.apply(centroids), rotation.apply(learners)
    quantizer = faiss.IndexFlatL2(dimension)
    quantizer.add(centroids)
    index = faiss.IndexIVFPQ(quantizer, dimension, lists, settings.code_bytes, BITS)
    index.pq.cp.min_points_per_centroid = 1  # nobody reads the warning; the recall tells
    index.train(learners)  # the codes alone: the centroids are there
    return index if rotation is None else faiss.IndexPreTransform(rotation, index)
