"""A source that is replaced or written while it is read: never a night of two versions."""

import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.errors import DataError, TransientError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources import raw
from pipelines.lib.sources.changes import unchanged
from pipelines.lib.sources.outcomes import known_outcomes
from pipelines.lib.tables.dataset import Dataset, Source
from tests.datasets import orders

NIGHT = dt.date(2024, 1, 20)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    orders.write(orders.orders(days=30), tmp_path / "orders.parquet")
    orders.write(orders.products(), tmp_path / "products.csv")
    content = orders.params(kind="parquet", path=str(tmp_path / "orders.parquet"))["dataset"]
    content["tables"]["products"]["source"]["path"] = str(tmp_path / "products.csv")
    return parse_section(content, Dataset, "dataset")


def replace_file(path: Path) -> None:
    """Put another file of the same content and times in the place of `path`."""
    stat, other = path.stat(), path.with_name("upload.part")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.replace(path)


def write_in_place(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def after_the_scan(monkeypatch: pytest.MonkeyPatch, path: Path, change: Callable[[Path], object]) -> None:
    """Let `change` meet `path` between the moment its header was read and the moment its rows are."""
    scan = raw.adapters.scan

    def scan_then_change(connection: Any, source: Source, *others: Any) -> Any:
        scanned = scan(connection, source, *others)
        if source.path == str(path):
            change(path)
        return scanned

    monkeypatch.setattr(raw.adapters, "scan", scan_then_change)


def night(dataset: Dataset, target: Path) -> None:
    raw.extract(dataset, partition=NIGHT, start=NIGHT, end=NIGHT + dt.timedelta(days=1), lookback_days=7, target=target)


@pytest.mark.costly
@pytest.mark.parametrize("change", [replace_file, write_in_place])
@pytest.mark.parametrize("file", ["orders.parquet", "products.csv"])
def test_a_source_that_changes_while_it_is_read_is_read_again(
    dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, change: Callable[[Path], object]
) -> None:
    after_the_scan(monkeypatch, tmp_path / file, change)
    with pytest.raises(TransientError, match=rf"{file} was replaced or written while it was read"):
        night(dataset, tmp_path / "raw")
    monkeypatch.undo()
    night(dataset, tmp_path / "again")


def test_outcomes_of_a_source_that_changes_are_not_taken(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_the_scan(monkeypatch, tmp_path / "orders.parquet", replace_file)
    with (
        pytest.raises(TransientError, match="while it was read"),
        known_outcomes(dataset, partition=NIGHT, first=dt.date(2024, 1, 10)),
    ):
        pytest.fail("outcomes of two versions were given out")


def test_a_file_torn_by_its_upload_is_tried_again(dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    after_the_scan(monkeypatch, tmp_path / "orders.parquet", lambda path: path.write_bytes(path.read_bytes()[:999]))
    with pytest.raises(TransientError, match="while it was read"):
        night(dataset, tmp_path / "raw")


def test_a_file_that_joins_a_glob_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    with pytest.raises(TransientError), unchanged(Source(kind="csv", path=str(tmp_path / "*.csv"))):
        (tmp_path / "b.csv").write_text("id\n2\n")


def test_an_error_of_a_source_that_stays_is_not_tried_again(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id\n1\n")
    with pytest.raises(DataError, match="as it is"), unchanged(Source(kind="csv", path=str(tmp_path / "a.csv"))):
        raise DataError("as it is")
