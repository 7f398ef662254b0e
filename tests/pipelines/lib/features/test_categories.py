"""The list of a model: the most frequent categories of the rows that it learns from, equally frequent ones in the order of their bytes."""

import datetime as dt
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.features.categories import kept_categories, most_frequent
from pipelines.lib.features.signature import CATEGORIES_KEY


def write(path: Path, rows: list[tuple[str, str | None]], most: int = 3) -> Path:
    table = pa.table({"partition": [date for date, _ in rows], "kind": pa.array([word for _, word in rows], pa.string())})
    pq.write_table(table.replace_schema_metadata({CATEGORIES_KEY: json.dumps({"kind": most})}), path)
    return path


ROWS: list[tuple[str, str | None]] = [
    *[("2024-01-01", word) for word in ("a", "a", "a", "É", "b", "Z", None, None, None, None)],
    *[("2024-01-02", word) for word in ("b", "z", "q")],
    *[("2024-01-03", "q")] * 9,
]


def test_the_most_frequent_come_first_and_ties_follow_their_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", ROWS)
    assert kept_categories(path) == {"kind": 3}
    assert most_frequent(path) == {"kind": ("q", "a", "b")}
    assert most_frequent(path, until=dt.date(2024, 1, 2)) == {"kind": ("a", "Z", "b")}
    assert most_frequent(path, since=dt.date(2024, 1, 2), until=dt.date(2024, 1, 3)) == {"kind": ("b", "q", "z")}


def test_fewer_categories_than_may_be_kept_are_all_kept(tmp_path: Path) -> None:
    assert most_frequent(write(tmp_path / "f.parquet", ROWS, most=100)) == {"kind": ("q", "a", "b", "Z", "z", "É")}


def test_the_order_of_rows_changes_nothing(tmp_path: Path) -> None:
    assert most_frequent(write(tmp_path / "f.parquet", ROWS[::-1])) == most_frequent(write(tmp_path / "g.parquet", ROWS))


def test_a_file_of_numbers_has_no_list(tmp_path: Path) -> None:
    pq.write_table(pa.table({"partition": ["2024-01-01"]}), tmp_path / "f.parquet")
    assert kept_categories(tmp_path / "f.parquet") == {}
    assert most_frequent(tmp_path / "f.parquet") == {}


def test_a_feature_without_any_category_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f.parquet", [("2024-01-01", None), ("2024-01-02", "a")])
    with pytest.raises(DataError, match="the feature kind has no category in any row of training"):
        most_frequent(path, until=dt.date(2024, 1, 2))
