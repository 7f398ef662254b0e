"""Which files are needed for a night: skipping gives the rows and the reach of reading everything, and no file is skipped without a proof."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.lib.core.errors import DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources import extents, parquet_source
from pipelines.lib.sources.extents import Extent
from pipelines.lib.sources.raw import extract
from pipelines.lib.sources.reach import Reach, Window
from pipelines.lib.sources.source_files import SourceFile
from pipelines.lib.tables.dataset import Dataset

NIGHT = dt.date(2024, 3, 10)

moment = dt.datetime.fromisoformat


def dataset(kind: str, path: str, at: str = "timestamp") -> Dataset:
    content = {
        "name": "events",
        "source": {"kind": kind, "path": path},
        "key": ["id"],
        "event_time": "at",
        "label": {"name": "late", "expression": "x > 1", "delay_days": 1},
        "columns": {"id": {"type": "integer"}, "at": {"type": at}, "x": {"type": "float"}},
    }
    return parse_section(content, Dataset, "dataset")


def table(times: list[dt.datetime], first_id: int = 0, kind: pa.DataType | None = None) -> pa.Table:
    moments = pa.array(times, pa.timestamp("us")).cast(kind or pa.timestamp("us"), safe=False)
    return pa.table({"id": range(first_id, first_id + len(times)), "at": moments, "x": pa.array([0.5] * len(times), pa.float64())})


def night(dataset: Dataset, target: Path, lookback: int = 2) -> tuple[pa.Table, dict[str, Any]]:
    extract(dataset, partition=NIGHT, start=NIGHT, end=NIGHT + dt.timedelta(days=1), lookback_days=lookback, target=target)
    return pq.read_table(target / "events.parquet"), json.loads((target / "source.json").read_text())


def files_read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the names of the Parquet files that are given to the engine."""
    read: list[str] = []
    relation = parquet_source.relation

    def noted(files: list[Path], *others: Any) -> str:
        read.extend(file.name for file in files)
        return relation(files, *others)

    monkeypatch.setattr(parquet_source, "relation", noted)
    return read


MOMENTS = st.datetimes(moment("2024-03-01"), moment("2024-03-20")).map(lambda time: time.replace(microsecond=0)) | st.sampled_from(
    [
        moment("1955-01-01"),
        moment("1969-12-31 23:59:59"),
        moment("2090-01-01"),
        moment("2024-03-11"),
        moment("2024-03-08"),
    ]
)
KINDS = st.sampled_from(
    [pa.timestamp("us"), pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("s"), pa.timestamp("us", "UTC"), pa.string()]
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    files=st.lists(st.tuples(st.lists(MOMENTS, max_size=5), st.booleans()), min_size=1, max_size=6),
    kind=KINDS,
    lookback=st.integers(0, 4),
    plausible=st.sampled_from([5, 10_958]),
)
def test_skipped_files_change_neither_the_rows_nor_the_reach(
    files: list[tuple[list[dt.datetime], bool]], kind: pa.DataType, lookback: int, plausible: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    directory = tmp_path_factory.mktemp("files")
    for number, (times, statistics) in enumerate(files):
        pq.write_table(table(times, 10 * number, kind), directory / f"{number}.parquet", write_statistics=statistics, row_group_size=2)
    found = dataset("parquet", f"{directory}/*.parquet").model_copy(update={"plausible_days": plausible})
    skipping = night(found, directory / "skipping", lookback)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extents, "split", lambda files, *_: (list(files), Reach()))
        everything = night(found, directory / "everything", lookback)
    assert skipping == everything
    assert (directory / "skipping" / "events.parquet").read_bytes() == (directory / "everything" / "events.parquet").read_bytes()


def days_of_files(directory: Path, days: int = 30) -> None:
    for day in (dt.date(2024, 3, 1) + dt.timedelta(days=number) for number in range(days)):
        pq.write_table(
            table([dt.datetime.combine(day, dt.time(0)), dt.datetime.combine(day, dt.time(23, 59, 59))]), directory / f"{day}.parquet"
        )


def test_a_night_reads_the_files_of_its_lookback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days_of_files(tmp_path)
    read = files_read(monkeypatch)
    rows, facts = night(dataset("parquet", f"{tmp_path}/*.parquet"), tmp_path / "raw")
    assert read == ["2024-03-08.parquet", "2024-03-09.parquet", "2024-03-10.parquet"]
    assert rows.num_rows == 6
    assert (facts["first"], facts["last"], facts["next"]) == ("2024-03-01", "2024-03-30", "2024-03-10")


def test_a_night_that_was_not_delivered_has_no_rows(tmp_path: Path) -> None:
    days_of_files(tmp_path)
    for day in ("08", "09", "10"):
        (tmp_path / f"2024-03-{day}.parquet").unlink()
    rows, facts = night(dataset("parquet", f"{tmp_path}/*.parquet"), tmp_path / "raw")
    assert rows.num_rows == 0
    assert facts["next"] == "2024-03-11"


def test_a_file_with_a_row_without_a_time_is_read_and_refused(tmp_path: Path) -> None:
    days_of_files(tmp_path)
    pq.write_table(table([moment("2024-03-29"), None]), tmp_path / "2024-03-29.parquet")  # type: ignore[list-item]
    with pytest.raises(DataError, match="1 rows without 'at'"):
        night(dataset("parquet", f"{tmp_path}/*.parquet"), tmp_path / "raw")


@pytest.mark.parametrize("layout", ["{partition}.csv", "{partition:%Y%m%d}.csv", "y={partition:%Y}/m={partition:%m}/{partition:%d}.csv"])
def test_the_date_in_the_path_says_which_csv_files_are_read(layout: str, tmp_path: Path) -> None:
    for day in (dt.date(2024, 3, 1) + dt.timedelta(days=number) for number in range(20)):
        file = tmp_path / layout.replace("{partition}", f"{day}").replace("{partition:", "{day:").format(day=day)
        file.parent.mkdir(parents=True, exist_ok=True)
        pc.write_csv(table([dt.datetime.combine(day, dt.time(9))]), file)
        if day > NIGHT:
            file.write_text("not read")
    rows, facts = night(dataset("csv", f"{tmp_path}/{layout}"), tmp_path / "raw")
    assert [time.day for time in rows["at"].to_pylist()] == [8, 9, 10]
    assert (facts["first"], facts["last"]) == ("2024-03-01", "2024-03-20")


def test_a_row_of_another_date_than_its_file_declares_is_refused(tmp_path: Path) -> None:
    pc.write_csv(table([moment("2024-03-09"), moment("2024-03-10 05:00:00")]), tmp_path / "2024-03-09.csv")
    with pytest.raises(
        DataError, match=r"2024-03-09\.csv holds a row whose 'at' is 2024-03-10 05:00:00.*all of its rows are of 2024-03-09"
    ):
        night(dataset("csv", f"{tmp_path}/{{partition}}.csv"), tmp_path / "raw")


def test_a_file_without_a_date_in_its_place_is_refused(tmp_path: Path) -> None:
    pc.write_csv(table([moment("2024-03-09")]), tmp_path / "2024-03-09.csv")
    pc.write_csv(table([moment("2024-03-09")]), tmp_path / "latest.csv")
    with pytest.raises(DataError, match=r"latest\.csv has no date where `path: .*\{partition\}\.csv`"):
        night(dataset("csv", f"{tmp_path}/{{partition}}.csv"), tmp_path / "raw")


def test_a_date_of_statistics_before_the_epoch_is_rounded_down() -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table([moment("1969-12-31 23:00:00")]), sink)
    metadata = pq.read_metadata(pa.BufferReader(sink.getvalue()))
    assert extents.of_statistics(metadata, "at") == Extent(dt.date(1969, 12, 31), dt.date(1969, 12, 31))
    assert extents.of_statistics(metadata, "x") is None


def test_without_rows_in_the_window_a_file_that_is_still_the_same_tells_the_columns() -> None:
    day = dt.timedelta(days=1)
    files = [
        SourceFile("a", Path("a"), (), ()),
        SourceFile("b", Path("b"), (), (), changed=True),
        SourceFile("c", Path("c"), (), (), gone=True),
    ]
    before = {file.name: Extent(NIGHT - 3 * day, NIGHT - 3 * day) for file in files}
    kept, reach = extents.split(files, before, Window("at", NIGHT, NIGHT + day))
    assert [file.name for file in kept] == ["a"]
    assert (reach.first, reach.last) == (NIGHT - 3 * day, NIGHT - 3 * day)
    with pytest.raises(DataError, match=r"^c and all other files of the source were replaced or removed.*Trigger another run"):
        extents.split(files[1:], before, Window("at", NIGHT, NIGHT + day))


def test_a_file_that_is_not_plausible_is_read() -> None:
    files = [SourceFile(name, Path(name), (), ()) for name in ("a", "b", "c")]
    far = Extent(dt.date(9999, 12, 31), dt.date(9999, 12, 31))
    near = Extent(dt.date(2024, 3, 20), dt.date(2024, 3, 21))
    kept, reach = extents.split(files, {"a": far, "b": near, "c": None}, Window("at", NIGHT, NIGHT + dt.timedelta(days=1)))
    assert [file.name for file in kept] == ["a", "c"]
    assert reach == Reach(near.first, near.last, near.first)
