"""CSV files in a dialect that the source declares: read as declared, or refused; nothing is guessed."""

import datetime as dt
import gzip
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipelines.lib.core.errors import ConfigError, DataError
from pipelines.lib.core.params import parse_section
from pipelines.lib.sources import adapters
from pipelines.lib.sources.scan import require_one_each
from pipelines.lib.tables.dataset import Column, Source
from pipelines.lib.tables.engine import UTC, connect

COLUMNS = {
    "shop": Column(type="string"),
    "day": Column(type="date"),
    "at": Column(type="timestamp"),
    "amount": Column(type="float"),
    "pieces": Column(type="integer"),
}


def source(path: Path, **dialect: Any) -> Source:
    return parse_section({"kind": "csv", "path": str(path), **dialect}, Source, "source")


def read(source: Source, columns: dict[str, Column] = COLUMNS) -> list[Any]:
    with connect(UTC) as (connection, scratch):
        scanned = adapters.scan(connection, source, columns, None, scratch)
        with adapters.reading(scanned.where):
            return connection.sql(adapters.typed(scanned, columns)).fetchall()


GERMAN = {
    "delimiter": ";",
    "quote": "'",
    "encoding": "latin-1",
    "decimal": ",",
    "date_format": "%d.%m.%y",
    "timestamp_format": "%d.%m.%Y %H:%M",
}


def test_a_declared_dialect_is_read_as_it_says(tmp_path: Path) -> None:
    """31.12.12 is the last day of 2012, 12,50 is twelve and a half."""
    (tmp_path / "shop.csv").write_text(
        "shop;day;at;amount;pieces\n'Köln; Mitte';31.12.12;01.02.2013 08:30;12,50;-3\n'Ha''lle';01.01.13;31.01.2013 00:00;-0,5;12,0\n",
        encoding="latin-1",
    )
    assert read(source(tmp_path / "shop.csv", **GERMAN)) == [
        ("Köln; Mitte", dt.date(2012, 12, 31), dt.datetime(2013, 2, 1, 8, 30), 12.5, -3),  # noqa: DTZ001
        ("Ha'lle", dt.date(2013, 1, 1), dt.datetime(2013, 1, 31), -0.5, 12),  # noqa: DTZ001
    ]


@pytest.mark.parametrize(
    ("column", "value", "dialect", "message"),
    [
        ("day", "2012-12-31", {"date_format": "%d.%m.%Y"}, "declares date_format '%d.%m.%Y': deliver it so"),
        ("day", "31.12.12", {"date_format": "%d.%m.%Y"}, "holds '31.12.12'"),
        ("day", "31.02.2012", {"date_format": "%d.%m.%Y"}, "holds '31.02.2012'"),
        ("day", "31/12/12", {}, "holds '31/12/12'"),
        ("day", "31.12.2012 23:59", {"date_format": "%d.%m.%Y %H:%M"}, "holds '31.12.2012 23:59'"),
        ("day", "12-01-01", {"date_format": "%x"}, "holds '12-01-01'"),
        ("at", "2012-12-31 10:00:00.123456789", {"timestamp_format": "%Y-%m-%d %H:%M:%S.%n"}, "holds '2012-12-31 10:00:00.123456789'"),
        ("at", "01.02.2013", {"timestamp_format": "%d.%m.%Y %H:%M"}, "declares timestamp_format"),
        ("amount", "1.234", {"decimal": ",", "delimiter": ";"}, "holds '1.234'"),
        ("amount", "1.234,5", {"decimal": ",", "delimiter": ";"}, "holds '1.234,5'"),
        ("amount", "12,5", {"delimiter": ";"}, "holds '12,5'"),
        ("pieces", "9007199254740992.5", {}, "holds '9007199254740992.5'"),
        ("pieces", "4503599627370497.2", {}, "holds '4503599627370497.2'"),
        ("at", "2024-01-01 08:00:00.123456789", {}, "holds '2024-01-01 08:00:00.123456789'"),
        ("pieces", "12,5", {"decimal": ",", "delimiter": ";"}, "holds '12,5'"),
    ],
)
def test_a_value_in_another_notation_is_refused(column: str, value: str, dialect: dict[str, str], message: str, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(f"{column}\n{value}\n")
    with pytest.raises(DataError, match=message.replace(".", r"\.")):
        read(source(tmp_path / "shop.csv", **dialect), {column: COLUMNS[column]})


@pytest.mark.parametrize(
    ("column", "value", "expected"),
    [("pieces", "12.000", 12), ("pieces", "1.5e3", 1500), ("pieces", "-9007199254740993", -9007199254740993)],
)
def test_a_number_that_says_the_same_is_read(column: str, value: str, expected: int, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(f"{column}\n{value}\n")
    assert read(source(tmp_path / "shop.csv"), {column: COLUMNS[column]}) == [(expected,)]


def test_an_index_of_pandas_is_a_column_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(",shop,pieces,Unnamed\n0,Halle,3,x\n")
    columns = {"shop": COLUMNS["shop"], "pieces": COLUMNS["pieces"]}
    assert read(source(tmp_path / "shop.csv"), columns) == [("Halle", 3)]


def test_a_file_without_quotes_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text('shop\tpieces\n5" pipe\t3\n')
    columns = {"shop": COLUMNS["shop"], "pieces": COLUMNS["pieces"]}
    assert read(source(tmp_path / "shop.csv", delimiter="\t", quote=""), columns) == [('5" pipe', 3)]


def test_a_file_in_another_encoding_is_refused(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("shop\nKöln\n", encoding="latin-1")
    with pytest.raises(
        DataError,
        match=r"shop\.csv is not in utf-8 \(invalid start byte\); write encoding: latin-1 in its section source, or deliver it in UTF-8$",
    ):
        read(source(tmp_path / "shop.csv"), {"shop": COLUMNS["shop"]})
    (tmp_path / "shop.csv").write_text("shop\n" + "Bonn\n" * 30_000 + "Köln\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"shop\.csv has text that is not in UTF-8; write encoding: latin-1 in its section source"):
        read(source(tmp_path / "shop.csv"), {"shop": COLUMNS["shop"]})
    (tmp_path / "shop.csv").write_text("shop\nKöln\n", encoding="utf-16")
    with pytest.raises(DataError, match=r"shop\.csv is in the encoding UTF-16; convert it: iconv -f UTF-16 -t UTF-8 OLD > NEW$"):
        read(source(tmp_path / "shop.csv"), {"shop": COLUMNS["shop"]})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "parquet", "path": "x", "decimal": ","}, "decimal is of a csv source"),
        ({"kind": "csv", "path": "x", "delimiter": '"'}, "cannot be a line end or the quote"),
        ({"kind": "csv", "path": "x", "delimiter": ";;"}, "delimiter"),
        ({"kind": "csv", "path": "x", "version": 1}, "are of a delta source"),
        ({"kind": "csv", "path": "x", "encoding": "ebcdic"}, "encoding"),
        ({"kind": "csv", "path": "x", "nulls": []}, "nulls"),
    ],
)
def test_a_dialect_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_section(fields, Source, "source")


@pytest.mark.parametrize("form", ["%d.%m.", "%Y", "%m/%Y", "always"])
def test_a_format_without_a_whole_date_is_refused(form: str, tmp_path: Path) -> None:
    """Each day of a year was read as the same one, or each year as 1900."""
    (tmp_path / "shop.csv").write_text("day\n2024-01-01\n")
    with pytest.raises(ConfigError, match="does not hold a whole date"):
        read(source(tmp_path / "shop.csv", date_format=form), {"day": COLUMNS["day"]})


def test_an_unknown_format_is_refused_by_its_key(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text("day\n2024-01-01\n")
    with pytest.raises(ConfigError, match=r"source\.date_format is '%Q'"):
        read(source(tmp_path / "shop.csv", date_format="%Q"), {"day": COLUMNS["day"]})


def test_a_format_that_cannot_tell_morning_from_afternoon_is_refused(tmp_path: Path) -> None:
    """The format %I without %p read 02:30 in the afternoon as 02:30 in the morning."""
    (tmp_path / "shop.csv").write_text("at\n10.03.2024 02:30 PM\n")
    with pytest.raises(ConfigError, match=r"source\.timestamp_format is .* whose %I has no %p"):
        read(source(tmp_path / "shop.csv", timestamp_format="%d.%m.%Y %I:%M"), {"at": COLUMNS["at"]})
    [(found,)] = read(source(tmp_path / "shop.csv", timestamp_format="%d.%m.%Y %I:%M %p"), {"at": COLUMNS["at"]})
    assert str(found) == "2024-03-10 14:30:00"


@pytest.mark.parametrize("content", [b"", b"\n12\n", gzip.compress(b"", mtime=0)], ids=["empty", "an empty line", "compressed"])
def test_a_file_without_a_header_is_refused_as_such(content: bytes, tmp_path: Path) -> None:
    """An empty file gave `[Errno 22] Invalid argument`."""
    path = tmp_path / ("shop.csv.gz" if content[:2] == b"\x1f\x8b" else "shop.csv")
    path.write_bytes(content)
    with pytest.raises(DataError, match="has no header: it is empty or its first line is"):
        read(source(path), {"pieces": COLUMNS["pieces"]})


def test_a_compressed_file_that_was_cut_before_it_was_compressed_is_refused(tmp_path: Path) -> None:
    """The last number of the file, 12345, was read as 123."""
    (tmp_path / "shop.csv.gz").write_bytes(gzip.compress(b"pieces\n7\n123"))
    with pytest.raises(DataError, match="does not end with a line end, so it was probably cut"):
        read(source(tmp_path / "shop.csv.gz"), {"pieces": COLUMNS["pieces"]})
    (tmp_path / "shop.csv.gz").write_bytes(gzip.compress(b"pieces\n7\n12345\n"))
    assert read(source(tmp_path / "shop.csv.gz"), {"pieces": COLUMNS["pieces"]}) == [(7,), (12345,)]


def test_a_header_of_many_columns_is_compared_in_one_pass() -> None:
    """Each name was compared with each other one: 20,000 columns took more than a minute."""
    looks: Counter[str] = Counter()

    class Name(str):
        __slots__ = ()

        def lower(self) -> str:
            looks[self] += 1
            return super().lower()

    names = [Name(f"c{number}") for number in range(1_000)]
    require_one_each(names, names, Path("wide.csv"))
    assert set(looks.values()) == {2}, "once as a name of the file, once as a name to look for"
    with pytest.raises(DataError, match="more than one column 'c7', 'C7'"):
        require_one_each(names, [*names, "C7"], Path("wide.csv"))


PLAIN = {"id": Column(type="integer"), "at": Column(type="timestamp"), "day": Column(type="date"), "x": Column(type="float", nulls=1)}
ROW = "1,2024-03-08 10:00:00,2024-03-08,0.5\n"
HEADER = "id,at,day,x\n"


def refusal(path: Path, **fields: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(source(path, **fields), PLAIN)
    return str(caught.value)


@pytest.mark.parametrize("sign", [";", "\t", "|"])
def test_another_delimiter_is_named_with_the_line_to_write(sign: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text((HEADER + ROW).replace(",", sign))
    shown = sign.replace("\t", "\\t")
    assert f"t.csv is {HEADER.strip().replace(',', sign)!r}" in (said := refusal(tmp_path / "t.csv"))
    assert f'write `delimiter: "{shown}"`' in said


@pytest.mark.parametrize(
    ("row", "wanted"),
    [
        ("1;2024-03-08 10:00:00;2024-03-08;0,5", r"column 'x' of .*t\.csv holds '0,5' .*write `decimal: \",\"`"),
        ("1;2024-03-08 10:00:00;2024-03-08;1.234,5", r"column 'x' of .*t\.csv holds '1\.234,5' .*write `decimal: \",\"`"),
        ("1;2024-03-08 10:00:00;08/03/2024;1", r"column 'day' of .*t\.csv holds '08/03/2024' .*one format.*`date_format: \"%d/%m/%Y\"`"),
        (
            "1;08.03.2024 10:00;2024-03-08;1",
            r"column 'at' of .*t\.csv holds '08\.03\.2024 10:00' .*`timestamp_format: \"%d\.%m\.%Y %H:%M\"`",
        ),
        ("1;2024-03-08 10:00:00;2024-03-08;much", r"column 'x' of .*t\.csv holds 'much' .*deliver it as declared, or correct the type"),
    ],
)
def test_another_notation_is_named_with_the_line_to_write(row: str, wanted: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER.replace(",", ";") + row + "\n")
    assert re.search(wanted, refusal(tmp_path / "t.csv", delimiter=";"))


def test_a_file_of_another_kind_is_named_with_the_line_to_write(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HEADER + ROW)
    assert "begins with the text 'id,at,day,x'. If it is a CSV, write `kind: csv`" in refusal(tmp_path / "t.csv", kind="parquet")
    (tmp_path / "t.parquet").write_bytes(b"PAR1\x15\x04\n")
    assert "t.parquet is a Parquet file; write `kind: parquet`" in refusal(tmp_path / "t.parquet")


@pytest.mark.parametrize(
    ("first", "value"),
    [("7,2024-03-08 10:00:00,2024-03-08,0.5", "7"), ("a,b,8.3.24,c", "8.3.24"), ("a,true,b,c", "true"), ("1,0,0,1", "1")],
)
def test_a_file_that_begins_with_a_row_is_refused_as_one_without_a_header(first: str, value: str, tmp_path: Path) -> None:
    """The error named a column that is not there, or a name that is there twice: the first row was taken for the names."""
    (tmp_path / "t.csv").write_text(f"{first}\n{first}\n")
    for columns in (PLAIN, {}):
        with pytest.raises(
            DataError, match=r"t\.csv has no header: its first line is .* Write a line above it .*all 4 columns, separated by ','"
        ) as refused:
            read(source(tmp_path / "t.csv"), columns)
        assert f"{first!r}, and {value!r} is a value" in str(refused.value)


@pytest.mark.parametrize(
    "header",
    ["id,2023,2024", ",0,1", "0,1,2", "id,2024-01-31,2024-02-29", "id,x1,x2", "id,1.5,ratio"],
    ids=["years", "index", "places", "dates", "names", "declared"],
)
def test_numbers_may_be_names(header: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{header}\n7,2.5,3.5\n")
    with connect(UTC) as (connection, scratch):
        declared = {"id": PLAIN["id"]} if "ratio" in header else {}
        found = adapters.scan(connection, source(tmp_path / "t.csv"), declared, None, scratch)
    assert [column for column in found.columns if column != "unnamed"] == [name for name in header.split(",") if name]
