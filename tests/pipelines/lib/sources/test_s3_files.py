"""Files on S3, with a real server process: the rows of a local read, the files that a night needs, and what happens if they change or are refused."""

import datetime as dt
import io
import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake

from pipelines.lib.core.errors import ConfigError, DataError, TransientError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources import adapters, raw, s3_files
from pipelines.lib.sources.pinned_files import at_files, current_files
from pipelines.lib.tables.dataset import Dataset, Source
from tests import hourly

pytestmark = pytest.mark.integration

NIGHT = dt.date(2024, 3, 10)


def rows(day: dt.date) -> pa.Table:
    times = [dt.datetime.combine(day, dt.time(hour)) for hour in (0, 12, 23)]
    return pa.table({"id": [day.day * 10 + number for number in range(3)], "at": pa.array(times, pa.timestamp("us")), "x": [0.5, 1.5, 2.5]})


def content(table: pa.Table, kind: str) -> bytes:
    sink = io.BytesIO()
    if kind == "parquet":
        pq.write_table(table, sink, write_page_checksum=True)
    else:
        pc.write_csv(table, sink)
    return sink.getvalue()


def fill(files: Any, bucket: str, kind: str, days: int = 5) -> None:
    for day in (dt.date(2024, 3, 7) + dt.timedelta(days=number) for number in range(days)):
        files.pipe(f"{bucket}/orders/{day}.{kind}", content(rows(day), kind))
    files.pipe(f"{bucket}/orders/_SUCCESS", b"")


def dataset(kind: str, path: str) -> Dataset:
    declared = {
        "name": "events",
        "source": {"kind": kind, "path": path},
        "key": ["id"],
        "event_time": "at",
        "label": {"name": "late", "expression": "x > 1", "delay_days": 1},
        "columns": {"id": {"type": "integer"}, "at": {"type": "timestamp"}, "x": {"type": "float"}},
    }
    return parse_section(declared, Dataset, "dataset")


def night(dataset: Dataset, target: Path) -> pa.Table:
    raw.extract(dataset, partition=NIGHT, start=NIGHT, end=NIGHT + dt.timedelta(days=1), lookback_days=1, target=target)
    return pq.read_table(target / "events.parquet")


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("parquet", "orders"),
        ("parquet", "orders/*.parquet"),
        ("csv", "orders/{partition}.csv"),
        ("csv", "orders/2024-03-*.csv"),
        ("csv", "orders/"),
    ],
)
def test_a_night_is_read_from_s3(s3_store: tuple[Any, str], tmp_path: Path, kind: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files, bucket = s3_store
    fill(files, bucket, kind)
    copied: list[str] = []
    copy = s3_files.copied

    def noted(path: str, objects: Any, scratch: Path) -> Any:
        copied.extend(one.key.rpartition("/")[2] for one in objects)
        return copy(path, objects, scratch)

    monkeypatch.setattr(s3_files, "copied", noted)
    found = night(dataset(kind, f"s3://{bucket}/{path}"), tmp_path / "raw")
    assert found.equals(pa.concat_tables([rows(NIGHT - dt.timedelta(days=1)), rows(NIGHT)]))
    if kind == "parquet" or "{partition}" in path:
        assert copied == [f"2024-03-09.{kind}", f"2024-03-10.{kind}"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "parquet a UTC day", "csv", "hive folders"])
@pytest.mark.parametrize(("zone", "day", "hours"), [hourly.CHANGES[1], hourly.CHANGES[3]])
def test_a_night_in_a_time_zone_is_the_same_from_s3(
    s3_store: tuple[Any, str], tmp_path: Path, kind: str, zone: str, day: str, hours: int
) -> None:
    files, bucket = s3_store
    folder = tmp_path / "source"
    local = hourly.dataset(kind, hourly.readings(zone, day, days=4), zone, folder)
    for file in (path for path in folder.rglob("*") if path.is_file()):
        files.pipe(f"{bucket}/readings/{file.relative_to(folder)}", file.read_bytes())
    path = str(local.source.path).replace(str(folder), f"s3://{bucket}/readings")
    remote = local.model_copy(update={"source": local.source.model_copy(update={"path": path})})
    night = dt.date.fromisoformat(day)
    for name, dataset in (("local", local), ("s3", remote)):
        raw.extract(dataset, partition=night, start=night, end=night + dt.timedelta(days=1), lookback_days=1, target=tmp_path / name)
    assert (tmp_path / "s3" / "events.parquet").read_bytes() == (tmp_path / "local" / "events.parquet").read_bytes()
    facts = json.loads((tmp_path / "s3" / "source.json").read_text())
    assert facts == json.loads((tmp_path / "local" / "source.json").read_text())
    assert facts["rows_per_date"] == {str(night - dt.timedelta(days=1)): 24, day: hours}


def test_a_footer_that_is_longer_than_the_first_range_is_read_whole(s3_store: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    files, bucket = s3_store
    files.pipe(f"{bucket}/a.parquet", content(rows(NIGHT), "parquet"))
    files.pipe(f"{bucket}/b.parquet", b"no footer")
    monkeypatch.setattr(s3_files, "_TAIL", 100)
    found = s3_files.footers("a", s3_files.objects(f"s3://{bucket}"))
    assert [None if footer is None else footer.num_rows for footer in found] == [3, None]


def test_the_revision_follows_the_content(s3_store: tuple[Any, str]) -> None:
    files, bucket = s3_store
    source = Source(kind="csv", path=f"s3://{bucket}/orders")
    fill(files, bucket, "csv", days=2)
    before = adapters.revision(source)
    assert adapters.revision(source) == before
    files.pipe(f"{bucket}/orders/2024-03-07.csv", content(rows(NIGHT), "csv"))
    assert adapters.revision(source) != before


@pytest.mark.parametrize("change", ["replaced", "removed", "added"])
def test_a_source_that_changes_while_it_is_read_is_read_again(
    s3_store: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    files, bucket = s3_store
    fill(files, bucket, "parquet")
    copy = s3_files.copied

    def change_then_copy(*arguments: Any) -> Any:
        if change == "replaced":
            files.pipe(f"{bucket}/orders/2024-03-10.parquet", content(rows(NIGHT - dt.timedelta(days=1)), "parquet"))
        elif change == "removed":
            files.rm(f"{bucket}/orders/2024-03-10.parquet")
        else:
            files.pipe(f"{bucket}/orders/2024-03-10b.parquet", content(rows(NIGHT), "parquet"))
        return copy(*arguments)

    monkeypatch.setattr(s3_files, "copied", change_then_copy)
    with pytest.raises(TransientError, match="while it was read"):
        night(dataset("parquet", f"s3://{bucket}/orders"), tmp_path / "raw")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("added", None),
        ("replaced", r"2024-03-10\.parquet was replaced or written after the run was opened"),
        ("removed", "1 of the 5 files"),
    ],
)
@pytest.mark.parametrize("moment", ["before it is read", "while it is read"])
def test_a_run_reads_the_objects_with_which_it_was_opened(
    s3_store: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str, said: str | None, moment: str
) -> None:
    """An object that comes later stops nothing. One that vanishes or changes while it is read is tried again once, and then refused."""
    files, bucket = s3_store
    fill(files, bucket, "parquet")
    found = dataset("parquet", f"s3://{bucket}/orders")
    run = at_files(found, current_files(found))
    before = night(run, tmp_path / "before")

    def happen() -> None:
        if change == "replaced":
            files.pipe(f"{bucket}/orders/2024-03-10.parquet", content(rows(NIGHT - dt.timedelta(days=1)), "parquet"))
        elif change == "removed":
            files.rm(f"{bucket}/orders/2024-03-10.parquet")
        else:
            files.pipe(f"{bucket}/orders/2024-03-10b.parquet", content(rows(NIGHT), "parquet"))

    if moment == "while it is read":
        copy = s3_files.copied

        def happen_then_copy(*arguments: Any) -> Any:
            happen()
            return copy(*arguments)

        monkeypatch.setattr(s3_files, "copied", happen_then_copy)
        if said is None:
            assert night(run, tmp_path / "raw").equals(before)
        else:
            with pytest.raises(TransientError, match="while it was read"):
                night(run, tmp_path / "raw")
        monkeypatch.setattr(s3_files, "copied", copy)
    else:
        happen()
    if said is None:
        assert night(run, tmp_path / "again").equals(before)
        assert night(found, tmp_path / "laptop").num_rows == 9
    else:
        with pytest.raises(DataError, match=said):
            night(run, tmp_path / "again")


def test_an_error_names_the_object_and_not_its_copy(s3_store: tuple[Any, str], tmp_path: Path) -> None:
    files, bucket = s3_store
    files.pipe(f"{bucket}/orders/2024-03-10.csv", content(rows(NIGHT), "csv").replace(b"0.5", b"soon"))
    with pytest.raises(DataError, match=rf"column 'x' of s3://{bucket}/orders holds 'soon'"):
        night(dataset("csv", f"s3://{bucket}/orders"), tmp_path / "raw")
    files.pipe(f"{bucket}/orders/2024-03-10.csv", content(rows(NIGHT), "csv")[:-1])
    with pytest.raises(DataError, match=rf"^s3://{bucket}/orders/2024-03-10\.csv does not end with a line end"):
        night(dataset("csv", f"s3://{bucket}/orders"), tmp_path / "other")


def test_a_delta_table_is_read_from_s3_and_not_as_a_folder_of_files(s3_store: tuple[Any, str], tmp_path: Path) -> None:
    _, bucket = s3_store
    write_deltalake(f"s3://{bucket}/table", rows(NIGHT))
    assert night(dataset("delta", f"s3://{bucket}/table"), tmp_path / "raw").num_rows == 3
    for number, path in enumerate(("table", "table/*.parquet")):
        with pytest.raises(DataError, match="has files of a Delta table"):
            night(dataset("parquet", f"s3://{bucket}/{path}"), tmp_path / str(number))


@pytest.mark.parametrize("kind", ["parquet", "csv", "delta"])
def test_nothing_there_is_not_tried_again(s3_store: tuple[Any, str], kind: str, tmp_path: Path) -> None:
    for number, path in enumerate((f"s3://{s3_store[1]}/absent", "s3://no-such-bucket/absent")):
        with pytest.raises(DataError, match=re.escape(path)):
            night(dataset(kind, path), tmp_path / str(number))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["parquet", "csv", "delta"])
def test_a_store_that_does_not_answer_is_tried_again(
    s3_store: tuple[Any, str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(TransientError, match="does not answer"):
        night(dataset(kind, f"s3://{s3_store[1]}/orders"), tmp_path / "raw")


@pytest.fixture
def locked(s3_store: tuple[Any, str], s3_server: str) -> Iterator[str]:
    """Let the server check every key from now on; yields the bucket, whose keys it does not know."""

    def open_for(requests: bytes) -> None:
        text = {"Content-Type": "text/plain"}
        urllib.request.urlopen(urllib.request.Request(f"{s3_server}/moto-api/reset-auth", requests, text, method="POST"))

    open_for(b"0")
    try:
        yield s3_store[1]
    finally:
        open_for(b"inf")


@pytest.mark.parametrize("kind", ["parquet", "csv", "delta"])
def test_refused_keys_are_not_tried_again(locked: str, kind: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"S3 gives no access to .*AWS_ACCESS_KEY_ID"):
        night(dataset(kind, f"s3://{locked}/orders"), tmp_path / "raw")


@pytest.mark.parametrize("kind", ["parquet", "csv", "delta"])
def test_missing_keys_are_not_tried_again(s3_store: tuple[Any, str], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for key in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(key)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(ConfigError, match=r"S3 gives no access to .*AWS_ACCESS_KEY_ID"):
        night(dataset(kind, f"s3://{s3_store[1]}/orders"), tmp_path / "raw")
