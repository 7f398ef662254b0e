"""Evidence for a score: the past rows that lie nearest to a row of the night, and how they ended.

Past means known: of the rows in an index only those count whose outcome was known when the night began. So a night that is scored again months later,
with an index of months later, finds what it could have found at its time, and no row finds itself.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.lib import neighbours
from pipelines.lib.dataset import Dataset
from pipelines.lib.engine import connect, name, open_parquet, text
from pipelines.lib.errors import DataError
from pipelines.lib.pages import render
from pipelines.lib.run import PinnedIndex
from pipelines.lib.signature import signature_of_features

if TYPE_CHECKING:
    from pipelines.lib.vector_index import VectorIndex

OF = "neighbour_of"  # among columns of the key, which the dataset may call what it likes but this


@dataclass(frozen=True)
class Wanted:
    """How much evidence: `neighbours` for each of the `riskiest` rows, with outcomes of the partitions before `known_before` alone."""

    riskiest: int
    neighbours: int
    known_before: str


def evidence_of(scores: Path, features: Path, index: "VectorIndex", pinned: PinnedIndex, key: tuple[str, ...], wanted: Wanted) -> pa.Table:
    """The evidence for the riskiest rows of a night, whose `scores` and `features` are files, in the order of `schema_of`: riskiest first, nearest first.

    The rows are encoded with the index's own encoder. A night of fewer rows gives evidence for all of them, a row with fewer past rows near it
    fewer neighbours, and one without none. Ties are decided by partition, newest first, then by key, so the order does not depend on how the index
    was built. Raises `DataError` where the two files are of different nights.
    """
    night = _riskiest(scores, features, signature_of_features(features).names, key, wanted.riskiest)
    if night.num_rows == 0 or index.count == 0:
        return no_evidence(scores, key)
    names = index.encoder.signature.names
    vectors = index.encoder.encode(np.column_stack([night[feature].to_numpy() for feature in names]).astype(np.float32, copy=False))
    found = _nearest(index, vectors, night, key, wanted)
    row = found[OF].to_numpy()
    count = np.bincount(row, minlength=night.num_rows)
    positive = np.bincount(row, weights=pc.cast(found["outcome"], pa.int8()).to_numpy(), minlength=night.num_rows)
    own = night.select([*key, "score"]).take(found[OF])
    columns: dict[str, Any] = {
        **{column: own[column] for column in own.column_names},
        "rank": found["rank"],
        "distance": found["distance"],
        "outcome": pc.cast(found["outcome"], pa.bool_()),
        "neighbour_rate": (positive[row] / count[row]).astype(np.float32),
        **{f"neighbour_{column}": found[column] for column in (*key, "partition")},
        "index_generation": [pinned.generation] * len(row),
        "encoder_version": [pinned.encoder_version] * len(row),
    }
    schema = schema_of(night.schema, key)
    return pa.table(columns).select(schema.names).cast(schema)


def schema_of(scores: pa.Schema, key: tuple[str, ...]) -> pa.Schema:
    """The columns of the evidence for rows that are keyed as `scores` are.

    A row of the night and a neighbour make a row: the key and score of the one, `rank` from 1, cosine `distance` (0 to 2), `outcome` and key of the
    other; `neighbour_rate` is the share of positive outcomes among all neighbours of the one.
    """
    return pa.schema(
        [
            *(scores.field(column).remove_metadata() for column in key),
            pa.field("score", pa.float32()),
            pa.field("rank", pa.int32()),
            pa.field("distance", pa.float32()),
            pa.field("outcome", pa.bool_()),
            pa.field("neighbour_rate", pa.float32()),
            *(scores.field(column).remove_metadata().with_name(f"neighbour_{column}") for column in key),
            pa.field("neighbour_partition", pa.string()),
            pa.field("index_generation", pa.string()),
            pa.field("encoder_version", pa.string()),
        ]
    )


def _riskiest(scores: Path, features: Path, names: tuple[str, ...], key: tuple[str, ...], count: int) -> pa.Table:
    """Key, score and features of the `count` highest scores, highest first, ties by key; a night's features are read, never held."""
    keys = ", ".join(map(name, key))
    values = ", ".join(f"f.{name(feature)}" for feature in names)
    with connect() as (connection, _):
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
    """The neighbours of each row of `night`: its place in `OF`, `rank`, `distance`, and what the index says of the neighbour."""
    width = wanted.neighbours + 1  # a row whose date was corrected finds itself
    found = _known(index, *index.search(vectors, width), night, key, wanted)
    if np.bincount(found[OF].to_numpy(), minlength=night.num_rows).min() < wanted.neighbours:
        # The index is of a later day than the night, or small. Of a year, a night of June wants the nearest 1,200 to find ten that were known.
        known = np.flatnonzero(pc.less(index.rows(np.arange(index.count))["partition"], wanted.known_before).to_numpy())
        squared, places = neighbours.exact(index.vectors[known], vectors, width)
        ids = np.where(places < 0, -1, known[places]) if len(known) else places
        found = _known(index, squared / 2, ids, night, key, wanted)
    order = [(OF, "ascending"), ("distance", "ascending"), ("partition", "descending"), *((column, "ascending") for column in key)]
    found = found.sort_by(order)
    row = found[OF].to_numpy()
    rank = np.arange(len(row)) - np.searchsorted(row, row) + 1
    return found.append_column("rank", pa.array(rank)).filter(pa.array(rank <= wanted.neighbours))


def _known(index: "VectorIndex", distances: np.ndarray, ids: np.ndarray, night: pa.Table, key: tuple[str, ...], wanted: Wanted) -> pa.Table:
    """What was found, less what was not known when the night began, and less the row itself."""
    row, place = np.nonzero(ids >= 0)
    found = index.rows(ids[row, place])
    known = pc.less(found["partition"], wanted.known_before)
    own = night.select(key).take(pa.array(row))
    same = reduce(pc.and_, [pc.equal(found[column], own[column]) for column in key])
    found = found.append_column(OF, pa.array(row)).append_column("distance", pa.array(distances[row, place]))
    return found.filter(pc.and_not(known, same))


def no_evidence(scores: Path, key: tuple[str, ...]) -> pa.Table:
    """The table without a row."""
    return schema_of(open_parquet(scores).schema_arrow, key).empty_table()


def misfit(features: Path, index: "VectorIndex", pinned: PinnedIndex) -> str | None:
    """Why the index has nothing to say of these features: it was made of another declaration of them. None where it fits.

    That is no fault of the night: until the index is built anew, its scores go on.
    """
    found, wanted = signature_of_features(features), index.encoder.signature
    if found == wanted:
        return None
    return (
        f"NO EVIDENCE: generation {pinned.generation} of the index is of {len(wanted.names)} features of declaration {wanted.sha256[:12]}, the night has "
        f"{len(found.names)} of {found.sha256[:12]}; train the encoder on these features (encoder_training), which builds the index anew"
    )


def tell(found: pa.Table, key: tuple[str, ...], pinned: PinnedIndex) -> str:
    """What was found, in a line."""
    count = len(grouped(found, key))
    told = f"evidence for {count} rows from generation {pinned.generation}" if count else f"no evidence in generation {pinned.generation}"
    return f"{told}, INDEX DEGRADED: not the newest generation ({pinned.fault})" if pinned.degraded else told


def grouped(found: pa.Table, key: tuple[str, ...]) -> list[dict[str, Any]]:
    """Evidence as people read it, riskiest first: each row's ``key``, ``score`` and ``neighbour_rate``, and its ``neighbours``, nearest first.

    A neighbour has ``rank``, ``distance``, ``outcome``, ``partition`` and its own ``key``; both keys are lists of values.
    """
    rows: dict[tuple[Any, ...], dict[str, Any]] = {}
    for told in found.sort_by([("score", "descending"), *((column, "ascending") for column in key), ("rank", "ascending")]).to_pylist():
        own = [told[column] for column in key]
        row = rows.setdefault(tuple(own), {"key": own, "score": told["score"], "neighbour_rate": told["neighbour_rate"], "neighbours": []})
        neighbour = {column: told[column] for column in ("rank", "distance", "outcome")}
        neighbour |= {"key": [told[f"neighbour_{column}"] for column in key], "partition": told["neighbour_partition"]}
        row["neighbours"].append(neighbour)
    return list(rows.values())


def page(report: Mapping[str, Any], found: pa.Table, dataset: Dataset) -> str:
    """The report of attach_evidence as self-contained HTML."""
    return render("evidence.html", report=report, rows=grouped(found, dataset.key), key=dataset.key, outcome=dataset.label.name)
