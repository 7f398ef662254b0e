"""The dialect of a CSV, as its values show it."""

from pathlib import Path

import duckdb
import pytest

from pipelines.lib.declarations.csv_dialect import delimiter_of, formats_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a,b,c\n1,2,3\n", ","),
        ("a;b;c\n1,5;2;3\n", ";"),
        ("a\tb\n1\t2\n", "\t"),
        ('a;b\n"x;y";2\n', ";"),
        ("a|b\n1|2\n", "|"),
        ("a\n1\n", None),
    ],
)
def test_the_delimiter_gives_every_line_as_many_fields(tmp_path: Path, text: str, expected: str | None) -> None:
    (tmp_path / "x.csv").write_text(text, encoding="utf-8")
    assert delimiter_of(tmp_path / "x.csv") == expected


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        (["01.02.2024", "31.12.2024"], "date", {"%d.%m.%Y": 2}),
        (["01/31/2024", "12/01/2024"], "date", {"%m/%d/%Y": 2}),
        (["31/01/2024", "01/12/2024"], "date", {"%d/%m/%Y": 2}),
        (["2024-01-31"], "date", {"%Y-%m-%d": 1}),
        (["2024-01-31 10:00:00", "2024-02-01 11:30:00"], "timestamp", {"%Y-%m-%d %H:%M:%S": 2}),
        (["31.01.2024 10:00", None], "timestamp", {"%d.%m.%Y %H:%M": 1}),
        (["31.01.2024", "2024-02-01", "2024-02-02"], "date", {"%Y-%m-%d": 2, "%d.%m.%Y": 1}),
        (["soon"], "date", {}),
        (["31 Jan 2024", "01 Feb 2024"], "date", {"%d %b %Y": 2}),
        (["2024.01.31", "2024.02.01"], "date", {"%Y.%m.%d": 2}),
        (["01-31-2024", "02-01-2024"], "date", {"%m-%d-%Y": 2}),
        (["31 Jan 2024 10:00"], "timestamp", {"%d %b %Y %H:%M": 1}),
        (["31.01.24", "01.02.24"], "date", {"%d.%m.%y": 2}),
        (["01/31/2024 12:30 AM", "02/01/2024 01:00 PM"], "timestamp", {"%m/%d/%Y %I:%M %p": 2}),
        (["01/05/2024", "02/05/2024", "12/05/2024"], "date", {"%d/%m/%Y": 3}),
        (["05/01/2024", "05/02/2024", "05/12/2024"], "date", {"%m/%d/%Y": 3}),
    ],
)
def test_the_formats_of_dates_are_found(values: list[str | None], kind: str, expected: dict[str, int]) -> None:
    connection = duckdb.connect()
    connection.execute("CREATE TABLE t (x VARCHAR)")
    connection.executemany("INSERT INTO t VALUES (?)", [[value] for value in values])
    assert formats_of(connection, "t", "x", kind) == expected
