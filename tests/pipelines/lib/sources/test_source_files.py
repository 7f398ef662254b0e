"""The files that a path names: a file, a folder, a glob; each mistake gets one answer with the line to write."""

from pathlib import Path

import pytest

from pipelines.lib.core.errors import DataError
from pipelines.lib.sources.source_files import files_of, revision
from pipelines.lib.tables.dataset import Source


def source(kind: str, path: str) -> Source:
    return Source.model_validate({"kind": kind, "path": path})


def write(root: Path, *files: str) -> None:
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_text("a\n1\n")


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NIGHTSHIFT_REPOSITORY", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("path", ["orders", "orders/"])
def test_a_folder_means_all_of_its_files_of_that_kind(path: str, tmp_path: Path) -> None:
    write(
        tmp_path, "orders/b.csv", "orders/2024/a.csv.gz", "orders/_SUCCESS", "orders/notes.txt", "orders/_temporary/c.csv", "orders/.d.csv"
    )
    found = files_of(source("csv", path))
    assert [file.name for file in found] == [str(tmp_path / "orders/2024/a.csv.gz"), str(tmp_path / "orders/b.csv")]


def test_folders_name_columns(tmp_path: Path) -> None:
    write(tmp_path, "orders/day=2024-01-05/shop=K%C3%B6ln/a.parquet", "orders/day=__HIVE_DEFAULT_PARTITION__/shop=x/a.parquet")
    assert [file.values for file in files_of(source("parquet", "orders"))] == [
        {"day": "2024-01-05", "shop": "Köln"},
        {"day": None, "shop": "x"},
    ]


@pytest.mark.parametrize(
    ("kind", "path", "message"),
    [
        ("csv", "absent.csv", r"no file is at `path: absent\.csv` in params\.yaml"),
        ("csv", "orders/", r"`path: orders/` in params\.yaml is a folder that is empty: no file ends in \.csv or \.csv\.gz"),
        ("parquet", "days", r"`path: days` in params\.yaml is a folder that holds 1 files, such as a\.csv, but no file ends in \.parquet"),
        ("csv", "days/a.csv/", r"`path: days/a\.csv/` .* is a file and not a folder; write `path: days/a\.csv`"),
        ("csv", "d*", r"`path: d\*` .* matches days, which is a folder and not a file; write `path: d\*/\*\.csv`"),
        ("parquet", "delta", r"belongs to the Delta table .*delta.*Write `source: \{kind: delta, path: .*delta\}`"),
    ],
)
def test_a_path_that_is_wrong_gets_the_line_to_write(kind: str, path: str, message: str, tmp_path: Path) -> None:
    write(tmp_path, "days/a.csv", "delta/a.parquet", "delta/_delta_log/0.json")
    (tmp_path / "orders").mkdir()
    with pytest.raises(DataError, match=message):
        files_of(source(kind, path))


def test_a_link_to_a_folder_is_not_left_out_silently(tmp_path: Path) -> None:
    write(tmp_path, "orders/a.csv", "elsewhere/b.csv")
    (tmp_path / "orders" / "more").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="more, a link to another folder, which is not followed"):
        files_of(source("csv", "orders"))


def test_the_revision_changes_with_the_files(tmp_path: Path) -> None:
    write(tmp_path, "orders/a.csv")
    before = revision(files_of(source("csv", "orders")))
    assert before == revision(files_of(source("csv", "orders")))
    write(tmp_path, "orders/b.csv")
    assert revision(files_of(source("csv", "orders"))) != before


@pytest.mark.parametrize(("path", "says"), [("absent.csv", True), ("/nowhere/absent.csv", False)])
def test_a_missing_file_is_named_as_the_user_wrote_it(path: str, says: bool, tmp_path: Path) -> None:
    with pytest.raises(DataError) as refused:
        files_of(source("csv", path))
    assert ("which begins at the top of the repository" in str(refused.value)) is says
    assert str(tmp_path) not in str(refused.value)
