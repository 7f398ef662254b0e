"""The published table: a night is there whole, once, from one run; also when writers race, readers poll and processes die."""

import math
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.published.delta_tables import Lineage, publish, read_scores
from pipelines.lib.published.store import scores_url
from tests import scored_night as night

ROOT = Path(__file__).parents[4]
LINEAGE = Lineage(
    night.PARTITION, "Core_RF_Classifier", "3", "a" * 64, "run-1", "refs/runs/d/run-1", "c" * 40, False, datetime(2013, 4, 1, 2, tzinfo=UTC)
)

WRITER = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from pipelines.lib.published.delta_tables import Lineage, publish
url, partition, run, scores, rows = sys.argv[1:]
lineage = Lineage(partition, "Core_RF_Classifier", "3", "a" * 64, run, f"refs/runs/d/{run}", "c" * 40, False, datetime(2013, 4, 1, 2, tzinfo=UTC))
print("ready", flush=True)
sys.stdin.readline()
publication = publish(Path(scores), lineage, expected_rows=int(rows), url=url)
print("changed" if publication.changed else "there already", flush=True)
"""

READER = """
import os
import sys
from collections import Counter
from pathlib import Path
from deltalake import DeltaTable
url, partition, stop = sys.argv[1:]
polls, seen = 0, set()
print("ready", flush=True)
while True:
    last = Path(stop).exists()
    table = DeltaTable(url).to_pyarrow_table(filters=[("partition", "=", partition)])
    runs = Counter(table["run_id"].to_pylist())
    assert len(runs) == 1, f"a mixed night: {runs}"
    (run, rows), = runs.items()
    assert rows == int(run.removeprefix("run-")), f"a torn or doubled night: {runs}"
    assert len(set(table["flight"].to_pylist())) == rows
    polls, seen = polls + 1, seen | {run}
    if polls >= 5 and len(seen) == 2:
        Path(f"{stop}.{os.getpid()}").touch()
    if last:
        break
print(polls, len(seen), flush=True)
os._exit(0)  # a thread of Arrow that still wants Python when it has gone aborts the process, after all was read
"""


def _start(program: str, *arguments: object) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def _go(*writers: subprocess.Popen[str]) -> list[str]:
    """Let all of them write at once; returns what each did."""
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
    outputs = [writer.communicate(timeout=120)[0].strip() for writer in writers]
    assert [writer.returncode for writer in writers] == [0] * len(writers)
    return outputs


def _runs(url: str) -> dict[tuple[str, str], int]:
    table = DeltaTable(url).to_pyarrow_table(columns=["partition", "run_id"])
    return dict(Counter(zip(table["partition"].to_pylist(), table["run_id"].to_pylist(), strict=True)))


@pytest.fixture
def url(tmp_path: Path) -> str:
    return str(tmp_path / "published" / "scores")


@pytest.fixture
def scores(tmp_path: Path) -> Path:
    return night.write_scores(tmp_path / "scores.parquet", 100)


# ------------------------------------------------------------------------------------------------ one writer


def test_a_night_carries_its_scores_and_where_they_come_from(scores: Path, url: str) -> None:
    assert publish(scores, LINEAGE, expected_rows=100, url=url).changed
    table = read_scores(night.PARTITION, url)
    assert table.select([*night.ORDER, "score", "decision"]).sort_by("flight").equals(pq.read_table(scores))
    lineage = {name: set(table[name].to_pylist()) for name in table.schema.names[6:]}
    assert lineage == {
        "partition": {night.PARTITION},
        "model_name": {"Core_RF_Classifier"},
        "model_version": {"3"},
        "model_sha256": {"a" * 64},
        "run_id": {"run-1"},
        "run_ref": {"refs/runs/d/run-1"},
        "git_commit": {"c" * 40},
        "degraded": {False},
        "scored_at": {datetime(2013, 4, 1, 2, tzinfo=UTC)},
    }
    assert table.schema.field("scored_at").type == pa.timestamp("us", "UTC")
    assert table.schema.field("score").type == pa.float32()


def test_the_time_is_kept_in_utc_to_the_microsecond(scores: Path, url: str) -> None:
    moment = datetime(2013, 4, 1, 4, 0, 0, 123456, tzinfo=timezone(timedelta(hours=2)))
    publish(scores, replace(LINEAGE, scored_at=moment), expected_rows=100, url=url)
    assert set(read_scores(night.PARTITION, url)["scored_at"].to_pylist()) == {moment}


def test_a_commit_says_what_it_published(scores: Path, url: str) -> None:
    publish(scores, LINEAGE, expected_rows=100, url=url)
    [commit] = DeltaTable(url).history(1)
    assert (commit["partition"], commit["run_id"]) == (night.PARTITION, "run-1")
    assert re.fullmatch("[0-9a-f]{64}", commit["scores_sha256"])


def test_publishing_the_same_again_changes_nothing(scores: Path, url: str) -> None:
    first = publish(scores, LINEAGE, expected_rows=100, url=url)
    again = publish(scores, LINEAGE, expected_rows=100, url=url)
    assert (again.changed, again.version) == (False, first.version)


@pytest.mark.costly
def test_another_run_replaces_the_night_and_only_that(scores: Path, url: str, tmp_path: Path) -> None:
    publish(scores, LINEAGE, expected_rows=100, url=url)
    publish(scores, replace(LINEAGE, partition="2013-04-02"), expected_rows=100, url=url)
    other = night.write_scores(tmp_path / "other.parquet", 70)
    publish(other, replace(LINEAGE, run_id="run-2"), expected_rows=70, url=url)
    assert _runs(url) == {("2013-04-01", "run-2"): 70, ("2013-04-02", "run-1"): 100}
    publish(scores, LINEAGE, expected_rows=100, url=url)  # and back: the first run again is no longer "there already"
    assert _runs(url) == {("2013-04-01", "run-1"): 100, ("2013-04-02", "run-1"): 100}


def test_vacuum_leaves_what_is_published_and_takes_what_was_replaced(scores: Path, url: str) -> None:
    publish(scores, LINEAGE, expected_rows=100, url=url)
    publish(scores, replace(LINEAGE, run_id="run-2"), expected_rows=100, url=url)
    removed = DeltaTable(url).vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len(removed) == 1
    assert _runs(url) == {("2013-04-01", "run-2"): 100}


@pytest.mark.costly
def test_a_night_may_be_any_length(url: str, tmp_path: Path) -> None:
    for rows in (1, 65_536, 150_001):
        publish(night.write_scores(tmp_path / "s.parquet", rows), LINEAGE, expected_rows=rows, url=url)
        table = read_scores(night.PARTITION, url)
        assert sorted(table["flight"].to_pylist()) == list(range(rows))


# ------------------------------------------------------------------------------------------------ what is refused


@pytest.mark.parametrize("partition", ["../../etc", "2013-04-01' OR '1'='1", "2013-02-30", "", "2013-4-1"])
def test_a_value_that_is_not_a_date_never_reaches_a_predicate(partition: str) -> None:
    with pytest.raises(ConfigError, match="partition is"):
        replace(LINEAGE, partition=partition)
    with pytest.raises(ConfigError, match="partition is"):
        read_scores(partition, "nowhere")


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ConfigError, match="without a zone"):
        replace(LINEAGE, scored_at=datetime(2013, 4, 1, 2))  # noqa: DTZ001


def test_nothing_published_yet_is_reported(url: str) -> None:
    with pytest.raises(ConfigError, match="there is no table at"):
        read_scores(night.PARTITION, url)


def test_bad_scores_leave_the_night_as_it_was(scores: Path, url: str, tmp_path: Path) -> None:
    publish(scores, LINEAGE, expected_rows=100, url=url)
    version = DeltaTable(url).version()
    content = bytearray(night.write_scores(tmp_path / "s.parquet", 50_000).read_bytes())
    torn, damaged, empty = tmp_path / "torn.parquet", tmp_path / "damaged.parquet", night.write_scores(tmp_path / "empty.parquet", 0)
    torn.write_bytes(content[:-100])
    content[5_000:6_000] = bytes(1_000)
    damaged.write_bytes(content)
    other = replace(LINEAGE, run_id="run-2")
    for file, rows, outputs in (
        (torn, 50_000, "not a whole Parquet file"),
        (damaged, 50_000, "cannot be read to its end"),
        (empty, 0, "has no rows"),
        (scores, 99, "has 100 rows, its report says 99"),
    ):
        with pytest.raises(DataError, match=outputs):
            publish(file, other, expected_rows=rows, url=url)
    assert DeltaTable(url).version() == version
    assert _runs(url) == {("2013-04-01", "run-1"): 100}


def test_other_columns_are_refused_by_name(scores: Path, url: str, tmp_path: Path) -> None:
    publish(scores, LINEAGE, expected_rows=100, url=url)
    pq.write_table(pq.read_table(scores).drop(["origin"]), tmp_path / "other.parquet")
    with pytest.raises(ConfigError, match="has the columns carrier string, flight int64, origin string"):
        publish(tmp_path / "other.parquet", LINEAGE, expected_rows=100, url=url)


def test_a_key_named_like_the_lineage_is_refused(scores: Path, url: str, tmp_path: Path) -> None:
    pq.write_table(pq.read_table(scores).rename_columns({"origin": "run_id"}), tmp_path / "clash.parquet")
    with pytest.raises(ConfigError, match=r"adds itself: run_id"):
        publish(tmp_path / "clash.parquet", LINEAGE, expected_rows=100, url=url)


# ------------------------------------------------------------------------------------------------ several at once


def test_delta_alone_would_double_a_new_night(scores: Path, url: str, tmp_path: Path) -> None:
    """Why there is a fence: without a Delta transaction two writers that have not seen each other both succeed."""
    from deltalake.transaction import AddAction

    publish(scores, replace(LINEAGE, partition="2013-03-31"), expected_rows=100, url=url)
    publish(scores, LINEAGE, expected_rows=100, url=url)
    [path] = DeltaTable(url).file_uris(file_pruning_predicate=[("partition", "=", night.PARTITION)])
    content = Path(path).read_bytes()
    DeltaTable(url).delete("partition = '2013-04-01'")
    first, second = DeltaTable(url), DeltaTable(url)
    for number, writer in enumerate((first, second)):
        name = f"partition=2013-04-01/{number}.parquet"
        (Path(url) / name).write_bytes(content)
        add = AddAction(name, len(content), {"partition": night.PARTITION}, 0, True, '{"numRecords": 100}')
        writer.create_write_transaction(
            [add], "overwrite", writer.schema(), partition_by=["partition"], partition_filters=[("partition", "=", night.PARTITION)]
        )
    assert _runs(url)[night.PARTITION, "run-1"] == 200, "delta-rs now fences this itself; the transaction of a night may go"


@pytest.mark.costly
@pytest.mark.parametrize("exists", [False, True])
def test_the_same_night_twice_at_once_is_one_copy(scores: Path, url: str, exists: bool) -> None:
    if exists:
        publish(scores, replace(LINEAGE, run_id="run-0"), expected_rows=100, url=url)
    outputs = _go(*(_start(WRITER, url, night.PARTITION, "run-1", scores, 100) for _ in range(3)))
    assert sorted(outputs) == ["changed", "there already", "there already"]
    assert _runs(url) == {(night.PARTITION, "run-1"): 100}


@pytest.mark.costly
def test_two_runs_of_one_night_at_once_leave_one_of_them(scores: Path, url: str, tmp_path: Path) -> None:
    other = night.write_scores(tmp_path / "other.parquet", 70)
    _go(_start(WRITER, url, night.PARTITION, "run-1", scores, 100), _start(WRITER, url, night.PARTITION, "run-2", other, 70))
    assert _runs(url) in ({(night.PARTITION, "run-1"): 100}, {(night.PARTITION, "run-2"): 70})


@pytest.mark.costly
def test_four_nights_at_once_on_a_table_that_none_has_made(scores: Path, url: str) -> None:
    nights = [f"2013-04-0{day}" for day in range(1, 5)]
    outputs = _go(*(_start(WRITER, url, partition, f"run-{partition}", scores, 100) for partition in nights))
    assert outputs == ["changed"] * 4
    assert _runs(url) == {(partition, f"run-{partition}"): 100 for partition in nights}


@pytest.mark.costly
def test_readers_see_whole_nights_through_fifty_publishes(url: str, tmp_path: Path) -> None:
    files = {rows: night.write_scores(tmp_path / f"{rows}.parquet", rows) for rows in (100, 150)}
    publish(files[100], replace(LINEAGE, run_id="run-100"), expected_rows=100, url=url)
    stop = tmp_path / "stop"
    readers = [_start(READER, url, night.PARTITION, stop) for _ in range(2)]
    deadline, number = time.monotonic() + 120, 0
    while number < 50 or len(list(tmp_path.glob("stop.*"))) < 2:  # until both readers have read five times, and seen both runs
        assert time.monotonic() < deadline, f"after {number} publishes the readers have not read five times"
        rows = (150, 100)[number % 2]
        assert publish(files[rows], replace(LINEAGE, run_id=f"run-{rows}"), expected_rows=rows, url=url).changed
        number += 1
    stop.touch()
    for reader in readers:
        outputs = reader.communicate(timeout=60)[0].split()
        assert reader.returncode == 0
        assert int(outputs[0]) >= 5
        assert outputs[1] == "2", "a reader should have seen both runs"


# ------------------------------------------------------------------------------------------------ killed


DONE = math.inf
"""The moment at which a writer says that it has published."""


def _kill_and_recover(tmp_path: Path, moments: Sequence[float]) -> Counter[str]:
    """Kill a writer at each of `moments`, shares of the time that it takes undisturbed; how often it left the night old or new.

    It is always one of the two, and the re-run completes. The time only places the kills; a slow machine fails nothing.
    """
    rows = 200_000  # long enough that a kill finds it running
    old, new = night.write_scores(tmp_path / "old.parquet", 1_000), night.write_scores(tmp_path / "new.parquet", rows)
    undisturbed = _start(WRITER, tmp_path / "undisturbed" / "scores", night.PARTITION, "new", new, rows)
    started = time.perf_counter()
    _go(undisturbed)
    took = time.perf_counter() - started
    found: Counter[str] = Counter()
    for number, moment in enumerate(moments):
        url = str(tmp_path / f"{number}" / "scores")
        if number % 2:  # every other time there is no table yet
            publish(old, replace(LINEAGE, run_id="old"), expected_rows=1_000, url=url)
        before = {(night.PARTITION, "old"): 1_000} if number % 2 else {}
        after = {(night.PARTITION, "new"): rows}
        writer = _start(WRITER, url, night.PARTITION, "new", new, rows)
        assert writer.stdin is not None
        assert writer.stdout is not None
        writer.stdin.write("\n")
        writer.stdin.flush()
        if moment == DONE:
            assert writer.stdout.readline() == "changed\n"
        else:
            time.sleep(moment * took)
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        left = _runs(url) if DeltaTable.is_deltatable(url) else {}
        assert left in (before, after)
        found["new" if left == after else "old"] += 1
        assert _go(_start(WRITER, url, night.PARTITION, "new", new, rows)) == ["there already" if left == after else "changed"]
        assert _runs(url) == after
    return found


@pytest.mark.faults
def test_a_killed_publisher_leaves_old_or_new_and_the_rerun_completes(tmp_path: Path) -> None:
    found = _kill_and_recover(tmp_path, [0.0, 0.3, 0.7, DONE])
    assert found["old"] > 0
    assert found["new"] > 0


@pytest.mark.faults
def test_a_publisher_is_killed_at_many_moments(tmp_path: Path) -> None:
    found = _kill_and_recover(tmp_path, [*(step / 25 for step in range(39)), DONE])
    assert found["old"] > 0
    assert found["new"] > 0


# ------------------------------------------------------------------------------------------------ where it stands, how it is read


def test_the_table_moves_with_the_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSHIFT_PUBLISHED_URL", "s3://bucket/nightshift/")
    assert scores_url() == "s3://bucket/nightshift/scores"


def _documented() -> list[str]:
    text = (ROOT / "docs" / "reference" / "published-store.md").read_text(encoding="utf-8")
    return re.findall(r"```python\n(.*?)```", text.split("## Read it")[1].split("## ")[0], flags=re.DOTALL)


def test_the_page_shows_three_readers() -> None:
    assert [re.search(r"duckdb|pandas|polars", line).group() for line in _documented()] == ["duckdb", "pandas", "polars"]  # type: ignore[union-attr]


@pytest.mark.parametrize("code", _documented(), ids=["duckdb", "pandas", "polars"])
def test_a_documented_one_liner_reads_a_night(code: str, scores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for partition in ("2013-04-01", "2013-04-02"):
        publish(scores, replace(LINEAGE, partition=partition), expected_rows=100, url=str(tmp_path / "var" / "published" / "scores"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(code, names)  # the page's own words
    found = names["night"]
    assert len(found) == 100  # type: ignore[arg-type]
    columns = list(found.columns)  # type: ignore[attr-defined]
    assert columns[:6] == [*night.ORDER, "score", "decision"]


@pytest.mark.costly
def test_a_flipped_bit_is_never_read_as_another_score(url: str, tmp_path: Path) -> None:
    publish(night.write_scores(tmp_path / "many.parquet", 3_000), LINEAGE, expected_rows=3_000, url=url)
    [published] = Path(url).glob("partition=*/*.parquet")
    whole, expected = published.read_bytes(), read_scores(night.PARTITION, url)
    for place in range(8, len(whole) - 9_000, max(1, (len(whole) - 9_000) // 60)):
        altered = bytearray(whole)
        altered[place] ^= 16
        published.write_bytes(altered)
        try:
            found = read_scores(night.PARTITION, url)
        except DataError as error:
            assert "damaged" in str(error) or "not read" in str(error)
        else:
            assert found.equals(expected), place
