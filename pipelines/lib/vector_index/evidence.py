"""Evidence for a score: the past rows that are nearest to a row of the night, and how they ended.

Past means known: of the rows in an index only those count whose outcome was known when the night began. So a night that is scored again months later,
with an index of months later, is compared with the rows that it could have been compared with at its time, and no row finds itself. That holds for
the rows, not for what resembles what: that is for the encoder to say, and one that has learned from later nights knows more than the night did.
`hindsight` describes it. Outcomes are as the index has them: where they were corrected since, corrected.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.partition import parse_partition
from pipelines.lib.encoders.vectors import BLOCK
from pipelines.lib.features.signature import signature_of_features
from pipelines.lib.measures import neighbours
from pipelines.lib.pages.html import render
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.tables.engine import UTC, connect, name, open_parquet, text

if TYPE_CHECKING:
    from pipelines.lib.vector_index.reader import VectorIndex
    from pipelines.lib.vector_index.search import Setting

OF = "neighbour_of"  # among columns of the key, which the dataset may call what it likes but this

LEAST_EF, MORE_LISTS, MORE_REFINED = 256, 8, 2
"""How widely evidence is searched for, see `widely`."""

TIMES, LEAST = 4, 64
"""How many rows are looked at for k neighbours: `TIMES` k, and `LEAST` at least."""


@dataclass(frozen=True)
class Wanted:
    """How much evidence: `neighbours` for each of the `riskiest` rows, with outcomes of the partitions before `known_before` alone."""

    riskiest: int
    neighbours: int
    known_before: str


def evidence_of(scores: Path, features: Path, index: "VectorIndex", key: tuple[str, ...], wanted: Wanted) -> pa.Table:
    """Return the evidence for the riskiest rows of a night, whose `scores` and `features` are files, in the order of `schema_of`: riskiest first, nearest first.

    The rows are encoded with the index's own encoder. A night of fewer rows gives evidence for all of them, a row with fewer past rows near it
    fewer neighbours, and one without none. For k neighbours max(4 k, 64) rows are looked at; among those of the same distance the newest partition
    comes first, then the key decides; where a tie is at the edge, all past rows are compared. So which of equally near rows are shown does not depend
    on how the index was built, as long as no more than that many are as near as the k-th; of more, the order of their ids chooses. Raises `DataError`
    if the two files are of different nights.
    """
    night = _riskiest(scores, features, signature_of_features(features).names, key, wanted.riskiest)
    if night.num_rows == 0 or index.count == 0:
        return no_evidence(scores, key, index.outcomes.type)
    from pipelines.lib.models.inference import feature_columns

    columns_of_encoder = feature_columns(night, index.encoder.signature.names, index.encoder.categories)
    vectors = index.encoder.encode(np.column_stack(columns_of_encoder).astype(np.float32, copy=False))
    found = _nearest(index, vectors, night, key, wanted)
    row, outcome = _values(found[OF]), _values(found["outcome"])
    rate = np.bincount(row, weights=outcome) / np.maximum(np.bincount(row), 1)
    own = night.select([*key, "score"]).take(found[OF])
    columns = {
        **{column: own[column] for column in own.column_names},
        "rank": found["rank"],
        "distance": found["distance"],
        "outcome": found["outcome"],
        "neighbour_rate": _column(rate[row].astype(np.float32)),
        **{f"neighbour_{column}": found[column] for column in (*key, "partition")},
        "index_generation": pa.repeat(_text(index.generation), len(row)),
        "encoder_version": pa.repeat(_text(index.manifest["encoder_version"]), len(row)),
    }
    schema = schema_of(night.schema, key, index.outcomes.type)
    return pa.Table.from_arrays(list(columns.values()), names=list(columns)).select(schema.names).cast(schema)


def widely(index: "VectorIndex") -> "Setting":
    """Return how widely to search `index` for evidence: HNSW among 256 candidates at least, IVF-PQ through 8 times the tuned lists for twice the candidates.

    The tuned search finds what its gate asks for on average over whole nights, and less of unusual rows, which are the riskiest. It is made for
    thousands of queries per second; evidence asks some dozens a night, so what the wider one costs, milliseconds, nobody notices.
    """
    tuned = index.manifest["search"]
    if index.kind == "hnsw":
        return {"ef": max(LEAST_EF, tuned["ef"])}
    return {"nprobe": min(MORE_LISTS * tuned["nprobe"], index.manifest["lists"]), "refine": MORE_REFINED * tuned["refine"]}


def schema_of(scores: pa.Schema, key: tuple[str, ...], outcome: pa.DataType | None = None) -> pa.Schema:
    """Return the columns of the evidence for rows that are keyed as `scores` are; `outcome` is the type of the outcomes in the index.

    A row of the night and a neighbour make a row: the key and score of the one, `rank` from 1, cosine `distance` (0 to 2), `outcome` and key of the
    other; `neighbour_rate` is the share of positive outcomes among all neighbours of the one, or the mean of outcomes that are numbers.
    """
    return pa.schema(
        [
            *(scores.field(column).remove_metadata() for column in key),
            pa.field("score", pa.float32()),
            pa.field("rank", pa.int32()),
            pa.field("distance", pa.float32()),
            pa.field("outcome", pa.float64() if outcome == pa.float64() else pa.bool_()),
            pa.field("neighbour_rate", pa.float32()),
            *(scores.field(column).remove_metadata().with_name(f"neighbour_{column}") for column in key),
            pa.field("neighbour_partition", pa.string()),
            pa.field("index_generation", pa.string()),
            pa.field("encoder_version", pa.string()),
        ]
    )


def _riskiest(scores: Path, features: Path, names: tuple[str, ...], key: tuple[str, ...], count: int) -> pa.Table:
    """Return key, score and features of the `count` highest scores, highest first, ties by key. The features are streamed, never all in memory."""
    keys = ", ".join(map(name, key))
    values = ", ".join(f"f.{name(feature)}" for feature in names)
    with connect(UTC) as (connection, _):
        found = connection.sql(
            f"WITH top AS (SELECT {keys}, score FROM read_parquet({text(scores)}) ORDER BY score DESC, {keys} LIMIT {count}) "
            f"SELECT {keys}, score, {values} FROM top JOIN read_parquet({text(features)}) f USING ({keys}) ORDER BY score DESC, {keys}"
        ).to_arrow_table()
    expected = min(count, open_parquet(scores).metadata.num_rows)
    if found.num_rows != expected:
        raise DataError(
            f"of the {expected} riskiest rows of {scores}, {features} has {found.num_rows}: they are of different runs; run score again"
        )
    return found


def _nearest(index: "VectorIndex", vectors: np.ndarray, night: pa.Table, key: tuple[str, ...], wanted: Wanted) -> pa.Table:
    """Return the neighbours of each row of `night`: its place in `OF`, `rank`, `distance`, and what the index says of the neighbour."""
    width = max(TIMES * wanted.neighbours, LEAST) + 1  # a row whose date was corrected finds itself
    distances, ids = index.search(vectors, width, setting=widely(index))
    found = _known(index, distances, ids, night, key, wanted)
    if len(again := np.flatnonzero(_doubtful(found, ids, min(width, index.count), wanted.neighbours))):
        distances[again], ids[again] = _nearest_known(index, vectors[again], width, wanted.known_before)
        found = _known(index, distances, ids, night, key, wanted)
    return found.take(_column(np.flatnonzero(_values(found["rank"]) <= wanted.neighbours)))


def _doubtful(candidates: pa.Table, ids: np.ndarray, width: int, neighbours: int) -> np.ndarray:
    """Return for each row, bool [m], whether the search may have missed some of its neighbours; it gave `ids` [m, ...], of which `candidates` counts.

    This is so if too few were known: the index is of a later day than the night (in an index of a year, a night of June needs the nearest 1,200
    to find ten that were known), or small. It is also so if the next one is as near as the last that is shown, or if fewer than `width` were
    found at all: of equal vectors, a graph leads only to some.
    """
    row, distance, after = (
        _values(candidates[OF]),
        _values(candidates["distance"]),
        np.flatnonzero(_values(candidates["rank"]) == neighbours + 1),
    )
    doubtful: np.ndarray = (np.bincount(row, minlength=len(ids)) < neighbours) | ((ids >= 0).sum(axis=1) < width)
    doubtful[row[after[distance[after] == distance[after - 1]]]] = True
    return doubtful


def _nearest_known(index: "VectorIndex", vectors: np.ndarray, width: int, known_before: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the `width` nearest of the rows of partitions before `known_before`, as `VectorIndex.search` answers, but each row is looked
    at, in blocks.
    """
    squared, best = np.full((len(vectors), width), np.inf, np.float32), np.full((len(vectors), width), -1, np.int64)
    for start in range(0, index.count, BLOCK):
        known = pc.less(index.partitions.slice(start, BLOCK), _text(known_before)).combine_chunks()
        ids = start + _values(pc.indices_nonzero(known)).astype(np.int64)
        if len(ids):
            _, places = neighbours.exact(index.vectors[ids], vectors, width)
            candidates = np.hstack([best, np.where(places < 0, -1, ids[places])])
            squared, best = neighbours.nearest(index.vectors, vectors, candidates, width)
    return squared / 2, best


def _known(index: "VectorIndex", distances: np.ndarray, ids: np.ndarray, night: pa.Table, key: tuple[str, ...], wanted: Wanted) -> pa.Table:
    """Return what was found, less what was not known when the night began, and less the row itself; in order, with its `rank`."""
    row, place = np.nonzero(ids >= 0)
    found = index.rows(ids[row, place])
    known = pc.less(found["partition"], _text(wanted.known_before))
    own = night.select(key).take(_column(row))
    same = reduce(pc.and_, [pc.equal(found[column], own[column]) for column in key])
    found = found.append_column(OF, _column(row)).append_column("distance", _column(distances[row, place]))
    order = [(OF, "ascending"), ("distance", "ascending"), ("partition", "descending"), *((column, "ascending") for column in key)]
    found = found.filter(pc.and_not(known, same)).sort_by(order)
    place = _values(found[OF])
    return found.append_column("rank", _column(np.arange(len(place)) - np.searchsorted(place, place) + 1))


# Buffers and DLPack, since pa.array(), pa.scalar() and to_numpy() import pandas: 0.8 s of every night.


def _column(array: np.ndarray) -> pa.Array:
    """Return `array` of numbers for Arrow."""
    return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), len(array), [None, pa.py_buffer(np.ascontiguousarray(array))])


def _text(value: str) -> pa.Scalar:
    """Return `value` for Arrow."""
    encoded = value.encode()
    return pa.StringArray.from_buffers(1, pa.py_buffer(np.array([0, len(encoded)], dtype=np.int32)), pa.py_buffer(encoded))[0]


def _values(column: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """Return a column of numbers without nulls for NumPy."""
    return np.from_dlpack(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column)


def no_evidence(scores: Path, key: tuple[str, ...], outcome: pa.DataType | None = None) -> pa.Table:
    """Return the table without a row."""
    return pa.Table.from_batches([], schema_of(open_parquet(scores).schema_arrow, key, outcome))  # empty_table() imports pandas too


def misfit(features: Path, index: "VectorIndex") -> str | None:
    """Return why the index does not fit these features: it was built with another declaration of them. None if it fits.

    This is not a fault of the night: its scores are published, also before the index is rebuilt.
    """
    found, wanted = signature_of_features(features), index.encoder.signature
    if found == wanted:
        return None
    return (
        f"generation {index.generation} of the index is of {len(wanted.names)} features of declaration {wanted.sha256[:12]}, the night has "
        f"{len(found.names)} of {found.sha256[:12]}; train the encoder on these features (encoder_training), which builds the index again"
    )


def hindsight(index: "VectorIndex", known_before: str) -> str | None:
    """Say that the index's encoder has learned from nights whose outcomes nobody knew when the night began; None if it has not."""
    if index.encoder.trained_until <= known_before:
        return None
    last = (parse_partition(index.encoder.trained_until) - dt.timedelta(days=1)).isoformat()
    return f"with hindsight: the encoder has learned from nights up to {last}, when this one began those before {known_before} were known"


def base_rate(index: "VectorIndex", known_before: str) -> float | None:
    """Return the share of positive outcomes, or the mean of numbers, among the rows of partitions before `known_before`; None if there is no such row."""
    outcomes = index.outcomes.filter(pc.less(index.partitions, _text(known_before)))
    return round(float(_values(outcomes).mean()), 6) if len(outcomes) else None


def tell(evidence: pa.Table, index: "VectorIndex") -> str:
    """Return what was found, in a line."""
    count = int((_values(evidence["rank"]) == 1).sum())
    return f"evidence for {count} rows from generation {index.generation}" if count else f"no evidence in generation {index.generation}"


def grouped(evidence: pa.Table, key: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the evidence for people, riskiest first: each row's ``key``, ``score``, ``neighbour_rate`` and ``neighbours``, nearest first.

    A neighbour has ``rank``, ``distance``, ``outcome``, ``partition`` and its own ``key``; both keys are lists of values.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for similar in evidence.sort_by(
        [("score", "descending"), *((column, "ascending") for column in key), ("rank", "ascending")]
    ).to_pylist():
        own = [similar[column] for column in key]
        row = rows.setdefault(
            tuple(own), {"key": own, "score": similar["score"], "neighbour_rate": similar["neighbour_rate"], "neighbours": []}
        )
        neighbour = {column: similar[column] for column in ("rank", "distance", "outcome")}
        neighbour |= {"key": [similar[f"neighbour_{column}"] for column in key], "partition": similar["neighbour_partition"]}
        row["neighbours"].append(neighbour)
    return list(rows.values())


def page(report: Mapping[str, Any], evidence: pa.Table, dataset: Dataset) -> str:
    """Return the report of attach_evidence as self-contained HTML."""
    return render(
        "evidence.html",
        report=report,
        rows=grouped(evidence, dataset.key),
        key=dataset.key,
        outcome=dataset.label.name,
        numbers=dataset.label.task == "regression",
    )
