"""Evidence: which past rows are shown next to a row of the night, in which order, and where there are fewer or none."""

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from sklearn.metrics.pairwise import cosine_distances

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.home import REPOSITORY
from pipelines.lib.core.params import load_section
from pipelines.lib.features.signature import Signature
from pipelines.lib.measures import neighbours
from pipelines.lib.tables.dataset import Dataset
from pipelines.lib.vector_index import evidence
from pipelines.lib.vector_index.evidence import Wanted, evidence_of, grouped, hindsight, misfit, schema_of, tell, widely
from pipelines.lib.vector_index.reader import VectorIndex, open_generation
from tests import indexed_nights
from tests import scored_night as night
from tests.page_rules import words_of_probabilities

KEY = night.ORDER
ROWS = 40
KNOWN_BEFORE = "2013-03-31"

Night = tuple[Path, Path]
Open = Callable[..., VectorIndex]


@pytest.fixture
def files(tmp_path: Path) -> Night:
    """Scores and features of a night; the scores fall from row to row."""
    return make_night(tmp_path, [1 - row / 100 for row in range(ROWS)])


def make_night(directory: Path, scores: list[float]) -> Night:
    features = night.write_features(directory / "features.parquet", len(scores))
    keys = pq.read_table(features, columns=list(KEY)).replace_schema_metadata()
    pq.write_table(keys.append_column("score", pa.array(scores, pa.float32())), directory / "scores.parquet")
    return directory / "scores.parquet", features


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Publishes and opens an index of the given rows and features."""
    monkeypatch.setenv("NIGHTSHIFT_INDEX_DIR", str(tmp_path / "index"))

    def open_index(rows: pa.Table, matrix: np.ndarray) -> VectorIndex:
        pinned = indexed_nights.publish(tmp_path / "built", rows, matrix)
        return open_generation(pinned.name, pinned.generation)

    return open_index


def find(files: Night, index: VectorIndex, riskiest: int = 10, count: int = 5, known_before: str = KNOWN_BEFORE) -> pa.Table:
    return evidence_of(*files, index, KEY, Wanted(riskiest, count, known_before))


def test_each_of_the_riskiest_is_shown_with_the_rows_nearest_to_it(files: Night, opened: Open) -> None:
    rows, matrix = indexed_nights.past(300)
    index = opened(rows, matrix)
    found = find(files, index)
    assert found["flight"].to_pylist() == [row for row in range(10) for _ in range(5)], "the highest scores, highest first"
    distances, nearest = neighbours.exact(index.encoder.encode(matrix), index.encoder.encode(night.values(ROWS)[:10]), 5)
    assert found["neighbour_flight"].to_pylist() == nearest.ravel().tolist()
    assert found["distance"].to_numpy() == pytest.approx(distances.ravel() / 2, abs=1e-6)
    assert found["rank"].to_pylist() == [1, 2, 3, 4, 5] * 10
    outcomes = matrix[nearest, 0] > 0
    assert found["outcome"].to_pylist() == outcomes.ravel().tolist()
    assert found["neighbour_rate"].to_numpy() == pytest.approx(np.repeat(outcomes.mean(axis=1), 5))
    message = {name: set(found[name].to_pylist()) for name in ("neighbour_partition", "index_generation", "encoder_version")}
    assert message == {"neighbour_partition": {"2013-03-01"}, "index_generation": {index.generation}, "encoder_version": {"3"}}


def test_equal_scores_are_told_apart_by_their_keys(tmp_path: Path, opened: Open) -> None:
    files = make_night(tmp_path, [0.5] * ROWS)
    found = find(files, opened(*indexed_nights.past(50)), riskiest=3, count=1)
    keys = pq.read_table(files[0], columns=list(KEY)).sort_by([(column, "ascending") for column in KEY])
    assert found.select(KEY).equals(keys.slice(0, 3))


def test_outcomes_that_were_unknown_that_night_are_not_evidence(files: Night, opened: Open) -> None:
    """Nine of ten rows of the index are of that night or later, and resemble its rows more than the past does."""
    before, features = indexed_nights.past(30)
    later = [indexed_nights.past(ROWS, partition, seed=0) for partition in (KNOWN_BEFORE, *(f"2013-05-0{day}" for day in range(1, 9)))]
    index = opened(pa.concat_tables([before, *(rows for rows, _ in later)]), np.vstack([features, *(matrix for _, matrix in later)]))
    found = find(files, index)
    assert set(found["neighbour_partition"].to_pylist()) == {"2013-03-01"}
    assert found.num_rows == 50, "where the search finds too few, the past is looked through whole"


def test_a_row_is_not_evidence_for_itself(files: Night, opened: Open) -> None:
    own = pq.read_table(files[1], columns=[*KEY]).append_column("partition", pa.array(["2013-03-01"] * ROWS))
    own = own.append_column("outcome", pa.array([1] * ROWS, pa.int8())).replace_schema_metadata()
    found = find(files, opened(own, night.values(ROWS)))
    assert found.num_rows == 50
    assert not pc.any(pc.equal(found["flight"], found["neighbour_flight"])).as_py()


def test_ties_follow_the_partition_and_the_key_however_the_index_was_built(files: Night, opened: Open) -> None:
    same = [indexed_nights.past(1, partition, seed=3) for partition in ("2013-03-02", "2013-03-09", "2013-03-05")]
    rows, matrix = pa.concat_tables([rows for rows, _ in same] * 2), np.vstack([matrix for _, matrix in same] * 2)
    rows = rows.set_column(1, "flight", pa.array([2, 2, 2, 1, 1, 1], pa.int64()))
    orders = [[0, 1, 2, 3, 4, 5], [5, 3, 1, 0, 2, 4]]
    found = [find(files, opened(rows.take(pa.array(order)), matrix[order]), riskiest=1, count=5) for order in orders]
    assert list(zip(found[0]["neighbour_partition"].to_pylist(), found[0]["neighbour_flight"].to_pylist(), strict=True)) == [
        ("2013-03-09", 1), ("2013-03-09", 2), ("2013-03-05", 1), ("2013-03-05", 2), ("2013-03-02", 1),
    ]  # fmt: skip
    assert found[0].drop_columns("index_generation").equals(found[1].drop_columns("index_generation"))


@pytest.mark.parametrize(("night_rows", "indexed", "expected"), [(3, 50, 15), (0, 50, 0), (10, 0, 0), (10, 1, 10), (10, 4, 40)])
def test_small_nights_and_small_indexes_give_what_there_is(
    tmp_path: Path, opened: Open, night_rows: int, indexed: int, expected: int
) -> None:
    files = make_night(tmp_path, [0.5] * night_rows)
    found = find(files, opened(*indexed_nights.past(indexed)))
    assert found.num_rows == expected
    assert found.schema == schema_of(pq.read_schema(files[0]), KEY)


def test_an_index_of_later_rows_alone_gives_none(files: Night, opened: Open) -> None:
    assert find(files, opened(*indexed_nights.past(50, "2013-05-01"))).num_rows == 0


def test_scores_of_another_run_are_refused(files: Night, opened: Open) -> None:
    other = pq.read_table(files[0])
    pq.write_table(other.set_column(1, "flight", pc.add(other["flight"], 5)), files[0])
    with pytest.raises(DataError, match="they are of different runs"):
        find(files, opened(*indexed_nights.past(50)), riskiest=ROWS)


def test_an_index_of_other_features_is_reported(files: Night, opened: Open) -> None:
    index = opened(*indexed_nights.past(50))
    assert misfit(files[1], index) is None
    other = night.features_table(5, signature=Signature(night.NAMES, "6" * 64))
    pq.write_table(other, files[1])
    message = misfit(files[1], index)
    assert message is not None
    assert "declaration 555555555555, the night has 5 of 666666666666" in message


def test_the_result_is_one_line(files: Night, opened: Open) -> None:
    index = opened(*indexed_nights.past(50))
    found = find(files, index)
    assert tell(found, index) == f"evidence for 10 rows from generation {index.generation}"
    assert tell(found.slice(0, 0), index) == f"no evidence in generation {index.generation}"


def test_an_encoder_that_has_learned_from_later_nights_is_reported(opened: Open) -> None:
    """It has learned from the nights before 1 March."""
    index = opened(*indexed_nights.past(50))
    assert hindsight(index, "2013-03-01") is None
    message = "with hindsight: the encoder has learned from nights up to 2013-02-28, when this one began those before 2013-02-28 were known"
    assert hindsight(index, "2013-02-28") == message


def many_equal_rows(count: int, order: np.ndarray) -> tuple[pa.Table, np.ndarray]:
    """Return `count` rows like the first of the night, each of its own partition, indexed in `order`."""
    days = [date(2013, 1, 1) + timedelta(days=int(day)) for day in order]
    rows, _ = indexed_nights.past(count)
    rows = rows.set_column(1, "flight", pa.array(order + 1000)).set_column(4, "partition", pa.array([day.isoformat() for day in days]))
    return rows, np.repeat(night.values(ROWS)[:1], count, axis=0)


def test_of_many_equal_rows_the_newest_are_shown_however_the_index_was_built(files: Night, opened: Open) -> None:
    """A graph of equal vectors leads to some of them only."""
    shown = []
    for order in (np.arange(60), np.random.default_rng(0).permutation(60)):
        found = find(files, opened(*many_equal_rows(60, order)), riskiest=1, count=10)
        shown.append(found["neighbour_partition"].to_pylist())
    assert shown[0] == [(date(2013, 3, 1) - timedelta(days=day)).isoformat() for day in range(10)]
    assert shown[1] == shown[0]


@pytest.mark.parametrize(
    ("kind", "message", "expected"),
    [
        ("hnsw", {"search": {"ef": 48}}, {"ef": 256}),
        ("hnsw", {"search": {"ef": 400}}, {"ef": 400}),
        ("ivfpq", {"search": {"nprobe": 8, "refine": 4}, "lists": 2048}, {"nprobe": 64, "refine": 8}),
        ("ivfpq", {"search": {"nprobe": 8, "refine": 4}, "lists": 32}, {"nprobe": 32, "refine": 8}),
    ],
)
def test_a_night_is_searched_for_more_widely_than_the_index_was_tuned(
    kind: str, message: Mapping[str, Any], expected: dict[str, int]
) -> None:
    assert widely(cast("VectorIndex", SimpleNamespace(kind=kind, manifest=message))) == expected


class Recorded:
    """An index that notes how it was asked."""

    def __init__(self, index: VectorIndex) -> None:
        self.index, self.widest = index, 0
        self.settings: list[Mapping[str, int]] = []
        self.partitions = index.partitions

    def __getattr__(self, name: str) -> Any:
        return getattr(self.index, name)

    def search(self, vectors: np.ndarray, k: int, **options: Any) -> Any:
        self.settings.append(options["setting"])
        return self.index.search(vectors, k, **options)

    def rows(self, ids: Any) -> pa.Table:
        self.widest = max(self.widest, len(ids))
        return self.index.rows(ids)


def test_the_search_for_evidence_is_the_wide_one(files: Night, opened: Open) -> None:
    index = Recorded(opened(*indexed_nights.past(100)))
    find(files, cast("VectorIndex", index))
    assert index.settings == [{"ef": 256}]


def test_a_past_that_is_looked_through_whole_is_read_in_blocks(files: Night, opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty of 1,020 rows were known; no more than what was found is read whole, and of the vectors one block."""
    before, features = indexed_nights.past(20)
    later = indexed_nights.past(1_000, "2013-05-01", seed=0)
    mixed = np.random.default_rng(0).permutation(1_020)
    index = Recorded(opened(pa.concat_tables([before, later[0]]).take(pa.array(mixed)), np.vstack([features, later[1]])[mixed]))
    monkeypatch.setattr(evidence, "BLOCK", 64)
    blocks: list[int] = []

    def exact(base: np.ndarray, *rest: Any) -> Any:
        blocks.append(len(base))
        return neighbours_exact(base, *rest)

    neighbours_exact = neighbours.exact
    monkeypatch.setattr(neighbours, "exact", exact)
    found = find(files, cast("VectorIndex", index))
    assert len(blocks) > 1
    assert sum(blocks) == 20
    assert index.widest <= 10 * 65
    distances, nearest = neighbours_exact(index.encoder.encode(features), index.encoder.encode(night.values(ROWS)[:10]), 5)
    assert found["neighbour_flight"].to_pylist() == nearest.ravel().tolist()
    assert found["distance"].to_numpy() == pytest.approx(distances.ravel() / 2, abs=1e-6)


def test_evidence_is_grouped_as_people_read_it(files: Night, opened: Open) -> None:
    found = find(files, opened(*indexed_nights.past(50)), riskiest=2, count=3)
    groups = grouped(found.take(pa.array([4, 0, 5, 2, 1, 3])), KEY)
    assert [group["key"][1] for group in groups] == [0, 1]
    assert [[one["rank"] for one in group["neighbours"]] for group in groups] == [[1, 2, 3]] * 2
    nearest = groups[0]["neighbours"][0]
    assert nearest["partition"] == "2013-03-01"
    assert nearest["key"][0] == "UA"
    assert isinstance(nearest["key"][3], datetime)
    assert groups[0]["neighbour_rate"] == pytest.approx(np.mean([one["outcome"] for one in groups[0]["neighbours"]]))


def test_outcomes_that_are_numbers_are_shown_with_their_mean(files: Night, opened: Open) -> None:
    rows, matrix = indexed_nights.past(300)
    sold = np.random.default_rng(1).gamma(2.0, 20.0, 300)
    index = opened(rows.set_column(rows.column_names.index("outcome"), "outcome", pa.array(sold)), matrix)
    found = find(files, index)
    assert (found["outcome"].type, found["neighbour_rate"].type) == (pa.float64(), pa.float32())
    distances = cosine_distances(index.encoder.encode(night.values(ROWS)[:10]), index.encoder.encode(matrix))
    near = found["neighbour_flight"].to_numpy().reshape(10, 5)
    assert np.take_along_axis(distances, near, axis=1) == pytest.approx(np.sort(distances, axis=1)[:, :5], abs=1e-6)
    assert found["outcome"].to_numpy() == pytest.approx(sold[near].ravel())
    assert found["neighbour_rate"].to_numpy() == pytest.approx(np.repeat(sold[near].mean(axis=1), 5), rel=1e-6)
    assert evidence.base_rate(index, KNOWN_BEFORE) == pytest.approx(sold.mean(), abs=1e-6)
    declared = load_section("dataset", Dataset, REPOSITORY / "params.yaml")
    numbers = declared.model_copy(update={"label": declared.label.model_copy(update={"task": "regression", "name": "sold"})})
    report = {"partition": night.PARTITION, "note": "evidence", "faults": [], "index": {"name": "i"}, "generation": "g", "neighbours": 5}
    page = evidence.page(report | {"base_rate": 40.25}, found, numbers)
    assert words_of_probabilities(page) == []
    assert "The rows with the highest forecasts" in page
    assert f"{sold[near[0]].mean():.4g}" in page
