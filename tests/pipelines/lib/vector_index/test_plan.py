"""The plan of an index: its kind, whether it may be appended to what is published and why not, and how many lists are worth while."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipelines.lib.core.errors import ConfigError
from pipelines.lib.encoders.vectors import Shard, Shards
from pipelines.lib.measures import neighbours
from pipelines.lib.vector_index.params import Hnsw, IvfPq, PlanIndex
from pipelines.lib.vector_index.plan import Base, Plan, candidates, costs, plan, read_plan
from pipelines.lib.vector_index.search import Searcher
from tests.small_index import ENCODER_SHA256, build_from_arrays, rows_of, vectors_of

ROWS, PUBLISHED = 400, 380
PARAMS = PlanIndex(queries=100, appended_limit=0.1)
NOTHING = "nothing that can be used is published"


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    with neighbours.threads(1):
        yield


@pytest.fixture
def base(tmp_path: Path) -> Base:
    options: dict[str, Any] = {"plan_index": PARAMS, "encoder_sha256": ENCODER_SHA256}
    build_from_arrays(vectors_of(ROWS)[:PUBLISHED], rows_of(PUBLISHED), tmp_path / "published", **options)
    return Base("published", Searcher.open(tmp_path / "published"))


def shards(rows: pa.Table | None = None, vectors: np.ndarray | None = None, *, encoder: str = ENCODER_SHA256, parts: int = 2) -> Shards:
    rows, vectors = rows_of(ROWS) if rows is None else rows, vectors_of(ROWS) if vectors is None else vectors
    cuts = [len(vectors) * part // parts for part in range(parts + 1)]
    return Shards(
        Shard(f"2013-0{part + 1}", vectors[cuts[part] : cuts[part + 1]], rows.slice(cuts[part], cuts[part + 1] - cuts[part]), encoder)
        for part in range(parts)
    )


def planned(directory: Path, given: Shards, base: Base | str, params: PlanIndex = PARAMS, **options: Any) -> Plan:
    (directory / "plan").mkdir()
    made = plan(given, params, directory / "plan", base=base, **options)
    assert read_plan(directory / "plan") == made
    return made


@pytest.mark.parametrize(
    ("kind", "rows", "chosen"), [("auto", 100, "hnsw"), ("auto", 101, "ivfpq"), ("hnsw", 101, "hnsw"), ("ivfpq", 1, "ivfpq")]
)
def test_auto_goes_by_the_number_of_rows(kind: str, rows: int, chosen: str) -> None:
    assert PlanIndex(kind=kind, hnsw_up_to=100).chosen(rows) == chosen  # type: ignore[arg-type]


def test_the_plan_says_where_each_shard_starts(tmp_path: Path) -> None:
    made = planned(tmp_path, shards(parts=3), NOTHING)
    assert (made.kind, made.mode, made.reason, made.base, made.count) == ("hnsw", "full", NOTHING, None, ROWS)
    assert made.shards == {"2013-01": 133, "2013-02": 133, "2013-03": 134}
    assert [made.start(name) for name in made.shards] == [0, 133, 266]


def test_what_is_new_is_appended(tmp_path: Path, base: Base) -> None:
    made = planned(tmp_path, shards(), base)
    assert (made.mode, made.base, made.appended, made.appended_since_full) == ("incremental", "published", 20, 20)
    assert made.reason == "20 rows are new since generation published"
    np.testing.assert_array_equal(np.load(tmp_path / "plan" / "order.npy"), np.arange(ROWS))


def test_rows_may_have_come_in_between(tmp_path: Path, base: Base) -> None:
    order = np.random.default_rng(3).permutation(ROWS)
    made = planned(tmp_path, shards(rows_of(ROWS).take(order), vectors_of(ROWS)[order]), base)
    assert made.mode == "incremental"
    back = np.load(tmp_path / "plan" / "order.npy")
    np.testing.assert_array_equal(order[back][:PUBLISHED], np.arange(PUBLISHED))
    np.testing.assert_array_equal(np.sort(back), np.arange(ROWS))
    assert (np.diff(back[PUBLISHED:]) > 0).all()


def test_corrected_outcomes_do_not_rebuild_the_index(tmp_path: Path, base: Base) -> None:
    corrected = rows_of(ROWS).set_column(3, "outcome", [np.ones(ROWS, dtype=np.int8)])
    assert planned(tmp_path, shards(corrected), base).mode == "incremental"


def changed_vector() -> np.ndarray:
    vectors = vectors_of(ROWS)
    vectors[17, 3] = np.nextafter(vectors[17, 3], np.float32(2))  # the last bit
    return vectors


REASONS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "asked for": (lambda: {"rebuild": "full"}, "a full rebuild was asked for"),
    "another encoder": (lambda: {"given": shards(encoder="f" * 64)}, "the encoder changed from .* to ffffffffffff"),
    "other parameters": (lambda: {"params": PARAMS.model_copy(update={"hnsw": Hnsw(m=16)})}, "it is to be hnsw .*m: 16, .*, and was hnsw .*m: 32"),
    "another seed": (lambda: {"params": PARAMS.model_copy(update={"seed": 7})}, "seed: 7"),
    "another kind": (
        lambda: {"params": PARAMS.model_copy(update={"hnsw_up_to": ROWS - 1, "ivfpq": IvfPq(code_bytes=2)})},
        "it is to be ivfpq .*, and was hnsw",
    ),
    "too much appended": (
        lambda: {"params": PARAMS.model_copy(update={"appended_limit": 0.04})},
        r"5\.0% of the rows would be appended since the last full build, more than 4\.0%",
    ),
    "a changed vector": (lambda: {"given": shards(vectors=changed_vector())}, "1 rows or more have another vector"),
    "a row that is gone": (lambda: {"given": shards(rows_of(ROWS).slice(3), vectors_of(ROWS)[3:])}, "3 rows that were published are no longer there"),
    "a changed key": (lambda: {"given": shards(rows_of(ROWS, mark=1))}, f"{PUBLISHED} rows that were published are no longer there"),
    "other columns": (lambda: {"given": shards(rows_of(ROWS).rename_columns(["line", "flight", "partition", "outcome"]))}, "other columns"),
}  # fmt: skip


@pytest.mark.parametrize("case", REASONS)
def test_why_an_index_is_rebuilt(tmp_path: Path, base: Base, case: str) -> None:
    given, reason = REASONS[case]
    options = {"given": shards(), **given()}
    made = planned(tmp_path, base=base, **options)
    assert (made.mode, made.base, made.appended, made.appended_since_full) == ("full", None, made.count, 0)
    assert re.search(reason, made.reason), made.reason
    assert not (tmp_path / "plan" / "order.npy").exists()


@pytest.mark.parametrize("case", sorted(REASONS.keys() - {"asked for"}))
def test_an_incremental_rebuild_that_is_not_possible_is_refused(tmp_path: Path, base: Base, case: str) -> None:
    given, reason = REASONS[case]
    options = {"given": shards(), **given()}
    with pytest.raises(ConfigError, match=f"incremental rebuild was asked for, which is not possible: .*{reason}.*; ask for auto or full"):
        planned(tmp_path, base=base, rebuild="incremental", **options)


def test_appended_rows_add_up_until_it_is_rebuilt(tmp_path: Path, base: Base) -> None:
    published, found = base.index.directory, []
    for count in (390, 400, 410, 430, 440):
        target = tmp_path / str(count)
        options: dict[str, Any] = {"plan_index": PARAMS, "encoder_sha256": ENCODER_SHA256, "base": published}
        vectors = np.concatenate([vectors_of(ROWS), vectors_of(100, seed=1)])[:count]
        built = build_from_arrays(vectors, rows_of(count), target, **options)
        found.append((built["mode"], built["appended_since_full"]))
        published = target
    assert found == [("incremental", 10), ("incremental", 20), ("incremental", 30), ("full", 0), ("incremental", 10)]


# ------------------------------------------------------------------------------------------------ lists


@pytest.mark.parametrize(
    ("rows", "numbers"),
    [(256, [4]), (1_000, [16]), (10_000, [64, 128, 256]), (336_000, [512, 1024, 2048]), (5_000_000, [2048, 4096, 8192])],
)
def test_numbers_of_lists_are_near_the_root_and_leave_each_enough_rows(rows: int, numbers: list[int]) -> None:
    assert candidates(rows) == numbers


def test_the_cost_counts_centroids_and_the_rows_of_the_lists_that_must_be_looked_through() -> None:
    given = shards()
    everything = {1: vectors_of(ROWS).mean(axis=0, keepdims=True)}
    assert list(costs(given, PARAMS, everything, ROWS)) == [{"lists": 1, "nprobe": 1, "cost": 1 + ROWS}]
    [trial] = costs(given, PARAMS, {16: vectors_of(ROWS)[:16]}, ROWS)
    assert trial["cost"] == round(16 + trial["nprobe"] * ROWS / 16, 1)
    assert 1 < trial["nprobe"] <= 16
    [all_of_them] = costs(given, PARAMS.model_copy(update={"ivfpq": IvfPq(coarse_recall=1.0)}), {16: vectors_of(ROWS)[:16]}, ROWS)
    assert all_of_them["nprobe"] >= trial["nprobe"]


def test_the_cost_is_that_of_finding_what_rows_held_out_have_for_neighbours() -> None:
    """Rows that are far from all others have neighbours in their own list; before they are there, in that of the others alone."""
    vectors = vectors_of(ROWS)
    vectors[300:] += np.float32(10)
    lists = {2: np.array([[10] * 8, [0] * 8], dtype=np.float32)}
    nprobes = [next(costs(shards(vectors=vectors), PARAMS, lists, known))["nprobe"] for known in (ROWS, 300)]
    assert nprobes == [1, 2]


@pytest.mark.parametrize(
    ("nights", "held_out"),
    [
        ([60] * 20, ["2013-01-19", "2013-01-20"]),  # a tenth of all rows, which is less than twice the queries
        ([300] * 20, ["2013-01-20"]),  # enough for two samples
        ([40] * 20, []),  # fewer than tell anything
        ([10] * 19 + [500], []),  # a night that is more than a tenth of all
    ],
)
def test_the_newest_nights_are_held_out(tmp_path: Path, nights: list[int], held_out: list[str]) -> None:
    partitions = [f"2013-01-{day:02}" for day, size in enumerate(nights, 1) for _ in range(size)]
    rows = rows_of(len(partitions)).set_column(2, "partition", [partitions])
    made = planned(tmp_path, shards(rows, vectors_of(len(partitions)), parts=3), NOTHING)
    assert sorted(set(partitions[made.known :])) == held_out
    assert made.known == len(partitions) - sum(partition in held_out for partition in partitions)


def test_of_an_incremental_build_what_is_appended_is_held_out(tmp_path: Path, base: Base) -> None:
    few = planned(tmp_path, shards(), base)
    assert (few.mode, few.known, few.count) == ("incremental", ROWS, ROWS)  # too few to tell anything
    (tmp_path / "more").mkdir()
    more, params = PUBLISHED + 120, PARAMS.model_copy(update={"appended_limit": 0.5})
    made = planned(tmp_path / "more", shards(rows_of(more), np.concatenate([vectors_of(ROWS), vectors_of(100, seed=1)])), base, params)
    assert (made.mode, made.known, made.count) == ("incremental", PUBLISHED, more)


@pytest.mark.costly
def test_the_cheapest_number_of_lists_is_taken_unless_one_is_given(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    params = PlanIndex(kind="ivfpq", queries=100, ivfpq=IvfPq(code_bytes=2))
    rows = 10_000
    given = shards(rows_of(rows), vectors_of(rows))
    made = planned(tmp_path / "one", given, NOTHING, params)
    assert [trial["lists"] for trial in made.trials] == [64, 128, 256]
    assert made.lists == min(made.trials, key=lambda trial: trial["cost"])["lists"]
    (tmp_path / "two").mkdir()
    fixed = params.model_copy(update={"ivfpq": IvfPq(code_bytes=2, lists=50)})
    assert planned(tmp_path / "two", given, NOTHING, fixed).lists == 50
    assert (tmp_path / "two" / "plan" / "trained.faiss").exists()
