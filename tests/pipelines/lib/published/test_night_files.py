"""The rows in the table decide what a cleared publish task does, not the transaction id."""

import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from deltalake import DeltaTable, write_deltalake

from pipelines.lib.core.errors import DataError
from pipelines.lib.published import night_files
from pipelines.lib.published.delta_tables import Lineage, publish, read_scores
from tests import scored_night as night

OPENED = datetime(2013, 4, 1, 2, tzinfo=UTC)
A = Lineage(night.PARTITION, "Core", "1", "a" * 64, "A", "refs/runs/d/A", "c" * 40, False, OPENED)
B = replace(A, run_id="B", run_ref="refs/runs/d/B")


@pytest.fixture(params=["scores", "evidence"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{tmp_path}/{request.param}"


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {run: night.write_scores(tmp_path / f"{run}.parquet", 40, score) for run, score in (("A", 0.1), ("B", 0.9))}


def runs(url: str) -> set[str]:
    return set(read_scores(night.PARTITION, url)["run_id"].to_pylist())


@pytest.mark.costly
def test_after_a_restore_the_cleared_task_publishes_its_rows_again(url: str, files: dict[str, Path]) -> None:
    publish(files["A"], A, expected_rows=40, url=url)
    publish(files["B"], B, expected_rows=40, url=url)
    DeltaTable(url).restore(1)
    assert publish(files["B"], B, expected_rows=40, url=url).changed
    assert runs(url) == {"B"}
    DeltaTable(url).restore(1)
    assert not publish(files["A"], A, expected_rows=40, url=url).changed, "a restore brought these very rows back"
    assert runs(url) == {"A"}
    DeltaTable(url).restore(0)
    assert publish(files["A"], A, expected_rows=40, url=url).changed
    assert runs(url) == {"A"}


@pytest.mark.costly
@pytest.mark.parametrize("change", ["delete the night", "delete a row", "update a row", "append a row", "overwrite"])
def test_what_was_changed_on_purpose_is_not_undone_by_a_cleared_task(url: str, files: dict[str, Path], change: str) -> None:
    publish(files["A"], A, expected_rows=40, url=url)
    publish(files["A"], replace(A, partition="2013-04-02"), expected_rows=40, url=url)
    table = DeltaTable(url)
    row = read_scores(night.PARTITION, url).slice(0, 1)
    match change:
        case "delete the night":
            table.delete(f"partition = '{night.PARTITION}'")
        case "delete a row":
            table.delete(f"partition = '{night.PARTITION}' AND flight = 7")
        case "update a row":
            table.update({"score": "0.5"}, predicate=f"partition = '{night.PARTITION}' AND flight = 7")
        case "append a row":
            write_deltalake(url, row, mode="append")
        case "overwrite":
            write_deltalake(url, row, mode="overwrite", predicate=f"partition = '{night.PARTITION}'")
    publish(files["A"], replace(A, partition="2013-04-03"), expected_rows=40, url=url)  # a later commit, of another night
    before = read_scores(night.PARTITION, url)
    for lineage in (A, B):
        with pytest.raises(DataError, match=r"2013-04-01 was changed outside Nightshift \(.*version 3 .*trigger a new run for 2013-04-01"):
            publish(files["A"], lineage, expected_rows=40, url=url)
    assert read_scores(night.PARTITION, url).equals(before)
    assert not publish(files["A"], replace(A, partition="2013-04-02"), expected_rows=40, url=url).changed, "another night is not concerned"
    later = replace(B, scored_at=datetime.now(UTC) + timedelta(minutes=1))
    assert publish(files["B"], later, expected_rows=40, url=url).changed
    assert runs(url) == {"B"}


def test_a_table_that_was_optimised_holds_the_same_rows(url: str, files: dict[str, Path]) -> None:
    publish(files["A"], A, expected_rows=40, url=url)
    DeltaTable(url).optimize.z_order(["flight"])
    assert not publish(files["A"], A, expected_rows=40, url=url).changed
    DeltaTable(url).delete("flight = 7")
    DeltaTable(url).optimize.z_order(["flight"])
    with pytest.raises(DataError, match="changed outside Nightshift"):
        publish(files["A"], A, expected_rows=40, url=url)


def test_a_change_that_the_log_no_longer_knows_is_not_undone(url: str, files: dict[str, Path]) -> None:
    publish(files["A"], A, expected_rows=40, url=url)
    DeltaTable(url).delete("flight = 7")
    publish(files["A"], replace(A, partition="2013-04-02"), expected_rows=40, url=url)
    DeltaTable(url).create_checkpoint()
    for version in (0, 1, 2):
        (Path(url) / "_delta_log" / f"{version:020d}.json").unlink()
    with pytest.raises(DataError, match="a commit before the log"):
        publish(files["A"], A, expected_rows=40, url=url)


def test_a_file_that_is_damaged_or_gone_is_written_again(url: str, files: dict[str, Path]) -> None:
    publish(files["A"], A, expected_rows=40, url=url)
    [published] = Path(url).glob("partition=*/*.parquet")
    whole = published.read_bytes()
    for damage in ("altered", "gone"):
        [published] = [Path(url) / file for file in DeltaTable(url).get_add_actions(flatten=True)["path"].to_pylist()]
        if damage == "gone":
            published.unlink()
        else:
            altered = bytearray(published.read_bytes())
            altered[60] ^= 16
            published.write_bytes(altered)
        assert publish(files["A"], A, expected_rows=40, url=url).changed, damage
        assert runs(url) == {"A"}
    assert len(whole) > 0
    shutil.rmtree(Path(url))
    assert publish(files["A"], A, expected_rows=40, url=url).changed


def test_the_path_of_a_publication_names_its_digest() -> None:
    assert night_files.file_path("2013-04-01", 10, 3) == "partition=2013-04-01/000000000000000a-3.zstd.parquet"
