"""Paths of sources: files, folders, globs, and dates in names."""

import datetime as dt

import pytest

from pipelines.lib.tables import source_paths


@pytest.mark.parametrize(
    ("path", "file", "date"),
    [
        ("orders/{partition}.csv", "orders/2024-01-05.csv", dt.date(2024, 1, 5)),
        ("s3://b/orders_{partition:%Y%m%d}.csv.gz", "s3://b/orders_20240105.csv.gz", dt.date(2024, 1, 5)),
        ("y={partition:%Y}/m={partition:%m}/{partition:%d}/*.parquet", "y=2024/m=1/05/part-0.parquet", dt.date(2024, 1, 5)),
        ("orders/{partition}.csv", "orders/2024-02-30.csv", None),
        ("orders/{partition}.csv", "orders/latest.csv", None),
    ],
)
def test_a_path_says_the_date_of_a_file(path: str, file: str, date: dt.date | None) -> None:
    source_paths.require_usable(path)
    assert source_paths.names_partition(path)
    assert source_paths.partition_of(path, file) == date


@pytest.mark.parametrize("path", ["orders.parquet", "orders/**/*.parquet", "s3://bucket/orders", "/data/{other}.csv"])
def test_a_path_without_a_date_is_usable(path: str) -> None:
    source_paths.require_usable(path)
    assert not source_paths.names_partition(path)


@pytest.mark.parametrize(
    ("path", "fact"),
    [
        ("gs://bucket/orders.csv", "a URL that is not read"),
        ("http://example.org/orders.csv", "a URL that is not read"),
        ("https://example.org/orders_{partition}.csv", "a URL that is not read"),
        ("s3:///orders.csv", "names no bucket"),
        ("orders/{partition:%Y-%m}.csv", "does not name a whole date"),
        ("orders/{partition:%d.%m.}.csv", "does not name a whole date"),
        ("orders/*{partition}.csv", "stand plain letters alone"),
        ("orders/{partition}_{partition}.csv", "stand plain letters alone"),
        ("orders/**/{partition}.csv", r"both \*\* and"),
        ("orders/{partition:%Y/%m/%d}.csv", "not closed within its folder"),
    ],
)
def test_a_path_that_means_nothing_is_refused(path: str, fact: str) -> None:
    with pytest.raises(ValueError, match=fact):
        source_paths.require_usable(path)
