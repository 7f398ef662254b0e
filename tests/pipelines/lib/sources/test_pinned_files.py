"""A run reads the files that were there when it was opened: what comes later is not read, what is gone or replaced is refused."""

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources import adapters, raw
from pipelines.lib.sources.pinned_files import at_files, current_files, digests, pinned_files
from pipelines.lib.tables.dataset import Dataset, Source
from tests.datasets import orders

pytestmark = pytest.mark.costly

NIGHT, FAR = dt.date(2024, 1, 20), dt.date(2024, 3, 20)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one file of orders per date, and a side table without a time."""
    monkeypatch.chdir(tmp_path)
    orders.write(orders.products(), Path("products.csv"))
    Path("orders").mkdir()
    for day in range(15, 24):
        deliver(dt.date(2024, 1, day))
    return tmp_path


def deliver(day: dt.date, *, rows: int = 30, name: str = "") -> Path:
    path = Path("orders", name or f"{day}.parquet")
    orders.write(orders.orders(days=1, first=day, per_day=rows), path)
    return path


def dataset(path: str = "orders") -> Dataset:
    content = orders.params(kind="parquet", path=path)["dataset"]
    content["tables"]["products"]["source"]["path"] = "products.csv"
    return parse_section(content, Dataset, "dataset")


def pinned(path: str = "orders") -> Dataset:
    """Pin the table as a run does that is opened now."""
    found = dataset(path)
    return at_files(found, current_files(found))


def night(of: Dataset, target: str) -> dict[str, bytes]:
    raw.extract(of, partition=NIGHT, start=NIGHT, end=NIGHT + dt.timedelta(days=1), lookback_days=2, target=Path(target))
    return {path.name: path.read_bytes() for path in Path(target).iterdir()}


@pytest.mark.parametrize(
    ("path", "day", "name"),
    [
        ("orders", dt.date(2024, 1, 19), "late.parquet"),
        ("orders", dt.date(2024, 1, 28), ""),
        ("orders/*.parquet", dt.date(2024, 1, 20), "late.parquet"),
        ("orders/{partition}.parquet", dt.date(2024, 1, 28), ""),
        ("orders/{partition}.parquet", dt.date(2024, 1, 2), ""),
    ],
)
def test_a_file_that_comes_later_does_not_change_a_run(here: Path, path: str, day: dt.date, name: str) -> None:
    """Not even how far the source reaches, which the gate judges."""
    run = pinned(path)
    before = night(run, "before")
    deliver(day, name=name)
    assert night(run, "after") == before
    assert night(pinned(path), "another") != before, "another run reads it"


def test_a_file_that_comes_while_the_night_is_read_does_not_stop_it(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, scan = pinned(), adapters.scan
    before = night(run, "before")

    def deliver_then_scan(*arguments: Any) -> object:
        deliver(dt.date(2024, 1, 28))
        return scan(*arguments)

    monkeypatch.setattr(adapters, "scan", deliver_then_scan)
    assert night(run, "after") == before


@pytest.mark.parametrize("path", ["orders", "orders/{partition}.parquet"])
def test_a_replaced_file_of_the_night_is_refused_with_what_to_do(here: Path, path: str) -> None:
    run = pinned(path)
    deliver(dt.date(2024, 1, 19), rows=31)
    with pytest.raises(
        DataError, match=r"orders/2024-01-19\.parquet was replaced or written after the run was opened\..*trigger another run"
    ):
        night(run, "raw")
    night(pinned(path), "another")


def test_a_replaced_file_of_another_date_stops_no_run_where_the_path_says_its_date(here: Path) -> None:
    run = pinned("orders/{partition}.parquet")
    before = night(run, "before")
    deliver(dt.date(2024, 1, 15), rows=31)
    deliver(dt.date(2024, 1, 23), rows=31)
    assert night(run, "after") == before


def test_a_replaced_file_whose_dates_are_only_inside_is_refused(here: Path) -> None:
    """It may have had rows of the night before it was replaced."""
    run = pinned()
    deliver(dt.date(2024, 1, 23), rows=31)
    with pytest.raises(DataError, match="was replaced or written after the run was opened"):
        night(run, "raw")


def test_a_removed_file_is_refused(here: Path) -> None:
    run = pinned()
    Path("orders/2024-01-15.parquet").unlink()
    with pytest.raises(DataError, match=r"1 of the 9 files that orders had when the run was opened are gone\..*trigger another run"):
        night(run, "raw")


@pytest.mark.parametrize("path", ["orders/{partition}.parquet", "./orders/{partition:%Y-%m-%d}.parquet"])
@pytest.mark.parametrize("days", [(15,), (15, 16, 17, 23), (22, 23)])
def test_a_removed_file_of_another_date_changes_no_run_where_the_path_says_its_date(here: Path, path: str, days: tuple[int, ...]) -> None:
    """Not even how far the source reached when the run was opened."""
    run = pinned(path)
    before = night(run, "before")
    for day in days:
        Path(f"orders/2024-01-{day}.parquet").unlink()
    assert night(run, "after") == before


def test_a_removed_file_that_the_night_needs_is_named(here: Path) -> None:
    run = pinned("orders/{partition}.parquet")
    for day in (15, 18, 19):
        Path(f"orders/2024-01-{day}.parquet").unlink()
    with pytest.raises(
        DataError, match=r"orders/2024-01-18\.parquet and 1 other files are gone since the run was opened\..*trigger another run"
    ):
        night(run, "raw")


def test_a_removed_file_is_refused_where_the_path_does_not_say_its_whole_name(here: Path) -> None:
    run = pinned("*/{partition}.parquet")
    Path("orders/2024-01-15.parquet").unlink()
    with pytest.raises(DataError, match=r"1 of the 9 files that .* had when the run was opened are gone"):
        night(run, "raw")


def test_a_night_without_rows_needs_no_file_that_was_replaced(here: Path) -> None:
    run = pinned("orders/{partition}.parquet")
    deliver(dt.date(2024, 1, 23), rows=31)
    raw.extract(run, partition=FAR, start=FAR, end=FAR + dt.timedelta(days=1), lookback_days=2, target=Path("far"))
    assert pq.read_metadata("far/events.parquet").num_rows == 0


def test_a_replaced_side_table_is_refused(here: Path) -> None:
    run = pinned()
    orders.write(orders.products().slice(1), Path("products.csv"))
    with pytest.raises(DataError, match=r"products\.csv was replaced"):
        night(run, "raw")


def test_a_file_that_was_only_touched_or_renamed_to_itself_is_the_same(here: Path) -> None:
    """Its size and time of modification are those of the pin, as when a disk is mounted elsewhere."""
    run = pinned()
    path = Path("orders/2024-01-20.parquet")
    before, stat = night(run, "before"), path.stat()
    copy = path.with_name(".copy")
    copy.write_bytes(path.read_bytes())
    os.utime(copy, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    copy.replace(path)
    assert night(run, "after") == before


def test_a_worker_may_have_the_repository_elsewhere(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, moved = pinned(), here.with_name("moved")
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(here))
    assert current_files(dataset()) == {"events": run.source.files, "products": run.tables["products"].source.files}
    here.rename(moved)
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(moved))
    assert len(pinned_files(run.source)) == 9
    moved.rename(here)


def test_the_revision_of_pinned_files_follows_from_the_pins(here: Path) -> None:
    run = pinned()
    before = adapters.revision(run.source)
    deliver(dt.date(2024, 1, 28))
    assert adapters.revision(run.source) == before
    assert adapters.revision(pinned().source) != before


def test_a_person_cannot_declare_pins(here: Path) -> None:
    with pytest.raises(ConfigError, match="files is written by Nightshift"):
        parse_section({"kind": "parquet", "path": "orders", "files": "0" * 16}, Source, "source")


def test_pins_of_a_year_are_short(here: Path) -> None:
    [file] = pinned_files(Source(kind="csv", path="products.csv"))
    assert len(digests([file] * 365)) == 365 * 16


def test_a_laptop_reads_what_is_there(here: Path) -> None:
    deliver(dt.date(2024, 1, 28))
    assert len(pinned_files(dataset().source)) == 10
